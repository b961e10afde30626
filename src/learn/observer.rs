//! Reports of a run to an observer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// What a kind of run tells its observer.
pub trait Reports: Sized {
    /// The length of a run.
    type Plan;
    /// The state of an epoch in progress.
    type Status;
    /// The result of an epoch: its line in the metrics.
    type EpochReport: Serialize;
    /// The result of the test: its line in the metrics.
    type TestReport: Serialize;
}

/// The two evaluations of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluatedPart {
    /// After each epoch, to choose the best one.
    Valid,
    /// At the end, with the best epoch's model.
    Test,
}

/// The values of a step: loss and accuracy before its update, the posterior after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Counted from 1 over the whole run.
    pub step: u64,
    /// Counted from 1.
    pub epoch: u64,
    /// Mean loss of the mixture over the batch, in nats.
    pub loss: f64,
    /// Share of the batch that the mixture classified correctly; `None` for regression.
    pub accuracy: Option<f64>,
    /// Each classifier's mean loss; infinite where it diverged.
    pub classifier_loss: Vec<f64>,
    /// The weight of each classifier.
    pub posterior: Vec<f64>,
}

/// Counts of divergences. With learning rates up to 10 some are normal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Samples for which no classifier had a finite likelihood.
    pub samples_without_finite_classifier: f64,
    /// Steps in which a classifier diverged and was not updated, summed over the classifiers.
    pub diverged_classifiers: f64,
    /// Single parameters that an update skipped.
    pub skipped_elements: f64,
}

/// Something that happened in a run of the task `T`.
pub enum Event<'a, T: Reports> {
    /// The run begins or is resumed.
    Started {
        /// The run's length.
        plan: &'a T::Plan,
        /// Steps done before, in a resumed run.
        step: u64,
        /// The run's directory, if it has one.
        directory: Option<&'a Path>,
    },
    /// The state of the epoch, a few times a second.
    Progress(&'a T::Status),
    /// An update that is logged.
    Step(&'a StepReport),
    /// The model is being evaluated.
    Evaluating {
        /// The split.
        split: EvaluatedPart,
        /// The current epoch, counted from 1; at the test, the one after the last whole epoch.
        epoch: u64,
        /// Steps done.
        step: u64,
    },
    /// A file of the data could not be decoded and was replaced by an image of one colour. Reported once a run, at the
    /// end of the epoch that read it.
    Damaged {
        /// The file and its fault.
        file: &'a str,
    },
    /// An epoch has ended, and its metrics and checkpoint are written.
    Epoch(&'a T::EpochReport),
    /// The run has ended and the best model was tested.
    Test(&'a T::TestReport),
    /// The run has ended.
    Ended {
        /// Counts of divergences.
        counts: Counts,
    },
}

/// Watches a run of the task `T`. The library itself prints nothing.
pub trait Observer<T: Reports> {
    /// Called from the run's own thread.
    fn notice(&mut self, event: &Event<'_, T>);

    /// Whether it uses [`Event::Progress`]. Each one makes the host wait for the GPU.
    fn wants_progress(&self) -> bool {
        true
    }
}

/// Ignores all events.
pub struct Silent;

impl<T: Reports> Observer<T> for Silent {
    fn notice(&mut self, _: &Event<'_, T>) {}

    fn wants_progress(&self) -> bool {
        false
    }
}

/// Tells both of all events.
impl<T: Reports, A: Observer<T>, B: Observer<T>> Observer<T> for (A, B) {
    fn notice(&mut self, event: &Event<'_, T>) {
        self.0.notice(event);
        self.1.notice(event);
    }

    fn wants_progress(&self) -> bool {
        self.0.wants_progress() || self.1.wants_progress()
    }
}

/// Asks a run to write a checkpoint and stop after the current step. Clones share the flag.
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
