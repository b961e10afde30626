//! A run from its first step, or from a checkpoint, to its last.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::ops::classifiers::Head;
use crate::ops::tally::SumValues;
use crate::train::checkpoint::{Checkpoint, ModelRecord, Progress};
use crate::train::evaluate::sums_over;
use crate::train::feed::{Feed, Load, Part};
use crate::train::metrics::Line;
use crate::train::{
    Counts, EpochReport, Event, Learner, Observer, RunDirectory, StepReport, StopFlag, TestReport,
    TrainConfig,
};

/// Steps between two looks at whether the run has diverged, where a look costs nothing. A GPU would have to be waited for: there
/// it is looked at when a line is logged or the epoch ends.
const CHECK_EVERY: u64 = 20;

const SAVE_EVERY: Duration = Duration::from_secs(300);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Finished,
    /// It was asked to stop, and can be continued.
    Stopped,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The best epoch and its validation loss, which is `None` without validation data.
    pub best: Option<(u64, Option<f64>)>,
    /// The best epoch's model on the test data, if there are any.
    pub test: Option<TestReport>,
    /// What diverged on the way.
    pub counts: Counts,
}

/// A model, its data, and how far its training has come.
pub struct Training {
    learner: Learner,
    feed: Feed,
    config: TrainConfig,
    record: Option<ModelRecord>,
    directory: Option<RunDirectory>,
    progress: Progress,
    best_loss: f64,
    /// The state that was last written, or would have been.
    latest: Option<Checkpoint>,
    /// The best epoch's model, where there is no directory to keep it in.
    best: Option<Checkpoint>,
    saved: Instant,
}

/// Whether to go on.
enum Flow {
    Continue,
    Stop,
}

impl Training {
    /// A run before its first step, with initial parameters and rates from the config's files if it names any.
    ///
    /// # Errors
    /// Where a file cannot be read or does not fit the model.
    pub(crate) fn new(
        learner: Learner,
        feed: Feed,
        config: TrainConfig,
        record: Option<ModelRecord>,
    ) -> Result<Training> {
        if let Some(path) = &config.init {
            learner.load_initial(path)?;
        }
        if let Some(path) = &config.rates {
            learner.load_rates(path)?;
        }
        Ok(Training {
            learner,
            feed,
            config,
            record,
            directory: None,
            progress: Progress::default(),
            best_loss: f64::INFINITY,
            latest: None,
            best: None,
            saved: Instant::now(),
        })
    }

    /// Gives the run a directory to write to.
    pub(crate) fn set_directory(&mut self, directory: RunDirectory) {
        self.directory = Some(directory);
    }

    /// Goes back to the state in a run's directory, in which nothing is changed.
    ///
    /// # Errors
    /// Where the checkpoint is not whole, is of another model, or knows of more metrics than there are.
    pub(crate) fn restore(&mut self, directory: &mut RunDirectory) -> Result<()> {
        let path = RunDirectory::last(directory.path());
        let checkpoint = Checkpoint::read(&path)?;
        checkpoint.restore(&self.learner, &path)?;
        directory.metrics().end_of(checkpoint.record.progress.metrics_lines)?;
        self.progress = checkpoint.record.progress.clone();
        self.best_loss = checkpoint.best_loss();
        self.latest = Some(checkpoint);
        Ok(())
    }

    /// Goes on in a run's directory from the state that was restored, or from the start. A run that had ended goes on
    /// if the config now lets it; its checkpoint says so before the lines of its end are cut off, so that at no moment
    /// the checkpoint knows of lines that are not there.
    pub(crate) fn reopen(&mut self, directory: RunDirectory) -> Result<()> {
        self.directory = Some(directory);
        if !self.is_over()
            && let Some(lines) = self.progress.lines_before_end.take()
        {
            self.progress.finished = false;
            self.progress.metrics_lines = lines;
            self.forget_best_of_part()?;
            if let Some(mut checkpoint) = self.latest.take() {
                checkpoint.set_progress(self.progress.clone(), self.best_loss);
                self.write_last(checkpoint)?;
            }
        }
        if !self.has_all_steps() && !self.is_epoch_whole() {
            // It was stopped at its last step, which no longer is the last.
            self.progress.evaluate_next = false;
        }
        let lines = self.progress.metrics_lines;
        let is_at_end = self.progress.lines_before_end.is_some();
        if self.has_all_steps() && self.progress.batch > 0 && !is_at_end {
            // It was made to go on, and is not after all: the line of this part is gone, or was never written.
            self.progress.evaluate_next = true;
        }
        let Some(directory) = &mut self.directory else { return Ok(()) };
        directory.metrics().cut(lines)?;
        // Also where the run was killed between this and the write above.
        if is_at_end { Ok(()) } else { directory.restore_best() }
    }

    /// Where the run had ended in the midst of an epoch and this part of it was the best: the best of the whole
    /// epochs is the best again.
    fn forget_best_of_part(&mut self) -> Result<()> {
        let is_in_epoch = self.progress.batch > 0;
        if is_in_epoch && self.progress.best_epoch == Some(self.progress.epoch) {
            let kept = self.directory.as_ref().map(RunDirectory::kept_best).transpose()?.flatten();
            self.progress.best_epoch =
                kept.as_ref().and_then(|kept| kept.record.progress.best_epoch);
            self.best_loss = kept.map_or(f64::INFINITY, |kept| kept.best_loss());
        }
        Ok(())
    }

    /// Whether everything is done, the test included.
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    /// The run's directory, if it has one.
    pub fn directory(&self) -> Option<&RunDirectory> {
        self.directory.as_ref()
    }

    /// The learner.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Trains to the end, or until `stop` is set.
    ///
    /// # Errors
    /// [`crate::Error::Diverged`] after 100 steps in a row without a finite loss, or where not one step had one;
    /// [`crate::Error::Write`] with the last checkpoint whole.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Report> {
        observer.notice(&Event::Started {
            steps_per_epoch: self.feed.steps(Part::Train),
            epochs: self.config.epochs,
            max_steps: self.config.max_steps,
            step: self.progress.step,
            directory: self.directory.as_ref().map(RunDirectory::path),
        });
        if self.latest.is_none() {
            self.save()?;
        }
        let mut test = None;
        let mut outcome = Outcome::Finished;
        while !self.is_over() && matches!(outcome, Outcome::Finished) {
            if let Flow::Stop = self.epoch(observer, stop)? {
                outcome = Outcome::Stopped;
            }
        }
        if outcome == Outcome::Finished && !self.is_finished() {
            self.learner.check_any_finite_loss(self.progress.step)?;
            match self.finish(observer, stop)? {
                (Flow::Stop, _) => outcome = Outcome::Stopped,
                (Flow::Continue, report) => test = report,
            }
        }
        let counts = self.learner.counts();
        observer.notice(&Event::Ended { counts });
        let best_loss = self.feed.has(Part::Valid).then_some(self.best_loss);
        Ok(Report {
            outcome,
            best: self.progress.best_epoch.map(|epoch| (epoch, best_loss)),
            test,
            counts,
        })
    }

    fn is_over(&self) -> bool {
        let Progress { epoch, evaluate_next, best_epoch, .. } = self.progress;
        let evaluated = epoch.saturating_sub(1);
        let is_impatient =
            best_epoch.is_some_and(|best| evaluated.saturating_sub(best) >= self.config.patience);
        let is_done = evaluated >= self.config.epochs || is_impatient || self.has_all_steps();
        !evaluate_next && is_done
    }

    fn has_all_steps(&self) -> bool {
        self.config.max_steps.is_some_and(|max_steps| self.progress.step >= max_steps)
    }

    fn is_epoch_whole(&self) -> bool {
        self.progress.batch >= self.feed.steps(Part::Train)
    }

    /// Trains on what is left of an epoch, and evaluates.
    fn epoch(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Flow> {
        self.progress.epoch = self.progress.epoch.max(1);
        let began = Instant::now();
        let mut samples = 0;
        if !self.progress.evaluate_next {
            if let Flow::Stop = self.train_epoch(observer, stop, &mut samples)? {
                return Ok(Flow::Stop);
            }
            self.learner.check_divergence(self.progress.step)?;
            self.progress.evaluate_next = true;
        }
        self.learner.device().check()?;
        let seconds = began.elapsed().as_secs_f64();
        let mut checkpoint = self.capture();
        let Some(valid) = self.evaluate(Part::Valid, observer, stop)? else {
            self.write_last(checkpoint)?;
            return Ok(Flow::Stop);
        };
        let train = self.learner.sums().read();
        let report = EpochReport {
            epoch: self.progress.epoch,
            train_loss: train.loss / train.samples,
            train_accuracy: self.accuracy(&train),
            valid_loss: valid.map(|valid| valid.loss / valid.samples),
            valid_accuracy: valid.and_then(|valid| self.accuracy(&valid)),
            posterior: self.learner.posterior(),
            seconds,
            samples_per_second: samples as f64 / seconds,
            is_best: self.is_best(valid.as_ref()),
        };
        self.close_epoch(&report, &mut checkpoint)?;
        self.tell_damage(observer);
        observer.notice(&Event::Epoch(&report));
        Ok(Flow::Continue)
    }

    fn tell_damage(&self, observer: &mut dyn Observer) {
        self.feed.news().iter().for_each(|file| observer.notice(&Event::Damaged { file }));
    }

    /// Without validation data there is nothing to choose by: the last epoch is the best.
    fn is_best(&self, valid: Option<&SumValues>) -> bool {
        let is_better = valid.is_none_or(|valid| valid.loss / valid.samples < self.best_loss);
        self.progress.best_epoch.is_none() || is_better
    }

    fn train_epoch(
        &mut self,
        observer: &mut dyn Observer,
        stop: &StopFlag,
        samples: &mut usize,
    ) -> Result<Flow> {
        let epoch = self.progress.epoch;
        if self.progress.batch == 0 {
            self.learner.reset_carried_state();
            self.learner.sums().start_epoch();
        }
        self.learner.set_schedule(self.config.schedule.factor(epoch, self.config.epochs));
        let (began, mut shown) = (Instant::now(), Instant::now());
        for load in self.feed.training_batches(epoch, self.progress.batch, self.learner.number()) {
            if self.has_all_steps() {
                break;
            }
            if stop.is_set() {
                self.save()?;
                return Ok(Flow::Stop);
            }
            self.feed.check()?;
            self.step(&load, observer)?;
            *samples += load.samples;
            if self.saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
            if observer.wants_progress() && shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                self.learner.device().check()?;
                self.show_progress(observer, *samples as f64 / began.elapsed().as_secs_f64());
            }
        }
        Ok(Flow::Continue)
    }

    fn step(&mut self, load: &Load, observer: &mut dyn Observer) -> Result<()> {
        let head = self.learner.step_on(load);
        self.learner.device().check_so_far()?;
        self.progress.step += 1;
        self.progress.batch += 1;
        let step = self.progress.step;
        let catch_up = self.learner.model().config().catch_up;
        if catch_up > 0 && step.is_multiple_of(catch_up) {
            self.learner.catch_up();
        }
        let is_logged = self.config.log_every > 0 && step.is_multiple_of(self.config.log_every);
        if is_logged {
            self.learner.device().check()?;
            let report = self.step_report(&head, load.samples);
            self.append(&Line::Step(&report))?;
            observer.notice(&Event::Step(&report));
        }
        let is_looked_at = match self.learner.device().can_repeat() {
            true => is_logged,
            false => step.is_multiple_of(CHECK_EVERY),
        };
        if is_looked_at { self.learner.check_divergence(self.progress.step) } else { Ok(()) }
    }

    fn step_report(&self, head: &Head, samples: usize) -> StepReport {
        StepReport {
            step: self.progress.step,
            epoch: self.progress.epoch,
            loss: head.loss.item(),
            accuracy: self.feed.is_classification().then(|| head.correct.item() / samples as f64),
            classifier_loss: head.classifier_losses.to_f64s(),
            posterior: self.learner.posterior(),
        }
    }

    fn show_progress(&self, observer: &mut dyn Observer, samples_per_second: f64) {
        let sums = self.learner.sums().read();
        observer.notice(&Event::Progress {
            epoch: self.progress.epoch,
            step_in_epoch: self.progress.batch,
            loss: sums.loss / sums.samples,
            accuracy: self.accuracy(&sums),
            posterior: &self.learner.posterior(),
            samples_per_second,
        });
    }

    fn accuracy(&self, sums: &SumValues) -> Option<f64> {
        self.feed.is_classification().then(|| sums.correct / sums.samples)
    }

    /// The sums over a part of the data: `None` where a stop was asked for, `Some(None)` where there is no such part.
    fn evaluate(
        &self,
        part: Part,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<Option<SumValues>>> {
        if !self.feed.has(part) {
            return Ok(Some(None));
        }
        observer.notice(&Event::Evaluating { split: part.name() });
        Ok(sums_over(&self.learner, &self.feed, part, stop)?.map(Some))
    }

    /// Writes an epoch down: its line, the best model if it is that, and the state to continue from.
    fn close_epoch(&mut self, report: &EpochReport, checkpoint: &mut Checkpoint) -> Result<()> {
        let is_whole = self.is_epoch_whole();
        self.progress.evaluate_next = false;
        self.progress.lines_before_end = (!is_whole).then(|| self.metrics_lines());
        self.append(&Line::Epoch(report))?;
        if is_whole {
            self.progress.epoch += 1;
            self.progress.batch = 0;
        }
        let has_best = self.progress.best_epoch.is_some();
        if report.is_best {
            // Whatever comes is better than no number.
            let loss = report.valid_loss.filter(|loss| !loss.is_nan());
            self.best_loss = loss.unwrap_or(f64::INFINITY);
            self.progress.best_epoch = Some(report.epoch);
        }
        self.progress.metrics_lines = self.metrics_lines();
        checkpoint.set_progress(self.progress.clone(), self.best_loss);
        if report.is_best {
            match &self.directory {
                Some(directory) => {
                    if has_best && !is_whole {
                        directory.keep_best()?;
                    }
                    directory.write_best(checkpoint)?;
                }
                None => self.best = Some(checkpoint.clone()),
            }
        }
        self.write_last(checkpoint.clone())
    }

    /// Tests the best epoch's model.
    fn finish(
        &mut self,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<(Flow, Option<TestReport>)> {
        let mut test = None;
        if let (true, Some(epoch)) = (self.feed.has(Part::Test), self.progress.best_epoch) {
            self.load_best()?;
            let Some(sums) = self.evaluate(Part::Test, observer, stop)? else {
                return Ok((Flow::Stop, None));
            };
            self.tell_damage(observer);
            test = sums.map(|sums| TestReport {
                epoch,
                loss: sums.loss / sums.samples,
                accuracy: self.accuracy(&sums),
            });
        }
        let lines = self.metrics_lines();
        self.progress.lines_before_end.get_or_insert(lines);
        if let Some(report) = &test {
            self.append(&Line::Test(report))?;
            observer.notice(&Event::Test(report));
        }
        self.progress.finished = true;
        self.progress.metrics_lines = self.metrics_lines();
        if let Some(mut checkpoint) = self.latest.take() {
            checkpoint.set_progress(self.progress.clone(), self.best_loss);
            self.write_last(checkpoint)?;
        }
        Ok((Flow::Continue, test))
    }

    fn load_best(&self) -> Result<()> {
        match (&self.directory, &self.best) {
            (Some(directory), _) => {
                let path = RunDirectory::best(directory.path());
                Checkpoint::read(&path)?.restore_predictor(&self.learner, &path)
            }
            (None, Some(best)) => best.restore_predictor(&self.learner, "the best epoch".as_ref()),
            (None, None) => Ok(()),
        }
    }

    /// Writes the state that was last reached to a file, under PyTorch's names.
    pub(crate) fn write_state(&self, path: &Path) -> Result<()> {
        self.best
            .as_ref()
            .or(self.latest.as_ref())
            .map_or(Ok(()), |checkpoint| checkpoint.write(path))
    }

    fn capture(&mut self) -> Checkpoint {
        self.progress.metrics_lines = self.metrics_lines();
        Checkpoint::capture(
            &self.learner,
            self.record.clone(),
            self.progress.clone(),
            self.best_loss,
        )
    }

    fn save(&mut self) -> Result<()> {
        self.learner.device().check()?;
        let checkpoint = self.capture();
        self.write_last(checkpoint)
    }

    fn write_last(&mut self, checkpoint: Checkpoint) -> Result<()> {
        if let Some(directory) = &self.directory {
            directory.write_last(&checkpoint)?;
        }
        self.latest = Some(checkpoint);
        self.saved = Instant::now();
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<()> {
        self.directory.as_mut().map_or(Ok(()), |directory| directory.metrics().append(line))
    }

    fn metrics_lines(&mut self) -> u64 {
        self.directory.as_mut().map_or(0, |directory| directory.metrics().lines())
    }
}
