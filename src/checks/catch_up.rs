//! Classifiers that take the mean of all.

use crate::ops::update::catch_up::catch_up;
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw, drawn};

/// The log posterior of the classifiers, by kind.
fn log_posterior(copies: usize, kind: Kind) -> Vec<f64> {
    let usual: Vec<f64> = (0..copies).map(|copy| -0.1 - copy as f64).collect();
    match kind {
        Kind::NoneBehind => usual,
        Kind::SomeBehind | Kind::NotFinite => (usual.into_iter().enumerate())
            .map(|(copy, log_a)| match copy % 3 {
                1 => -30.0 - log_a,
                2 => f64::NEG_INFINITY,
                _ => log_a,
            })
            .collect(),
        Kind::AllBehind => usual.into_iter().map(|log_a| log_a - 21.0).collect(),
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    NoneBehind,
    SomeBehind,
    AllBehind,
    NotFinite,
}

fn run(
    device: &Device,
    dtype: DType,
    [copies, outputs, inputs]: [usize; 3],
    kind: Kind,
) -> Outputs {
    let mut values = draw(copies * outputs * inputs, 1);
    if kind == Kind::NotFinite {
        values[0] = f64::NAN;
        // The last element is infinite in every classifier with weight, the first one in a classifier that is behind.
        (0..copies)
            .step_by(3)
            .for_each(|copy| values[(copy + 1) * outputs * inputs - 1] = f64::INFINITY);
        values[outputs * inputs] = f64::NEG_INFINITY;
    }
    let weight = Tensor::from_f64s(device, [copies, outputs, inputs], dtype, &values);
    let bias = drawn(device, &[copies, outputs], dtype, 2);
    let log_posterior = Tensor::from_slice(device, [copies], &log_posterior(copies, kind));
    catch_up(&weight, &bias, &log_posterior, -20.0);
    vec![("weight", weight.to_f64s()), ("bias", bias.to_f64s())]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::NoneBehind, Kind::SomeBehind, Kind::AllBehind, Kind::NotFinite] {
        for sizes in [[2, 1, 1], [3, 2, 2], [4, 10, 33], [10, 7, 150], [2, 50, 41], [7, 1, 3]] {
            let name = format!("catch_up {sizes:?}, {kind:?}");
            cases.push(Case::new(name, sizes[0], move |device, dtype| {
                run(device, dtype, sizes, kind)
            }));
        }
    }
    cases
}
