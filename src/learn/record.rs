//! The metadata of a checkpoint: the model's description, the settings that may not change, and the run's progress.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Table;
use crate::error::{Error, Result};
use crate::models::{Activation, Architecture, Input};
use crate::task::Task;

/// The architecture in the record of a model whose network is the user's own.
pub(crate) const OWN_NETWORK: &str = "own";

/// The metadata of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the layout.
    pub format: u32,
    /// The model's description, so that the file is enough to build it.
    pub model: Option<ModelRecord>,
    /// The settings that a run may not change, as TOML values by key; none in files of versions that did not
    /// record them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The run's progress.
    pub progress: Progress,
}

impl Record {
    /// Whether this can be the best epoch's record in the run whose last one is `last`. The best model is written first, so
    /// it may be of a later epoch.
    pub(crate) fn is_best_of(&self, last: &Record) -> bool {
        let is_same_model = match (&self.model, &last.model) {
            (Some(own), Some(other)) => own.sizes() == other.sizes(),
            _ => true,
        };
        is_same_model
            && changed_setting(&self.settings, &last.settings).is_none()
            && self.progress.best_epoch >= last.progress.best_epoch
    }
}

/// The first setting whose values differ, with both values. A setting that only one side has comes from another version and
/// is not compared.
pub(super) fn changed_setting<'a>(
    own: &'a BTreeMap<String, String>,
    other: &'a BTreeMap<String, String>,
) -> Option<[&'a str; 3]> {
    let mut common = own.iter().filter_map(|(key, own)| Some([&**key, own, other.get(key)?]));
    common.find(|[_, own, other]| !is_same_value(own, other))
}

/// Whether two TOML values are the same; of floats, the digits may differ.
fn is_same_value(own: &str, other: &str) -> bool {
    let float = |text: &str| text.parse::<f64>().ok().filter(|_| text.contains(['.', 'e', 'E']));
    own == other || float(own).is_some_and(|own| float(other) == Some(own))
}

/// The description needed to build the model and its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// The architecture's name; "own" for a network of the user's.
    pub architecture: String,
    /// Factor on the channels.
    pub width: f64,
    /// Hidden layers of an mlp.
    pub hidden: Vec<usize>,
    /// Activation of the hidden layers, if it is not ReLU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<String>,
    /// Probability of dropout.
    pub dropout: f64,
    /// Classifiers.
    pub classifiers: usize,
    /// Classes or outputs of one classifier.
    pub outputs: usize,
    /// Whether the outputs are means of Gaussians rather than classes.
    pub regression: bool,
    /// The extents of one input: height, width and channels, a vector's size, or the number of distinct tokens.
    #[serde(rename = "input")]
    pub extents: Vec<usize>,
    /// "f32", "tf32", "bf16" or "f64".
    pub precision: String,
    /// A text model's tokens in the order of their numbers: characters without separators, words one per line.
    pub vocabulary: Option<String>,
    /// "bytes" or "floats": the type of the training data's images or vectors. `None` for text, and in files of versions
    /// that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_type: Option<String>,
    /// The share and the seed of the validation part that was drawn from the training data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<(f64, u64)>,
    /// Mean and deviation by which the inputs were standardised, for each channel or column; `None` for inputs as they
    /// are.
    pub normalisation: Option<(Vec<f64>, Vec<f64>)>,
    /// The same of the numbers to predict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_normalisation: Option<(Vec<f64>, Vec<f64>)>,
    /// Names of the classes in the order of their numbers, if the data has names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Whether smaller images were given a black border.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub padded: bool,
    /// The columns of the training data, if it was a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
}

impl ModelRecord {
    /// One input.
    ///
    /// # Errors
    /// A message where no model takes such an input.
    pub(crate) fn input(&self) -> std::result::Result<Input, String> {
        match (self.extents.as_slice(), &self.vocabulary) {
            (&[vocabulary], Some(_)) => Ok(Input::Tokens { vocabulary }),
            (&[size], None) => Ok(Input::Vector { size }),
            (&[height, width, channels], None) => Ok(Input::Image { height, width, channels }),
            _ => Err(format!("has an input of shape {:?}, which no model takes", self.extents)),
        }
    }

    /// Checks that means, deviations and columns are as many as the inputs and the outputs.
    ///
    /// # Errors
    /// A message where they are not.
    pub(crate) fn check_columns(&self, input: Input) -> std::result::Result<(), String> {
        let inputs = input.extents().last().copied().unwrap_or_default();
        let pairs = [&self.normalisation, &self.target_normalisation];
        let lengths =
            pairs.map(|own| own.as_ref().map(|(mean, deviation)| [mean.len(), deviation.len()]));
        let is_whole = |(own, columns): (Option<[usize; 2]>, usize)| {
            own.is_none_or(|lengths| lengths == [columns; 2])
        };
        if !lengths.into_iter().zip([inputs, self.outputs]).all(is_whole) {
            return Err(
                "has another number of means than of inputs or targets: it is damaged".into()
            );
        }
        if self.table.as_ref().is_some_and(|table| table.inputs() != inputs) {
            return Err("has another number of columns than of inputs: it is damaged".into());
        }
        Ok(())
    }

    /// What determines the shapes of the model's parameters.
    fn sizes(&self) -> (&str, f64, &[usize], [usize; 2], &[usize]) {
        let ModelRecord { architecture, width, hidden, classifiers, outputs, extents, .. } = self;
        (architecture, *width, hidden, [*classifiers, *outputs], extents)
    }

    /// An input's entry in a record.
    pub(crate) fn extents_of(input: Input) -> Vec<usize> {
        match input {
            Input::Tokens { vocabulary } => vec![vocabulary],
            _ => input.extents(),
        }
    }

    /// The architecture.
    ///
    /// # Errors
    /// Where the network is the user's own, or of a later version.
    pub(crate) fn architecture(&self) -> Result<Architecture> {
        if self.architecture == OWN_NETWORK {
            let message = "is a network of its author's own, which no checkpoint describes: `Predictor::load` in Rust takes the network";
            return Err(Error::field("model", message));
        }
        self.architecture.parse()
    }

    /// Classification or regression.
    pub(crate) fn task(&self) -> Task {
        match self.regression {
            true => Task::Regression { outputs: self.outputs },
            false => Task::Classification { classes: self.outputs },
        }
    }

    /// An activation's entry in a record.
    pub(crate) fn name_of(activation: Activation) -> Option<String> {
        (activation != Activation::Relu).then(|| activation.name().to_owned())
    }

    /// Activation of the hidden layers.
    ///
    /// # Errors
    /// Where the record names an unknown activation.
    pub(crate) fn activation(&self) -> Result<Activation> {
        self.activation.as_deref().map_or(Ok(Activation::Relu), str::parse)
    }
}

/// The progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The current epoch, counted from 1; 0 before the first step.
    pub epoch: u64,
    /// Batches done in this epoch.
    pub batch: u64,
    /// The best epoch so far.
    pub best_epoch: Option<u64>,
    /// The best whole epoch, if its model was copied because an unfinished epoch is the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_whole_epoch: Option<u64>,
    /// Whether the epoch's steps are done but its evaluation is not.
    pub evaluate_next: bool,
    /// Whether the whole run is done, including the test.
    pub finished: bool,
    /// Number of metrics lines before those that a run writes only at its end: the line of an unfinished epoch, and the
    /// test's. If the run is later given more steps, these last lines are cut off.
    pub lines_before_end: Option<u64>,
    /// Number of metrics lines at the time of this checkpoint. A length in bytes would depend on the digits of a
    /// duration, and equal states must give equal files.
    pub metrics_lines: u64,
}
