//! VGG (Simonyan and Zisserman 2015) with batch norm, for 32 by 32 images, as in kuangliu/pytorch-cifar.

use crate::models::channels;
use crate::nn::{
    Activation, Conv2d, ConvBn, Flatten, ForwardContext, Init, MaxPool2d, Module, Sequential,
    Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// Channels of the blocks at width 1.
const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

/// Five blocks of convolutions with batch norm and ReLU, each followed by a max-pool.
pub struct Vgg {
    layers: Sequential,
    features: usize,
}

impl Vgg {
    /// `blocks` are the numbers of convolutions in each block; VGG11 has `[1, 1, 2, 2, 2]`.
    pub fn new(blocks: [usize; 5], mut inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut layers = Sequential::new();
        for (convolutions, count) in blocks.into_iter().zip(CHANNELS) {
            let outputs = channels(count, width);
            for _ in 0..convolutions {
                let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
                let convolution = Conv2d::new(inputs, outputs, 3, config, true, init);
                let names = [0, 1].map(|offset| (layers.position() + offset).to_string());
                let names = [&*names[0], &*names[1]];
                let layer = ConvBn::new(names, convolution, outputs, Activation::Relu, init);
                layers.push_flat(3, layer);
                inputs = outputs;
            }
            layers.push(MaxPool2d::new(2));
        }
        // pytorch-cifar ends in an average pool over single pixels, which does nothing.
        layers.skip();
        Vgg { layers, features: inputs }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for Vgg {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        Flatten.forward(&self.layers.forward(x, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("features", &self.layers);
    }
}
