//! DenseNet-121 (Huang et al. 2017) for images of any size, as in torchvision.

use crate::models::channels;
use crate::nn::{
    Activation, AveragePool2d, BatchNorm2d, Conv2d, ConvBn, Fan, ForwardContext, GlobalAveragePool,
    Init, MaxPool2d, Module, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::ops::tensor::concatenate::Concatenation;
use crate::tensor::Tensor;

/// Layers of each block.
const BLOCKS: [usize; 4] = [6, 12, 24, 16];

/// Channels that each layer adds, at width 1.
const GROWTH: usize = 32;

/// Channels between a layer's two convolutions, for each channel that it adds.
const BOTTLENECK: usize = 4;

/// A convolution whose padding keeps the image's size at stride 1.
fn convolution(
    [inputs, outputs]: [usize; 2],
    [kernel, stride]: [usize; 2],
    init: &mut Init,
) -> Conv2d {
    let config = Conv2dConfig { stride, padding: kernel / 2, ..Conv2dConfig::default() };
    Conv2d::kaiming_normal(inputs, outputs, kernel, config, Fan::In, init)
}

/// Two convolutions, each with a norm and a ReLU before it: they give the channels that the layer adds.
struct DenseLayer {
    norm: BatchNorm2d,
    reduce: ConvBn,
    convolution: Conv2d,
}

impl DenseLayer {
    fn new(inputs: usize, growth: usize, init: &mut Init) -> Self {
        let inner = BOTTLENECK * growth;
        let norm = BatchNorm2d::new(inputs, init).with_relu();
        let reduce = convolution([inputs, inner], [1, 1], init);
        let reduce = ConvBn::new(["conv1", "norm2"], reduce, inner, Activation::Relu, init);
        let convolution = convolution([inner, growth], [3, 1], init);
        DenseLayer { norm, reduce, convolution }
    }

    /// The input of the second convolution.
    fn reduced(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.reduce.forward(&self.norm.forward(x, context), context)
    }
}

impl Module for DenseLayer {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.convolution.forward(&self.reduced(x, context), context)
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        self.convolution.forward_at(&self.reduced(x, context), context, place)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("norm1", &self.norm);
        self.reduce.visit(visitor);
        visitor.child("conv2", &self.convolution);
    }
}

/// A block whose layers each read the block's input and the channels of all earlier layers. These are slices of one tensor,
/// which begins with a copy of the input.
struct DenseBlock {
    layers: Vec<DenseLayer>,
    /// Channels that each layer adds.
    growth: usize,
}

impl Module for DenseBlock {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let channels = x.shape().columns() + self.layers.len() * self.growth;
        let mut all = Concatenation::new(x, channels);
        all.push(x);
        for layer in &self.layers {
            all.push(&layer.forward_at(&all.joined(), context, &all.place(self.growth)));
        }
        all.joined()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        for (number, layer) in self.layers.iter().enumerate() {
            visitor.child(&format!("denselayer{}", number + 1), layer);
        }
    }
}

/// The layers between two blocks, which halve the channels and the image.
struct Transition {
    norm: BatchNorm2d,
    convolution: Conv2d,
}

impl Module for Transition {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let out = self.convolution.forward(&self.norm.forward(x, context), context);
        AveragePool2d::new(2).forward(&out, context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("norm", &self.norm);
        visitor.child("conv", &self.convolution);
    }
}

/// A convolution and a max-pool that reduce each side of the image to a quarter, four dense blocks, and an average pool.
pub struct DenseNet121 {
    first: ConvBn,
    blocks: Vec<DenseBlock>,
    /// One between each two blocks.
    transitions: Vec<Transition>,
    last: BatchNorm2d,
    features: usize,
}

impl DenseNet121 {
    /// Multiplies every number of channels by `width`.
    pub fn new(inputs: usize, width: f64, init: &mut Init) -> Self {
        let (mut features, growth) = (channels(2 * GROWTH, width), channels(GROWTH, width));
        let first = convolution([inputs, features], [7, 2], init);
        let first = ConvBn::new(["conv0", "norm0"], first, features, Activation::Relu, init);
        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        for count in BLOCKS {
            if !blocks.is_empty() {
                let norm = BatchNorm2d::new(features, init).with_relu();
                let half = (features / 2).max(1);
                let convolution = convolution([features, half], [1, 1], init);
                transitions.push(Transition { norm, convolution });
                features = half;
            }
            let mut layers = Vec::new();
            for _ in 0..count {
                layers.push(DenseLayer::new(features, growth, init));
                features += growth;
            }
            blocks.push(DenseBlock { layers, growth });
        }
        let last = BatchNorm2d::new(features, init).with_relu();
        DenseNet121 { first, blocks, transitions, last, features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The blocks, each with the transition that follows it.
    fn stages(&self) -> impl Iterator<Item = (&DenseBlock, Option<&Transition>)> {
        let transitions = self.transitions.iter().map(Some).chain([None]);
        self.blocks.iter().zip(transitions)
    }

    fn visit_features(&self, visitor: &mut dyn Visitor) {
        self.first.visit(visitor);
        for (number, (block, transition)) in self.stages().enumerate() {
            visitor.child(&format!("denseblock{}", number + 1), block);
            if let Some(transition) = transition {
                visitor.child(&format!("transition{}", number + 1), transition);
            }
        }
        visitor.child("norm5", &self.last);
    }
}

impl Module for DenseNet121 {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let halve = MaxPool2d { kernel: 3, stride: 2, padding: 1 };
        let mut out = halve.forward(&self.first.forward(x, context), context);
        for (block, transition) in self.stages() {
            out = block.forward(&out, context);
            if let Some(transition) = transition {
                out = transition.forward(&out, context);
            }
        }
        GlobalAveragePool.forward(&self.last.forward(&out, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.enter("features");
        self.visit_features(visitor);
        visitor.leave();
    }
}
