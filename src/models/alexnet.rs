//! AlexNet (Krizhevsky 2014, the version for a single GPU) for images of any size, as in torchvision.

use crate::models::channels;
use crate::nn::{
    AdaptiveAveragePool2d, Conv2d, Dropout, Flatten, ForwardContext, Init, Linear, MaxPool2d,
    Module, Sequential, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// The smallest image, of which strides and pools leave one pixel.
pub(crate) const SMALLEST_IMAGE: usize = 63;

/// Channels at width 1, kernel, stride and padding of each convolution, and whether a max-pool follows.
const CONVOLUTIONS: [(usize, usize, usize, usize, bool); 5] = [
    (64, 11, 4, 2, true),
    (192, 5, 1, 2, true),
    (384, 3, 1, 1, false),
    (256, 3, 1, 1, false),
    (256, 3, 1, 1, true),
];

/// Rows and columns of the image that the fully connected layers read.
const SIDE: usize = 6;

/// Units of both fully connected layers, at width 1.
const HIDDEN: usize = 4096;

/// Two fully connected layers with ReLU, and dropout before each.
struct Hidden {
    layers: [Linear; 2],
    dropout: Dropout,
}

impl Module for Hidden {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let next = |x: Tensor, layer: &Linear| {
            layer.forward_with_relu(&self.dropout.forward(&x, context), context)
        };
        self.layers.iter().fold(x.clone(), next)
    }

    /// The names skip the positions that dropout and ReLU take in torchvision.
    fn visit(&self, visitor: &mut dyn Visitor) {
        let [first, second] = &self.layers;
        visitor.child("1", first);
        visitor.child("4", second);
    }
}

/// Five convolutions with ReLU and three max-pools, an average pool to a fixed size, and two fully connected layers. The
/// classifiers take the place of torchvision's third one.
pub struct AlexNet {
    convolutions: Sequential,
    hidden: Hidden,
    features: usize,
}

impl AlexNet {
    /// Multiplies every number of channels and units by `width`.
    pub fn new(mut inputs: usize, width: f64, dropout: f64, init: &mut Init) -> Self {
        let mut convolutions = Sequential::new();
        for (count, kernel, stride, padding, is_pooled) in CONVOLUTIONS {
            let outputs = channels(count, width);
            let config = Conv2dConfig { stride, padding, ..Conv2dConfig::default() };
            let convolution = Conv2d::new(inputs, outputs, kernel, config, true, init);
            convolutions.push(convolution.with_relu());
            convolutions.skip();
            if is_pooled {
                convolutions.push(MaxPool2d { kernel: 3, stride: 2, padding: 0 });
            }
            inputs = outputs;
        }
        let features = channels(HIDDEN, width);
        let first = Linear::new(SIDE * SIDE * inputs, features, init);
        let layers = [first, Linear::new(features, features, init)];
        AlexNet {
            convolutions,
            hidden: Hidden { layers, dropout: Dropout::new(dropout) },
            features,
        }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for AlexNet {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let out = self.convolutions.forward(x, context);
        let out = AdaptiveAveragePool2d { size: [SIDE; 2] }.forward(&out, context);
        self.hidden.forward(&Flatten.forward(&out, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("features", &self.convolutions);
        visitor.child("classifier", &self.hidden);
    }
}
