//! ResNet-50 (He et al. 2016) for images of any size, as in torchvision: a block that halves the image has the stride in its
//! 3x3 convolution.

use crate::models::channels;
use crate::nn::{
    Activation, Conv2d, ConvBn, Fan, ForwardContext, GlobalAveragePool, Init, MaxPool2d, Module,
    Sequential, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// For each stage: channels of the 3x3 convolutions at width 1, number of blocks, stride of the first block.
const STAGES: [(usize, usize, usize); 4] = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)];

/// A block's output channels for each channel of its 3x3 convolution.
const EXPANSION: usize = 4;

/// A convolution with its norm, whose padding keeps the image's size at stride 1.
fn convolution(
    names: [&str; 2],
    [inputs, outputs]: [usize; 2],
    [kernel, stride]: [usize; 2],
    activation: Activation,
    init: &mut Init,
) -> ConvBn {
    let config = Conv2dConfig { stride, padding: kernel / 2, ..Conv2dConfig::default() };
    let convolution = Conv2d::kaiming_normal(inputs, outputs, kernel, config, Fan::Out, init);
    ConvBn::new(names, convolution, outputs, activation, init)
}

/// A reduction, a convolution, and an expansion, to which the input is added before its ReLU.
struct Bottleneck {
    layers: [ConvBn; 3],
    /// A projection of the input to the output's shape, if they differ.
    shortcut: Option<ConvBn>,
}

impl Bottleneck {
    fn new(inputs: usize, inner: usize, stride: usize, init: &mut Init) -> Self {
        let outputs = EXPANSION * inner;
        let (relu, none) = (Activation::Relu, Activation::None);
        let layers = [
            convolution(["conv1", "bn1"], [inputs, inner], [1, 1], relu, init),
            convolution(["conv2", "bn2"], [inner, inner], [3, stride], relu, init),
            convolution(["conv3", "bn3"], [inner, outputs], [1, 1], relu, init),
        ];
        let shortcut = (stride != 1 || inputs != outputs)
            .then(|| convolution(["0", "1"], [inputs, outputs], [1, stride], none, init));
        Bottleneck { layers, shortcut }
    }
}

impl Module for Bottleneck {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let [reduce, convolve, expand] = &self.layers;
        let inner = convolve.forward(&reduce.forward(x, context), context);
        match &self.shortcut {
            Some(shortcut) => {
                let residual = shortcut.forward(x, context);
                expand.forward_add(&inner, &residual, context)
            }
            None => expand.forward_add(&inner, x, context),
        }
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        self.layers.iter().for_each(|layer| layer.visit(visitor));
        if let Some(shortcut) = &self.shortcut {
            visitor.child("downsample", shortcut);
        }
    }
}

/// A convolution and a max-pool that reduce each side of the image to a quarter, four stages of blocks, and an average pool.
pub struct ResNet50 {
    first: ConvBn,
    stages: [Sequential; 4],
    features: usize,
}

impl ResNet50 {
    /// Multiplies every number of channels by `width`.
    pub fn new(inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut features = channels(64, width);
        let names = ["conv1", "bn1"];
        let first = convolution(names, [inputs, features], [7, 2], Activation::Relu, init);
        let stages = STAGES.map(|(count, repeats, first_stride)| {
            let inner = channels(count, width);
            let mut blocks = Sequential::new();
            for block in 0..repeats {
                let stride = if block == 0 { first_stride } else { 1 };
                blocks.push(Bottleneck::new(features, inner, stride, init));
                features = EXPANSION * inner;
            }
            blocks
        });
        ResNet50 { first, stages, features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for ResNet50 {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let halve = MaxPool2d { kernel: 3, stride: 2, padding: 1 };
        let out = halve.forward(&self.first.forward(x, context), context);
        let out = self.stages.iter().fold(out, |out, blocks| blocks.forward(&out, context));
        GlobalAveragePool.forward(&out, context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        self.first.visit(visitor);
        for (number, blocks) in self.stages.iter().enumerate() {
            visitor.child(&format!("layer{}", number + 1), blocks);
        }
    }
}
