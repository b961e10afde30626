//! The layer that gives every token a vector.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::embedding::embedding;
use crate::tensor::Tensor;

/// Tokens (I32, any shape) to vectors along a new last axis. Features are the vectors' components.
pub struct Embedding {
    weight: Parameter,
}

impl Embedding {
    /// Vectors of `dimension` normal numbers, as PyTorch's.
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
