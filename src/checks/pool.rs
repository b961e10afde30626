//! Pools over images.

use crate::ops::layers::pool::{
    adaptive_average_pool2d, average_pool2d, global_average_pool, max_pool2d,
};
use crate::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, drawn, gradient};

type Pool = fn(&Tensor, [usize; 3]) -> Tensor;

/// A pool of some channels, and a second one of the same tensor, so that a gradient is stored and accumulated.
fn run(
    device: &Device,
    dtype: DType,
    pool: Pool,
    shape: [usize; 4],
    part: usize,
    window: [usize; 3],
) -> Outputs {
    let tape = Tape::new();
    let x = tape.watch(&drawn(device, &shape, dtype, 0));
    let own = x.slice(3, shape[3] - part, part);
    let first = pool(&own, window);
    let second = pool(&own.add(&own), window);
    let (w1, w2) = (
        drawn(device, first.shape().extents(), dtype, 1),
        drawn(device, first.shape().extents(), dtype, 2),
    );
    let loss = first.mul(&w1).sum().add(&second.mul(&w2).sum());
    tape.backward(&loss);
    vec![
        ("first", first.to_f64s()),
        ("second", second.to_f64s()),
        ("gradient", gradient(&tape, &x)),
    ]
}

pub fn cases() -> Vec<Case> {
    let pools: [(&str, Pool); 3] = [
        ("max_pool2d", |x, [kernel, stride, padding]| max_pool2d(x, kernel, stride, padding)),
        ("average_pool2d", |x, [kernel, stride, padding]| {
            average_pool2d(x, kernel, stride, padding)
        }),
        ("global_average_pool", |x, _| global_average_pool(x)),
    ];
    let shapes = [
        ([2, 8, 8, 16], 16, [2, 2, 0]),
        ([2, 5, 7, 24], 16, [3, 2, 1]),
        ([1, 7, 5, 3], 3, [3, 2, 1]),
        ([3, 9, 11, 12], 8, [3, 1, 1]),
        ([2, 5, 5, 7], 5, [2, 3, 1]),
        ([1, 1, 1, 1], 1, [1, 1, 0]),
        ([2, 18, 20, 4], 4, [17, 1, 0]),
        ([0, 4, 4, 4], 4, [2, 2, 0]),
        // Windows of several pixels on each axis, with vectors and without.
        ([1, 9, 10, 16], 16, [6, 1, 2]),
        ([1, 9, 10, 3], 3, [6, 1, 2]),
    ];
    let adaptive: Pool = |x, [rows, columns, _]| adaptive_average_pool2d(x, [rows, columns]);
    let sizes = [
        ([2, 8, 8, 16], 16, [4, 2, 0]),
        ([2, 5, 7, 24], 16, [3, 2, 0]),
        ([1, 7, 5, 3], 3, [6, 4, 0]),
        ([3, 9, 11, 12], 8, [1, 1, 0]),
        ([2, 3, 2, 7], 5, [5, 7, 0]),
        ([2, 4, 6, 8], 8, [4, 6, 0]),
        ([0, 4, 4, 4], 4, [3, 3, 0]),
        ([1, 13, 15, 16], 16, [2, 2, 0]),
        ([1, 13, 15, 3], 3, [2, 2, 0]),
        ([1, 2, 2, 8], 8, [13, 15, 0]),
        ([1, 2, 2, 3], 3, [13, 15, 0]),
    ];
    let adaptive =
        sizes.map(|(shape, part, size)| (("adaptive_average_pool2d", adaptive), shape, part, size));
    let fixed = pools
        .into_iter()
        .flat_map(|pool| shapes.map(|(shape, part, window)| (pool, shape, part, window)));
    let case =
        |((name, pool), shape, part, window): ((&str, Pool), [usize; 4], usize, [usize; 3])| {
            let label = format!("{name} {shape:?}, {part} channels, window {window:?}");
            let case = Case::new(label, 400, move |device, dtype| {
                run(device, dtype, pool, shape, part, window)
            });
            // Two tensors are stored: the sum that the second pool takes, and the gradient before it accumulates.
            case.and_in_bf16(4)
        };
    fixed.chain(adaptive).flat_map(case).collect()
}
