//! The embedding layer, which gives every token a vector.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::layers::embedding::embedding;
use crate::tensor::Tensor;

/// Maps tokens (I32, any shape) to vectors along a new last axis. The features are the vectors' components.
pub struct Embedding {
    weight: Parameter,
}

impl Embedding {
    /// Vectors of `dimension` Gaussian numbers, as in PyTorch.
    pub fn new(vocabulary: usize, dimension: usize, init: &mut Init) -> Self {
        let features = Features { count: dimension, inner: 1, group: init.group() };
        Embedding { weight: init.normal([vocabulary, dimension], 1.0, features, FileLayout::Same) }
    }

    /// Vectors uniform in `-bound..bound`.
    pub fn uniform(vocabulary: usize, dimension: usize, bound: f64, init: &mut Init) -> Self {
        let features = Features { count: dimension, inner: 1, group: init.group() };
        let shape = [vocabulary, dimension];
        Embedding { weight: init.uniform(shape, bound, features, FileLayout::Same) }
    }
}

impl Module for Embedding {
    fn forward(&self, tokens: &Tensor, context: &ForwardContext) -> Tensor {
        embedding(tokens, &self.weight.value(context))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
    }
}
