//! A run's resolved configuration, as `config.toml` holds it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::alrao::AlraoConfig;
use crate::device::{DType, Device, DeviceKind};
use crate::error::Error;
use crate::models::ModelConfig;
use crate::named::{as_text, named};

named! {
    /// The update rule of the parameters.
    Optimizer, "optimizer" {
        /// SGD with random learning rates and a switch over the classifiers.
        Alrao = "alrao",
        /// One learning rate, one classifier.
        Sgd = "sgd",
        /// One learning rate, one classifier.
        Adam = "adam",
        /// Adam with a weight decay apart from the gradient. One learning rate, one classifier.
        AdamW = "adamw",
        /// Adam with random learning rates and a switch over the classifiers.
        AlraoAdam = "alrao-adam",
    }
}

impl Optimizer {
    /// Whether every feature draws its own learning rate.
    pub fn is_alrao(self) -> bool {
        matches!(self, Optimizer::Alrao | Optimizer::AlraoAdam)
    }

    /// Whether the weight decay is apart from the gradient.
    pub fn is_decoupled(self) -> bool {
        self == Optimizer::AdamW
    }

    /// Whether the update is Adam's.
    pub fn is_adam(self) -> bool {
        matches!(self, Optimizer::Adam | Optimizer::AdamW | Optimizer::AlraoAdam)
    }
}

named! {
    /// The order of the samples in an epoch.
    Order, "order" {
        /// Drawn anew for each epoch.
        Shuffled = "shuffled",
        /// As in the file.
        Sequential = "sequential",
    }
}

named! {
    /// The number format of a run.
    Precision, "precision" {
        /// 32-bit floating point.
        F32 = "f32",
        /// 32-bit storage; the factors of matrix products and convolutions rounded to 10 bits, for tensor cores.
        Tf32 = "tf32",
        /// Activations and a copy of the weights in bfloat16; sums, statistics and the parameters themselves in f32.
        Bf16 = "bf16",
        /// 64-bit floating point, on the CPU.
        F64 = "f64",
    }
}

/// A factor on all learning rates that may change from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Always 1.
    Constant,
    /// `(1 + cos(pi (epoch - 1) / epochs)) / 2`.
    Cosine,
    /// Multiplied by `factor` at regular intervals.
    Step {
        /// Epochs from one change to the next.
        epochs: u64,
        /// Factor on the rates.
        factor: f64,
    },
}

impl Schedule {
    /// The factor in an epoch, counted from 1, of a run of `epochs`.
    ///
    /// ```
    /// use alrao::learn::Schedule;
    /// let halved: Schedule = "step:10:0.5".parse()?;
    /// assert_eq!((halved.factor(10, 30), halved.factor(11, 30), halved.factor(21, 30)), (1.0, 0.5, 0.25));
    /// # Ok::<(), alrao::Error>(())
    /// ```
    pub fn factor(self, epoch: u64, epochs: u64) -> f64 {
        let passed = epoch.saturating_sub(1);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => {
                let part = passed.min(epochs) as f64 / epochs.max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
            Schedule::Step { epochs, factor } => factor.powf((passed / epochs) as f64),
        }
    }

    /// Checks the numbers of a schedule.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        match *self {
            Schedule::Step { epochs: 0, .. } => {
                Err("a step of 0 epochs is not possible; give at least 1".into())
            }
            Schedule::Step { factor, .. } if !(factor.is_finite() && factor >= 0.0) => {
                Err(format!("{factor:?} is not possible; give a factor from 0 on"))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let forms = "constant, cosine or step:EPOCHS:FACTOR, such as step:10:0.5";
            Error::field("schedule", format!("'{text}' is not {forms}"))
        };
        match *text.split(':').collect::<Vec<_>>() {
            ["constant"] => Ok(Schedule::Constant),
            ["cosine"] => Ok(Schedule::Cosine),
            ["step", epochs, factor] => {
                let epochs: u64 = epochs.parse().map_err(|_| wrong())?;
                let factor: f64 = factor.parse().map_err(|_| wrong())?;
                let schedule = Schedule::Step { epochs, factor };
                schedule.check().map(|()| schedule).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

as_text!(Schedule);

#[cfg(feature = "cli")]
impl crate::argument::Argument for Schedule {
    fn parser() -> impl clap::builder::TypedValueParser<Value = Self> {
        crate::argument::message::<Schedule>
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            Schedule::Cosine => f.write_str("cosine"),
            Schedule::Step { epochs, factor } => write!(f, "step:{epochs}:{factor}"),
        }
    }
}

/// Training settings that do not depend on model or data, as a [`crate::supervised::Trainer`] takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// The update rule of the parameters.
    pub optimizer: Optimizer,
    /// The learning rate of `sgd` and `adam`.
    pub lr: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// L2 penalty, as in PyTorch's SGD and Adam.
    pub weight_decay: f64,
    /// A factor on all learning rates.
    pub schedule: Schedule,
    /// The largest norm of the pre-classifier's gradient; 0 for none.
    pub clip: f64,
    /// Passes over the training data.
    pub epochs: u64,
    /// Largest number of steps of the run.
    pub max_steps: Option<u64>,
    /// Samples in a batch; for a text, columns.
    pub batch_size: usize,
    /// Tokens of each column in a window of text.
    pub bptt: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Epochs without a better validation loss after which the run ends.
    pub patience: u64,
    /// Crops and flips of the training images.
    pub augment: bool,
    /// The order of the samples in an epoch.
    pub order: Order,
    /// The number format.
    pub precision: Precision,
    /// Steps between two `step` lines of the metrics; 0 for none.
    pub log_every: u64,
    /// File of initial parameters, under PyTorch's names.
    pub init: Option<PathBuf>,
    /// File of the pre-classifier's learning rates, by parameter.
    pub rates: Option<PathBuf>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            optimizer: Optimizer::Alrao,
            lr: 0.01,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Constant,
            clip: 0.0,
            epochs: 20,
            max_steps: None,
            batch_size: 32,
            bptt: 70,
            seed: 0,
            patience: 20,
            augment: false,
            order: Order::Shuffled,
            precision: Precision::F32,
            log_every: 20,
            init: None,
            rates: None,
        }
    }
}

/// The whole configuration of a run; `T` is the part that only its task has.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig<T> {
    /// The data, or the environment and the settings of Q-learning.
    pub task: T,
    /// The network.
    pub model: ModelConfig,
    /// Learning rates, classifiers and averaging.
    pub alrao: AlraoConfig,
    /// All other settings of training.
    pub train: TrainConfig,
    /// The device.
    pub device: DeviceKind,
    /// Threads of the CPU; all cores where `None`.
    pub threads: Option<usize>,
}

impl<T> RunConfig<T> {
    /// A task and a model, with defaults for the rest.
    pub fn new(task: T, model: ModelConfig) -> Self {
        RunConfig {
            task,
            model,
            alrao: AlraoConfig::default(),
            train: TrainConfig::default(),
            device: DeviceKind::default(),
            threads: None,
        }
    }
}

impl Precision {
    /// The precisions of the GPU kernels.
    pub const ON_A_GPU: &[Precision] = &[Precision::F32, Precision::Tf32, Precision::Bf16];

    /// The type of parameters and activations in memory.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F64 => DType::F64,
        }
    }

    /// The default on a device.
    pub fn usual_on(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Cuda(_) => Precision::Tf32,
            _ => Precision::F32,
        }
    }

    /// The precision nearest to this one on a device: a model trained in tf32 or bf16 is evaluated in f32 on the CPU.
    pub(crate) fn or_nearest_on(self, device: &Device) -> Self {
        match (self, device) {
            (Precision::Tf32 | Precision::Bf16, Device::Cpu(_)) => Precision::F32,
            (own, _) => own,
        }
    }

    /// Whether a device supports it.
    pub fn is_on(self, device: &Device) -> bool {
        match self {
            Precision::Tf32 => matches!(device, Device::Gpu(_)),
            _ => device.computes_in(self.dtype()),
        }
    }
}
