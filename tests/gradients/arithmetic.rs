//! Element-wise functions, reductions, views and matrix products.

use alrao::ops::tensor::concatenate::concatenate;

use super::{Row, row};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("relu", [&[3, 5]], |x| x[0].relu()),
        row("exp", [&[2, 3]], |x| x[0].exp()),
        row("ln", [&[2, 3]], |x| x[0].square().ln()),
        row("tanh", [&[17]], |x| x[0].tanh()),
        row("sigmoid", [&[33]], |x| x[0].sigmoid()),
        row("sqrt", [&[4]], |x| x[0].square().sqrt()),
        row("affine", [&[4, 1]], |x| x[0].affine(-3.0, 2.0)),
        row("add one input twice", [&[2, 3]], |x| x[0].add(&x[0])),
        row("sub", [&[2, 3], &[2, 3]], |x| x[0].sub(&x[1])),
        row("mul used again", [&[2, 3], &[2, 3]], |x| x[0].mul(&x[1]).add(&x[0]).mul(&x[1])),
        row("div", [&[2, 3], &[3]], |x| x[0].div(&x[1])),
        row("mul both broadcast", [&[4, 1, 3], &[5, 1]], |x| x[0].mul(&x[1])),
        row("add scalar", [&[2, 2], &[]], |x| x[0].add(&x[1])),
        row("add a column", [&[4, 3], &[4, 1]], |x| x[0].mul(&x[1])),
        row("sum", [&[5, 7]], |x| x[0].sum()),
        row("mean", [&[5, 7]], |x| x[0].mean()),
        row("sum to columns", [&[1030, 3]], |x| x[0].sum_to([3])),
        row("sum to a middle axis", [&[2, 3, 4]], |x| x[0].sum_to([3, 1])),
        row("reshape", [&[2, 6]], |x| x[0].reshape([3, 4]).square()),
        row("slice the last axis", [&[3, 5]], |x| x[0].slice(1, 1, 3).square()),
        row("slice the first axis", [&[4, 3]], |x| x[0].slice(0, 1, 2).square()),
        row("slice a middle axis", [&[2, 4, 3]], |x| x[0].slice(1, 2, 2).square()),
        row("two slices of one input", [&[2, 5]], |x| {
            x[0].slice(1, 0, 3).mul(&x[0].slice(1, 2, 3))
        }),
        row("slice of a slice", [&[2, 4, 6]], |x| {
            x[0].slice(2, 1, 4).slice(1, 1, 2).slice(2, 0, 3).square()
        }),
        row("concatenate", [&[2, 3], &[2, 1], &[2, 4]], |x| {
            concatenate(&[&x[0], &x[1], &x[2]]).square()
        }),
        row("arithmetic on a slice", [&[3, 5], &[2]], |x| x[0].slice(1, 2, 2).mul(&x[1]).relu()),
        row("linear in a slice", [&[3, 5], &[4, 2]], |x| {
            x[0].slice(1, 2, 2).matmul_transposed(&x[1])
        }),
        row("matmul", [&[3, 5], &[5, 2]], |x| x[0].matmul(&x[1])),
        row("matmul, right transposed", [&[3, 5], &[2, 5]], |x| x[0].matmul_transposed(&x[1])),
        row("matmul, left transposed", [&[5, 3], &[5, 2]], |x| x[0].transposed_matmul(&x[1])),
        row("matmul of one row", [&[1, 1], &[1, 1]], |x| x[0].matmul(&x[1])),
        row("matmul, batched", [&[2, 3, 4], &[2, 4, 5]], |x| x[0].matmul(&x[1])),
        row("matmul, batched, right transposed", [&[2, 3, 4], &[2, 5, 4]], |x| {
            x[0].matmul_transposed(&x[1])
        }),
        row("matmul, batched, left transposed", [&[2, 4, 3], &[2, 4, 5]], |x| {
            x[0].transposed_matmul(&x[1])
        }),
        row("matmul, one right for all", [&[2, 3, 4], &[4, 5]], |x| x[0].matmul(&x[1])),
        row("matmul, one left for all", [&[3, 4], &[2, 4, 5]], |x| x[0].matmul(&x[1])),
    ];
    rows.push(row("sum in pieces", [&[20_000]], |x| x[0].square().sum()));
    rows
}
