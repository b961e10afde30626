//! Embeddings, recurrent layers, dropout and cross-entropy.

use alrao::ops::head::cross_entropy::cross_entropy;
use alrao::ops::layers::dropout::dropout;
use alrao::ops::layers::embedding::embedding;
use alrao::ops::layers::lstm::{LstmWeights, lstm};
use alrao::ops::tensor::concatenate::concatenate;
use alrao::{DType, Tensor};

use super::{Row, row};

pub fn rows() -> Vec<Row> {
    let mut rows = embeddings();
    rows.extend(recurrent());
    rows.extend(dropouts());
    rows.extend(cross_entropies());
    rows
}

fn integers<const N: usize>(like: &Tensor, shape: [usize; N], values: &[i32]) -> Tensor {
    Tensor::from_slice(like.device(), shape, values)
}

fn embeddings() -> Vec<Row> {
    vec![
        row("embedding with repeated and unused tokens", [&[7, 3]], |x| {
            embedding(&integers(&x[0], [3, 2], &[5, 0, 5, 2, 5, 0]), &x[0]).square()
        }),
        row("embedding of one token", [&[1, 1]], |x| embedding(&integers(&x[0], [1], &[0]), &x[0])),
        row("embedding used twice", [&[4, 2]], |x| {
            let tokens = integers(&x[0], [2, 2], &[3, 1, 1, 1]);
            embedding(&tokens, &x[0]).mul(&embedding(&tokens, &x[0]))
        }),
        row("embedding beside another input", [&[4, 2], &[3, 1]], |x| {
            concatenate(&[&embedding(&integers(&x[0], [3], &[3, 0, 3]), &x[0]), &x[1]]).square()
        }),
    ]
}

/// One layer: `x` is its input, `w` weights and biases, `s` its first state.
fn layer(x: &Tensor, w: &[Tensor], s: &[Tensor]) -> Tensor {
    let weights =
        LstmWeights { weight_ih: &w[0], weight_hh: &w[1], bias_ih: &w[2], bias_hh: &w[3] };
    lstm(x, weights, &s[0], &s[1]).y
}

/// A first state of fixed numbers: it has no gradient.
fn state(like: &Tensor, batch: usize, hidden: usize) -> [Tensor; 2] {
    [0.3, -0.7].map(|value| Tensor::full(like.device(), [batch, hidden], DType::F64, value))
}

fn recurrent() -> Vec<Row> {
    vec![
        row("lstm", [&[5, 3, 2], &[16, 2], &[16, 4], &[16], &[16]], |x| {
            layer(&x[0], &x[1..], &state(&x[0], 3, 4))
        }),
        row("lstm of one time, sample and unit", [&[1, 1, 1], &[4, 1], &[4, 1], &[4], &[4]], |x| {
            layer(&x[0], &x[1..], &state(&x[0], 1, 1))
        }),
        row("lstm over many samples", [&[3, 23, 2], &[12, 2], &[12, 3], &[12], &[12]], |x| {
            layer(&x[0], &x[1..], &state(&x[0], 23, 3))
        }),
        row("lstm of many units", [&[2, 2, 1], &[68, 1], &[68, 17], &[68], &[68]], |x| {
            layer(&x[0], &x[1..], &state(&x[0], 2, 17))
        }),
        row(
            "two lstm layers",
            [&[3, 2, 3], &[8, 3], &[8, 2], &[8], &[8], &[12, 2], &[12, 3], &[12], &[12]],
            |x| {
                let y = layer(&x[0], &x[1..5], &state(&x[0], 2, 2));
                layer(&y, &x[5..], &state(&x[0], 2, 3))
            },
        ),
        row("one lstm layer twice", [&[3, 2, 2], &[8, 2], &[8, 2], &[8], &[8]], |x| {
            let y = layer(&x[0], &x[1..], &state(&x[0], 2, 2));
            layer(&y, &x[1..], &state(&x[0], 2, 2)).mul(&y)
        }),
        row("lstm on slices", [&[3, 2, 5], &[8, 6], &[8, 4], &[8], &[8]], |x| {
            let [input, weight_ih, weight_hh] =
                [(0, 1, 3), (1, 2, 3), (2, 1, 2)].map(|(i, start, length)| {
                    let axis = x[i].shape().rank() - 1;
                    x[i].slice(axis, start, length)
                });
            let weights = [weight_ih, weight_hh, x[3].clone(), x[4].clone()];
            let y = layer(&input, &weights, &state(&x[0], 2, 2));
            concatenate(&[&y, &input]).square()
        }),
        row(
            "lstm whose last output alone is used",
            [&[4, 2, 2], &[8, 2], &[8, 2], &[8], &[8]],
            |x| layer(&x[0], &x[1..], &state(&x[0], 2, 2)).slice(0, 3, 1),
        ),
    ]
}

fn dropouts() -> Vec<Row> {
    let step = |like: &Tensor| Tensor::from_slice(like.device(), [1], &[3i64]);
    vec![
        row("dropout", [&[5, 30]], move |x| dropout(&x[0], 0.4, 1, &step(&x[0]), 0).square()),
        row("dropout of all", [&[7]], move |x| dropout(&x[0], 1.0, 1, &step(&x[0]), 0)),
        row("dropout on a slice", [&[9, 7]], move |x| {
            let part = dropout(&x[0].slice(1, 2, 4), 0.2, 1, &step(&x[0]), 1);
            concatenate(&[&part, &x[0]]).square()
        }),
        row("dropout in several tasks", [&[20_000]], move |x| {
            dropout(&x[0], 0.5, 1, &step(&x[0]), 2).square()
        }),
    ]
}

fn cross_entropies() -> Vec<Row> {
    vec![
        row("cross_entropy", [&[4, 5]], |x| {
            cross_entropy(&x[0], &integers(&x[0], [4], &[0, 4, 2, 2]))
        }),
        row("cross_entropy of one class", [&[2, 1]], |x| {
            cross_entropy(&x[0], &integers(&x[0], [2], &[0, 0]))
        }),
        row("cross_entropy on a slice", [&[3, 40]], |x| {
            let loss = cross_entropy(&x[0].slice(1, 3, 33), &integers(&x[0], [3], &[32, 0, 16]));
            loss.affine(-3.0, 0.0).add(&x[0])
        }),
        row("cross_entropy of logits used again", [&[3, 4]], |x| {
            cross_entropy(&x[0], &integers(&x[0], [3], &[3, 0, 1])).mul(&x[0])
        }),
    ]
}
