//! Whole training steps, plain SGD and Alrao, eager and captured, on random images of the model's usual size or on
//! random text. `benches/peers/contestants.py` has the same in PyTorch.

use serde::Serialize;

use crate::alrao::{Alrao, Task};
use crate::device::{DType, Device};
use crate::error::Result;
use crate::learn::{Learner, Optimizer, Precision};
use crate::models::{self, Architecture, Input};
use crate::nn::Init;
use crate::ops::head::classifiers::{Head, Targets};
use crate::random::{Philox, Purpose, Stream};
use crate::supervised::RunConfig;
use crate::supervised::room::{check_room, inputs};
use crate::supervised::settings::Settings;
use crate::tensor::Tensor;

/// The models measured by default; `--model` accepts more.
pub const MODELS: [Architecture; 4] =
    [Architecture::Vgg19, Architecture::MobileNetV2, Architecture::Cnn, Architecture::CharLstm];

/// The optimisers compared.
pub const OPTIMIZERS: [Optimizer; 2] = [Optimizer::Sgd, Optimizer::Alrao];

const CHANNELS: usize = 3;
const CLASSES: usize = 10;
/// Distinct characters; distinct words, as in the paper.
const VOCABULARIES: [usize; 2] = [50, 9_999];

/// A model of the paper's size with all defaults.
///
/// # Errors
/// As [`Settings::resolve`].
pub fn config(architecture: Architecture, optimizer: Optimizer) -> Result<RunConfig> {
    let mut settings = Settings::default();
    (settings.task.model, settings.learning.optimizer) = (Some(architecture), Some(optimizer));
    settings.resolve()
}

fn is_text(config: &RunConfig) -> bool {
    config.model.architecture.is_lstm()
}

/// Images, or tokens, in a step.
pub fn samples(config: &RunConfig) -> usize {
    config.train.batch_size * if is_text(config) { config.train.bptt } else { 1 }
}

/// The input of a model: images of its usual size, or text.
fn input(config: &RunConfig) -> Input {
    let architecture = config.model.architecture;
    let [characters, words] = VOCABULARIES;
    let side = architecture.usual_side();
    match architecture {
        Architecture::WordLstm => Input::Tokens { vocabulary: words },
        _ if is_text(config) => Input::Tokens { vocabulary: characters },
        _ => Input::Image { height: side, width: side, channels: CHANNELS },
    }
}

fn outputs(input: Input) -> usize {
    match input {
        Input::Tokens { vocabulary } => vocabulary,
        _ => CLASSES,
    }
}

/// The batch, the same for every step.
pub struct Inputs {
    input: Input,
    x: Tensor,
    targets: Tensor,
}

impl Inputs {
    /// Random inputs for a model.
    ///
    /// # Errors
    /// Where the model, or a step of it on this batch, does not fit in memory.
    pub fn new(config: &RunConfig, device: &Device) -> Result<Self> {
        let input = input(config);
        check_room(config, input, Task::Classification { classes: outputs(input) }, device, &[])?;
        let random = &mut Philox::new(0, Purpose::Order).stream(0);
        let x = inputs(config, input, device);
        let targets = Tensor::zeros(device, [samples(config)], DType::I32);
        let own = Inputs { input, x, targets };
        if let Input::Tokens { vocabulary } = own.input {
            let mut tokens = || whole_numbers(own.samples(), vocabulary, random);
            own.x.copy_from_slice(&tokens());
            own.targets.copy_from_slice(&tokens());
        } else {
            let pixels = own.x.shape().elements();
            let x: Vec<f64> = (0..pixels).map(|_| f64::from(random.normal() as f32)).collect();
            own.x.copy_from_f64s(&x);
            own.targets.copy_from_slice(&whole_numbers(own.samples(), CLASSES, random));
        }
        Ok(own)
    }

    /// Images, or tokens, in a step.
    pub fn samples(&self) -> usize {
        self.targets.shape().elements()
    }

    /// A new learner on the device of these inputs.
    ///
    /// # Errors
    /// As [`models::build`].
    pub fn learner(&self, config: &RunConfig) -> Result<Learner> {
        let module =
            models::build(&config.model, self.input, &mut Init::new(config.train.seed))?.module;
        let model = Alrao::classifier(module, outputs(self.input), config.alrao.clone());
        Ok(Learner::new(model, &self.x, &config.train, self.x.device()))
    }

    /// Takes one step and returns its losses.
    pub fn step(&self, learner: &Learner) -> Head {
        learner.step(&self.x, Targets::Classes(&self.targets), self.samples())
    }
}

fn whole_numbers(count: usize, limit: usize, random: &mut Stream) -> Vec<i32> {
    (0..count).map(|_| random.below(limit as u64) as i32).collect()
}

/// The mode of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One launch after the other.
    Eager,
    /// Captured once and replayed: on a GPU one launch of a graph.
    Captured,
}

impl Mode {
    /// The modes of a device.
    pub fn on(device: &Device) -> &'static [Mode] {
        match device.can_capture() {
            true => &[Mode::Eager, Mode::Captured],
            false => &[Mode::Eager],
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Eager => "eager",
            Mode::Captured => "captured",
        }
    }
}

/// A learner ready to be timed.
pub struct Contestant {
    mode: Mode,
    optimizer: Optimizer,
    precision: Precision,
    inputs: Inputs,
    learner: Learner,
}

impl Contestant {
    /// A learner that has taken its first steps.
    ///
    /// # Errors
    /// As [`models::build`] and [`Device::check`].
    pub fn new(config: &RunConfig, mode: Mode, device: &Device) -> Result<Self> {
        let inputs = Inputs::new(config, device)?;
        let learner = inputs.learner(config)?;
        learner.steps().set_on(mode == Mode::Captured);
        let RunConfig { train, .. } = config;
        let (optimizer, precision) = (train.optimizer, train.precision);
        let own = Contestant { mode, optimizer, precision, inputs, learner };
        // The second step is captured; the third is the first replay.
        (0..3).for_each(|_| drop(own.step()));
        device.check()?;
        Ok(own)
    }

    /// Takes one step and returns its losses.
    pub fn step(&self) -> Head {
        self.inputs.step(&self.learner)
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Its optimiser.
    pub fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// Its precision.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Its learner.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Images, or tokens, in a step.
    pub fn samples(&self) -> usize {
        self.inputs.samples()
    }

    /// Kernels in one step, for a captured one those of its graph. `None` on the CPU.
    pub fn launches(&self) -> Option<u64> {
        launches(&self.learner, || drop(self.step()))
    }
}

/// Kernels in one of a learner's steps, which `step` takes if none is captured yet. `None` on the CPU.
pub(super) fn launches(learner: &Learner, step: impl FnOnce()) -> Option<u64> {
    let Device::Gpu(gpu) = learner.device() else { return None };
    if let Some(launches) = learner.steps().launches() {
        return Some(launches.values().map(|count| *count as u64).sum());
    }
    let count = || -> u64 { gpu.kernel_times().values().map(|own| own.launches).sum() };
    let before = count();
    step();
    Some(count() - before)
}
