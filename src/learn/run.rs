//! A run with its directory, for every task.

use std::path::Path;

use super::run_loop::RunLoop;
use super::task::RunTask;
use super::{Learner, Observer, Report, RunConfig, RunDirectory, StopFlag};
use crate::error::Result;

/// A run with its directory, ready to train.
pub struct Run<T: RunTask> {
    config: RunConfig<T::Config>,
    run_loop: RunLoop<T>,
}

impl<T: RunTask> Run<T> {
    /// `run_loop` must have a directory.
    pub(crate) fn new(config: RunConfig<T::Config>, run_loop: RunLoop<T>) -> Self {
        Run { config, run_loop }
    }

    /// The run's configuration.
    pub fn config(&self) -> &RunConfig<T::Config> {
        &self.config
    }

    pub(crate) fn task(&self) -> &T {
        self.run_loop.task()
    }

    /// Whether the run goes on from a checkpoint of version 0.1.0, which predicted values by other weights of the classifiers.
    pub fn goes_on_from_first_version(&self) -> bool {
        self.run_loop.latest().is_some_and(|checkpoint| checkpoint.is_of_first_version)
    }

    /// Remarks on the checkpoints of a run that is continued.
    pub fn notes_on_checkpoints(&self) -> Vec<String> {
        let path = RunDirectory::last(self.directory());
        let altered = self.run_loop.latest().and_then(|latest| latest.note_of_alteration(&path));
        let begun_again = self.run_loop.is_begun_again().then(|| {
            format!("{} is missing, so the run begins again from its first step", path.display())
        });
        let best = self.run_loop.note_on_best().map(str::to_owned);
        altered.into_iter().chain(begun_again).chain(best).collect()
    }

    /// The model that learns.
    pub fn learner(&self) -> &Learner {
        self.task().learner()
    }

    /// The run's directory.
    pub fn directory(&self) -> &Path {
        self.run_loop.directory().map(RunDirectory::path).expect("a run has a directory")
    }

    /// Whether all steps and the test are done.
    pub fn is_finished(&self) -> bool {
        self.run_loop.is_finished()
    }

    /// Trains to the end, or until `stop` is set.
    ///
    /// # Errors
    /// [`crate::Error::Diverged`] after 100 steps in a row without a finite loss, or if no step had one;
    /// [`crate::Error::NoBestEpoch`]; the failure of the device, the data or the environment; [`crate::Error::Write`]. The
    /// last checkpoint stays whole.
    pub fn train(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<Report<T::Best, T::TestReport>> {
        self.run_loop.run(observer, stop)
    }
}
