//! MobileNetV2 (Sandler et al. 2018) for 32 by 32 images, as in kuangliu/pytorch-cifar.

use crate::models::channels;
use crate::nn::{
    Activation, AveragePool2d, Conv2d, ConvBn, DepthwiseConv2d, Flatten, ForwardContext, Init,
    Module, Sequential, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::tensor::Tensor;

/// Expansion, channels at width 1, blocks, stride of the first block.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// A 1x1 convolution with its norm.
fn pointwise(
    names: [&str; 2],
    inputs: usize,
    outputs: usize,
    activation: Activation,
    init: &mut Init,
) -> ConvBn {
    let convolution = Conv2d::new(inputs, outputs, 1, Conv2dConfig::default(), false, init);
    ConvBn::new(names, convolution, outputs, activation, init)
}

/// An expansion, a depthwise convolution, and a projection without activation; at stride 1 the input is added.
struct InvertedResidual {
    expand: ConvBn,
    depthwise: ConvBn,
    project: ConvBn,
    is_residual: bool,
    /// A projection of the input to the output's channels, if they differ.
    shortcut: Option<ConvBn>,
}

impl InvertedResidual {
    fn new(
        inputs: usize,
        outputs: usize,
        expansion: usize,
        stride: usize,
        init: &mut Init,
    ) -> Self {
        let inner = expansion * inputs;
        let expand = pointwise(["conv1", "bn1"], inputs, inner, Activation::Relu, init);
        let convolution = DepthwiseConv2d::new(inner, 3, stride, 1, false, init);
        let names = ["conv2", "bn2"];
        let depthwise = ConvBn::new(names, convolution, inner, Activation::Relu, init);
        let project = pointwise(["conv3", "bn3"], inner, outputs, Activation::None, init);
        let is_residual = stride == 1;
        let has_shortcut = is_residual && inputs != outputs;
        let shortcut =
            has_shortcut.then(|| pointwise(["0", "1"], inputs, outputs, Activation::None, init));
        InvertedResidual { expand, depthwise, project, is_residual, shortcut }
    }
}

impl Module for InvertedResidual {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let inner = self.depthwise.forward(&self.expand.forward(x, context), context);
        match &self.shortcut {
            Some(shortcut) => {
                let residual = shortcut.forward(x, context);
                self.project.forward_add(&inner, &residual, context)
            }
            None if self.is_residual => self.project.forward_add(&inner, x, context),
            None => self.project.forward(&inner, context),
        }
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        for layer in [&self.expand, &self.depthwise, &self.project] {
            layer.visit(visitor);
        }
        if let Some(shortcut) = &self.shortcut {
            visitor.child("shortcut", shortcut);
        }
    }
}

/// A convolution, seventeen inverted residuals, a wide convolution and an average pool.
pub struct MobileNetV2 {
    first: ConvBn,
    blocks: Sequential,
    last: ConvBn,
    features: usize,
}

impl MobileNetV2 {
    /// Multiplies every number of channels by `width`.
    pub fn new(inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut count = channels(32, width);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let convolution = Conv2d::new(inputs, count, 3, config, false, init);
        let first = ConvBn::new(["conv1", "bn1"], convolution, count, Activation::Relu, init);
        let mut blocks = Sequential::new();
        for (expansion, outputs, repeats, first_stride) in STAGES {
            let outputs = channels(outputs, width);
            for block in 0..repeats {
                let stride = if block == 0 { first_stride } else { 1 };
                blocks.push(InvertedResidual::new(count, outputs, expansion, stride, init));
                count = outputs;
            }
        }
        let features = channels(1280, width);
        let last = pointwise(["conv2", "bn2"], count, features, Activation::Relu, init);
        MobileNetV2 { first, blocks, last, features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for MobileNetV2 {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let out = self.blocks.forward(&self.first.forward(x, context), context);
        let pool = AveragePool2d::new(4);
        Flatten.forward(&pool.forward(&self.last.forward(&out, context), context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        self.first.visit(visitor);
        visitor.child("layers", &self.blocks);
        self.last.visit(visitor);
    }
}
