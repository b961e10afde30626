//! How a kind of run takes steps and evaluates.

use std::path::Path;

use serde::Serialize;

use super::run_loop::Steps;
use super::{Checkpoint, Learner, ModelRecord, Progress, StopFlag};
use crate::error::Result;

/// What a model is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluatedPart {
    /// After each epoch, to choose the best one.
    Valid,
    /// At the end, with the best epoch's model.
    Test,
}

/// The end of an epoch.
pub struct Epoch<M> {
    /// The result of its evaluation.
    pub measured: M,
    /// Whether it is the best epoch so far.
    pub is_best: bool,
    /// Time spent on its steps in this process.
    pub seconds: f64,
    /// Samples, or whatever the task counts, per second.
    pub per_second: f64,
}

/// A kind of training run. The task owns the learner; the [`super::RunLoop`] owns what all tasks share.
pub trait RunTask: Sized {
    /// The part of a run's configuration that only this task has.
    type Config;
    /// How long the run is.
    type Plan;
    /// How an epoch is going.
    type Status;
    /// The result of an epoch: its line in the metrics.
    type EpochReport: Serialize;
    /// The result of the test: its line in the metrics.
    type TestReport: Serialize;
    /// The result of an evaluation.
    type Measured;
    /// What the best epoch is chosen by.
    type Best;

    /// The model that learns.
    fn learner(&self) -> &Learner;

    /// How long the run is.
    fn plan(&self) -> Self::Plan;

    /// Updates between two `step` lines; 0 for no lines.
    fn log_every(&self) -> u64;

    /// Updates that are done.
    fn updates(&self, progress: &Progress) -> u64;

    /// Whether the run has reached its maximum number of steps.
    fn has_all_steps(&self, progress: &Progress) -> bool;

    /// Whether the evaluated epochs end the run: all are done, or patience has run out.
    fn has_all_epochs(&self, progress: &Progress) -> bool;

    /// Whether all steps of the epoch are done.
    fn is_epoch_whole(&self, progress: &Progress) -> bool;

    /// Whether some steps of the epoch are done.
    fn is_in_epoch(&self, progress: &Progress) -> bool;

    /// Prepares the remaining steps of the epoch.
    fn start_training(&mut self, progress: &Progress);

    /// Takes a step and returns how much was done: samples, or whatever the task counts.
    fn step(&mut self, steps: &mut Steps<'_, Self>) -> Result<usize>;

    /// Goes on to the next epoch.
    fn end_epoch(&mut self, progress: &mut Progress);

    /// How the epoch is going.
    fn status(&self, progress: &Progress, per_second: f64) -> Self::Status;

    /// Whether there is something to evaluate on.
    fn has(&self, split: EvaluatedPart) -> bool;

    /// Evaluates the model as it is; `None` where a stop was asked for.
    fn evaluate(&mut self, split: EvaluatedPart, stop: &StopFlag)
    -> Result<Option<Self::Measured>>;

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

    /// Writes the best so far and the place in the epoch into a checkpoint.
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
