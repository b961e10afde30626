//! stub
#![allow(missing_docs)]
pub mod char_lstm;
use crate::error::*;
use crate::nn::*;
use crate::tensor::Tensor;
crate::named::named! { /// a
Architecture, "--model" { /// a
Mlp="mlp", /// a
Cnn="cnn", /// a
CharLstm="char-lstm" } }
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub width: f64,
    pub hidden: Vec<usize>,
    pub dropout: f64,
}
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    Image { height: usize, width: usize, channels: usize },
    Vector { size: usize },
    Tokens { vocabulary: usize },
}
pub struct PreClassifier {
    pub module: Box<dyn Module>,
    pub features: usize,
}
struct Mlp(Linear, usize);
impl Module for Mlp {
    fn forward(&self, x: &Tensor, s: &Step) -> Tensor {
        let n = x.shape()[0];
        self.0.forward(&x.reshape([n, self.1]), s).relu()
    }
    fn visit(&self, v: &mut dyn Visitor) {
        v.child("layers.0", &self.0)
    }
}
pub fn build(c: &ModelConfig, input: Input, init: &mut Init) -> Result<PreClassifier> {
    Ok(match input {
        Input::Tokens { vocabulary } => {
            let m = char_lstm::CharLstm::new(vocabulary, c.width, c.dropout, init);
            PreClassifier { features: m.features(), module: Box::new(m) }
        }
        Input::Vector { size } => {
            PreClassifier { module: Box::new(Mlp(Linear::new(size, 64, init), size)), features: 64 }
        }
        Input::Image { height, width, channels } => {
            let size = height * width * channels;
            PreClassifier { module: Box::new(Mlp(Linear::new(size, 64, init), size)), features: 64 }
        }
    })
}
