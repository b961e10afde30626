//! The loop of a run, for every task: from its first step or a checkpoint to its last step.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::observer::EvaluatedPart;
use super::record::changed_setting;
use super::task::{Epoch, RunTask, Steps};
use super::{
    Checkpoint, Event, Learner, Line, ModelRecord, Observer, Outcome, Progress, Report,
    RunDirectory, StopFlag,
};
use crate::device::catch_failure;
use crate::error::{Error, Result};

const SAVE_EVERY: Duration = Duration::from_secs(300);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A task and its run's progress.
pub struct RunLoop<T: RunTask> {
    task: T,
    record: Option<ModelRecord>,
    settings: BTreeMap<String, String>,
    /// `None` for a run that writes no files.
    directory: Option<RunDirectory>,
    progress: Progress,
    /// The last checkpoint, also of a run without a directory.
    latest: Option<Checkpoint>,
    /// Whether it was reopened without a checkpoint.
    is_begun_again: bool,
    /// A remark on the best epoch's model when it was reopened.
    note_on_best: Option<String>,
    /// The best epoch's model, in a run without a directory.
    best: Option<Checkpoint>,
    saved: Instant,
}

/// Whether to continue.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl<T: RunTask> RunLoop<T> {
    /// A run before its first step. `record` describes its model in checkpoints.
    pub fn new(task: T, record: Option<ModelRecord>) -> Self {
        RunLoop {
            task,
            record,
            settings: BTreeMap::new(),
            directory: None,
            progress: Progress::default(),
            latest: None,
            is_begun_again: false,
            note_on_best: None,
            best: None,
            saved: Instant::now(),
        }
    }

    /// Gives the run the settings that it may not change, as TOML values by key. Its checkpoints keep them.
    pub fn set_settings(&mut self, settings: BTreeMap<String, String>) {
        self.settings = settings;
    }

    /// Whether the run was continued but had no checkpoint, so that it begins again.
    pub fn is_begun_again(&self) -> bool {
        self.is_begun_again
    }

    /// A remark on the best epoch's model of a run that is continued.
    pub fn note_on_best(&self) -> Option<&str> {
        self.note_on_best.as_deref()
    }

    /// The checkpoint that the run goes on from; after its start, the last one.
    pub fn latest(&self) -> Option<&Checkpoint> {
        self.latest.as_ref()
    }

    /// Gives the run a directory to write to.
    pub fn set_directory(&mut self, directory: RunDirectory) {
        self.directory = Some(directory);
    }

    /// Restores the state from a run directory without changing the directory.
    ///
    /// # Errors
    /// Where a checkpoint that the run needs is gone or not whole, is of another model or of other settings, or counts more
    /// metrics lines than the file has.
    pub fn restore(&mut self, directory: &mut RunDirectory) -> Result<()> {
        let path = RunDirectory::last(directory.path());
        let checkpoint = Checkpoint::read(&path)?;
        self.task.restore(&checkpoint, &path)?;
        self.check_settings(&checkpoint, directory)?;
        self.note_on_best = directory.check_best(&checkpoint.record)?;
        directory.metrics().end_of(checkpoint.record.progress.metrics_lines)?;
        self.progress = checkpoint.record.progress.clone();
        self.latest = Some(checkpoint);
        match self.progress.best_whole_epoch.filter(|_| !self.is_over()) {
            Some(epoch) => directory.check_best_whole(epoch),
            None => Ok(()),
        }
    }

    /// Compares the settings with those that a checkpoint was trained with.
    fn check_settings(&self, checkpoint: &Checkpoint, directory: &RunDirectory) -> Result<()> {
        match changed_setting(&self.settings, &checkpoint.record.settings) {
            Some([key, now, before]) => {
                let message = format!(
                    "is {now}, but the run was trained with {before}; put {before} back, or start a new run"
                );
                Err(directory.error_in_config(key, message))
            }
            None => Ok(()),
        }
    }

    /// Continues in a run directory, from the restored state or from the start. If the settings now give a finished run
    /// more steps, the checkpoint is written before the metrics lines of its end are cut off: a checkpoint never counts
    /// lines that are gone.
    pub fn reopen(&mut self, directory: RunDirectory) -> Result<()> {
        directory.remove_leftovers();
        self.directory = Some(directory);
        self.is_begun_again = self.latest.is_none();
        if !self.is_over()
            && let Some(lines) = self.progress.lines_before_end.take()
        {
            self.progress.finished = false;
            self.progress.metrics_lines = lines;
            self.forget_best_of_part()?;
            if let Some(checkpoint) = self.latest.take() {
                self.write_last(checkpoint)?;
            }
        }
        let has_all_steps = self.task.has_all_steps(&self.progress);
        if !has_all_steps && !self.task.is_epoch_whole(&self.progress) {
            // The run stopped before the evaluation at its last step. It has more steps now, so training continues
            // first.
            self.progress.evaluate_next = false;
        }
        let is_at_end = self.progress.lines_before_end.is_some();
        if has_all_steps && self.task.is_in_epoch(&self.progress) && !is_at_end {
            // An earlier resume gave the run more steps and cut off the unfinished epoch's line; this one does not.
            // Evaluate it again.
            self.progress.evaluate_next = true;
        }
        let lines = self.progress.metrics_lines;
        let Some(directory) = &mut self.directory else { return Ok(()) };
        directory.metrics().cut(lines)?;
        // Needed here too: a run may be killed after its checkpoint was written and before the best model was restored.
        if is_at_end { Ok(()) } else { directory.restore_best() }
    }

    /// If the run ended inside an epoch and this epoch is the best, goes back to the best whole epoch.
    fn forget_best_of_part(&mut self) -> Result<()> {
        let is_in_epoch = self.task.is_in_epoch(&self.progress);
        if is_in_epoch && self.progress.best_epoch == Some(self.progress.epoch) {
            let before =
                self.directory.as_ref().map(RunDirectory::best_before_part).transpose()?.flatten();
            self.progress.best_epoch =
                before.as_ref().and_then(|before| before.record.progress.best_epoch);
            self.progress.best_whole_epoch = None;
            let path = self.directory.as_ref().map_or("".as_ref(), RunDirectory::path);
            self.task.set_best(before.as_ref(), path)?;
        }
        Ok(())
    }

    /// How far the run is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether everything is done, the test included.
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// The run's directory, if it has one.
    pub fn directory(&self) -> Option<&RunDirectory> {
        self.directory.as_ref()
    }

    /// The task.
    pub fn task(&self) -> &T {
        &self.task
    }

    fn learner(&self) -> &Learner {
        self.task.learner()
    }

    /// Trains to the end, or until `stop` is set.
    ///
    /// # Errors
    /// [`Error::Diverged`] after 100 updates in a row without a finite loss, or if no update had one;
    /// [`Error::NoBestEpoch`]; [`Error::Write`]; [`Error::DeviceLost`]; where the task's data or environment fails. The last checkpoint stays
    /// whole.
    pub fn run(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<Report<T::Best, T::TestReport>> {
        catch_failure(|| self.run_to_its_end(observer, stop))
    }

    fn run_to_its_end(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<Report<T::Best, T::TestReport>> {
        observer.notice(&Event::Started {
            plan: &self.task.plan(),
            step: self.progress.step,
            directory: self.directory.as_ref().map(RunDirectory::path),
        });
        if self.latest.is_none() {
            self.save()?;
        }
        let (mut flow, mut test) = (Flow::Continue, None);
        while !self.is_over() && flow == Flow::Continue {
            flow = self.epoch(observer, stop)?;
        }
        if flow == Flow::Continue {
            // The report of a run that had ended before has the test again.
            let is_again = self.is_finished();
            (flow, test) =
                if is_again { self.test(observer, stop) } else { self.finish(observer, stop) }?;
        }
        let counts = self.learner().counts();
        observer.notice(&Event::Ended { counts });
        let outcome = match flow {
            Flow::Continue => Outcome::Finished,
            Flow::Stop => Outcome::Stopped,
        };
        let best = self.progress.best_epoch.map(|epoch| (epoch, self.task.best()));
        Ok(Report { outcome, best, test, counts })
    }

    /// Whether all steps and evaluations that the settings ask for are done, but perhaps not the test.
    pub fn is_over(&self) -> bool {
        let is_done =
            self.task.has_all_steps(&self.progress) || self.task.has_all_epochs(&self.progress);
        is_done && !self.progress.evaluate_next
    }

    /// Trains the rest of an epoch, and evaluates.
    fn epoch(&mut self, observer: &mut dyn Observer<T>, stop: &StopFlag) -> Result<Flow> {
        self.progress.epoch = self.progress.epoch.max(1);
        let (began, mut done) = (Instant::now(), 0);
        if !self.progress.evaluate_next {
            if self.train_epoch(observer, stop, &mut done)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            self.learner().check_divergence(self.task.updates(&self.progress))?;
            self.progress.evaluate_next = true;
        }
        self.learner().device().check()?;
        let seconds = began.elapsed().as_secs_f64();
        let checkpoint = self.capture();
        let evaluated = self.evaluate(EvaluatedPart::Valid, observer, stop);
        if matches!(evaluated, Err(Error::Environment { .. }) | Ok(None)) {
            self.write_last(checkpoint.clone())?;
        }
        let Some(measured) = evaluated? else { return Ok(Flow::Stop) };
        let epoch = Epoch {
            is_best: self.task.is_better(&measured, &self.progress),
            measured,
            seconds,
            per_second: done as f64 / seconds,
        };
        let report = self.task.report_epoch(&epoch, &self.progress);
        self.close_epoch(&epoch, &report, checkpoint)?;
        self.tell_damage(observer);
        observer.notice(&Event::Epoch(&report));
        Ok(Flow::Continue)
    }

    fn tell_damage(&self, observer: &mut dyn Observer<T>) {
        self.task.damaged().iter().for_each(|file| observer.notice(&Event::Damaged { file }));
    }

    /// Adds the return values of [`RunTask::step`] to `done`.
    fn train_epoch(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
        done: &mut usize,
    ) -> Result<Flow> {
        self.task.start_training(&self.progress);
        let (began, mut shown) = (Instant::now(), Instant::now());
        while !self.task.has_all_steps(&self.progress) && !self.task.is_epoch_whole(&self.progress)
        {
            if stop.is_set() {
                self.save()?;
                return Ok(Flow::Stop);
            }
            let mut steps = Steps {
                progress: &mut self.progress,
                directory: self.directory.as_mut(),
                observer: &mut *observer,
            };
            let stepped = self.task.step(&mut steps);
            if let Err(Error::Environment { .. }) = stepped {
                // Only the environment failed, so the learner's state is worth keeping.
                self.save()?;
            }
            *done += stepped?;
            if self.saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
            if observer.wants_progress() && shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                self.learner().device().check()?;
                let per_second = *done as f64 / began.elapsed().as_secs_f64();
                let status = self.task.status(&self.progress, per_second);
                observer.notice(&Event::Progress(&status));
            }
        }
        Ok(Flow::Continue)
    }

    /// `None` if `stop` was set.
    fn evaluate(
        &mut self,
        split: EvaluatedPart,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<Option<T::Measured>> {
        if self.task.has(split) {
            let Progress { epoch, step, .. } = self.progress;
            observer.notice(&Event::Evaluating { split, epoch, step });
        }
        self.task.evaluate(split, stop)
    }

    /// Ends an epoch: writes its metrics line, the best model if it is the best, and the checkpoint.
    fn close_epoch(
        &mut self,
        epoch: &Epoch<T::Measured>,
        report: &T::EpochReport,
        mut checkpoint: Checkpoint,
    ) -> Result<()> {
        let is_whole = self.task.is_epoch_whole(&self.progress);
        let has_best = self.progress.best_epoch.is_some();
        let number = self.progress.epoch;
        self.progress.evaluate_next = false;
        self.progress.lines_before_end = (!is_whole).then(|| self.metrics_lines());
        self.append(&Line::Epoch(report))?;
        if is_whole {
            self.progress.epoch += 1;
            self.task.end_epoch(&mut self.progress);
        }
        if epoch.is_best {
            self.task.note_best(&epoch.measured, &self.progress);
            self.progress.best_whole_epoch =
                self.progress.best_epoch.filter(|_| !is_whole && self.directory.is_some());
            self.progress.best_epoch = Some(number);
        }
        self.progress.metrics_lines = self.metrics_lines();
        self.bring_up_to_date(&mut checkpoint);
        if epoch.is_best {
            let best = self.task.model_of(&checkpoint);
            match &self.directory {
                Some(directory) => {
                    if has_best && !is_whole {
                        directory.keep_best()?;
                    }
                    directory.write_best(&best)?;
                }
                None => self.best = Some(best),
            }
        }
        self.write_last(checkpoint)
    }

    /// Tests the best epoch's model, if there is test data. The learner holds that model afterwards.
    fn test(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<(Flow, Option<T::TestReport>)> {
        let Some(epoch) = self.progress.best_epoch else {
            return Err(Error::NoBestEpoch { measure: T::MEASURE });
        };
        if !self.task.has(EvaluatedPart::Test) {
            return Ok((Flow::Continue, None));
        }
        self.load_best()?;
        let Some(measured) = self.evaluate(EvaluatedPart::Test, observer, stop)? else {
            return Ok((Flow::Stop, None));
        };
        self.tell_damage(observer);
        Ok((Flow::Continue, Some(self.task.report_test(&measured, epoch))))
    }

    /// Ends the run with the test.
    fn finish(
        &mut self,
        observer: &mut dyn Observer<T>,
        stop: &StopFlag,
    ) -> Result<(Flow, Option<T::TestReport>)> {
        self.learner().check_any_finite_loss(self.task.updates(&self.progress))?;
        let (flow, test) = self.test(observer, stop)?;
        if flow == Flow::Stop {
            return Ok((flow, None));
        }
        let lines = self.metrics_lines();
        self.progress.lines_before_end.get_or_insert(lines);
        if let Some(report) = &test {
            self.append(&Line::Test(report))?;
            observer.notice(&Event::Test(report));
        }
        self.progress.finished = true;
        self.progress.metrics_lines = self.metrics_lines();
        if let Some(checkpoint) = self.latest.take() {
            self.write_last(checkpoint)?;
        }
        Ok((Flow::Continue, test))
    }

    fn load_best(&self) -> Result<()> {
        match (&self.directory, &self.best) {
            (Some(directory), _) => {
                let path = RunDirectory::best(directory.path());
                Checkpoint::read(&path)?.restore_predictor(self.learner(), &path)
            }
            (None, Some(best)) => best.restore_predictor(self.learner(), "the best epoch".as_ref()),
            (None, None) => Ok(()),
        }
    }

    /// Writes the best epoch's model, or the last state, to a file, under PyTorch's names.
    pub fn write_state(&self, path: &Path) -> Result<()> {
        let best = self.directory.as_ref().map(|own| RunDirectory::best(own.path()));
        if let Some(best) = best.filter(|file| file.exists()) {
            return Checkpoint::read(&best)?.write(path);
        }
        let state = self.best.as_ref().or(self.latest.as_ref());
        state.map_or(Ok(()), |checkpoint| checkpoint.write(path))
    }

    fn capture(&mut self) -> Checkpoint {
        self.progress.metrics_lines = self.metrics_lines();
        let mut checkpoint = self.task.capture(self.record.clone(), self.progress.clone());
        self.bring_up_to_date(&mut checkpoint);
        checkpoint
    }

    /// Updates progress and best loss or return in a checkpoint.
    fn bring_up_to_date(&self, checkpoint: &mut Checkpoint) {
        checkpoint.record.progress = self.progress.clone();
        checkpoint.record.settings = self.settings.clone();
        self.task.put_best(checkpoint);
    }

    fn save(&mut self) -> Result<()> {
        self.learner().device().check()?;
        let checkpoint = self.capture();
        self.write_last(checkpoint)
    }

    fn write_last(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        self.bring_up_to_date(&mut checkpoint);
        if let Some(directory) = &self.directory {
            directory.write_last(&checkpoint)?;
        }
        self.latest = Some(checkpoint);
        self.saved = Instant::now();
        Ok(())
    }

    fn append(&mut self, line: &Line<T>) -> Result<()> {
        self.directory.as_mut().map_or(Ok(()), |directory| directory.metrics().append(line))
    }

    fn metrics_lines(&mut self) -> u64 {
        self.directory.as_mut().map_or(0, |directory| directory.metrics().lines())
    }
}
