//! Norms, pools, flatten and channel gates.

use alrao::Tensor;
use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_eval, batch_norm_train};
use alrao::ops::layers::flatten::flatten;
use alrao::ops::layers::pool::{
    adaptive_average_pool2d, average_pool2d, global_average_pool, max_pool2d,
};
use alrao::ops::layers::squeeze_excite::squeeze_excite;
use alrao::ops::tensor::concatenate::concatenate;

use super::{Row, row};

pub fn rows() -> Vec<Row> {
    [norms(), pools(), gates()].into_iter().flatten().collect()
}

fn norm(x: &Tensor, inputs: &[Tensor], relu: bool) -> Tensor {
    let running = |value| Tensor::full(x.device(), inputs[1].shape(), x.dtype(), value);
    let config = BatchNormConfig { relu, ..BatchNormConfig::default() };
    batch_norm_train(x, &inputs[1], &inputs[2], &running(0.0), &running(1.0), config)
}

fn running_norm(x: &Tensor, inputs: &[Tensor], relu: bool) -> Tensor {
    let running = |value| Tensor::full(x.device(), inputs[1].shape(), x.dtype(), value);
    let config = BatchNormConfig { relu, ..BatchNormConfig::default() };
    batch_norm_eval(x, &inputs[1], &inputs[2], &running(0.3), &running(0.7), config)
}

fn norms() -> Vec<Row> {
    vec![
        row("batch norm", [&[3, 2, 2, 5], &[5], &[5]], |x| norm(&x[0], x, false)),
        row("batch norm, relu", [&[3, 2, 2, 5], &[5], &[5]], |x| norm(&x[0], x, true)),
        row("batch norm, one image", [&[1, 3, 3, 17], &[17], &[17]], |x| norm(&x[0], x, true)),
        row("batch norm, one channel", [&[7, 1], &[1], &[1]], |x| norm(&x[0], x, false)),
        row("batch norm, a single sample", [&[1, 1, 1, 3], &[3], &[3]], |x| norm(&x[0], x, true)),
        row("batch norm, several tasks", [&[2, 60, 50, 3], &[3], &[3]], |x| norm(&x[0], x, true)),
        row("batch norm, wide rows", [&[150, 131], &[131], &[131]], |x| norm(&x[0], x, true)),
        row("batch norm of a slice", [&[2, 3, 2, 7], &[4], &[4]], |x| {
            norm(&x[0].slice(3, 2, 4), x, true)
        }),
        row("batch norm into a slice", [&[2, 3, 2, 4], &[4], &[4]], |x| {
            concatenate(&[&x[0], &norm(&x[0], x, true), &norm(&x[0], x, false)])
        }),
        // The sum's gradient is that of x3 too, so that no part of it may be added to in its place.
        row(
            "batch norm of what is joined, to which something is added",
            [&[2, 4], &[3], &[3], &[2, 4]],
            |x| {
                let joined = concatenate(&[&x[0].slice(1, 0, 1), &x[0].slice(1, 1, 2)]);
                let normed = norm(&joined, x, true);
                let all = concatenate(&[&joined, &x[0].slice(1, 3, 1)]).add(&x[3]);
                concatenate(&[&all, &normed.square()])
            },
        ),
        row("batch norm, used again", [&[4, 3], &[3], &[3]], |x| {
            norm(&x[0], x, true).mul(&norm(&x[0].slice(0, 0, 4), x, false))
        }),
        row("running norm", [&[3, 2, 2, 5], &[5], &[5]], |x| running_norm(&x[0], x, false)),
        row("running norm, relu, one image", [&[1, 2, 2, 5], &[5], &[5]], |x| {
            running_norm(&x[0], x, true)
        }),
        row("running norm of a slice", [&[3, 2, 7], &[4], &[4]], |x| {
            let slice = x[0].slice(2, 2, 4);
            concatenate(&[&running_norm(&slice, x, true), &running_norm(&slice, x, false)])
        }),
    ]
}

fn pools() -> Vec<Row> {
    vec![
        row("max pool", [&[2, 4, 6, 3]], |x| max_pool2d(&x[0], 2, 2, 0)),
        row("max pool, 16 channels and more", [&[2, 4, 4, 37]], |x| max_pool2d(&x[0], 2, 2, 0)),
        row("max pool, odd image", [&[1, 5, 7, 1]], |x| max_pool2d(&x[0], 2, 2, 0)),
        row("max pool, windows overlap", [&[2, 5, 6, 2]], |x| max_pool2d(&x[0], 3, 2, 1)),
        row("max pool, windows apart", [&[2, 7, 7, 2]], |x| max_pool2d(&x[0], 2, 3, 1)),
        row("max pool, 3 at stride 1", [&[1, 4, 4, 18]], |x| max_pool2d(&x[0], 3, 1, 1)),
        row("max pool, one pixel", [&[3, 1, 1, 4]], |x| max_pool2d(&x[0], 1, 1, 0)),
        row("max pool, large kernel", [&[1, 17, 17, 1]], |x| max_pool2d(&x[0], 17, 2, 4)),
        row("max pool of a slice, used again", [&[2, 4, 4, 25]], |x| {
            let slice = x[0].slice(3, 4, 18);
            concatenate(&[&max_pool2d(&slice, 2, 2, 0), &max_pool2d(&slice, 2, 2, 0)]).square()
        }),
        row("average pool", [&[2, 4, 6, 3]], |x| average_pool2d(&x[0], 2, 2, 0)),
        row("average pool, 4 as stride", [&[3, 4, 4, 17]], |x| average_pool2d(&x[0], 4, 4, 0)),
        row("average pool, windows overlap", [&[1, 5, 4, 2]], |x| average_pool2d(&x[0], 3, 2, 1)),
        row("average pool, windows apart", [&[1, 7, 7, 1]], |x| average_pool2d(&x[0], 2, 3, 1)),
        row("average pool of a slice, used again", [&[2, 4, 4, 7]], |x| {
            let slice = x[0].slice(3, 2, 4);
            concatenate(&[&average_pool2d(&slice, 2, 1, 0), &average_pool2d(&slice, 2, 1, 0)])
        }),
        row("adaptive average pool, windows share rows", [&[2, 5, 7, 3]], |x| {
            adaptive_average_pool2d(&x[0], [3, 2])
        }),
        row("adaptive average pool to more pixels", [&[1, 2, 3, 17]], |x| {
            adaptive_average_pool2d(&x[0], [5, 4])
        }),
        row("adaptive average pool of a slice, used again", [&[2, 4, 4, 7]], |x| {
            let slice = x[0].slice(3, 2, 3);
            concatenate(&[
                &adaptive_average_pool2d(&slice, [2, 3]),
                &adaptive_average_pool2d(&slice, [2, 3]),
            ])
            .square()
        }),
        row("adaptive average pool to the same size", [&[1, 3, 3, 2]], |x| {
            adaptive_average_pool2d(&x[0], [3, 3])
        }),
        row("global average pool", [&[2, 3, 4, 5]], |x| global_average_pool(&x[0])),
        row("global average pool of one pixel", [&[1, 1, 1, 1]], |x| global_average_pool(&x[0])),
        row("global average pool of a slice, used again", [&[2, 3, 3, 7]], |x| {
            let slice = x[0].slice(3, 1, 5);
            concatenate(&[&global_average_pool(&slice), &global_average_pool(&slice)]).square()
        }),
        row("flatten", [&[2, 5, 4, 3]], |x| flatten(&x[0])),
        row("flatten, larger than a block", [&[1, 5, 7, 18]], |x| flatten(&x[0])),
        row("flatten of one pixel", [&[3, 1, 1, 4]], |x| flatten(&x[0]).square()),
        row("flatten of one channel", [&[3, 2, 2, 1]], |x| flatten(&x[0]).square()),
        row("flatten of two axes", [&[3, 4]], |x| flatten(&x[0]).square()),
        row("flatten of a slice, used again", [&[2, 3, 2, 6]], |x| {
            let slice = x[0].slice(3, 1, 4);
            concatenate(&[&flatten(&slice), &flatten(&slice)]).square()
        }),
    ]
}

/// Gates of the first input by the next four.
fn gated(x: &[Tensor], residual: Option<&Tensor>) -> Tensor {
    squeeze_excite(&x[0], [&x[1], &x[2]], [&x[3], &x[4]], residual)
}

fn gates() -> Vec<Row> {
    vec![
        row("squeeze and excite", [&[2, 3, 2, 5], &[2, 1, 1, 5], &[2], &[5, 1, 1, 2], &[5]], |x| {
            gated(x, None)
        }),
        row(
            "squeeze and excite with a residual",
            [&[3, 2, 2, 4], &[3, 1, 1, 4], &[3], &[4, 1, 1, 3], &[4], &[3, 2, 2, 4]],
            |x| gated(x, x.get(5)),
        ),
        row(
            "squeeze and excite with the input as the residual",
            [&[1, 3, 1, 2], &[1, 1, 1, 2], &[1], &[2, 1, 1, 1], &[2]],
            |x| gated(x, x.first()),
        ),
        row(
            "squeeze and excite one channel of one pixel",
            [&[1; 4], &[1; 4], &[1], &[1; 4], &[1]],
            |x| gated(x, None),
        ),
        row(
            "squeeze and excite a slice, twice",
            [&[2, 2, 3, 7], &[2, 1, 1, 4], &[2], &[4, 1, 1, 2], &[4]],
            |x| {
                let slice = x[0].slice(3, 2, 4);
                let once = |y: &Tensor, residual| {
                    squeeze_excite(y, [&x[1], &x[2]], [&x[3], &x[4]], residual)
                };
                once(&once(&slice, Some(&slice)), None)
            },
        ),
    ]
}
