//! Whole training steps of small models in f64, from the same initial values, rates and batches.

use std::collections::HashMap;

use alrao::alrao::AveragingKind;
use alrao::learn::{Learner, Optimizer, Precision, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
use alrao::nn::Init;
use alrao::ops::head::classifiers::Targets;
use alrao::{Alrao, AlraoConfig, Device, Tensor};

use super::{assert_close, load, state, write_part};

const TOLERANCE: f64 = 1e-9;
const CLASSES: usize = 10;
const CHARACTERS: usize = 12;
const WORDS: usize = 60;

/// What a case of the file was run with; the rest are defaults, as there.
struct Case {
    name: &'static str,
    model: ModelConfig,
    alrao: AlraoConfig,
    train: TrainConfig,
}

impl Case {
    fn new(name: &'static str, architecture: Architecture, width: f64) -> Self {
        Case {
            name,
            model: ModelConfig {
                architecture,
                width,
                hidden: vec![16, 12],
                dropout: 0.0,
                activation: Activation::Relu,
            },
            alrao: AlraoConfig::default(),
            train: TrainConfig { precision: Precision::F64, ..TrainConfig::default() },
        }
    }

    fn mlp(name: &'static str) -> Self {
        Case::new(name, Architecture::Mlp, 1.0)
    }

    fn with(mut self, train: impl FnOnce(&mut TrainConfig)) -> Self {
        train(&mut self.train);
        self
    }

    fn with_alrao(mut self, alrao: impl FnOnce(&mut AlraoConfig)) -> Self {
        alrao(&mut self.alrao);
        self
    }

    fn is_regression(&self) -> bool {
        self.name == "mlp regression"
    }

    fn input(&self) -> Input {
        match self.model.architecture {
            Architecture::Mlp => Input::Vector { size: 9 },
            Architecture::CharLstm => Input::Tokens { vocabulary: CHARACTERS },
            Architecture::WordLstm => Input::Tokens { vocabulary: WORDS },
            _ => Input::Image { height: 32 * self.tiles(), width: 32 * self.tiles(), channels: 3 },
        }
    }

    /// How often the file's images stand beside each other, and below.
    fn tiles(&self) -> usize {
        if self.model.architecture.usual_side() > 32 { 2 } else { 1 }
    }

    /// The batch of a step: inputs and targets.
    fn batch(&self, file: &HashMap<String, Tensor>, step: usize) -> (Tensor, Tensor) {
        let nth = |key: &str, n: usize| {
            let tensor = file[key].slice(0, n, 1);
            let extents = tensor.shape().extents()[1..].to_vec();
            tensor.reshape(&extents[..])
        };
        match self.model.architecture {
            Architecture::Mlp if self.is_regression() => {
                (in_f64(&nth("vectors", step)), in_f64(&nth("vectors.values", step)))
            }
            Architecture::Mlp => (in_f64(&nth("vectors", step)), nth("vectors.labels", step)),
            architecture if architecture.is_lstm() => {
                let is_words = architecture == Architecture::WordLstm;
                let text = &file[if is_words { "words" } else { "text" }];
                let window = |first: usize| text.slice(0, 6 * step + first, 6);
                (window(0), window(1).reshape([24]))
            }
            _ => {
                let bytes = nth("images", step % 5);
                (tiled(&bytes, self.tiles()), nth("labels", step % 5))
            }
        }
    }

    fn learner(&self, file: &HashMap<String, Tensor>, device: &Device) -> Learner {
        let pre_classifier = build(&self.model, self.input(), &mut Init::new(0)).unwrap();
        let (module, alrao) = (pre_classifier.module, self.alrao.clone());
        let model = match self.input() {
            _ if self.is_regression() => Alrao::regression(module, 2, alrao),
            Input::Tokens { vocabulary } => Alrao::classifier(module, vocabulary, alrao),
            _ => Alrao::classifier(module, CLASSES, alrao),
        };
        let learner = Learner::new(model, &self.batch(file, 0).0, &self.train, device);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.safetensors");
        write_part(file, &format!("{}.init.", self.name), &path);
        learner.load_initial(&path).unwrap();
        write_part(file, &format!("{}.rates.", self.name), &path);
        learner.load_rates(&path).unwrap();
        learner
    }

    fn check(&self) {
        let device = Device::cpu();
        let file = load(&device, "steps.safetensors");
        let expected = |key: &str| file[&format!("{}.{key}", self.name)].to_f64s();
        let learner = self.learner(&file, &device);
        let losses = expected("loss");
        let copies = self.alrao.classifiers;
        for (step, loss) in losses.iter().enumerate() {
            let (x, targets) = self.batch(&file, step);
            let targets = match self.is_regression() {
                true => Targets::Values(&targets),
                false => Targets::Classes(&targets),
            };
            // The number of samples matters to running sums alone.
            let head = learner.step(&x, targets, 1);
            let part = |key: &str| expected(key)[step * copies..][..copies].to_vec();
            let compare = |key: &str, got: &[f64], expected: &[f64]| {
                let name = format!("{}, {key} of step {}", self.name, step + 1);
                assert_close(&name, got, expected, TOLERANCE);
            };
            compare("loss", &head.loss.to_f64s(), &[*loss]);
            let classifier_losses = head.classifier_losses.to_f64s();
            compare("classifiers' losses", &classifier_losses, &part("classifier_loss"));
            compare("posterior", &learner.posterior(), &part("posterior"));
        }
        assert_close(self.name, &sums(&learner), &expected("sums"), TOLERANCE);
    }
}

/// Images as numbers, `tiles` times beside each other and below.
fn tiled(bytes: &Tensor, tiles: usize) -> Tensor {
    let [images, height, width, channels] = [0, 1, 2, 3].map(|axis| bytes.shape()[axis]);
    let rows: Vec<f64> = bytes.to_f64s().iter().map(|x| x / 64.0 - 2.0).collect();
    let wide: Vec<f64> =
        rows.chunks_exact(width * channels).flat_map(|row| row.repeat(tiles)).collect();
    let image = height * tiles * width * channels;
    let numbers: Vec<f64> =
        wide.chunks_exact(image).flat_map(|image| image.repeat(tiles)).collect();
    let shape = [images, tiles * height, tiles * width, channels];
    Tensor::from_slice(bytes.device(), shape, &numbers)
}

fn in_f64(tensor: &Tensor) -> Tensor {
    Tensor::from_slice(tensor.device(), tensor.shape(), &tensor.to_f64s())
}

/// The sum of each parameter and running statistic, in the order of their names.
fn sums(learner: &Learner) -> Vec<f64> {
    state(learner).values().map(|values| values.iter().sum()).collect()
}

#[test]
fn steps_of_an_mlp_follow_pytorch() {
    Case::mlp("mlp").check();
    Case::mlp("mlp regression").check();
    Case::mlp("mlp bayesian").with_alrao(|alrao| alrao.averaging = AveragingKind::Bayesian).check();
}

#[test]
fn steps_of_every_optimizer_follow_pytorch() {
    Case::mlp("mlp alrao-adam").with(|train| train.optimizer = Optimizer::AlraoAdam).check();
    Case::mlp("mlp momentum")
        .with(|train| (train.momentum, train.weight_decay) = (0.9, 0.001))
        .check();
    Case::mlp("mlp sgd")
        .with_alrao(|alrao| alrao.classifiers = 1)
        .with(|train| train.optimizer = Optimizer::Sgd)
        .check();
    Case::mlp("mlp adam")
        .with_alrao(|alrao| alrao.classifiers = 1)
        .with(|train| {
            (train.optimizer, train.lr, train.weight_decay) = (Optimizer::Adam, 1e-3, 0.001)
        })
        .check();
}

#[test]
fn steps_of_a_recurrent_model_follow_pytorch() {
    for architecture in [Architecture::CharLstm, Architecture::WordLstm] {
        Case::new(architecture.name(), architecture, 0.16)
            .with_alrao(|alrao| (alrao.eta, alrao.classifiers) = (1e-3..=100.0, 6))
            .with(|train| train.clip = 0.25)
            .check();
    }
}

#[test]
fn steps_of_a_convolutional_model_follow_pytorch() {
    Case::new("cnn", Architecture::Cnn, 0.125).check();
}

#[test]
fn steps_of_vgg_follow_pytorch() {
    Case::new("vgg11", Architecture::Vgg11, 0.03125).check();
    for deeper in [Architecture::Vgg13, Architecture::Vgg16, Architecture::Vgg19] {
        check_gently(deeper, 0.03125);
    }
}

#[test]
fn steps_of_alexnet_follow_pytorch() {
    Case::new("alexnet", Architecture::AlexNet, 0.015625).check();
}

#[test]
fn steps_of_senet_follow_pytorch() {
    Case::new("senet18", Architecture::SeNet18, 0.03125).check();
}

/// Deep and narrow networks magnify rounding errors from step to step, less so with small steps.
fn check_gently(architecture: Architecture, width: f64) {
    Case::new(architecture.name(), architecture, width)
        .with_alrao(|alrao| alrao.eta = 1e-5..=0.1)
        .with(|train| train.clip = 0.25)
        .check();
}

#[test]
fn steps_of_mobilenet_follow_pytorch() {
    check_gently(Architecture::MobileNetV2, 0.1);
}

#[test]
fn steps_of_googlenet_follow_pytorch() {
    check_gently(Architecture::GoogLeNet, 0.03125);
}

#[test]
fn steps_of_resnet_follow_pytorch() {
    check_gently(Architecture::ResNet50, 0.03125);
}

#[test]
fn steps_of_densenet_follow_pytorch() {
    check_gently(Architecture::DenseNet121, 0.03125);
}
