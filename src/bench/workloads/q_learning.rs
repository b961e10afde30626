//! Kernels of Q-learning, at the sizes of LunarLander: eight observed numbers, four actions, ten classifiers, batches
//! of 32.

use super::learning::{head, learned};
use super::{Cost, Size, Work, Workload, filled, whole};
use crate::device::{DType, Device};
use crate::ops::head::classifiers::{Targets, classifiers};
use crate::ops::rl::bellman::targets;
use crate::ops::rl::replay::{Draw, row_width, sample};
use crate::tensor::Tensor;

const OBSERVATION: usize = 8;
const BATCH: usize = 32;
const ACTIONS: usize = 4;
const CLASSIFIERS: usize = 10;

/// Features before the classifiers.
const FEATURES: usize = 64;

pub(super) fn all() -> Vec<Workload> {
    vec![replayed(), awaited(), chosen()]
}

fn replayed() -> Workload {
    let prepare = |device: &Device, dtype: DType, size: Size| -> Work {
        let capacity = size.of(1_000_000, 100);
        let rows = filled(device, &[capacity, row_width(OBSERVATION)], dtype.wide(), 1);
        let step = Tensor::from_slice(device, [1], &[1i64]);
        let filled = Tensor::from_slice(device, [1], &[capacity as i32]);
        Box::new(move || {
            let draw = Draw { seed: 1, step: &step, filled: &filled, count: BATCH };
            let batch = sample(&rows, draw);
            vec![batch.observations, batch.actions, batch.rewards]
        })
    };
    Workload::new("32 transitions of a million", prepare)
        .cost("replay_sample*", Cost::bytes(8 * BATCH * row_width(OBSERVATION)))
}

fn awaited() -> Workload {
    let prepare = |device: &Device, dtype: DType, _: Size| -> Work {
        let [rewards, continues] =
            [1, 2].map(|number| filled(device, &[BATCH], dtype.wide(), number));
        let next_values = filled(device, &[BATCH, ACTIONS], dtype.wide(), 3);
        Box::new(move || vec![targets(&rewards, &continues, &next_values, 0.99)])
    };
    Workload::new("the targets of 32 transitions", prepare)
        .cost("bellman_targets*", Cost::bytes(4 * BATCH * (ACTIONS + 3)))
}

fn chosen() -> Workload {
    let prepare = |device: &Device, dtype: DType, _: Size| {
        let outputs = whole(device, &[BATCH], ACTIONS, 1);
        let values = filled(device, &[BATCH], dtype.wide(), 4);
        let leaves = head(device, dtype, [BATCH, FEATURES, CLASSIFIERS, ACTIONS]);
        learned(leaves, move |[z, weight, bias], log_posterior| {
            let targets =
                Targets::Chosen { outputs: &outputs, values: &values, limit: f64::INFINITY };
            classifiers(z, weight, bias, targets, log_posterior)
        })
    };
    let written = Cost::elements(2 * BATCH * CLASSIFIERS * ACTIONS);
    Workload::new("10 classifiers, one of 4 values chosen", prepare)
        .cost("classifiers_chosen_fwd*", written.and_bytes(8 * BATCH * CLASSIFIERS))
}
