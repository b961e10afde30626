//! The interface of a kind of run: its steps and its evaluations.

use std::path::Path;

use super::observer::{EvaluatedPart, Reports};
use super::{
    Checkpoint, Event, Learner, Line, ModelRecord, Observer, Progress, RunDirectory, StepReport,
    StopFlag,
};
use crate::error::Result;
use crate::ops::head::classifiers::Head;

/// Updates between two divergence checks on a device that captures no graphs. On other devices a check waits for the
/// device, so it is made only at logged updates and at the end of an epoch.
const CHECK_EVERY: u64 = 20;

/// The end of an epoch.
pub struct Epoch<M> {
    /// The result of its evaluation.
    pub measured: M,
    /// Whether it is the best epoch so far.
    pub is_best: bool,
    /// Time spent on its steps in this process.
    pub seconds: f64,
    /// Samples or environment steps per second.
    pub per_second: f64,
}

/// A kind of training run. The task owns the learner; the [`super::RunLoop`] owns what all tasks share.
pub trait RunTask: Reports {
    /// The part of a run's configuration that only this task has.
    type Config;
    /// The result of an evaluation.
    type Measured;
    /// The value by which the best epoch is chosen.
    type Best;

    /// The name of that value in messages.
    const MEASURE: &'static str;

    /// The model that learns.
    fn learner(&self) -> &Learner;

    /// The run's length.
    fn plan(&self) -> Self::Plan;

    /// Updates between two `step` lines; 0 for no lines.
    fn log_every(&self) -> u64;

    /// Updates done.
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

    /// Takes a step and returns the number of samples or environment steps in it.
    fn step(&mut self, steps: &mut Steps<'_, Self>) -> Result<usize>;

    /// Moves on to the next epoch.
    fn end_epoch(&mut self, progress: &mut Progress);

    /// The epoch's state.
    fn status(&self, progress: &Progress, per_second: f64) -> Self::Status;

    /// Whether the run has this evaluation.
    fn has(&self, split: EvaluatedPart) -> bool;

    /// Evaluates the current model; `None` if `stop` was set.
    fn evaluate(&mut self, split: EvaluatedPart, stop: &StopFlag)
    -> Result<Option<Self::Measured>>;

    /// Files found damaged since the last call.
    fn damaged(&self) -> Vec<String> {
        Vec::new()
    }

    /// The epoch's report.
    fn report_epoch(&self, epoch: &Epoch<Self::Measured>, progress: &Progress)
    -> Self::EpochReport;

    /// The report of the test of an epoch's model.
    fn report_test(&self, measured: &Self::Measured, epoch: u64) -> Self::TestReport;

    /// The value by which the best epoch so far was chosen.
    fn best(&self) -> Self::Best;

    /// Whether an evaluation is better than the best so far, or the first that is finite.
    fn is_better(&self, measured: &Self::Measured, progress: &Progress) -> bool;

    /// Makes an evaluation the best so far.
    fn note_best(&mut self, measured: &Self::Measured, progress: &Progress);

    /// Takes the best so far from a checkpoint, or resets it. `path` is for messages.
    fn set_best(&mut self, checkpoint: Option<&Checkpoint>, path: &Path) -> Result<()>;

    /// Writes the best so far and the place in the epoch into a checkpoint.
    fn put_best(&self, checkpoint: &mut Checkpoint);

    /// Reads the state back from the device.
    fn capture(&self, record: Option<ModelRecord>, progress: Progress) -> Checkpoint;

    /// Restores a checkpoint. `path` is for messages.
    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()>;

    /// The part of a checkpoint that predictions need.
    fn model_of(&self, checkpoint: &Checkpoint) -> Checkpoint {
        checkpoint.clone()
    }
}

/// The run loop's part of a step: progress, metrics, observer.
pub struct Steps<'a, T: RunTask> {
    /// The run's progress.
    pub progress: &'a mut Progress,
    pub(super) directory: Option<&'a mut RunDirectory>,
    pub(super) observer: &'a mut dyn Observer<T>,
}

impl<T: RunTask> Steps<'_, T> {
    /// Logs the update `number` if `log_every` divides it, and checks for divergence. `accuracy` computes the batch's.
    ///
    /// # Errors
    /// [`crate::Error::Diverged`], [`crate::Error::Write`], or the failure of the device.
    pub fn update(
        &mut self,
        task: &T,
        number: u64,
        head: &Head,
        accuracy: impl FnOnce() -> Option<f64>,
    ) -> Result<()> {
        let (learner, log_every) = (task.learner(), task.log_every());
        learner.device().check_so_far()?;
        let is_logged = log_every > 0 && number.is_multiple_of(log_every);
        if is_logged {
            learner.device().check()?;
            let report = StepReport {
                step: number,
                epoch: self.progress.epoch,
                loss: head.loss.item(),
                accuracy: accuracy(),
                classifier_loss: head.classifier_losses.to_f64s(),
                posterior: learner.posterior(),
            };
            if let Some(directory) = &mut self.directory {
                directory.metrics().append(&Line::<T>::Step(&report))?;
            }
            self.observer.notice(&Event::Step(&report));
        }
        let is_checked = match learner.device().can_capture() {
            true => is_logged,
            false => number.is_multiple_of(CHECK_EVERY),
        };
        if is_checked { learner.check_divergence(number) } else { Ok(()) }
    }
}
