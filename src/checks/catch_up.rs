//! Classifiers that take the mean of all.

use crate::ops::update::catch_up::catch_up;
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw, drawn};

/// The log posterior of the classifiers, by kind.
fn log_posterior(classifiers: usize, kind: Weights) -> Vec<f64> {
    let usual: Vec<f64> = (0..classifiers).map(|classifier| -0.1 - classifier as f64).collect();
    match kind {
        Weights::NoneBehind => usual,
        Weights::FarBehind => {
            (0..classifiers).map(|classifier| -725.0 * classifier as f64).collect()
        }
        Weights::SomeBehind | Weights::NotFinite => (usual.into_iter().enumerate())
            .map(|(classifier, log_a)| match classifier % 3 {
                1 => -30.0 - log_a,
                2 => f64::NEG_INFINITY,
                _ => log_a,
            })
            .collect(),
        Weights::AllBehind => usual.into_iter().map(|log_a| log_a - 21.0).collect(),
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Weights {
    NoneBehind,
    SomeBehind,
    AllBehind,
    NotFinite,
    /// All but the first, one of them with a weight that is no normal number. Every third element is not finite.
    FarBehind,
}

fn run(
    device: &Device,
    dtype: DType,
    [classifiers, outputs, inputs]: [usize; 3],
    kind: Weights,
) -> Outputs {
    let mut values = draw(classifiers * outputs * inputs, 1);
    if kind == Weights::NotFinite {
        values[0] = f64::NAN;
        // The last element is infinite in every classifier with weight, the first one in a classifier that is behind.
        (0..classifiers)
            .step_by(3)
            .for_each(|classifier| values[(classifier + 1) * outputs * inputs - 1] = f64::INFINITY);
        values[outputs * inputs] = f64::NEG_INFINITY;
    }
    if kind == Weights::FarBehind {
        values.iter_mut().step_by(3).for_each(|value| *value = f64::NAN);
    }
    let weight = Tensor::from_f64s(device, [classifiers, outputs, inputs], dtype, &values);
    let bias = drawn(device, &[classifiers, outputs], dtype, 2);
    let log_posterior =
        Tensor::from_slice(device, [classifiers], &log_posterior(classifiers, kind));
    catch_up(&weight, &bias, &log_posterior, -20.0);
    vec![("weight", weight.to_f64s()), ("bias", bias.to_f64s())]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Weights::NoneBehind, Weights::SomeBehind, Weights::AllBehind, Weights::NotFinite] {
        for sizes in [[2, 1, 1], [3, 2, 2], [4, 10, 33], [10, 7, 150], [2, 50, 41], [7, 1, 3]] {
            let name = format!("catch_up {sizes:?}, {kind:?}");
            cases.push(Case::new(name, sizes[0], move |device, dtype| {
                run(device, dtype, sizes, kind)
            }));
        }
    }
    // With vectors and without; the loop over the classifiers has whole turns and a rest.
    for sizes in [[7, 4, 8], [6, 5, 3]] {
        let name = format!("catch_up {sizes:?}, {:?}", Weights::FarBehind);
        cases.push(Case::new(name, sizes[0], move |device, dtype| {
            run(device, dtype, sizes, Weights::FarBehind)
        }));
    }
    cases
}
