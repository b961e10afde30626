//! A small convolutional network.

use crate::models::channels;
use crate::nn::{
    Activation, Conv2d, ConvBn, ForwardContext, GlobalAveragePool, Init, MaxPool2d, Module,
    Sequential, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// The smallest image, of which three pools leave one pixel.
pub(crate) const SMALLEST_IMAGE: usize = 8;

/// Three blocks of convolution, batch norm, ReLU and max-pool, then a global average pool.
pub struct Cnn {
    blocks: Sequential,
    features: usize,
}

impl Cnn {
    /// Blocks of `width` times 32, 64 and 128 channels.
    pub fn new(mut inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut blocks = Sequential::new();
        for count in [32, 64, 128] {
            let outputs = channels(count, width);
            let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
            let convolution = Conv2d::new(inputs, outputs, 3, config, false, init);
            let names = [0, 1].map(|offset| (blocks.position() + offset).to_string());
            let names = [&*names[0], &*names[1]];
            let block = ConvBn::new(names, convolution, outputs, Activation::Relu, init);
            blocks.push_flat(3, block);
            blocks.push(MaxPool2d::new(2));
            inputs = outputs;
        }
        Cnn { blocks, features: inputs }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for Cnn {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        GlobalAveragePool.forward(&self.blocks.forward(x, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("features", &self.blocks);
    }
}
