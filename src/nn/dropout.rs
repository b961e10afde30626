//! Dropout.

use crate::nn::{ForwardContext, Module, Visitor};
use crate::ops::layers::dropout::dropout;
use crate::tensor::Tensor;

/// In training, sets each element to 0 with the given probability and scales the others up; in evaluation, does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    probability: f64,
}

impl Dropout {
    /// Dropout with this probability. Panics if it is not in `0..=1`.
    pub fn new(probability: f64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "dropout: probability {probability}");
        Dropout { probability }
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        match context.next_mask() {
            Some(mask) if self.probability > 0.0 => {
                dropout(x, self.probability, mask.seed, &mask.step, mask.layer)
            }
            _ => x.clone(),
        }
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}
