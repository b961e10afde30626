//! The training steps that are timed and weighed: random inputs of CIFAR-10's shape, batch 32, or 20 columns of 70
//! characters. `peers/step.py` does the same in PyTorch.

use std::ops::RangeInclusive;

use alrao::models::{Architecture, Input, ModelConfig, build};
use alrao::nn::Init;
use alrao::ops::classifiers::Targets;
use alrao::random::{Philox, Purpose, Stream};
use alrao::train::{Learner, Optimizer, TrainConfig};
use alrao::{Alrao, AlraoConfig, Device, Tensor};

pub const MODELS: [&str; 4] = ["vgg19", "mobilenetv2", "cnn", "char-lstm"];
pub const OPTIMIZERS: [Optimizer; 2] = [Optimizer::Sgd, Optimizer::Alrao];

const BATCH: usize = 32;
const SIDE: usize = 32;
const CHANNELS: usize = 3;
const CLASSES: usize = 10;
const VOCABULARY: usize = 50;
const WINDOW: usize = 70;
const COLUMNS: usize = 20;
const LR: f64 = 0.01;

/// The inputs and targets of every step.
pub struct Inputs {
    x: Tensor,
    targets: Tensor,
}

impl Inputs {
    pub fn new(model: &str, device: &Device) -> Self {
        let random = &mut Philox::new(0, Purpose::Order).stream(0);
        if model == "char-lstm" {
            let targets = whole_numbers(WINDOW * COLUMNS, VOCABULARY, random);
            let x = whole_numbers(WINDOW * COLUMNS, VOCABULARY, random);
            return Inputs {
                x: Tensor::from_slice(device, [WINDOW, COLUMNS], &x),
                targets: Tensor::from_slice(device, [WINDOW * COLUMNS], &targets),
            };
        }
        let pixels = BATCH * SIDE * SIDE * CHANNELS;
        let x: Vec<f32> = (0..pixels).map(|_| random.normal() as f32).collect();
        Inputs {
            x: Tensor::from_slice(device, [BATCH, SIDE, SIDE, CHANNELS], &x),
            targets: Tensor::from_slice(device, [BATCH], &whole_numbers(BATCH, CLASSES, random)),
        }
    }

    /// Images, or characters.
    pub fn samples(&self) -> usize {
        self.targets.shape().elements()
    }
}

fn whole_numbers(count: usize, limit: usize, random: &mut Stream) -> Vec<i32> {
    (0..count).map(|_| random.below(limit as u64) as i32).collect()
}

/// A model of the paper's size with what moves it.
pub fn learner(model: &str, optimizer: Optimizer, inputs: &Inputs, device: &Device) -> Learner {
    let architecture: Architecture = model.parse().expect("a known model");
    let is_recurrent = model == "char-lstm";
    let config = ModelConfig { architecture, width: 1.0, hidden: Vec::new(), dropout: 0.2 };
    let input = match is_recurrent {
        true => Input::Tokens { vocabulary: VOCABULARY },
        false => Input::Image { height: SIDE, width: SIDE, channels: CHANNELS },
    };
    let pre_classifier = build(&config, input, &mut Init::new(0)).expect("a model for this input");
    let (eta, classifiers) = rates(is_recurrent, optimizer);
    let outputs = if is_recurrent { VOCABULARY } else { CLASSES };
    let alrao = AlraoConfig { eta, classifiers, ..AlraoConfig::default() };
    let model = Alrao::classifier(pre_classifier.module, outputs, alrao);
    let train = TrainConfig { optimizer, lr: LR, ..TrainConfig::default() };
    Learner::new(model, &inputs.x, &train, device)
}

fn rates(is_recurrent: bool, optimizer: Optimizer) -> (RangeInclusive<f64>, usize) {
    match (optimizer, is_recurrent) {
        (Optimizer::Sgd, _) => (LR..=LR, 1),
        (_, true) => (1e-3..=100.0, 6),
        (_, false) => (1e-5..=10.0, 10),
    }
}

pub fn step(learner: &Learner, inputs: &Inputs) {
    learner.step(&inputs.x, Targets::Classes(&inputs.targets), inputs.samples());
}
