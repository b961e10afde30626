//! Dropout, with the CPU's mask.

use crate::Tensor;
use crate::ops::layers::dropout::dropout;
use crate::ops::tensor::concatenate::concatenate;

use super::elementwise::case;
use super::{Case, Outputs};

type Op = fn(&[Tensor], &Tensor) -> Tensor;

/// A case of an op that takes the step's number.
fn row(name: &str, shape: &'static [usize], op: Op) -> Case {
    case(format!("dropout {name}"), 2, [shape], move |x| {
        op(x, &Tensor::from_slice(x[0].device(), [1], &[(1i64 << 32) + 7]))
    })
}

/// The layer's number is in the index's upper half, so that no two masks share numbers.
fn layers() -> Case {
    Case::new("dropout layers", 1, |device, dtype| {
        let ones = Tensor::full(device, [999], dtype, 1.0);
        let step = Tensor::from_slice(device, [1], &[2i64]);
        let of = |layer| dropout(&ones, 0.5, 0xfeed_0000_beef, &step, layer).to_f64s();
        let outputs: Outputs = vec![("0", of(0)), ("1", of(1)), ("4e9", of(4_000_000_000))];
        outputs
    })
}

pub fn cases() -> Vec<Case> {
    let cases = vec![
        row("one element", &[1], |x, step| dropout(&x[0], 0.3, 1, step, 0)),
        row("odd", &[3, 5, 7], |x, step| dropout(&x[0], 0.2, 1, step, 1)),
        row("blocks", &[5, 1000], |x, step| dropout(&x[0], 0.2, 1, step, 1)),
        row("nothing", &[40], |x, step| dropout(&x[0], 0.0, 1, step, 2)),
        row("everything", &[40], |x, step| dropout(&x[0], 1.0, 1, step, 2)),
        row("empty", &[0, 4], |x, step| dropout(&x[0], 0.5, 1, step, 0)),
        row("a slice", &[9, 24], |x, step| dropout(&x[0].slice(1, 4, 12), 0.4, 1, step, 3)),
        row("an odd slice", &[9, 24], |x, step| dropout(&x[0].slice(1, 3, 7), 0.4, 1, step, 3)),
        row("a slice of its gradient", &[9, 24], |x, step| {
            dropout(&x[0], 0.4, 1, step, 3).slice(1, 2, 9).square()
        }),
        row("twice", &[4, 30], |x, step| {
            dropout(&x[0], 0.4, 1, step, 0).mul(&dropout(&x[0], 0.4, 1, step, 1)).add(&x[0])
        }),
        row("twice, of vectors", &[4, 32], |x, step| {
            dropout(&x[0], 0.4, 1, step, 0).mul(&dropout(&x[0], 0.4, 1, step, 1))
        }),
        row("twice, of odd rows", &[3, 5, 7], |x, step| {
            dropout(&x[0], 0.4, 1, step, 0).mul(&dropout(&x[0], 0.4, 1, step, 1))
        }),
        // Its gradients are slices.
        row("concatenated", &[9, 8], |x, step| {
            concatenate(&[&dropout(&x[0], 0.4, 1, step, 0), &dropout(&x[0], 0.4, 1, step, 1)])
        }),
        row("concatenated, odd", &[9, 7], |x, step| {
            concatenate(&[&dropout(&x[0], 0.4, 1, step, 0), &dropout(&x[0], 0.4, 1, step, 1)])
        }),
        row("a wide slice", &[9, 24], |x, step| dropout(&x[0].slice(1, 8, 16), 0.4, 1, step, 3)),
        layers(),
    ];
    // A case stores two masks' product and a sum.
    cases.into_iter().flat_map(|case| case.and_in_bf16(4)).collect()
}
