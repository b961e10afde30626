//! The statistics of a batch's samples on the CPU, and their sums.

use crate::device::DType;
use crate::device::cpu::Float;
use crate::ops::head::interface::{Extents, Head};
use crate::ops::head::mixture::Sample;
use crate::tensor::Tensor;

/// The statistics of each sample: F64 `[B, 2 N + 2]`.
pub(super) struct Samples {
    pub statistics: Tensor,
    extents: Extents,
}

impl Samples {
    pub fn new(z: &Tensor, extents: Extents) -> Self {
        let shape = [extents.samples, 2 * extents.classifiers + 2];
        Samples { statistics: Tensor::empty(z.device(), shape, DType::F64), extents }
    }

    pub fn width(&self) -> usize {
        self.statistics.shape().columns()
    }

    /// The batch's losses and counts, added up in the order of the samples.
    pub fn summary<T: Float>(&self, dtype: DType) -> Head {
        let device = self.statistics.device();
        let classifiers = self.extents.classifiers;
        let head = Head {
            objective: Tensor::empty(device, [], dtype),
            loss: Tensor::empty(device, [1], DType::F64),
            correct: Tensor::empty(device, [1], DType::I32),
            classifier_losses: Tensor::zeros(device, [classifiers], DType::F64),
            diverged: Tensor::zeros(device, [classifiers], DType::U8),
            samples_without_finite_classifier: Tensor::empty(device, [1], DType::I32),
        };
        self.summarise::<T>(&head);
        head
    }

    fn summarise<T: Float>(&self, head: &Head) {
        let Extents { samples, classifiers, .. } = self.extents;
        let mut statistics = self.statistics.write::<f64>();
        let mut losses = head.classifier_losses.write::<f64>();
        let mut diverged = head.diverged.write::<u8>();
        let (mut mixture, mut correct, mut without_finite) = (0.0, 0, 0);
        for row in statistics.chunks_mut(2 * classifiers + 2) {
            let sample = Sample::of(row, classifiers);
            let sums = losses.iter_mut().zip(diverged.iter_mut());
            for ((loss, diverged), likelihood) in sums.zip(&*sample.log_likelihoods) {
                match likelihood.is_finite() {
                    true => *loss -= likelihood,
                    false => *diverged = 1,
                }
            }
            correct += *sample.correct as i32;
            match sample.has_no_finite_classifier() {
                true => without_finite += 1,
                false => mixture -= *sample.log_mixture,
            }
        }
        let count = samples as f64;
        let objective = (losses.iter().sum::<f64>() + mixture) / count;
        for (loss, diverged) in losses.iter_mut().zip(diverged.iter()) {
            *loss = if *diverged == 0 { *loss / count } else { f64::INFINITY };
        }
        head.objective.write::<T>()[0] = T::from_f64(objective);
        head.loss.write::<f64>()[0] =
            if without_finite == 0 { mixture / count } else { f64::INFINITY };
        head.correct.write::<i32>()[0] = correct;
        head.samples_without_finite_classifier.write::<i32>()[0] = without_finite;
    }
}
