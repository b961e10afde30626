//! The settings of `alrao train`.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{self, ColumnList, Missing, Normalize, TableOptions, TargetKind};
use crate::error::Result;
use crate::learn::settings::{
    self as settings, TaskSettings, check, not_applying_to, not_of_optimizer,
};
use crate::learn::{self, Order, Schedule};
use crate::models::{Activation, Architecture, ModelConfig};

/// Epochs on generated images and text, which are learnt quickly.
const GENERATED_EPOCHS: u64 = 12;

/// The longest side of a model's images.
const MOST_PIXELS: usize = 4096;

/// The data of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// The source of the data, as the user wrote it.
    pub data: String,
    /// Share of the training data for validation.
    pub valid_split: f64,
    /// Seed of the draw of the validation part.
    pub split_seed: u64,
    /// Which numbers are standardised.
    pub normalize: Normalize,
    /// The column of a CSV to predict; `None` for other data.
    pub target: Option<String>,
    /// The columns of a CSV that are left out of the inputs; `None` for none.
    pub ignore: Option<ColumnList>,
    /// Whether that column holds classes or numbers; its cells decide if `None`.
    pub task: Option<TargetKind>,
    /// The treatment of missing values in a CSV; they are refused if `None`.
    pub missing: Option<Missing>,
    /// Whether the data is read as version 0.1.0 read it: see [`crate::data::LoadOptions::first_rules`].
    pub first_rules: bool,
    /// Height and width of a folder's images once resized; the architecture's usual side if `None`. Other data has its
    /// own size.
    pub image_size: Option<usize>,
    /// Rows and columns that smaller images in arrays are given by a black border; none if `None`.
    pub pad: Option<usize>,
    /// Largest number of samples of each part of the data; all if `None`.
    pub samples: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            data: "generated".into(),
            valid_split: 0.2,
            split_seed: 0,
            normalize: Normalize::Standard,
            target: None,
            ignore: None,
            task: None,
            missing: None,
            first_rules: false,
            image_size: None,
            pad: None,
            samples: None,
        }
    }
}

impl DataConfig {
    /// How a CSV is read.
    pub(super) fn table_options(&self) -> TableOptions {
        let usual = TableOptions::default();
        TableOptions {
            target: self.target.clone(),
            ignore: self.ignore.clone().unwrap_or_default(),
            task: self.task.unwrap_or(usual.task),
            missing: self.missing.unwrap_or(usual.missing),
            known: None,
        }
    }
}

/// The whole configuration of a run of supervised learning.
pub type RunConfig = learn::RunConfig<DataConfig>;

/// All settings of `alrao train`.
///
/// ```
/// use alrao::supervised::settings::Settings;
/// let file = Settings::from_toml("model = 'mlp'\nhidden = [256, 256]\nepochs = 3", "run.toml".as_ref())?;
/// let mut flags = Settings::default();
/// flags.task.epochs = Some(5);
/// let config = flags.over(file).resolve()?;
/// assert_eq!((config.train.epochs, config.model.hidden), (5, vec![256, 256]));
/// # Ok::<(), alrao::Error>(())
/// ```
pub type Settings = settings::Settings<SupervisedSettings>;

settings::settings! {
    /// Settings of models, data and supervised training.
    SupervisedSettings, [] RunConfig;
    "Model and data" {
        /// Architecture [default: cnn; mlp for a CSV and vectors, char-lstm for FILE.txt or a folder with train.txt]
        model: Architecture, "MODEL", check::any => model.architecture;
        /// Factor on the number of every layer's features [default: 1]
        width: f64, "FACTOR", check::real(|x| x > 0.0 && x <= 1000.0, "a number above 0, at most 1000") => model.width;
        /// LSTMs and alexnet: share of the activations that is dropped [default: 0.2; alexnet 0.5]
        dropout: f64, "SHARE", check::below_one("0 (none) to below 1") => model.dropout;
        /// generated[:SEED], FILE.safetensors, FILE.npz, FILE.csv (with --target), a folder with CIFAR-10's or CIFAR-100's *.bin files, MNIST's files, *.npy or images in train/CLASS/ or CLASS/; LSTMs: a text, or a folder with train.txt [default: generated]
        data: String, "DATA", not_empty => task.data;
        /// CSV: the column to predict, by its name or its number from 1
        target: String, "COLUMN", column => task.target;
        /// CSV: columns that are left out of the inputs, such as an id, by their names or numbers from 1; a name with a comma in quotation marks
        #[serde(deserialize_with = "columns")]
        ignore: ColumnList, "COLUMN,..", data::check_columns => task.ignore;
        /// CSV: --target holds classes (classification) or numbers (regression); auto takes texts and few different whole numbers for classes [default: auto]
        task: TargetKind, "TASK", check::any => task.task;
        /// CSV: missing values are refused (refuse), or replaced by the mean of their column in the training part (mean) [default: refuse]
        missing: Missing, "RULE", check::any => task.missing;
        /// Share of each class that is set aside for validation if the data has no validation part; in regression, of all samples; of a text, its end; 0 for none [default: 0.2]
        valid_split: f64, "SHARE", check::below_one("0 (no validation) to below 1") => task.valid_split;
        /// Seed of the draw of the validation part [default: 0]
        split_seed: u64, "SEED", check::any => task.split_seed;
        /// Which inputs and targets are standardised by the training part's mean and deviation: standard (all) or none [default: standard]
        normalize: Normalize, "WHICH", check::any => task.normalize;
        /// A folder of images: height and width of the images once resized [default: 32; alexnet, resnet50, densenet121 224]
        image_size: usize, "PIXELS", check::up_to(MOST_PIXELS) => task.image_size;
        /// Images in arrays: rows and columns that they are given by a black border; 32 lets vgg and mobilenetv2 take MNIST
        pad: usize, "PIXELS", check::up_to(MOST_PIXELS) => task.pad;
        /// Largest number of samples of each part of the data, drawn once for all; of a text, characters or words from its start [default: all]
        samples: usize, "N", check::items => task.samples;
        /// Crop and flip the training images at random
        #[cfg_attr(feature = "cli", arg(num_args = 0, default_missing_value = "true"))]
        augment: bool, "", check::any => train.augment;
        /// Order of the samples in an epoch [default: shuffled]
        order: Order, "ORDER", check::any => train.order;
        /// LSTMs: characters or words of each column in a step [default: 70]
        bptt: usize, "N", check::size => train.bptt;
    }
    "Training" {
        /// Passes over the training data [default: 20; generated data 12]
        epochs: u64, "N", check::count => train.epochs;
        /// Largest number of steps of the run
        max_steps: u64, "N", check::count => train.max_steps;
        /// Epochs without a better validation loss after which the run ends [default: 20]
        patience: u64, "EPOCHS", check::count => train.patience;
        /// Factor on all learning rates: constant, cosine or step:EPOCHS:FACTOR [default: constant]
        schedule: Schedule, "SCHEDULE", Schedule::check => train.schedule;
        /// Alrao: interval in steps at which classifiers without weight take the weighted mean of all [default: 0, never]
        catch_up: u64, "STEPS", check::any => alrao.catch_up;
        /// Initial parameters by PyTorch's names; a run's best.safetensors serves
        init: PathBuf, "FILE.safetensors", check::file => train.init;
        /// Learning rates of the features by PyTorch's names, in place of random ones; the classifiers keep theirs
        rates: PathBuf, "FILE.safetensors", check::file => train.rates;
    }
}

/// The content of a run's `config.toml` besides settings.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// The hash of the data.
    pub(super) data_fingerprint: Option<String>,
    /// The version of the rules by which the data was read; version 0.1.0 did not write it.
    pub(super) data_rules: Option<u32>,
    /// Samples of each class in the training part.
    pub(super) train_classes: Option<Vec<usize>>,
    /// The same in the validation part.
    pub(super) valid_classes: Option<Vec<usize>>,
    /// The same in the test part.
    pub(super) test_classes: Option<Vec<usize>>,
}

impl TaskSettings for SupervisedSettings {
    type Config = DataConfig;
    const CHANGEABLE: &'static [&'static str] = &["epochs", "patience", "max_steps", "log_every"];
    type Notes = Note;
    const NOTES: &'static [&'static str] =
        &["data_fingerprint", "data_rules", "train_classes", "valid_classes", "test_classes"];

    fn why_without_effect(settings: &Settings, key: &str) -> Option<String> {
        let has_rates = settings.task.rates.is_some();
        (key == "trained_fraction" && has_rates).then(|| {
            format!(
                "{}: a file of rates freezes a feature by the rate 0",
                not_applying_to("`rates`")
            )
        })
    }

    /// The defaults depend on the model and the data.
    fn resolve(settings: &Settings) -> Result<RunConfig> {
        let architecture = settings.task.model.unwrap_or_else(|| usual_model(&settings.task));
        let is_off = settings.task.augment == Some(false);
        settings.refuse(|key| {
            not_of_model(key, architecture).filter(|_| !(key == "augment" && is_off))
        })?;
        let mut usual = usual(architecture);
        if settings.task.data.as_deref().is_none_or(is_generated) {
            usual.train.epochs = GENERATED_EPOCHS;
        }
        settings.applied_to(usual)
    }
}

/// Refuses an empty text.
fn column(text: &str) -> std::result::Result<(), String> {
    match text.is_empty() {
        true => Err("is empty; give a column's name or number".into()),
        false => Ok(()),
    }
}

/// A list of names, or a text such as `"id,name"`.
fn columns<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<ColumnList>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a list of columns such as [\"id\", \"name\"], or \"id,name\""
    )]
    enum Columns {
        List(Vec<String>),
        Text(String),
    }
    match Deserialize::deserialize(deserializer)? {
        Columns::List(names) => Ok(Some(names)),
        Columns::Text(text) => data::column_list(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

/// Refuses an empty text.
fn not_empty(text: &str) -> std::result::Result<(), String> {
    match text.is_empty() {
        true => Err("is empty; give a file, a folder, or generated".into()),
        false => Ok(()),
    }
}

/// Whether data is generated rather than read.
pub(crate) fn is_generated(data: &str) -> bool {
    data == "generated" || data.starts_with("generated:")
}

/// The model where none is named: by the data, so that a table, a text or images need no flag.
fn usual_model(task: &SupervisedSettings) -> Architecture {
    let data = task.data.as_deref().unwrap_or("generated");
    match () {
        _ if task.target.is_some() => Architecture::Mlp,
        _ if data::is_named_as_text(data) => Architecture::CharLstm,
        _ if data::has_vectors(data) => Architecture::Mlp,
        _ => Architecture::Cnn,
    }
}

/// The default configuration of an architecture.
pub(super) fn usual(architecture: Architecture) -> RunConfig {
    let is_mlp = architecture == Architecture::Mlp;
    let model = ModelConfig {
        architecture,
        width: 1.0,
        hidden: if is_mlp { vec![256, 256] } else { Vec::new() },
        activation: Activation::Relu,
        dropout: match architecture {
            _ if architecture.is_lstm() => 0.2,
            _ if architecture.has_dropout() => 0.5,
            _ => 0.0,
        },
    };
    let mut config = RunConfig::new(DataConfig::default(), model);
    if architecture.is_lstm() {
        (config.alrao.eta, config.alrao.classifiers) = (1e-3..=100.0, 6);
        config.train.batch_size = 20;
    }
    config
}

/// The reason why a setting does not apply to an architecture.
fn not_of_model(key: &str, architecture: Architecture) -> Option<String> {
    let is_lstm = architecture.is_lstm();
    let reason = match key {
        "hidden" | "activation" if architecture != Architecture::Mlp => "; it is mlp's",
        "dropout" if !architecture.has_dropout() => "; it is the LSTMs' and alexnet's",
        "bptt" if !is_lstm => "; it is the LSTMs'",
        "order" if is_lstm => ": a text is read in order",
        "image_size" if is_lstm => ": it is for folders of images",
        "pad" if is_lstm => ": it is for images",
        "augment" if is_lstm => ": it is for images",
        "target" | "ignore" | "task" | "missing" if is_lstm => ": it is for a CSV",
        "split_seed" if is_lstm => ": a text's last part is for validation",
        "normalize" if is_lstm => ": it is for images and vectors",
        _ => return None,
    };
    Some(format!("{}{reason}", not_applying_to(&format!("`model` {architecture}"))))
}

/// The settings that reproduce a configuration from [`Settings::resolve`] exactly. They contain only keys that apply to
/// the model and the optimizer.
impl From<&RunConfig> for Settings {
    fn from(config: &RunConfig) -> Settings {
        let (architecture, optimizer) = (config.model.architecture, config.train.optimizer);
        Settings::of(config)
            .retain(&|key| {
                not_of_model(key, architecture).is_none()
                    && not_of_optimizer(key, optimizer).is_none()
                    && !(config.task.first_rules && ["split_seed", "normalize"].contains(&key))
            })
            .with_effect()
    }
}
