//! GoogLeNet (Szegedy et al. 2015) with batch norm, for 32 by 32 images, as in kuangliu/pytorch-cifar.

use crate::models::channels;
use crate::nn::{
    Activation, AveragePool2d, Conv2d, ConvBn, Flatten, ForwardContext, Init, MaxPool2d, Module,
    Sequential, Visitor,
};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::ops::tensor::concatenate::Concatenation;
use crate::tensor::Tensor;

/// Output channels of a block's convolutions, at width 1.
#[derive(Clone, Copy)]
struct Branches {
    single: usize,
    /// The pointwise convolution, and the 3x3 one that follows it.
    three: [usize; 2],
    /// The pointwise convolution, and the two 3x3 ones that follow it in place of a 5x5 one.
    five: [usize; 2],
    /// The convolution after the max-pool.
    pool: usize,
}

const fn branches(single: usize, three: [usize; 2], five: [usize; 2], pool: usize) -> Branches {
    Branches { single, three, five, pool }
}

/// The stages with their blocks' names; images are halved between stages.
const STAGES: [&[(&str, Branches)]; 3] = [
    &[
        ("a3", branches(64, [96, 128], [16, 32], 32)),
        ("b3", branches(128, [128, 192], [32, 96], 64)),
    ],
    &[
        ("a4", branches(192, [96, 208], [16, 48], 64)),
        ("b4", branches(160, [112, 224], [24, 64], 64)),
        ("c4", branches(128, [128, 256], [24, 64], 64)),
        ("d4", branches(112, [144, 288], [32, 64], 64)),
        ("e4", branches(256, [160, 320], [32, 128], 128)),
    ],
    &[
        ("a5", branches(256, [160, 320], [32, 128], 128)),
        ("b5", branches(384, [192, 384], [48, 128], 128)),
    ],
];

/// Adds a convolution that keeps the image's size, with bias, norm and ReLU, and returns its output channels.
fn push(
    layers: &mut Sequential,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    init: &mut Init,
) -> usize {
    let config = Conv2dConfig { padding: kernel / 2, ..Conv2dConfig::default() };
    let convolution = Conv2d::new(inputs, outputs, kernel, config, true, init);
    let names = [0, 1].map(|offset| (layers.position() + offset).to_string());
    let names = [&*names[0], &*names[1]];
    layers.push_flat(3, ConvBn::new(names, convolution, outputs, Activation::Relu, init));
    outputs
}

/// Four branches from the same input, each with its number of output channels; their outputs are concatenated.
struct Inception {
    branches: [(Sequential, usize); 4],
}

impl Inception {
    fn new(inputs: usize, own: Branches, width: f64, init: &mut Init) -> Self {
        let count = |channels_at_one| channels(channels_at_one, width);
        let mut branches = [(); 4].map(|()| Sequential::new());
        let [single, three, five, pool] = &mut branches;
        let of_single = push(single, inputs, count(own.single), 1, init);
        let reduced = push(three, inputs, count(own.three[0]), 1, init);
        let of_three = push(three, reduced, count(own.three[1]), 3, init);
        let reduced = push(five, inputs, count(own.five[0]), 1, init);
        let inner = push(five, reduced, count(own.five[1]), 3, init);
        let of_five = push(five, inner, inner, 3, init);
        pool.push(MaxPool2d { kernel: 3, stride: 1, padding: 1 });
        let of_pool = push(pool, inputs, count(own.pool), 1, init);
        let [single, three, five, pool] = branches;
        let branches = [(single, of_single), (three, of_three), (five, of_five), (pool, of_pool)];
        Inception { branches }
    }

    fn outputs(&self) -> usize {
        self.branches.iter().map(|(_, outputs)| outputs).sum()
    }
}

impl Module for Inception {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let mut out = Concatenation::new(x, self.outputs());
        for (branch, outputs) in &self.branches {
            out.push(&branch.forward_at(x, context, &out.place(*outputs)));
        }
        out.joined()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        for (number, (branch, _)) in self.branches.iter().enumerate() {
            visitor.child(&format!("b{}", number + 1), branch);
        }
    }
}

/// A convolution, nine inception blocks in three stages, and an average pool.
pub struct GoogLeNet {
    first: Sequential,
    stages: Vec<Vec<(&'static str, Inception)>>,
    features: usize,
}

impl GoogLeNet {
    /// Multiplies every number of channels by `width`.
    pub fn new(inputs: usize, width: f64, init: &mut Init) -> Self {
        let mut first = Sequential::new();
        let mut features = push(&mut first, inputs, channels(192, width), 3, init);
        let stages = STAGES.map(|blocks| {
            let blocks = blocks.iter().map(|(name, own)| {
                let block = Inception::new(features, *own, width, init);
                features = block.outputs();
                (*name, block)
            });
            blocks.collect()
        });
        GoogLeNet { first, stages: stages.into(), features }
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.features
    }
}

impl Module for GoogLeNet {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let halve = MaxPool2d { kernel: 3, stride: 2, padding: 1 };
        let mut out = self.first.forward(x, context);
        for (number, blocks) in self.stages.iter().enumerate() {
            if number > 0 {
                out = halve.forward(&out, context);
            }
            out = blocks.iter().fold(out, |out, (_, block)| block.forward(&out, context));
        }
        Flatten.forward(&AveragePool2d::new(8).forward(&out, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("pre_layers", &self.first);
        for (name, block) in self.stages.iter().flatten() {
            visitor.child(name, block);
        }
    }
}
