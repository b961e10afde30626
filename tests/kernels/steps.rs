//! Whole training steps of narrow models: on the kernels as on the CPU, and replayed as one by one.

use alrao::checks::{draw, drawn};
#[cfg(has_simulator)]
use alrao::device::simulator::{SimulatorOptions, is_checked};
use alrao::learn::{Learner, Precision, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
use alrao::nn::Init;
use alrao::ops::head::classifiers::Targets;
use alrao::{Alrao, AlraoConfig, Device, Tensor};

use crate::place::gpu;

const CLASSES: usize = 10;

/// A narrow model, its input and the samples of a batch.
#[derive(Clone, Copy)]
struct Model {
    architecture: Architecture,
    width: f64,
    batch: usize,
}

const MODELS: [Model; 6] = [
    Model { architecture: Architecture::Mlp, width: 1.0, batch: 5 },
    Model { architecture: Architecture::Cnn, width: 0.25, batch: 4 },
    Model { architecture: Architecture::Vgg11, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::MobileNetV2, width: 0.125, batch: 2 },
    Model { architecture: Architecture::CharLstm, width: 0.25, batch: 3 },
    Model { architecture: Architecture::WordLstm, width: 0.25, batch: 3 },
];

/// Those that take two steps in f32 and no more here: they are large, or so deep that they magnify roundings.
const DEEP: [Model; 8] = [
    Model { architecture: Architecture::Vgg13, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::Vgg16, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::Vgg19, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::GoogLeNet, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::SeNet18, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::AlexNet, width: 0.03125, batch: 2 },
    Model { architecture: Architecture::ResNet50, width: 0.0625, batch: 2 },
    Model { architecture: Architecture::DenseNet121, width: 0.0625, batch: 2 },
];

impl Model {
    fn input(&self) -> Input {
        match self.architecture {
            Architecture::Mlp => Input::Vector { size: 9 },
            _ if self.architecture.is_lstm() => Input::Tokens { vocabulary: self.vocabulary() },
            Architecture::AlexNet => Input::Image { height: 63, width: 64, channels: 3 },
            // A norm of fewer than eight values turns roundings over.
            Architecture::ResNet50 | Architecture::DenseNet121 => {
                Input::Image { height: 48, width: 48, channels: 3 }
            }
            _ => Input::Image { height: 32, width: 32, channels: 3 },
        }
    }

    /// Distinct tokens of a text.
    fn vocabulary(&self) -> usize {
        if self.architecture == Architecture::WordLstm { 60 } else { 12 }
    }

    /// Inputs and classes of step number `step`.
    fn batch(&self, device: &Device, precision: Precision, step: u64) -> (Tensor, Tensor) {
        let dtype = precision.dtype();
        let whole = |count: usize, below: usize, number: u64| -> Vec<i32> {
            draw(count, number).iter().map(|x| ((x + 0.5) * below as f64) as i32).collect()
        };
        let Model { batch, .. } = *self;
        match self.input() {
            Input::Tokens { vocabulary } => {
                let tokens = whole(6 * batch, vocabulary, 100 + step);
                let next = whole(6 * batch, vocabulary, 200 + step);
                (
                    Tensor::from_slice(device, [6, batch], &tokens),
                    Tensor::from_slice(device, [6 * batch], &next),
                )
            }
            Input::Vector { size } => (
                drawn(device, &[batch, size], dtype, 100 + step),
                Tensor::from_slice(device, [batch], &whole(batch, CLASSES, 200 + step)),
            ),
            Input::Image { height, width, channels } => (
                drawn(device, &[batch, height, width, channels], dtype, 100 + step),
                Tensor::from_slice(device, [batch], &whole(batch, CLASSES, 200 + step)),
            ),
        }
    }

    fn learner(&self, device: &Device, clip: f64, precision: Precision) -> Learner {
        let Model { architecture, width, .. } = *self;
        let config = ModelConfig {
            architecture,
            width,
            hidden: vec![16, 12],
            dropout: 0.2,
            activation: Activation::Relu,
        };
        let model = build(&config, self.input(), &mut Init::new(0)).unwrap();
        let classes = match self.input() {
            Input::Tokens { vocabulary } => vocabulary,
            _ => CLASSES,
        };
        let alrao = AlraoConfig { eta: 1e-5..=0.1, classifiers: 4, ..AlraoConfig::default() };
        let train = TrainConfig { clip, precision, ..TrainConfig::default() };
        let (sample, _) = self.batch(device, precision, 0);
        Learner::new(Alrao::classifier(model.module, classes, alrao), &sample, &train, device)
    }

    /// The mixture's loss at each step, and all parameters after the last.
    fn train(&self, device: &Device, steps: u64, is_captured: bool) -> (Vec<f64>, Vec<f64>) {
        self.train_in(Precision::F32, device, steps, is_captured)
    }

    fn train_in(
        &self,
        precision: Precision,
        device: &Device,
        steps: u64,
        is_captured: bool,
    ) -> (Vec<f64>, Vec<f64>) {
        let learner = self.learner(device, 0.25, precision);
        learner.steps().set_on(is_captured);
        let losses = (0..steps)
            .map(|step| {
                let (x, classes) = self.batch(device, precision, step);
                let samples = classes.shape().elements();
                learner.step(&x, Targets::Classes(&classes), samples).loss.item()
            })
            .collect();
        let flat = learner.flat();
        let of_entry = |entry| flat.view(flat.values(), entry).to_f64s();
        (losses, flat.entries().iter().flat_map(of_entry).collect())
    }
}

#[cfg(has_simulator)]
fn simulator() -> Device {
    Device::simulator(Some(2), SimulatorOptions::default()).unwrap()
}

#[cfg(has_simulator)]
#[test]
fn between_parameters_lies_what_nobody_touches() {
    let device = simulator();
    let [mlp, ..] = MODELS;
    let learner = mlp.learner(&device, 0.25, Precision::F32);
    let (x, classes) = mlp.batch(&device, Precision::F32, 0);
    let samples = classes.shape().elements();
    drop(learner.step(&x, Targets::Classes(&classes), samples));
    let (flat, values) = (learner.flat(), learner.flat().values().to_f64s());
    let ends = flat.entries().iter().skip(1).map(|next| next.base).chain([values.len()]);
    for (entry, end) in flat.entries().iter().zip(ends) {
        let gap = &values[entry.base + entry.shape.elements()..end];
        assert!(gap.len() >= 16 && gap.iter().all(|value| value.is_nan()), "{}", entry.name);
    }
}

/// Two steps on a device give the CPU's losses and parameters, to rounding.
fn assert_are_the_cpus(model: Model, device: &Device) {
    let (losses, values) = model.train(&Device::cpu(), 2, false);
    let (own_losses, own_values) = model.train(device, 2, false);
    for (own, loss) in own_losses.iter().zip(&losses) {
        assert!(
            (own - loss).abs() <= 1e-5 * loss,
            "{}: {own_losses:?}, not {losses:?}",
            model.architecture
        );
    }
    let worst =
        own_values.iter().zip(&values).map(|(own, value)| (own - value).abs()).fold(0.0, f64::max);
    assert!(worst <= 1e-4, "{}: a parameter is {worst} off after two steps", model.architecture);
}

/// Replays of a captured step are ordinary steps.
fn assert_replays_to_the_bit(model: Model, device: &Device) {
    for (precision, steps) in [(Precision::F32, 10), (Precision::Bf16, 4)] {
        let ordinary = model.train_in(precision, device, steps, false);
        let replayed = model.train_in(precision, device, steps, true);
        let name = model.architecture;
        assert!(ordinary == replayed, "{name}, {precision:?}: replayed steps differ");
    }
}

#[cfg(has_simulator)]
#[test]
fn two_steps_of_every_model_are_the_cpus() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    MODELS.into_iter().for_each(|model| assert_are_the_cpus(model, &simulator()));
}

#[cfg(has_simulator)]
#[test]
fn two_steps_of_deep_models_are_the_cpus() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    DEEP.into_iter().for_each(|model| assert_are_the_cpus(model, &simulator()));
}

#[test]
fn two_steps_of_every_model_on_a_gpu_are_the_cpus() {
    let Some(device) = gpu() else { return };
    MODELS.into_iter().chain(DEEP).for_each(|model| assert_are_the_cpus(model, &device));
}

#[cfg(has_simulator)]
#[test]
fn replayed_steps_are_ordinary_steps_to_the_bit() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    MODELS.into_iter().for_each(|model| assert_replays_to_the_bit(model, &simulator()));
}

#[test]
fn replayed_steps_on_a_gpu_are_ordinary_steps_to_the_bit() {
    let Some(device) = gpu() else { return };
    MODELS.into_iter().for_each(|model| assert_replays_to_the_bit(model, &device));
}

/// Every activation is rounded to 8 bits, so that losses are within some such roundings, and weights within what these
/// make of the gradients, whose clipped norm times the largest rate is 0.025 a step.
#[cfg(has_simulator)]
#[test]
fn two_steps_in_bf16_follow_those_in_f32() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    for model in MODELS {
        let (losses, values) = model.train(&Device::cpu(), 2, false);
        let (own_losses, own_values) = model.train_in(Precision::Bf16, &simulator(), 2, false);
        let name = model.architecture;
        for (own, loss) in own_losses.iter().zip(&losses) {
            assert!((own - loss).abs() <= 0.02 * loss, "{name}: {own_losses:?}, not {losses:?}");
            assert!(own != loss, "{name}: nothing was rounded");
        }
        let worst = own_values.iter().zip(&values).map(|(own, value)| (own - value).abs());
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 0.01, "{name}: a parameter is {worst} off after two steps");
    }
}

#[cfg(has_simulator)]
#[test]
fn a_norm_rounds_the_gradient_for_the_convolution_before_it() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    let [_, _, vgg, ..] = MODELS;
    let device = simulator();
    vgg.train_in(Precision::Tf32, &device, 1, false);
    let Device::Gpu(gpu) = &device else { panic!("the simulator runs kernels") };
    let kernels = gpu.kernel_times();
    let of_weights = |name: &&String| name.starts_with("conv2d") && name.contains("_dw_");
    assert!(kernels.keys().any(|name| of_weights(&name)), "{kernels:?}");
    for kernel in kernels.keys().filter(of_weights) {
        assert!(kernel.contains("_dw_rounded_"), "{kernel} rounds at each read");
    }
}

/// A factor rounded to 10 bits of fraction is 2^-11 off at most, a product of two 2^-10; their errors are of both signs, so
/// that those of a sum are smaller beside it, and a loss a few times 2^-10 off after some steps has followed.
#[cfg(has_simulator)]
#[test]
fn training_in_tf32_follows_f32() {
    if is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    let models = [
        Model { architecture: Architecture::Cnn, width: 0.25, batch: 4 },
        Model { architecture: Architecture::CharLstm, width: 0.25, batch: 3 },
    ];
    for model in models {
        let (losses, _) = model.train(&simulator(), 6, false);
        let device = simulator();
        let (own_losses, _) = model.train_in(Precision::Tf32, &device, 6, false);
        for (own, loss) in own_losses.iter().zip(&losses) {
            let architecture = model.architecture;
            let distance = (own - loss).abs();
            assert!(
                distance <= 4.0 * loss / 1024.0,
                "{architecture}: {own_losses:?}, not {losses:?}"
            );
        }
        let Device::Gpu(gpu) = &device else { panic!("the simulator runs kernels") };
        let kernels = gpu.kernel_times();
        let is_f32_product = |name: &&String| {
            (name.starts_with("matmul") || name.starts_with("conv2d"))
                && name.ends_with("_f32")
                && !name.starts_with("matmul_sum")
        };
        assert!(!kernels.keys().any(|name| is_f32_product(&name)), "{kernels:?}");
        assert!(kernels.keys().any(|name| name.ends_with("_tf32")), "{kernels:?}");
    }
}
