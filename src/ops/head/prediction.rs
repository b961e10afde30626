//! The prediction of a mixture of classifiers; see [`crate::ops::head::classifiers`].

use super::classifiers::evaluate::largest;
use super::classifiers::{launch, outputs};
use super::interface::Extents;
pub use super::interface::PredictionKind;
use crate::device::Device;
use crate::device::cpu::Float;
use crate::device::cpu::vector::{self, vectorised};
use crate::tensor::{Tensor, float_dispatch};

/// The mixture's prediction, without a gradient, with `exp(log_weights)` as the classifiers' weights.
///
/// For classes: the logarithms of their probabilities, `[B, K]`, all minus infinity for a sample without a finite
/// classifier. For values: `[B, D]`, the weighted average of the outputs `W_j z + b_j` of those classifiers whose
/// outputs for the sample are all finite; NaN where these have no weight.
///
/// ```
/// use alrao::{Device, Tensor};
/// use alrao::ops::head::prediction::{PredictionKind, predict};
/// let device = Device::cpu();
/// let z = Tensor::from_slice(&device, [1, 1], &[1f64]);
/// let weight = Tensor::from_slice(&device, [3, 1, 1], &[2.0, 6.0, f64::INFINITY]);
/// let bias = Tensor::zeros(&device, [3, 1], z.dtype());
/// let log_weights = Tensor::from_slice(&device, [3], &[0.1f64, 0.3, 0.6].map(f64::ln));
/// let mean = predict(&z, &weight, &bias, &log_weights, PredictionKind::Mean);
/// assert!((mean.item() - (0.1 * 2.0 + 0.3 * 6.0) / 0.4).abs() < 1e-14);
/// ```
pub fn predict(
    z: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    log_weights: &Tensor,
    kind: PredictionKind,
) -> Tensor {
    let extents = Extents::of("predict", z, weight, bias);
    extents.check_posterior("predict", log_weights);
    let out = z.empty_wide([extents.samples, extents.outputs]);
    match z.device() {
        Device::Gpu(gpu) => {
            launch::predict(gpu, extents, [z, weight, bias], log_weights, kind, &out);
        }
        Device::Cpu(cpu) => float_dispatch!(z.dtype(), "predict", T => {
            let scores = outputs(z, weight, bias);
            let log_weights = log_weights.read::<f64>();
            let mut scores = scores.write::<T>();
            let mut out = out.write::<T>();
            let (row, height) = (extents.row(), extents.task_samples());
            let first = (&mut scores[..], height * row);
            let second = (&mut out[..], height * extents.outputs);
            cpu.pieces2(first, second, 16 * extents.samples * row, |_, scores, out| match kind {
                PredictionKind::LogProbabilities => predict_classes(extents, scores, out, &log_weights),
                PredictionKind::Mean => predict_values(extents, scores, out, &log_weights),
            });
        }),
    }
    out
}

vectorised! {
    fn predict_classes[T: Float](extents: Extents, scores: &mut [T], out: &mut [T], log_weights: &[f64]) {
        let outputs = extents.outputs;
        for (scores, out) in scores.chunks_mut(extents.row()).zip(out.chunks_mut(outputs)) {
            out.fill(-T::INFINITY);
            for (scores, log_a) in scores.chunks_mut(outputs).zip(log_weights) {
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
    fn predict_values[T: Float](extents: Extents, scores: &mut [T], out: &mut [T], log_weights: &[f64]) {
        let outputs = extents.outputs;
        let mut usable = vec![f64::NEG_INFINITY; extents.classifiers];
        for (scores, out) in scores.chunks(extents.row()).zip(out.chunks_mut(outputs)) {
            let classifiers = || scores.chunks(outputs);
            for ((usable, scores), log_weight) in usable.iter_mut().zip(classifiers()).zip(log_weights) {
                let is_finite = scores.iter().all(|score| score.is_finite());
                *usable = if is_finite { *log_weight } else { f64::NEG_INFINITY };
            }
            // The weights of the finite classifiers may be so small that their exponentials are all zero.
            let largest = usable.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if largest == f64::NEG_INFINITY {
                out.fill(T::from_f64(f64::NAN));
                continue;
            }
            let total: f64 = usable.iter().map(|log_weight| (log_weight - largest).exp()).sum();
            out.fill(T::ZERO);
            for (log_weight, scores) in usable.iter().zip(classifiers()) {
                if *log_weight > f64::NEG_INFINITY {
                    let share = T::from_f64((log_weight - largest).exp() / total);
                    out.iter_mut().zip(scores).for_each(|(out, score)| *out += share * *score);
                }
            }
        }
    }
}
