//! Reports to the observer and lines of `metrics.jsonl`.

use serde::Serialize;

use crate::learn;

/// The result of a run. Its best epoch has the mean return of its evaluation.
pub type Report = learn::Report<f64, TestReport>;

/// The result of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochReport {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps of the environment so far.
    pub step: u64,
    /// Updates so far.
    pub updates: u64,
    /// Episodes that have ended so far.
    pub episodes: u64,
    /// Mean return of the evaluation's episodes.
    #[serde(rename = "return")]
    pub mean_return: f64,
    /// Their standard deviation.
    pub return_deviation: f64,
    /// Mean return of the episodes that ended in the epoch, random actions included; `None` where none did.
    pub training_return: Option<f64>,
    /// Mean loss of the epoch's updates, before each update; `None` without updates.
    pub loss: Option<f64>,
    /// The share of random actions at the end of the epoch.
    pub epsilon: f64,
    /// The weight of each classifier after the epoch.
    pub posterior: Vec<f64>,
    /// Time spent on the epoch's steps in this process.
    pub seconds: f64,
    /// Steps of the environment per second in this process.
    pub steps_per_second: f64,
    /// Whether it is the best epoch so far.
    #[serde(skip)]
    pub is_best: bool,
}

/// The best epoch's network in new episodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The epoch of the tested network.
    pub epoch: u64,
    /// Mean return.
    #[serde(rename = "return")]
    pub mean_return: f64,
    /// Standard deviation over the episodes.
    pub return_deviation: f64,
    /// Number of episodes.
    pub episodes: usize,
}

/// The length of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Total steps of the environment.
    pub steps: u64,
    /// Total epochs.
    pub epochs: u64,
}

/// The state of an epoch in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps of the environment done.
    pub step: u64,
    /// Mean return of the last episodes that ended.
    pub recent_return: Option<f64>,
    /// The share of random actions.
    pub epsilon: f64,
    /// The weight of each classifier.
    pub posterior: Vec<f64>,
    /// Steps of the environment per second in this process.
    pub steps_per_second: f64,
}
