//! Everything a run is a function of, resolved: what `config.toml` holds.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::device::{DType, Device, DeviceKind};
use crate::error::Error;
use crate::models::ModelConfig;
use crate::named::named;

named! {
    /// How parameters learn.
    Optimizer, "--optimizer" {
        /// SGD with random learning rates and a switch over the classifiers.
        Alrao = "alrao",
        /// One learning rate, one classifier.
        Sgd = "sgd",
        /// One learning rate, one classifier.
        Adam = "adam",
        /// Adam with random learning rates and a switch over the classifiers.
        AlraoAdam = "alrao-adam",
    }
}

impl Optimizer {
    /// Whether every feature draws its own learning rate.
    pub fn is_alrao(self) -> bool {
        matches!(self, Optimizer::Alrao | Optimizer::AlraoAdam)
    }

    /// Whether the update is Adam's.
    pub fn is_adam(self) -> bool {
        matches!(self, Optimizer::Adam | Optimizer::AlraoAdam)
    }
}

named! {
    /// The order of the samples in an epoch.
    Order, "--order" {
        /// Drawn anew for each epoch.
        Shuffled = "shuffled",
        /// As in the file.
        Sequential = "sequential",
    }
}

named! {
    /// The numbers a run computes with.
    Precision, "--precision" {
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

/// A factor on all learning rates, from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Always 1.
    Constant,
    /// `(1 + cos(pi (epoch - 1) / epochs)) / 2`.
    Cosine,
    /// Multiplied by `factor` every so many epochs.
    Step {
        /// Epochs from one change to the next.
        epochs: u64,
        /// What the rates are multiplied by.
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
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let forms = "constant, cosine or step:EPOCHS:FACTOR, such as step:10:0.5";
            Error::input("--schedule", format!("'{text}' is not {forms}"))
        };
        match *text.split(':').collect::<Vec<_>>() {
            ["constant"] => Ok(Schedule::Constant),
            ["cosine"] => Ok(Schedule::Cosine),
            ["step", epochs, factor] => {
                let epochs: u64 = epochs.parse().map_err(|_| wrong())?;
                let factor: f64 = factor.parse().map_err(|_| wrong())?;
                let is_valid = epochs > 0 && factor.is_finite() && factor >= 0.0;
                is_valid.then_some(Schedule::Step { epochs, factor }).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
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

/// How a model is trained, whatever the model and the data: what a [`crate::supervised::Trainer`] needs.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// How parameters learn.
    pub optimizer: Optimizer,
    /// The learning rate of `sgd` and `adam`.
    pub lr: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// L2 penalty, as PyTorch's SGD and Adam have it.
    pub weight_decay: f64,
    /// A factor on all learning rates.
    pub schedule: Schedule,
    /// The largest norm of the pre-classifier's gradient; 0 for none.
    pub clip: f64,
    /// Passes over the training data.
    pub epochs: u64,
    /// Steps after which the run ends at the latest.
    pub max_steps: Option<u64>,
    /// Samples of a step; a text's columns.
    pub batch_size: usize,
    /// Tokens of a window of text.
    pub bptt: usize,
    /// What every random number is a function of.
    pub seed: u64,
    /// Epochs without a better validation loss after which the run ends.
    pub patience: u64,
    /// Crops and flips of the training images.
    pub augment: bool,
    /// The order of the samples in an epoch.
    pub order: Order,
    /// The numbers the run computes with.
    pub precision: Precision,
    /// Steps from one `step` line of the metrics to the next; 0 for none.
    pub log_every: u64,
    /// Initial parameters, by PyTorch's names.
    pub init: Option<PathBuf>,
    /// The pre-classifier's learning rates, by parameter.
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

/// A whole run: the model, its data and how it is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// The architecture.
    pub model: ModelConfig,
    /// Where the data comes from, as the user wrote it.
    pub data: String,
    /// The last part of the training data that is validated on.
    pub valid_split: f64,
    /// Rows and columns that the images of a folder are brought to: the architecture's usual side where `None`. Other data
    /// has its own.
    pub image_size: Option<usize>,
    /// At most so many samples of each part of the data; all where `None`.
    pub samples: Option<usize>,
    /// Rates, classifiers and averaging.
    pub alrao: crate::alrao::AlraoConfig,
    /// Everything else about training.
    pub train: TrainConfig,
    /// Where to run.
    pub device: DeviceKind,
    /// Threads of the CPU; all cores where `None`.
    pub threads: Option<usize>,
}

impl Precision {
    /// Those that kernels compute in.
    pub const ON_A_GPU: &[Precision] = &[Precision::F32, Precision::Tf32, Precision::Bf16];

    /// The type of parameters and activations in memory.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F64 => DType::F64,
        }
    }

    /// What a device computes in for someone who does not say.
    pub fn usual_on(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Cuda => Precision::Tf32,
            _ => Precision::F32,
        }
    }

    /// This one, or the one with the same parameters in memory that a device has: what was trained in tf32 or bf16 is f32
    /// on the CPU.
    pub(crate) fn or_nearest_on(self, device: &Device) -> Self {
        match (self, device) {
            (Precision::Tf32 | Precision::Bf16, Device::Cpu(_)) => Precision::F32,
            (own, _) => own,
        }
    }

    /// Whether a device computes in it.
    pub fn is_on(self, device: &Device) -> bool {
        match self {
            Precision::Tf32 => matches!(device, Device::Gpu(_)),
            _ => device.computes_in(self.dtype()),
        }
    }
}
