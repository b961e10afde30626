//! What a run tells whoever watches it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// A step's own values: loss and accuracy before its update, the posterior after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Counted from 1 over the whole run.
    pub step: u64,
    /// Counted from 1.
    pub epoch: u64,
    /// Mean loss of the mixture over the batch, in nats.
    pub loss: f64,
    /// Part of the batch that the mixture got right; `None` for regression.
    pub accuracy: Option<f64>,
    /// Each classifier's own mean loss; infinite where it diverged.
    pub classifier_loss: Vec<f64>,
    /// The weight of each classifier.
    pub posterior: Vec<f64>,
}

/// What one epoch came to.
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
    /// The weight of each classifier after the epoch.
    pub posterior: Vec<f64>,
    /// Time spent on the epoch's steps in this process.
    pub seconds: f64,
    /// Training samples per second, of those this process saw.
    pub samples_per_second: f64,
    /// Whether no epoch before was better.
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
}

/// What has diverged so far; with learning rates up to 10 some of it is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Samples for which no classifier had a finite likelihood.
    pub dead_samples: f64,
    /// Steps, summed over the classifiers, in which a classifier stood still.
    pub flagged_classifiers: f64,
    /// Single elements that an update left alone.
    pub skipped_elements: f64,
}

/// Something that happened in a run.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The run begins, or goes on.
    Started {
        /// Steps of a whole epoch.
        steps_per_epoch: u64,
        /// The epoch after which the run ends at the latest.
        epochs: u64,
        /// The step after which the run ends at the latest.
        max_steps: Option<u64>,
        /// Steps done before, in a resumed run.
        step: u64,
        /// The run's directory, if it has one.
        directory: Option<&'a Path>,
    },
    /// A few times a second: how the epoch goes. `samples_per_second` is this process's.
    Progress {
        /// Counted from 1.
        epoch: u64,
        /// Steps of this epoch done.
        step_in_epoch: u64,
        /// Mean loss over the epoch so far.
        loss: f64,
        /// Mean accuracy over the epoch so far.
        accuracy: Option<f64>,
        /// The weight of each classifier.
        posterior: &'a [f64],
        /// Training samples per second.
        samples_per_second: f64,
    },
    /// A step whose values were asked for.
    Step(&'a StepReport),
    /// The samples of a validation or test part are being gone through.
    Evaluating {
        /// "valid" or "test".
        split: &'a str,
    },
    /// A file of the data could not be decoded; an image of one colour stands in for it. Told once a run, when the epoch
    /// that came upon it ends.
    Damaged {
        /// The file, and what is wrong with it.
        file: &'a str,
    },
    /// An epoch has ended and was written down.
    Epoch(&'a EpochReport),
    /// The run has ended and the best model was tested.
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

/// Asks a run to write a checkpoint and stop after the step it is at. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the run to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
