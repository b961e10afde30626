//! The settings of every training run.

use super::group::settings;
use super::{Group, check, hidden_layers};
use crate::alrao::AveragingKind;
use crate::device::{Device, DeviceKind};
use crate::error::{Error, Result};
use crate::learn::{Optimizer, Precision, RunConfig};
use crate::models::Activation;

/// Units of each hidden layer: one argument of the command line.
pub type Layers = Vec<usize>;

settings! {
    /// Settings of the hidden layers, of learning and of the log.
    LearningSettings, [T] RunConfig<T>;
    "Hidden layers" {
        /// mlp and Q-networks: units of each hidden layer; an empty text for none [default: 256,256; Q-networks 64,64]
        #[serde(deserialize_with = "hidden")]
        hidden: Layers, "UNITS,..", |layers: &Layers| layers.iter().try_for_each(check::size) => model.hidden;
        /// mlp and Q-networks: activation of the hidden layers; with relu, large learning rates mostly diverge in Q-networks [default: relu; Q-networks tanh]
        activation: Activation, "ACTIVATION", check::any => model.activation;
    }
    "Learning rates" {
        /// Update rule [default: alrao]
        optimizer: Optimizer, "OPTIMIZER", check::any => train.optimizer;
        /// Alrao: the smallest learning rate [default: 1e-5; LSTMs 1e-3; alrao-adam 1e-6]
        eta_min: f64, "RATE", check::rate;
        /// Alrao: the largest learning rate [default: 10; LSTMs 100; alrao-adam 0.1]
        eta_max: f64, "RATE", check::rate;
        /// Alrao: copies of the last layer, the classifiers [default: 10; LSTMs 6]
        classifiers: usize, "N", check::size => alrao.classifiers;
        /// Alrao: how much the switch expects to keep switching, above 0, at most 1 [default: 0.999]
        theta: f64, "THETA", check::up_to_one => alrao.theta;
        /// Alrao: rule that weighs the classifiers [default: switch]
        averaging: AveragingKind, "AVERAGE", check::any => alrao.averaging;
        /// Alrao: share of the pre-classifier's features that learn [default: 1]
        trained_fraction: f64, "SHARE", check::share("0 to 1 (all)") => alrao.trained_fraction;
        /// sgd, adam and adamw: the learning rate; 0 learns nothing [default: 0.01; adam and adamw 0.001]
        lr: f64, "RATE", check::rate_or_none => train.lr;
        /// alrao and sgd: momentum, from 0 to below 1 [default: 0]
        momentum: f64, "FACTOR", check::below_one("0 (none) to below 1") => train.momentum;
        /// L2 penalty; adamw: apart from the gradient [default: 0; adamw 0.01]
        weight_decay: f64, "FACTOR", check::not_negative => train.weight_decay;
        /// Largest norm of the pre-classifier's gradient; 0 for no clip [default: 0]
        clip: f64, "NORM", check::real(|x| x >= 0.0, "0 (no clip) or a number above 0") => train.clip;
    }
    "Run" {
        /// Samples in a step; LSTMs: columns of the text; Q-learning: transitions in an update [default: 32; LSTMs 20]
        batch_size: usize, "N", check::size => train.batch_size;
        /// Seed of all random numbers but those of generated data [default: 0]
        seed: u64, "SEED", check::any => train.seed;
        /// Number format: f32; f64 on the cpu; tf32 or bf16 on a GPU [default: tf32 on cuda, else f32]
        precision: Precision, "PRECISION", check::any => train.precision;
        /// Updates from one step line of metrics.jsonl to the next; 0 for none [default: 20; Q-learning 500]
        log_every: u64, "UPDATES", check::any => train.log_every;
    }
}

settings! {
    /// The settings of the device, for every command.
    DeviceSettings, [T] RunConfig<T>;
    "Device" {
        /// Where to run; auto takes cuda if it can be opened, else cpu; cuda:1 is the second GPU, and so on; simulator runs cuda's kernels on the cpu [default: auto]
        device: DeviceKind, "DEVICE", check::any => device;
        /// Threads of the cpu or the simulator; results do not depend on them [default: all cores]
        threads: usize, "N", check::items => threads;
    }
}

impl DeviceSettings {
    /// Opens the device.
    ///
    /// # Errors
    /// As [`Device::open_with_threads`], and where the number of threads is 0.
    pub fn open(&self) -> Result<Device> {
        self.check().map_err(|(key, message)| Error::field(key, message))?;
        Device::open_with_threads(self.device.unwrap_or_default(), self.threads)
    }
}

/// A list of whole numbers, or a text such as `"256,256"`.
fn hidden<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Layers>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a list of layer widths such as [256, 256], or \"256,256\""
    )]
    enum Hidden {
        List(Vec<usize>),
        Text(String),
    }
    match serde::Deserialize::deserialize(deserializer)? {
        Hidden::List(layers) => Ok(Some(layers)),
        Hidden::Text(text) => hidden_layers(&text).map(Some).map_err(serde::de::Error::custom),
    }
}
