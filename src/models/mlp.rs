//! The multilayer perceptron.

use crate::models::{Activation, channels};
use crate::nn::{ForwardContext, Init, Linear, Module, Visitor};
use crate::ops::layers::flatten::flatten;
use crate::tensor::Tensor;

/// Hidden layers, each a linear map with an activation. Images are flattened channel by channel, as in PyTorch.
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    features: usize,
}

impl Mlp {
    /// Layers of `width` times `hidden` units. Without hidden layers, the features are the inputs.
    pub fn new(
        inputs: usize,
        hidden: &[usize],
        activation: Activation,
        width: f64,
        init: &mut Init,
    ) -> Self {
        let mut features = inputs;
        let layers = hidden.iter().map(|units| {
            let units = channels(*units, width);
            Linear::new(std::mem::replace(&mut features, units), units, init)
        });
        Mlp { layers: layers.collect(), activation, features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.layers.iter().fold(flatten(x), |x, layer| match self.activation {
            Activation::Relu => layer.forward_with_relu(&x, context),
            Activation::Tanh => layer.forward(&x, context).tanh(),
        })
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.enter("layers");
        for (number, layer) in self.layers.iter().enumerate() {
            visitor.child(&number.to_string(), layer);
        }
        visitor.leave();
    }
}
