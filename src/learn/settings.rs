//! A user's settings. Each one is a flag and a key of a TOML file, and may be left out.

pub(crate) mod check;
pub(crate) mod file;
mod group;
mod learning;

pub use group::{Group, GroupOf};
pub(crate) use group::{Place, settings};
pub use learning::{DeviceSettings, Layers, LearningSettings};

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::alrao::{AlraoConfig, AveragingKind};
use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::learn::{Optimizer, Precision, RunConfig, TrainConfig};

/// Adam's default learning rate.
const ADAM_LR: f64 = 1e-3;

/// AdamW's default weight decay, as PyTorch's.
const ADAMW_DECAY: f64 = 0.01;

/// The default learning rates of Alrao on Adam, one of the paper's intervals (Figure 7). Adam's steps are as long as its
/// rate, however small the gradient, so that rates up to 10 destroy the initial weights.
const ALRAO_ADAM_ETA: RangeInclusive<f64> = 1e-6..=0.1;

/// The settings that only one kind of run has, besides those of learning and the device.
pub trait TaskSettings: GroupOf<RunConfig<Self::Config>> {
    /// The part of a run's configuration that only this kind of run has.
    type Config;

    /// The settings that may change when a run is continued, besides the device's.
    const CHANGEABLE: &'static [&'static str];

    /// The content of a run's `config.toml` besides settings.
    type Notes: DeserializeOwned;

    /// The keys of the notes.
    const NOTES: &'static [&'static str] = &[];

    /// The reason why a setting has no effect beside the others, if it has none.
    fn why_without_effect(_: &Settings<Self>, _: &str) -> Option<String> {
        None
    }

    /// As [`Settings::resolve`], for settings whose values are in their ranges.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    fn resolve(settings: &Settings<Self>) -> Result<RunConfig<Self::Config>>;
}

/// All settings of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings<T> {
    /// The settings of its task.
    pub task: T,
    /// The settings of learning.
    pub learning: LearningSettings,
    /// The settings of the device.
    pub device: DeviceSettings,
    /// The file of each key that came from one, for messages.
    pub(crate) origins: BTreeMap<&'static str, PathBuf>,
}

impl<T: TaskSettings> Settings<T> {
    /// Settings from three groups.
    pub fn new(task: T, learning: LearningSettings, device: DeviceSettings) -> Self {
        Settings { task, learning, device, origins: BTreeMap::new() }
    }

    /// A run's configuration: the settings, and defaults that depend on some of them.
    ///
    /// # Errors
    /// [`Error::Input`] naming the setting, or the key and its file: a number that is not finite or out of its range, a
    /// setting that the model or the optimizer does not have, or settings that contradict each other.
    pub fn resolve(&self) -> Result<RunConfig<T::Config>> {
        self.check_values()?;
        T::resolve(self)
    }

    /// The keys that have a value.
    pub fn given(&self) -> Vec<&'static str> {
        [self.task.given(), self.learning.given(), self.device.given()].concat()
    }

    /// These settings, completed by those of `base`: flags over a file.
    pub fn over(self, base: Self) -> Self {
        let mut origins = base.origins;
        self.given().iter().for_each(|key| drop(origins.remove(key)));
        origins.extend(self.origins);
        Settings {
            task: self.task.over(base.task),
            learning: self.learning.over(base.learning),
            device: self.device.over(base.device),
            origins,
        }
    }

    /// Reads a TOML file; see [`Settings::from_toml`].
    ///
    /// # Errors
    /// [`Error::Input`] where the file cannot be read, and those of [`Settings::from_toml`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::file::read_text(path).map_err(|error| {
            Error::input(format!("`config` {}", path.display()), format!("cannot be read: {error}"))
        })?;
        Settings::from_toml(&text, path)
    }

    /// Reads a TOML file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, the line and the key: text that is not TOML, an unknown key, a value of the
    /// wrong type.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let keys = [T::KEYS, LearningSettings::KEYS, DeviceSettings::KEYS];
        file::check_keys(text, path, &keys.concat(), T::NOTES)?;
        file::parse::<T::Notes>(text, path)?;
        let mut settings = Settings::new(
            file::parse(text, path)?,
            file::parse(text, path)?,
            file::parse(text, path)?,
        );
        settings.origins = settings.given().iter().map(|key| (*key, path.to_owned())).collect();
        Ok(settings)
    }

    /// The settings as TOML, one key per line.
    pub fn to_toml(&self) -> String {
        file::to_toml(&self.task) + &file::to_toml(&self.learning) + &file::to_toml(&self.device)
    }

    /// The settings that a run may not change, as TOML values by key. Paths are not among them: files may move.
    pub(crate) fn fixed(&self) -> BTreeMap<String, String> {
        const PATHS: &[&str] = &["data", "init", "rates"];
        let varies = [T::CHANGEABLE, DeviceSettings::KEYS, PATHS].concat();
        let fixed = self.clone().retain(&|key| !varies.contains(&key));
        let text = fixed.to_toml();
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The settings that reproduce a configuration.
    pub(crate) fn of(config: &RunConfig<T::Config>) -> Self {
        let mut learning = LearningSettings::of(config);
        let (low, high) = config.alrao.eta.clone().into_inner();
        (learning.eta_min, learning.eta_max) = (Some(low), Some(high));
        Settings::new(T::of(config), learning, DeviceSettings::of(config))
    }

    /// Keeps only the settings whose key is wanted.
    pub(crate) fn retain(mut self, is_wanted: &dyn Fn(&str) -> bool) -> Self {
        self.task.retain(is_wanted);
        self.learning.retain(is_wanted);
        self.device.retain(is_wanted);
        self
    }

    /// Writes the given settings to a configuration, except Alrao's interval of learning rates.
    pub(crate) fn apply(&self, config: &mut RunConfig<T::Config>) {
        self.task.apply(config);
        self.learning.apply(config);
        self.device.apply(config);
    }

    /// Writes the settings that a continued run may change to its configuration. The device is not among them, since
    /// the run continues on the device that is opened.
    pub(crate) fn apply_changes(&self, config: &mut RunConfig<T::Config>) {
        self.clone().retain(&|key| T::CHANGEABLE.contains(&key)).apply(config);
    }

    /// The name of a setting in messages: the flag, or the key and its file.
    fn subject(&self, key: &str) -> String {
        match self.origins.get(key) {
            Some(path) => format!("key '{key}' in {}", path.display()),
            None => format!("`{key}`"),
        }
    }

    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> Error {
        Error::input(self.subject(key), message)
    }

    /// An error about a setting, with the key and its file in place of the setting if it came from a file.
    pub fn with_file_of(&self, error: Error) -> Error {
        let (subject, message) = match error {
            Error::Input { subject, message } => (subject, message),
            Error::Device { device, message } => (format!("`device` {device}"), message),
            other => return other,
        };
        let parts = subject.strip_prefix('`').and_then(|rest| rest.split_once('`'));
        let Some((key, value)) = parts.filter(|(key, _)| self.origins.contains_key(key)) else {
            return Error::Input { subject, message };
        };
        let value = value.trim();
        let value = if value.is_empty() { String::new() } else { format!(" ({value})") };
        Error::input(self.subject(key) + &value, message)
    }

    /// The settings without those that have no effect beside the others, which a run of an earlier version may have.
    pub(crate) fn with_effect(self) -> Self {
        let given = self.clone();
        self.retain(&|key| given.why_without_effect(key).is_none())
    }

    /// The reason why a setting has no effect beside the others, if it has none.
    fn why_without_effect(&self, key: &str) -> Option<String> {
        let is_bayesian = self.learning.averaging == Some(AveragingKind::Bayesian);
        match key {
            "theta" if is_bayesian => Some(
                "does not apply to `averaging` bayesian, which never switches; leave it out".into(),
            ),
            _ => T::why_without_effect(self, key),
        }
    }

    /// Checks each given value on its own.
    ///
    /// # Errors
    /// [`Error::Input`] naming the setting, or the key and its file.
    pub fn check_values(&self) -> Result<()> {
        let checked = self.task.check().and(self.learning.check()).and(self.device.check());
        checked.map_err(|(key, message)| self.error(key, message))
    }

    /// Refuses the first given setting for which `why_not` returns a reason.
    pub(crate) fn refuse(&self, why_not: impl Fn(&str) -> Option<String>) -> Result<()> {
        let mut given = self.given().into_iter();
        match given.find_map(|key| Some((key, why_not(key)?))) {
            Some((key, why_not)) => Err(self.error(key, why_not)),
            None => Ok(()),
        }
    }

    /// The configuration `usual` with the given settings, and with the defaults of the optimizer and the device.
    ///
    /// # Errors
    /// [`Error::Input`] naming the setting, or the key and its file: a setting that the optimizer does not have or that has no
    /// effect, or settings that contradict each other.
    pub(crate) fn applied_to(
        &self,
        mut usual: RunConfig<T::Config>,
    ) -> Result<RunConfig<T::Config>> {
        let optimizer = self.learning.optimizer.unwrap_or(usual.train.optimizer);
        let has_one_classifier = self.learning.classifiers == Some(1);
        self.refuse(|key| {
            let is_right = key == "classifiers" && has_one_classifier;
            not_of_optimizer(key, optimizer).filter(|_| !is_right)
        })?;
        self.refuse(|key| self.why_without_effect(key))?;
        match optimizer {
            Optimizer::Adam => usual.train.lr = ADAM_LR,
            Optimizer::AdamW => {
                (usual.train.lr, usual.train.weight_decay) = (ADAM_LR, ADAMW_DECAY);
            }
            Optimizer::AlraoAdam => usual.alrao.eta = ALRAO_ADAM_ETA,
            Optimizer::Alrao | Optimizer::Sgd => {}
        }
        let eta = self.eta(&usual.alrao.eta)?;
        self.apply(&mut usual);
        usual.train.precision =
            self.learning.precision.unwrap_or(Precision::usual_on(usual.device));
        self.check_precision(usual.device)?;
        usual.alrao = match optimizer.is_alrao() {
            true => AlraoConfig { eta, ..usual.alrao },
            false => {
                let lr = usual.train.lr;
                AlraoConfig { eta: lr..=lr, classifiers: 1, ..usual.alrao }
            }
        };
        Ok(usual)
    }

    /// The interval of Alrao's learning rates. An end that is not given is that of `usual`.
    pub(crate) fn eta(&self, usual: &RangeInclusive<f64>) -> Result<RangeInclusive<f64>> {
        let LearningSettings { eta_min, eta_max, .. } = self.learning;
        let [low, high] = [eta_min.unwrap_or(*usual.start()), eta_max.unwrap_or(*usual.end())];
        if low <= high {
            return Ok(low..=high);
        }
        let other = |key: &str, given: Option<f64>, value: f64| {
            let origin = if given.is_some() { "" } else { " (the default)" };
            format!("{}'s {value:?}{origin}", self.subject(key))
        };
        Err(match eta_min {
            Some(_) => {
                let largest = other("eta_max", eta_max, high);
                let message = format!("{low:?} is above {largest}; lower it or raise the other");
                self.error("eta_min", message)
            }
            None => {
                let smallest = other("eta_min", None, low);
                let message = format!("{high:?} is below {smallest}; raise it or lower the other");
                self.error("eta_max", message)
            }
        })
    }

    fn check_precision(&self, device: DeviceKind) -> Result<()> {
        let message = match (device, self.learning.precision) {
            (DeviceKind::Cpu, Some(precision @ (Precision::Tf32 | Precision::Bf16))) => {
                format!("{precision} is a GPU's; the cpu computes in f32 or f64: use f32")
            }
            (DeviceKind::Cuda(_) | DeviceKind::Simulator, Some(Precision::F64)) => {
                format!("f64 is the cpu's, not the {device}'s; use `device` cpu")
            }
            _ => return Ok(()),
        };
        Err(self.error("precision", message))
    }
}

/// Checks the values that the optimizer uses, each on its own and all together.
///
/// # Errors
/// [`Error::Input`] naming the field.
pub(crate) fn validate<T: TaskSettings>(config: &RunConfig<T::Config>) -> Result<()> {
    let TrainConfig { optimizer, .. } = config.train;
    let settings = Settings::<T>::of(config);
    settings.clone().retain(&|key| not_of_optimizer(key, optimizer).is_none()).check_values()?;
    settings.eta(&config.alrao.eta)?;
    match not_of_optimizer("classifiers", optimizer) {
        Some(message) if config.alrao.classifiers != 1 => {
            Err(settings.error("classifiers", message))
        }
        _ => Ok(()),
    }
}

/// The reason why a setting does not apply to an optimizer.
pub(crate) fn not_of_optimizer(key: &str, optimizer: Optimizer) -> Option<String> {
    let name = format!("`optimizer` {optimizer}");
    match (key, optimizer.is_alrao()) {
        ("momentum", _) if optimizer.is_adam() => {
            Some(format!("{}: Adam has its own moments", not_applying_to(&name)))
        }
        ("lr", true) => Some(format!(
            "does not apply to {name}, which draws the rates; use `eta_min` and `eta_max`, or `optimizer` sgd"
        )),
        ("classifiers", false) => Some(format!("{name} has one classifier; leave it out")),
        ("eta_min" | "eta_max", false) => {
            Some(format!("does not apply to {name}, which has one learning rate; use `lr`"))
        }
        ("theta" | "averaging" | "catch_up" | "trained_fraction", false) => {
            Some(format!("{}; it is Alrao's", not_applying_to(&name)))
        }
        _ => None,
    }
}

/// The beginning of a reason why a setting does not apply.
pub(crate) fn not_applying_to(choice: &str) -> String {
    format!("does not apply to {choice}; leave it out")
}

/// Reads the widths of hidden layers from a list such as `256,256`; an empty text is no layer.
///
/// # Errors
/// Where a part of the text is not a whole number of at least 1.
pub fn hidden_layers(text: &str) -> std::result::Result<Layers, String> {
    let text = text.trim();
    let parts = text.split(',').filter(|_| !text.is_empty());
    let units = parts.map(|part| part.trim().parse().ok().filter(|&units| units > 0));
    units.collect::<Option<Layers>>().ok_or_else(|| {
        format!("'{text}' is not a list of layer widths such as 256,256 (or an empty text for no hidden layer)")
    })
}

#[cfg(feature = "cli")]
impl crate::argument::Argument for Layers {
    fn parser() -> impl clap::builder::TypedValueParser<Value = Self> {
        hidden_layers
    }
}
