//! Reports to the observer and lines of `metrics.jsonl`.

use serde::Serialize;

use super::measurement::RegressionErrors;
use crate::learn;

/// The result of a run; the best epoch comes with its validation loss, if there is one.
pub type Report = learn::Report<Option<f64>, TestReport>;

/// The length of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Steps of a whole epoch.
    pub steps_per_epoch: u64,
    /// The largest number of epochs.
    pub epochs: u64,
    /// The largest number of steps.
    pub max_steps: Option<u64>,
}

/// The state of an epoch in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps of this epoch done.
    pub step_in_epoch: u64,
    /// Mean loss over the epoch so far.
    pub loss: f64,
    /// Mean accuracy over the epoch so far.
    pub accuracy: Option<f64>,
    /// The weight of each classifier.
    pub posterior: Vec<f64>,
    /// Training samples per second in this process.
    pub samples_per_second: f64,
}

/// The result of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: u64,
    /// Mean loss over the epoch's steps, each before its update.
    pub train_loss: f64,
    /// `None` for regression.
    pub train_accuracy: Option<f64>,
    /// `None` without validation data.
    pub valid_loss: Option<f64>,
    /// `None` without validation data, and for regression.
    pub valid_accuracy: Option<f64>,
    /// Mean squared error on the validation data, in the targets' own units; in regression only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_mse: Option<f64>,
    /// Mean absolute error on the validation data; in regression only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_mae: Option<f64>,
    /// Coefficient of determination on the validation data; in regression only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_r2: Option<f64>,
    /// The weight of each classifier after the epoch.
    pub posterior: Vec<f64>,
    /// Time spent on the epoch's steps in this process.
    pub seconds: f64,
    /// Training samples per second in this process.
    pub samples_per_second: f64,
    /// Whether it is the best epoch so far.
    #[serde(skip)]
    pub is_best: bool,
}

/// The best epoch's model on the test data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The epoch whose model was tested.
    pub epoch: u64,
    /// Mean loss, in nats.
    pub loss: f64,
    /// `None` for regression.
    pub accuracy: Option<f64>,
    /// `None` for classification.
    #[serde(flatten)]
    pub errors: Option<RegressionErrors>,
}
