//! The targets of Q-learning.

use crate::ops::rl::bellman::targets;
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw};

/// Each row of values has `wider` more columns beside it. Every third episode ended. If `is_finite` is false, samples
/// of both kinds have values that are not finite.
fn run(
    device: &Device,
    dtype: DType,
    [samples, actions, wider]: [usize; 3],
    is_finite: bool,
) -> Outputs {
    let width = actions + wider;
    let mut values = draw(samples * width, 0);
    if !is_finite {
        for (sample, values) in values.chunks_mut(width).enumerate() {
            values[sample % actions] =
                [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0][sample % 4];
        }
    }
    let values = Tensor::from_f64s(device, [samples, width], dtype, &values);
    let values = if wider > 0 { values.slice(1, 1, actions) } else { values };
    let continues: Vec<f64> =
        (0..samples).map(|sample| if sample % 3 == 2 { 0.0 } else { 1.0 }).collect();
    let rewards = Tensor::from_f64s(device, [samples], dtype, &draw(samples, 1));
    let continues = Tensor::from_f64s(device, [samples], dtype, &continues);
    vec![("targets", targets(&rewards, &continues, &values, 0.99).to_f64s())]
}

pub fn cases() -> Vec<Case> {
    let shapes = [
        [1, 1, 0],
        [1, 3, 0],
        [32, 4, 0],
        [5, 4, 2],
        [33, 18, 3],
        [127, 2, 0],
        [128, 33, 0],
        [129, 7, 1],
        [3, 1000, 0],
        [0, 4, 0],
    ];
    let mut cases = Vec::new();
    for shape in shapes {
        for is_finite in [true, false] {
            let finite = if is_finite { "finite" } else { "some not finite" };
            let name = format!("bellman targets {shape:?}, {finite}");
            cases.push(Case::new(name, 1, move |device, dtype| {
                run(device, dtype.wide(), shape, is_finite)
            }));
        }
    }
    cases
}
