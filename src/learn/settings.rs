//! What a user asks for: flags and the keys of a TOML file, each of which may be left out.

pub(crate) mod file;
mod keys;
pub(crate) mod number;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use keys::settings;
pub(crate) use resolve::is_generated;

use std::fmt::Display;
use std::path::PathBuf;

use crate::alrao::{AlraoConfig, AveragingKind};
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::learn::{Optimizer, Order, Precision, RunConfig, Schedule, TrainConfig};
use crate::models::{Activation, Architecture, ModelConfig};

settings! {
    /// The settings of `alrao train`. Each is a flag, and a key of a TOML file by its name in snake_case; `None` where it
    /// was not given.
    ///
    /// ```
    /// use alrao::learn::settings::Settings;
    /// let file = Settings::from_toml("model = 'mlp'\nhidden = [256, 256]\nepochs = 3", "run.toml".as_ref())?;
    /// let mut flags = Settings::default();
    /// flags.epochs = Some(5);
    /// let config = flags.over(file).resolve()?;
    /// assert_eq!((config.train.epochs, config.model.hidden), (5, vec![256, 256]));
    /// # Ok::<(), alrao::Error>(())
    /// ```
    Settings;
    /// The architecture.
    #[serde(with = "file::named")]
    model: Architecture,
    /// What the number of every layer's features is multiplied by.
    width: f64,
    /// Units of each hidden layer of an `mlp`.
    #[serde(deserialize_with = "file::hidden")]
    hidden: Vec<usize>,
    /// What stands behind each hidden layer of an `mlp`.
    #[serde(with = "file::named")]
    activation: Activation,
    /// Where the data comes from.
    data: String,
    /// The last part of the training data that is validated on.
    valid_split: f64,
    /// Rows and columns that the images of a folder are brought to.
    image_size: usize,
    /// At most so many samples of each part of the data.
    samples: usize,
    /// How parameters learn.
    #[serde(with = "file::named")]
    optimizer: Optimizer,
    /// The smallest learning rate.
    eta_min: f64,
    /// The largest learning rate.
    eta_max: f64,
    /// Copies of the last layer.
    classifiers: usize,
    /// The switch's parameter.
    theta: f64,
    /// How the copies are averaged.
    #[serde(with = "file::named")]
    averaging: AveragingKind,
    /// Every so many steps, copies that have lost all weight take the average's weights; 0 for never.
    catch_up: u64,
    /// The part of the features that learns at all.
    trained_fraction: f64,
    /// The learning rate of `sgd` and `adam`.
    lr: f64,
    /// SGD's momentum.
    momentum: f64,
    /// L2 penalty.
    weight_decay: f64,
    /// A factor on all learning rates.
    #[serde(with = "file::named")]
    schedule: Schedule,
    /// The largest norm of the pre-classifier's gradient; 0 for none.
    clip: f64,
    /// The part of an LSTM's activations that is dropped.
    dropout: f64,
    /// Tokens of a window of text.
    bptt: usize,
    /// Passes over the training data.
    epochs: u64,
    /// Steps after which the run ends at the latest.
    max_steps: u64,
    /// Samples of a step; a text's columns.
    batch_size: usize,
    /// What every random number is a function of.
    seed: u64,
    /// Epochs without a better validation loss after which the run ends.
    patience: u64,
    /// Crops and flips of the training images.
    augment: bool,
    /// The order of the samples in an epoch.
    #[serde(with = "file::named")]
    order: Order,
    /// Where to run.
    #[serde(with = "file::named")]
    device: DeviceKind,
    /// The numbers the run computes with.
    #[serde(with = "file::named")]
    precision: Precision,
    /// Threads of the CPU.
    threads: usize,
    /// Steps from one `step` line of the metrics to the next; 0 for none.
    log_every: u64,
    /// Initial parameters.
    init: PathBuf,
    /// The pre-classifier's learning rates.
    rates: PathBuf,
    /// The data's hash, in a run's own `config.toml`: not a flag, and nothing depends on it here.
    data_fingerprint: String,
}

impl Settings {
    fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::input(self.subject(key), message)
    }
}

/// The flag of a key.
pub fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// Reads the widths of hidden layers from a list such as `256,256`; an empty text is no layer.
///
/// # Errors
/// Where a part of the text is not a whole number of at least 1.
pub fn hidden_layers(text: &str) -> std::result::Result<Vec<usize>, String> {
    let text = text.trim();
    let parts = text.split(',').filter(|_| !text.is_empty());
    let units = parts.map(|part| part.trim().parse().ok().filter(|&units| units > 0));
    units.collect::<Option<Vec<usize>>>().ok_or_else(|| {
        format!("'{text}' is not a list of layer widths such as 256,256 (or an empty text for no hidden layer)")
    })
}

/// The settings that give this configuration back, to the bit, where it came from [`Settings::resolve`]. Only keys
/// that apply to the model and the optimizer are there.
impl From<&RunConfig> for Settings {
    fn from(config: &RunConfig) -> Settings {
        let RunConfig { model, data, alrao, train, .. } = config;
        let ModelConfig { architecture, width, hidden, activation, dropout } = model;
        let AlraoConfig {
            eta,
            classifiers,
            theta,
            averaging,
            likelihood: _,
            catch_up,
            trained_fraction,
        } = alrao;
        let optimizer = train.optimizer;
        let is_alrao = optimizer.is_alrao();
        let is_lstm = architecture.is_lstm();
        let is_mlp = *architecture == Architecture::Mlp;
        Settings {
            model: Some(*architecture),
            width: Some(*width),
            hidden: is_mlp.then(|| hidden.clone()),
            activation: is_mlp.then_some(*activation),
            data: Some(data.clone()),
            valid_split: Some(config.valid_split),
            image_size: config.image_size,
            samples: config.samples,
            optimizer: Some(optimizer),
            eta_min: is_alrao.then_some(*eta.start()),
            eta_max: is_alrao.then_some(*eta.end()),
            classifiers: is_alrao.then_some(*classifiers),
            theta: is_alrao.then_some(*theta),
            averaging: is_alrao.then_some(*averaging),
            catch_up: is_alrao.then_some(*catch_up),
            trained_fraction: is_alrao.then_some(*trained_fraction),
            lr: (!is_alrao).then_some(train.lr),
            momentum: (!optimizer.is_adam()).then_some(train.momentum),
            dropout: architecture.has_dropout().then_some(*dropout),
            bptt: is_lstm.then_some(train.bptt),
            augment: (!is_lstm).then_some(train.augment),
            order: (!is_lstm).then_some(train.order),
            device: Some(config.device),
            threads: config.threads,
            ..Settings::from(train)
        }
    }
}

/// The keys that apply whatever the model and the optimizer.
impl From<&TrainConfig> for Settings {
    fn from(train: &TrainConfig) -> Settings {
        Settings {
            weight_decay: Some(train.weight_decay),
            schedule: Some(train.schedule),
            clip: Some(train.clip),
            epochs: Some(train.epochs),
            max_steps: train.max_steps,
            batch_size: Some(train.batch_size),
            seed: Some(train.seed),
            patience: Some(train.patience),
            precision: Some(train.precision),
            log_every: Some(train.log_every),
            init: train.init.clone(),
            rates: train.rates.clone(),
            ..Settings::default()
        }
    }
}

/// What a message shows of a choice that a key was not given for.
pub(crate) fn because(reason: impl Display) -> String {
    format!("does not apply to {reason}; leave it out")
}

type Checked = Result<()>;
