//! The prediction of a mixture of classifiers; see [`crate::ops::classifiers`].

use crate::device::Device;
use crate::device::cpu::Float;
use crate::device::cpu::vector::{self, vectorised};
use crate::ops::classifiers::evaluate::largest;
use crate::ops::classifiers::{Extents, launch, outputs};
use crate::tensor::{Tensor, float_dispatch};

/// The kind of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionKind {
    /// In classification, the logarithms of the classes' probabilities.
    LogProbabilities,
    /// In regression, the expected values.
    Mean,
}

/// The mixture's prediction, without a gradient. For classes: the logarithms of their probabilities, `[B, K]`, all
/// minus infinity for a sample without a finite classifier. For values: their expectation `sum_j a_j (W_j z + b_j)`,
/// `[B, D]`. The sum leaves out classifiers whose output for the sample is not finite, and is not renormalised.
pub fn predict(
    z: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    log_posterior: &Tensor,
    kind: PredictionKind,
) -> Tensor {
    let extents = Extents::of("predict", z, weight, bias);
    extents.check_posterior("predict", log_posterior);
    let out = z.empty_wide([extents.samples, extents.outputs]);
    match z.device() {
        Device::Gpu(gpu) => {
            launch::predict(gpu, extents, [z, weight, bias], log_posterior, kind, &out);
        }
        Device::Cpu(cpu) => float_dispatch!(z.dtype(), "predict", T => {
            let scores = outputs(z, weight, bias);
            let log_posterior = log_posterior.read::<f64>();
            let mut scores = scores.write::<T>();
            let mut out = out.write::<T>();
            let (row, height) = (extents.row(), extents.task_samples());
            let first = (&mut scores[..], height * row);
            let second = (&mut out[..], height * extents.outputs);
            cpu.pieces2(first, second, 16 * extents.samples * row, |_, scores, out| match kind {
                PredictionKind::LogProbabilities => predict_classes(extents, scores, out, &log_posterior),
                PredictionKind::Mean => predict_values(extents, scores, out, &log_posterior),
            });
        }),
    }
    out
}

vectorised! {
    fn predict_classes[T: Float](extents: Extents, scores: &mut [T], out: &mut [T], log_posterior: &[f64]) {
        let outputs = extents.outputs;
        for (scores, out) in scores.chunks_mut(extents.row()).zip(out.chunks_mut(outputs)) {
            out.fill(-T::INFINITY);
            for (scores, log_a) in scores.chunks_mut(outputs).zip(log_posterior) {
                let largest = largest(scores);
                let total = vector::lane_sum_of(scores, |score| (score - largest).exp::<FUSED>());
                let shift = T::from_f64(*log_a) - total.ln();
                for (score, out) in scores.iter_mut().zip(&mut *out) {
                    let joint = *score - largest + shift;
                    // NaN if the logits have no softmax: the mixture leaves out such a classifier.
                    *score = if joint > -T::INFINITY { joint } else { -T::INFINITY };
                    *out = if *score > *out { *score } else { *out };
                }
            }
            for (k, out) in out.iter_mut().enumerate().filter(|(_, out)| **out > -T::INFINITY) {
                let terms = scores[k..].iter().step_by(outputs);
                let total = terms.fold(T::ZERO, |total, score| total + (*score - *out).exp::<FUSED>());
                *out += total.ln();
            }
        }
    }
}

vectorised! {
    fn predict_values[T: Float](extents: Extents, scores: &mut [T], out: &mut [T], log_posterior: &[f64]) {
        let outputs = extents.outputs;
        for (scores, out) in scores.chunks(extents.row()).zip(out.chunks_mut(outputs)) {
            out.fill(T::ZERO);
            for (scores, log_a) in scores.chunks(outputs).zip(log_posterior) {
                let share = T::from_f64(log_a.exp());
                if scores.iter().all(|score| score.is_finite()) {
                    out.iter_mut().zip(scores).for_each(|(out, score)| *out += share * *score);
                }
            }
        }
    }
}
