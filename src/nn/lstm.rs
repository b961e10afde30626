//! Long short-term memory, in several layers.

use crate::nn::{
    Buffer, Dropout, Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor,
};
use crate::ops::layers::lstm::{LstmWeights, lstm_carried};
use crate::tensor::Tensor;

/// Stacked recurrent layers: `[T, B, inputs]` to the last layer's outputs `[T, B, hidden]`.
///
/// The state is carried from call to call, in training and in evaluation, without a gradient. It is kept in the buffers
/// `h` and `c`, `[layers, B, hidden]`. It is zero at the start, after a reset of the buffers of kind
/// [`Carried`](crate::nn::BufferKind::Carried), and when the number of columns B changes.
///
/// The features are the units: a unit's four gates share its learning rate, in all four parameters of the layer.
pub struct Lstm {
    layers: Vec<Layer>,
    hidden: usize,
    dropout: Dropout,
    h: Buffer,
    c: Buffer,
}

struct Layer {
    weight_ih: Parameter,
    weight_hh: Parameter,
    bias_ih: Parameter,
    bias_hh: Parameter,
}

impl Lstm {
    /// Weights and biases are uniform in `±1/sqrt(hidden)`, as in PyTorch; there is dropout between the layers.
    pub fn new(inputs: usize, hidden: usize, layers: usize, dropout: f64, init: &mut Init) -> Self {
        let layer = |number| Layer::new(if number == 0 { inputs } else { hidden }, hidden, init);
        Lstm {
            layers: (0..layers).map(layer).collect(),
            hidden,
            dropout: Dropout::new(dropout),
            h: Buffer::carried(),
            c: Buffer::carried(),
        }
    }
}

impl Layer {
    fn new(inputs: usize, hidden: usize, init: &mut Init) -> Self {
        let group = init.group();
        let bound = 1.0 / (hidden as f64).sqrt();
        let features = |inner| Features { count: hidden, inner, group };
        let rows = 4 * hidden;
        let same = FileLayout::Same;
        Layer {
            weight_ih: init.uniform([rows, inputs], bound, features(inputs), same),
            weight_hh: init.uniform([rows, hidden], bound, features(hidden), same),
            bias_ih: init.uniform([rows], bound, features(1), same),
            bias_hh: init.uniform([rows], bound, features(1), same),
        }
    }

    /// The layer's outputs from the state in `h` and `c`, which then hold the state after the last time step.
    fn forward(&self, x: &Tensor, context: &ForwardContext, h: &Tensor, c: &Tensor) -> Tensor {
        let weights = LstmWeights {
            weight_ih: &self.weight_ih.value(context),
            weight_hh: &self.weight_hh.value(context),
            bias_ih: &self.bias_ih.value(context),
            bias_hh: &self.bias_hh.value(context),
        };
        lstm_carried(x, weights, h, c)
    }
}

impl Module for Lstm {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        assert!(x.shape().rank() == 3, "lstm: input {}, not [T, B, I]", x.shape());
        let (batch, hidden) = (x.shape()[1], self.hidden);
        let shape = [self.layers.len(), batch, hidden];
        let [h, c] = [&self.h, &self.c]
            .map(|state| state.shaped(shape, context.device(), context.dtype().wide()));
        let mut x = x.clone();
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                x = self.dropout.forward(&x, context);
            }
            let [h, c] = [&h, &c].map(|state| state.slice(0, number, 1).reshape([batch, hidden]));
            x = layer.forward(&x, context, &h, &c);
        }
        x
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        for (number, layer) in self.layers.iter().enumerate() {
            visitor.parameter(&format!("weight_ih_l{number}"), &layer.weight_ih);
            visitor.parameter(&format!("weight_hh_l{number}"), &layer.weight_hh);
            visitor.parameter(&format!("bias_ih_l{number}"), &layer.bias_ih);
            visitor.parameter(&format!("bias_hh_l{number}"), &layer.bias_hh);
        }
        visitor.buffer("h", &self.h);
        visitor.buffer("c", &self.c);
    }
}
