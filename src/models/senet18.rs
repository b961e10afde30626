//! SENet-18 (Hu et al. 2018) for 32 by 32 images, as in kuangliu/pytorch-cifar: a pre-activation ResNet-18 whose blocks
//! weigh their channels.

use crate::models::channels;
use crate::nn::{
    Activation, AveragePool2d, BatchNorm2d, Conv2d, ConvBn, Flatten, ForwardContext, Init, Module,
    Sequential, SqueezeExcite, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// Channels at width 1 and stride of the first block, for each stage of two blocks.
const STAGES: [(usize, usize); 4] = [(64, 1), (128, 2), (256, 2), (512, 2)];

/// A block's channels for each channel of its squeeze layer.
const REDUCTION: usize = 16;

fn convolution(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    init: &mut Init,
) -> Conv2d {
    let config = Conv2dConfig { stride, padding: kernel / 2, ..Conv2dConfig::default() };
    Conv2d::new(inputs, outputs, kernel, config, false, init)
}

/// Two convolutions, each with a norm and a ReLU before it. Each channel of the output is scaled, then the input is added.
struct Block {
    norm: BatchNorm2d,
    first: ConvBn,
    second: Conv2d,
    /// A projection of the input to the output's shape, if they differ.
    shortcut: Option<Sequential>,
    gates: SqueezeExcite,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, init: &mut Init) -> Self {
        let norm = BatchNorm2d::new(inputs, init).with_relu();
        let first = convolution(inputs, outputs, 3, stride, init);
        let first = ConvBn::new(["conv1", "bn2"], first, outputs, Activation::Relu, init);
        let second = convolution(outputs, outputs, 3, 1, init);
        let shortcut = (stride != 1 || inputs != outputs).then(|| {
            let mut shortcut = Sequential::new();
            shortcut.push(convolution(inputs, outputs, 1, stride, init));
            shortcut
        });
        let gates = SqueezeExcite::new(outputs, (outputs / REDUCTION).max(1), init);
        Block { norm, first, second, shortcut, gates }
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let active = self.norm.forward(x, context);
        let out = self.second.forward(&self.first.forward(&active, context), context);
        let projected = self.shortcut.as_ref().map(|shortcut| shortcut.forward(&active, context));
        self.gates.forward_add(&out, projected.as_ref().unwrap_or(x), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("bn1", &self.norm);
        self.first.visit(visitor);
        visitor.child("conv2", &self.second);
        if let Some(shortcut) = &self.shortcut {
            visitor.child("shortcut", shortcut);
        }
        self.gates.visit(visitor);
    }
}

/// A convolution, four stages of two blocks, and an average pool.
pub struct SeNet18 {
    first: ConvBn,
    stages: [Sequential; 4],
    features: usize,
}

impl SeNet18 {
    /// Multiplies every number of channels by `width`.
    pub fn new(inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut features = channels(64, width);
        let first = convolution(inputs, features, 3, 1, init);
        let first = ConvBn::new(["conv1", "bn1"], first, features, Activation::Relu, init);
        let stages = STAGES.map(|(count, stride)| {
            let outputs = channels(count, width);
            let mut blocks = Sequential::new();
            for stride in [stride, 1] {
                blocks.push(Block::new(features, outputs, stride, init));
                features = outputs;
            }
            blocks
        });
        SeNet18 { first, stages, features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for SeNet18 {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let out = self.first.forward(x, context);
        let out = self.stages.iter().fold(out, |out, blocks| blocks.forward(&out, context));
        Flatten.forward(&AveragePool2d::new(4).forward(&out, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        self.first.visit(visitor);
        for (number, blocks) in self.stages.iter().enumerate() {
            visitor.child(&format!("layer{}", number + 1), blocks);
        }
    }
}
