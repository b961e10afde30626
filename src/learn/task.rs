//! What a kind of training run adds to the run loop: its batches, and the meaning of an evaluation.

use std::path::Path;

use serde::Serialize;

use super::run_loop::Steps;
use super::{Checkpoint, Learner, ModelRecord, Progress, StopFlag};
use crate::error::Result;

/// What a kind of run tells its observers.
pub trait Reports {
    /// How long the run is.
    type Plan;
    /// How an epoch is going.
    type Status;
    /// The result of an epoch: its line in the metrics.
    type EpochReport: Serialize;
    /// The result of the test: its line in the metrics.
    type TestReport: Serialize;
}

/// What a model is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// After each epoch, to choose the best one.
    Valid,
    /// At the end, with the best epoch's model.
    Test,
}

/// The end of an epoch.
pub(crate) struct Epoch<M> {
    /// The result of its evaluation.
    pub measured: M,
    /// Whether no epoch before was better.
    pub is_best: bool,
    /// Time spent on its steps in this process.
    pub seconds: f64,
    /// Samples, or whatever the task counts, per second.
    pub per_second: f64,
}

/// A kind of training run. It owns the learner; the [`super::RunLoop`] owns everything that is the same in all kinds.
pub(crate) trait Task: Reports + Sized {
    /// The result of an evaluation.
    type Measured;
    /// What the best epoch is chosen by.
    type Best;

    /// The model that learns.
    fn learner(&self) -> &Learner;

    /// How long the run is.
    fn plan(&self) -> Self::Plan;

    /// Updates from one logged one to the next; 0 for none.
    fn log_every(&self) -> u64;

    /// Updates that are done.
    fn updates(&self, progress: &Progress) -> u64;

    /// Whether the run has taken the most steps that it may.
    fn has_all_steps(&self, progress: &Progress) -> bool;

    /// Whether the run ends after this epoch, for a reason other than its steps.
    fn has_all_epochs(&self, progress: &Progress) -> bool;

    /// Whether all steps of the epoch are done.
    fn is_epoch_whole(&self, progress: &Progress) -> bool;

    /// Whether some steps of the epoch are done.
    fn is_in_epoch(&self, progress: &Progress) -> bool;

    /// Begins the epoch's steps, or goes on with them.
    fn start_training(&mut self, progress: &Progress);

    /// Takes a step and returns how much was done: samples, or whatever the task counts.
    fn step(&mut self, steps: &mut Steps<'_, Self>) -> Result<usize>;

    /// Goes on to the next epoch.
    fn end_epoch(&mut self, progress: &mut Progress);

    /// How the epoch is going.
    fn status(&self, progress: &Progress, per_second: f64) -> Self::Status;

    /// Whether there is something to evaluate on.
    fn has(&self, split: Split) -> bool;

    /// Evaluates the model as it is; `None` where a stop was asked for.
    fn evaluate(&mut self, split: Split, stop: &StopFlag) -> Result<Option<Self::Measured>>;

    /// Files that have turned out damaged since this was asked last.
    fn damaged(&self) -> Vec<String> {
        Vec::new()
    }

    /// The epoch's report.
    fn report_epoch(&self, epoch: &Epoch<Self::Measured>, progress: &Progress)
    -> Self::EpochReport;

    /// The report of the test of an epoch's model.
    fn report_test(&self, measured: &Self::Measured, epoch: u64) -> Self::TestReport;

    /// What the best epoch so far was chosen by.
    fn best(&self) -> Self::Best;

    /// Whether an evaluation is better than the best so far.
    fn is_better(&self, measured: &Self::Measured, progress: &Progress) -> bool;

    /// Makes an evaluation the best so far.
    fn note_best(&mut self, measured: &Self::Measured, progress: &Progress);

    /// Makes the best so far that of a checkpoint, or none. `path` is for messages.
    fn set_best(&mut self, checkpoint: Option<&Checkpoint>, path: &Path) -> Result<()>;

    /// Writes the best so far, and what else changes without a step, into a checkpoint.
    fn put_best(&self, checkpoint: &mut Checkpoint);

    /// Reads the state back from the device.
    fn capture(&self, record: Option<ModelRecord>, progress: Progress) -> Checkpoint;

    /// Goes back to a checkpoint. `path` is for messages.
    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()>;

    /// The part of a checkpoint that predictions need.
    fn model_of(&self, checkpoint: &Checkpoint) -> Checkpoint {
        checkpoint.clone()
    }
}
