//! The loss of one classifier.

use crate::ops::head::cross_entropy::cross_entropy;
use crate::{Device, Tensor};

use super::elementwise::case;
use super::{Case, Outputs};

fn labels(device: &Device, batch: usize, classes: usize) -> Tensor {
    let labels: Vec<i32> = (0..batch).map(|i| (i * 7 % classes) as i32).collect();
    Tensor::from_slice(device, [batch], &labels)
}

/// Rows that are not finite have a loss that is not finite, as on the CPU.
fn not_finite() -> Case {
    Case::new("cross_entropy not finite", 1, |device, dtype| -> Outputs {
        let (nan, high, low) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
        let rows =
            [[0.0, nan, 1.0], [nan, 0.0, 1.0], [high, 0.0, 0.0], [low, 0.0, 0.0], [1e4, -1e4, 0.0]];
        let losses = rows.iter().map(|row| {
            let logits = Tensor::from_f64s(device, [1, 3], dtype, row);
            cross_entropy(&logits, &labels(device, 1, 3)).item()
        });
        vec![("losses", losses.collect())]
    })
}

pub fn cases() -> Vec<Case> {
    let shapes = [[1, 1], [1, 2], [31, 10], [300, 3], [5, 33], [3, 1000], [0, 3]];
    let plain = shapes.into_iter().map(|[batch, classes]| {
        case(format!("cross_entropy {batch} x {classes}"), 3000, [&[batch, classes]], move |x| {
            cross_entropy(&x[0].affine(8.0, 1.0), &labels(x[0].device(), batch, classes))
        })
    });
    let more = [
        case("cross_entropy of a slice", 50, [&[6, 12]], |x| {
            cross_entropy(&x[0].slice(1, 2, 7), &labels(x[0].device(), 6, 7))
        }),
        case("cross_entropy twice", 50, [&[6, 5]], |x| {
            let labels = labels(x[0].device(), 6, 5);
            cross_entropy(&x[0], &labels).add(&cross_entropy(&x[0], &labels).square())
        }),
        not_finite(),
    ];
    // The logits are functions of the drawn numbers, and one gradient accumulates.
    plain.chain(more).flat_map(|case| case.and_in_bf16(4)).collect()
}
