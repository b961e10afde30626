//! Sums of squared and absolute errors over an evaluation, on the device.

use crate::alrao::Task;
use crate::device::{DType, Device};
use crate::ops::tensor::elementwise::accumulate;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Sums over the samples, for each output, `[D]`.
pub(super) struct RegressionSums {
    squares: Tensor,
    absolutes: Tensor,
}

impl RegressionSums {
    /// Sums of zero; `None` in classification.
    pub fn new(task: Task, device: &Device, dtype: DType) -> Option<Self> {
        let Task::Regression { outputs } = task else { return None };
        let zeros = || Tensor::zeros(device, [outputs], dtype);
        Some(RegressionSums { squares: zeros(), absolutes: zeros() })
    }

    pub fn clear(&self) {
        self.squares.zero_();
        self.absolutes.zero_();
    }

    /// Adds the errors of a batch's predictions `[B, D]`.
    pub fn add(&self, predictions: &Tensor, targets: &Tensor) {
        let errors = predictions.sub(targets);
        let absolutes = errors.relu().add(&errors.affine(-1.0, 0.0).relu());
        for (own, new) in [(&self.squares, errors.square()), (&self.absolutes, absolutes)] {
            let slot = Slot { tensor: own.clone(), add: true };
            accumulate(&new.sum_to(own.shape()), &slot);
        }
    }

    /// The sums of squared and of absolute errors.
    pub fn read(&self) -> [Vec<f64>; 2] {
        [self.squares.to_f64s(), self.absolutes.to_f64s()]
    }
}
