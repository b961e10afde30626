//! How an op passes gradients on that it does not compute.

use crate::device::Device;
use crate::ops::tensor::elementwise::accumulate;
use crate::ops::tensor::reduce::{sum_to, sum_to_on};
use crate::tape::Gradients;
use crate::tensor::Tensor;

impl Gradients<'_> {
    /// Passes `gradient` on to input number `input`, summed over the axes along which the input was broadcast. No copy
    /// is made of the input's first gradient, if that has its shape and type.
    pub(crate) fn pass(&mut self, input: usize, gradient: &Tensor) {
        let Some(shape) = self.shape(input) else { return };
        if gradient.shape() == shape {
            return self.give(input, gradient, false);
        }
        let Device::Gpu(gpu) = gradient.device() else {
            return self.give(input, &sum_to(gradient, shape), false);
        };
        // The sum goes directly to the input's gradient.
        match self.any_slot(input, gradient) {
            Some(slot) if slot.tensor.is_contiguous() => sum_to_on(gpu, gradient, &slot),
            Some(slot) => accumulate(&sum_to(gradient, shape), &slot),
            None => {}
        }
    }

    /// Passes on a slice of the gradient of the op's output, whose other slices go to other inputs.
    pub(crate) fn pass_part(&mut self, input: usize, part: &Tensor) {
        self.give(input, part, true);
    }

    fn give(&mut self, input: usize, gradient: &Tensor, is_part: bool) {
        if let Some(slot) = self.offer(input, gradient, is_part) {
            accumulate(gradient, &slot);
        }
    }
}
