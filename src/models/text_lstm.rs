//! The paper's language model (section 4) on characters or words: an embedding and two recurrent layers.

use crate::nn::{Dropout, Embedding, ForwardContext, Init, Lstm, Module, Visitor};
use crate::tensor::Tensor;

/// Recurrent layers.
const LAYERS: usize = 2;

/// Components of the embedding, and units of each layer, at width 1.
const UNITS: f64 = 100.0;

/// Maps tokens (I32, `[T, B]`) to features `[T B, hidden]`, with time as the slower index.
///
/// The state is carried from one window of a text to the next; see [`Lstm`]. Dropout is applied before, between and after
/// the recurrent layers.
///
/// ```
/// use alrao::models::text_lstm::TextLstm;
/// use alrao::nn::{Init, Module, ForwardContext};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let model = TextLstm::new(50, 0.1, 0.2, &mut Init::new(0));
/// let tokens = Tensor::zeros(&device, [7, 2], DType::I32);
/// let features = model.forward(&tokens, &ForwardContext::evaluation(&device, DType::F32));
/// assert_eq!(features.shape(), [14, model.features()].into());
/// ```
pub struct TextLstm {
    encoder: Embedding,
    rnn: Lstm,
    dropout: Dropout,
    features: usize,
}

impl TextLstm {
    /// A model for `vocabulary` tokens. Its sizes are `width` times the paper's 100, rounded; the embedding is uniform in
    /// ±0.1.
    pub fn new(vocabulary: usize, width: f64, dropout: f64, init: &mut Init) -> Self {
        let units = ((UNITS * width + 0.5).floor() as usize).max(1);
        TextLstm {
            encoder: Embedding::uniform(vocabulary, units, 0.1, init),
            rnn: Lstm::new(units, units, LAYERS, dropout, init),
            dropout: Dropout::new(dropout),
            features: units,
        }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for TextLstm {
    fn forward(&self, tokens: &Tensor, context: &ForwardContext) -> Tensor {
        let x = self.dropout.forward(&self.encoder.forward(tokens, context), context);
        let y = self.dropout.forward(&self.rnn.forward(&x, context), context);
        y.reshape([y.shape().rows(), self.features])
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("encoder", &self.encoder);
        visitor.child("rnn", &self.rnn);
    }
}
