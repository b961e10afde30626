//! The pass over the samples on the CPU, for each kind of target.

use super::samples::Samples;
use crate::device::cpu::vector::{self, LANES, vectorised};
use crate::device::cpu::{Cpu, Float};
use crate::ops::head::interface::{Extents, Targets};
use crate::ops::head::mixture::{Posterior, Sample};
use crate::ops::tensor::reduce::row_argmax;
use crate::tensor::Tensor;

/// Computes likelihoods and responsibilities from logits, and overwrites the logits with the gradients `g` of the
/// classifiers' mean losses.
pub(super) fn evaluate<T: Float>(
    cpu: &Cpu,
    extents: Extents,
    scores: &Tensor,
    targets: Targets,
    posterior: &Posterior,
    samples: &Samples,
) {
    let (row, width, height) = (extents.row(), samples.width(), extents.task_samples());
    let scale = T::from_f64(1.0 / extents.samples as f64);
    let mut scores = scores.write::<T>();
    let mut statistics = samples.statistics.write::<f64>();
    let (first, second) = ((&mut scores[..], height * row), (&mut statistics[..], height * width));
    let work = 16 * extents.samples * row;
    match targets {
        Targets::Classes(classes) => {
            let classes = classes.read::<i32>();
            cpu.pieces2(first, second, work, |piece, scores, statistics| {
                let classes = &classes[piece * height..];
                evaluate_classes(extents, scores, statistics, classes, posterior, scale);
            });
        }
        Targets::Values(values) => {
            let (pitch, values) = (values.pitch(), values.read::<T>());
            cpu.pieces2(first, second, work, |piece, scores, statistics| {
                let values = &values[piece * height * pitch..];
                evaluate_values(extents, scores, statistics, values, pitch, posterior, scale);
            });
        }
        Targets::Chosen { outputs, values, limit } => {
            let (outputs, values) = (outputs.read::<i32>(), values.read::<T>());
            let limit = T::from_f64(limit);
            cpu.pieces2(first, second, work, |piece, scores, statistics| {
                let first = piece * height;
                let chosen = outputs[first..].iter().zip(&values[first..]);
                evaluate_chosen(extents, scores, statistics, chosen, posterior, [limit, scale]);
            });
        }
    }
}

vectorised! {
    fn evaluate_classes[T: Float](
        extents: Extents, scores: &mut [T], statistics: &mut [f64], classes: &[i32], posterior: &Posterior, scale: T,
    ) {
        let Extents { classifiers, outputs, .. } = extents;
        let mut mixture = vec![T::ZERO; outputs];
        let rows = scores.chunks_mut(extents.row()).zip(statistics.chunks_mut(2 * classifiers + 2));
        for ((scores, statistics), class) in rows.zip(classes) {
            assert!(
                (0..outputs as i32).contains(class),
                "classifiers: class {class} outside 0..{outputs}"
            );
            let class = *class as usize;
            let mut sample = Sample::of(statistics, classifiers);
            softmax::<FUSED, T>(scores, outputs, class, sample.log_likelihoods);
            sample.mix(posterior);
            if !sample.has_no_finite_classifier() {
                sample.mixture_of_classes(scores, posterior, &mut mixture);
                *sample.correct = f64::from(u8::from(row_argmax(&mixture) == class));
            }
            for (g, likelihood) in scores.chunks_mut(outputs).zip(&*sample.log_likelihoods) {
                if *likelihood == f64::NEG_INFINITY {
                    g.fill(T::ZERO);
                } else {
                    g[class] = g[class] - T::ONE;
                    g.iter_mut().for_each(|g| *g = without_traces(*g * scale));
                }
            }
        }
    }
}

/// Sets gradients to zero in f32 if their products would be subnormal. Subnormal numbers slow a processor down several
/// times, and most gradients of a saturated classifier are that small.
#[inline(always)]
pub(super) fn without_traces<T: Float>(gradient: T) -> T {
    let is_trace = size_of::<T>() == size_of::<f32>() && gradient.abs() < T::from_f64(1e-30);
    if is_trace { T::ZERO } else { gradient }
}

/// The softmax of each classifier's logits, in place, and the logarithm of the class's probability.
#[inline(always)]
fn softmax<const FUSED: bool, T: Float>(
    scores: &mut [T],
    outputs: usize,
    class: usize,
    log_likelihoods: &mut [f64],
) {
    for (scores, likelihood) in scores.chunks_exact_mut(outputs).zip(&mut *log_likelihoods) {
        let largest = largest(scores);
        scores.iter_mut().for_each(|score| *score = *score - largest);
        *likelihood = scores[class].to_f64();
    }
    // In one loop over all classifiers: a few classes would not fill a vector.
    scores.iter_mut().for_each(|score| *score = score.exp::<FUSED>());
    for (scores, likelihood) in scores.chunks_exact_mut(outputs).zip(log_likelihoods) {
        let total = vector::lane_sum_of(scores, |score| score);
        *likelihood = (T::from_f64(*likelihood) - total.ln()).to_f64();
        let factor = T::ONE / total;
        scores.iter_mut().for_each(|score| *score = *score * factor);
    }
}

/// The largest number; minus infinity if there is none.
#[inline(always)]
pub(in crate::ops) fn largest<T: Float>(values: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [-T::INFINITY; LANES];
    let mut blocks = values.chunks_exact(LANES);
    for block in &mut blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    let rest = blocks.remainder().iter().fold(-T::INFINITY, |a, b| larger(a, *b));
    if values.len() < LANES { rest } else { lanes.into_iter().fold(rest, larger) }
}

vectorised! {
    fn evaluate_values[T: Float](
        extents: Extents, scores: &mut [T], statistics: &mut [f64], values: &[T], pitch: usize, posterior: &Posterior,
        scale: T,
    ) {
        let Extents { classifiers, outputs, .. } = extents;
        let constant = 0.5 * outputs as f64 * (2.0 * std::f64::consts::PI).ln();
        let rows = scores.chunks_mut(extents.row()).zip(statistics.chunks_mut(2 * classifiers + 2));
        for ((scores, statistics), values) in rows.zip(values.chunks(pitch.max(1))) {
            let mut sample = Sample::of(statistics, classifiers);
            for (scores, likelihood) in scores.chunks_mut(outputs).zip(&mut *sample.log_likelihoods) {
                scores.iter_mut().zip(values).for_each(|(score, value)| *score = *score - *value);
                let square = vector::lane_sum_of(scores, |score| score * score);
                *likelihood = -0.5 * square.to_f64() - constant;
            }
            sample.mix(posterior);
            for (g, likelihood) in scores.chunks_mut(outputs).zip(&*sample.log_likelihoods) {
                if *likelihood == f64::NEG_INFINITY {
                    g.fill(T::ZERO);
                } else {
                    g.iter_mut().for_each(|g| *g = *g * scale);
                }
            }
        }
    }
}

/// Only the chosen output of each classifier counts; the others need not be finite.
fn evaluate_chosen<'a, T: Float>(
    extents: Extents,
    scores: &mut [T],
    statistics: &mut [f64],
    chosen: impl Iterator<Item = (&'a i32, &'a T)>,
    posterior: &Posterior,
    [limit, scale]: [T; 2],
) {
    let Extents { classifiers, outputs, .. } = extents;
    let constant = 0.5 * (2.0 * std::f64::consts::PI).ln();
    let rows = scores.chunks_mut(extents.row()).zip(statistics.chunks_mut(2 * classifiers + 2));
    for ((scores, statistics), (output, value)) in rows.zip(chosen) {
        assert!(
            (0..outputs as i32).contains(output),
            "classifiers: chosen output {output} outside 0..{outputs}"
        );
        let output = *output as usize;
        let mut sample = Sample::of(statistics, classifiers);
        let copies = scores.chunks_mut(outputs).zip(&mut *sample.log_likelihoods);
        for (scores, likelihood) in copies {
            let difference = scores[output] - *value;
            *likelihood = -0.5 * (difference * difference).to_f64() - constant;
            scores.fill(T::ZERO);
            let error = if difference > limit { limit } else { difference };
            let error = if error < -limit { -limit } else { error };
            scores[output] = error * scale;
        }
        sample.mix(posterior);
        for (g, likelihood) in scores.chunks_mut(outputs).zip(&*sample.log_likelihoods) {
            if *likelihood == f64::NEG_INFINITY {
                g[output] = T::ZERO;
            }
        }
    }
}
