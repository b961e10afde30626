//! The fully connected layer.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::layers::linear::linear;
use crate::tensor::Tensor;

/// `y = x W^T + b` over the last axis. The features are the output units.
pub struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// Weights and bias are uniform in `±1/sqrt(inputs)`, as in PyTorch.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let group = init.group();
        let bound = 1.0 / (inputs as f64).sqrt();
        let features = |inner| Features { count: outputs, inner, group };
        Linear {
            weight: init.uniform([outputs, inputs], bound, features(inputs), FileLayout::Same),
            bias: init.uniform([outputs], bound, features(1), FileLayout::Same),
        }
    }

    /// The forward pass, followed by a ReLU.
    pub(crate) fn forward_with_relu(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        linear(x, &self.weight.value(context), &self.bias.value(context), true)
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        linear(x, &self.weight.value(context), &self.bias.value(context), false)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        visitor.parameter("bias", &self.bias);
    }
}
