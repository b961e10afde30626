//! What a run of Q-learning tells whoever watches it, and writes down.

use std::path::Path;

use serde::Serialize;

use crate::train::{Counts, StepReport};

/// What one epoch came to.
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
    /// Mean loss of the epoch's updates, each before it; `None` where there was none.
    pub loss: Option<f64>,
    /// The part of random actions at the end of the epoch.
    pub epsilon: f64,
    /// The weight of each regressor after the epoch.
    pub posterior: Vec<f64>,
    /// Time spent on the epoch's steps in this process.
    pub seconds: f64,
    /// Steps of the environment per second, of those this process did.
    pub steps_per_second: f64,
    /// Whether no epoch before was better.
    #[serde(skip)]
    pub is_best: bool,
}

/// The best epoch's network in new episodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The epoch whose network it is.
    pub epoch: u64,
    /// Mean return.
    #[serde(rename = "return")]
    pub mean_return: f64,
    /// Standard deviation over the episodes.
    pub return_deviation: f64,
    /// How many there were.
    pub episodes: usize,
}

/// A line of the metrics. Numbers that are not finite are written as `null`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Line<'a> {
    Step(&'a StepReport),
    Epoch(&'a EpochReport),
    Test(&'a TestReport),
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The run begins, or goes on.
    Started {
        /// Steps of the environment in all.
        steps: u64,
        /// Epochs in all.
        epochs: u64,
        /// Steps done before, in a resumed run.
        step: u64,
        /// The run's directory.
        directory: &'a Path,
    },
    /// A few times a second: how it goes.
    Progress {
        /// Counted from 1.
        epoch: u64,
        /// Steps of the environment done.
        step: u64,
        /// Mean return of the last episodes that ended.
        recent_return: Option<f64>,
        /// The part of random actions.
        epsilon: f64,
        /// The weight of each regressor.
        posterior: &'a [f64],
        /// Steps of the environment per second, of those this process did.
        steps_per_second: f64,
    },
    /// An update whose values were asked for.
    Step(&'a StepReport),
    /// Episodes of an evaluation or of the test are being played.
    Evaluating {
        /// Counted from 1.
        epoch: u64,
        /// Steps of the environment done.
        step: u64,
    },
    /// An epoch has ended and was written down.
    Epoch(&'a EpochReport),
    /// The run has ended and the best network was tested.
    Test(&'a TestReport),
    /// The run has ended.
    Ended {
        /// What diverged on the way.
        counts: Counts,
    },
}

/// Somebody who watches a run. The library itself prints nothing.
pub trait Observer {
    /// Called from the run's own thread.
    fn notice(&mut self, event: &Event<'_>);

    /// Whether it does anything with [`Event::Progress`], for which the host has to wait for a GPU.
    fn wants_progress(&self) -> bool {
        true
    }
}

/// Watches nothing.
pub struct Silent;

impl Observer for Silent {
    fn notice(&mut self, _: &Event<'_>) {}

    fn wants_progress(&self) -> bool {
        false
    }
}
