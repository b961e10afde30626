//! A run of Q-learning from its first step, or from a checkpoint, to its last.

use std::time::{Duration, Instant};

use super::collecting::Collecting;
use super::config::QConfig;
use super::environment::Environments;
use super::episodes::{Kind, mean_and_deviation, play, seed};
use super::network::QNetwork;
use super::observer::{EpochReport, Event, Line, Observer, TestReport};
use super::state::{self, Place};
use crate::error::{Error, Result};
use crate::ops::classifiers::Head;
use crate::train::{
    Checkpoint, Counts, ModelRecord, Outcome, Progress, RunDirectory, StepReport, StopFlag,
};

/// Updates between two looks at whether the run has diverged, where a look costs nothing.
const CHECK_EVERY: u64 = 20;

const SAVE_EVERY: Duration = Duration::from_secs(300);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The best epoch and its mean return in the evaluation.
    pub best: Option<(u64, f64)>,
    /// The best epoch's network in new episodes.
    pub test: Option<TestReport>,
    /// What diverged on the way.
    pub counts: Counts,
}

/// A Q-network, its episodes, and how far they have come.
pub(super) struct Training {
    network: QNetwork,
    collecting: Collecting,
    /// Where the network is evaluated: what happens there changes nothing.
    arena: Box<dyn Environments>,
    config: QConfig,
    record: ModelRecord,
    directory: RunDirectory,
    progress: Progress,
    place: Place,
    latest: Option<Checkpoint>,
    saved: Instant,
}

/// Whether to go on.
enum Flow {
    Continue,
    Stop,
}

/// The parts of a run, before its first step.
pub(super) struct Parts {
    pub network: QNetwork,
    pub collecting: Collecting,
    pub arena: Box<dyn Environments>,
    pub record: ModelRecord,
}

impl Training {
    /// A run before its first step.
    pub fn new(parts: Parts, config: QConfig, directory: RunDirectory) -> Training {
        let Parts { network, collecting, arena, record } = parts;
        Training {
            network,
            collecting,
            arena,
            config,
            record,
            directory,
            progress: Progress::default(),
            place: Place::START,
            latest: None,
            saved: Instant::now(),
        }
    }

    /// A run at its last checkpoint, in whose directory nothing is changed yet.
    ///
    /// # Errors
    /// Where the checkpoint is not whole, is of another network, or knows of more metrics than there are.
    pub fn restored(
        mut parts: Parts,
        config: QConfig,
        mut directory: RunDirectory,
    ) -> Result<Training> {
        let path = RunDirectory::last(directory.path());
        let checkpoint = Checkpoint::read(&path)?;
        let place = state::restore(&checkpoint, &mut parts.network, &mut parts.collecting, &path)?;
        directory.metrics().end_of(checkpoint.record.progress.metrics_lines)?;
        let mut own = Training::new(parts, config, directory);
        own.progress = checkpoint.record.progress.clone();
        own.place = place;
        own.latest = Some(checkpoint);
        Ok(own)
    }

    /// Goes on in the directory. A run that had ended goes on if the config now lets it; its checkpoint says so before the
    /// lines of its end are cut off.
    pub fn reopen(&mut self) -> Result<()> {
        self.directory.remove_leftovers();
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
        if self.progress.step < self.config.steps && !self.is_epoch_whole() {
            // It was stopped at its last step, which no longer is the last.
            self.progress.evaluate_next = false;
        }
        let is_in_epoch = self.progress.step > self.place.epoch_start;
        if self.progress.step >= self.config.steps
            && is_in_epoch
            && self.progress.lines_before_end.is_none()
        {
            // It was made to go on, and is not after all: the line of this part is gone, or was never written.
            self.progress.evaluate_next = true;
        }
        let lines = self.progress.metrics_lines;
        self.directory.metrics().cut(lines)?;
        // Also where the run was killed between this and the write above.
        match self.progress.lines_before_end {
            Some(_) => Ok(()),
            None => self.directory.restore_best(),
        }
    }

    /// Where the run had ended in the midst of an epoch and was best there: the best of the whole epochs is the best again.
    fn forget_best_of_part(&mut self) -> Result<()> {
        let is_in_epoch = self.progress.step > self.place.epoch_start;
        if is_in_epoch && self.progress.best_epoch == Some(self.progress.epoch) {
            let kept = self.directory.kept_best()?;
            self.progress.best_epoch =
                kept.as_ref().and_then(|kept| kept.record.progress.best_epoch);
            let best = match &kept {
                None => Place::START,
                Some(kept) => Place::read(kept, self.directory.path())?,
            };
            self.place = Place { epoch_start: self.place.epoch_start, ..best };
        }
        Ok(())
    }

    /// Steps of the environment that are done.
    pub fn step_count(&self) -> u64 {
        self.progress.step
    }

    /// Whether everything is done, the test included.
    pub fn is_finished(&self) -> bool {
        self.progress.finished
    }

    pub fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    pub fn network(&self) -> &QNetwork {
        &self.network
    }

    /// Learns to the end, or until `stop` is set.
    ///
    /// # Errors
    /// [`crate::Error::Diverged`] after 100 updates in a row without a finite loss; where the environment fails;
    /// [`crate::Error::Write`]; the last checkpoint stays whole.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Report> {
        observer.notice(&Event::Started {
            steps: self.config.steps,
            epochs: self.config.epochs(),
            step: self.progress.step,
            directory: self.directory.path(),
        });
        if self.latest.is_none() {
            self.save()?;
        }
        let mut test = None;
        let mut outcome = Outcome::Finished;
        while !self.is_over() && outcome == Outcome::Finished {
            if let Flow::Stop = self.epoch(observer, stop)? {
                outcome = Outcome::Stopped;
            }
        }
        if outcome == Outcome::Finished && !self.is_finished() {
            self.network.learner().check_any_finite_loss(self.updates())?;
            match self.finish(observer, stop)? {
                Some(report) => test = Some(report),
                None => outcome = Outcome::Stopped,
            }
        }
        let counts = self.counts();
        observer.notice(&Event::Ended { counts });
        let best = self.progress.best_epoch.map(|epoch| (epoch, self.place.best_return));
        Ok(Report { outcome, best, test, counts })
    }

    fn is_over(&self) -> bool {
        self.progress.step >= self.config.steps && !self.progress.evaluate_next
    }

    /// Updates that are done.
    fn updates(&self) -> u64 {
        self.config.updates_after(self.progress.step)
    }

    /// The step that ends a whole epoch.
    fn whole_epoch_end(&self) -> u64 {
        let epoch_steps = self.config.epoch_steps;
        (self.place.epoch_start / epoch_steps + 1).saturating_mul(epoch_steps)
    }

    fn epoch_end(&self) -> u64 {
        self.whole_epoch_end().min(self.config.steps)
    }

    fn is_epoch_whole(&self) -> bool {
        self.progress.step >= self.whole_epoch_end()
    }

    /// Takes what is left of an epoch's steps, and evaluates.
    fn epoch(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Flow> {
        self.progress.epoch = self.progress.epoch.max(1);
        let began = Instant::now();
        let first = self.progress.step;
        if !self.progress.evaluate_next {
            if let Flow::Stop = self.collect(observer, stop)? {
                return Ok(Flow::Stop);
            }
            self.network.learner().check_divergence(self.updates())?;
            self.progress.evaluate_next = true;
        }
        self.network.learner().device().check()?;
        let seconds = began.elapsed().as_secs_f64();
        let checkpoint = self.capture();
        observer.notice(&self.evaluating());
        let played = self.play(Kind::Evaluation, stop);
        if let Err(Error::Environment { .. }) = played {
            self.write_last(checkpoint.clone())?;
        }
        let Some(returns) = played? else {
            self.write_last(checkpoint)?;
            return Ok(Flow::Stop);
        };
        let (mean_return, return_deviation) = mean_and_deviation(&returns);
        let sums = self.network.learner().sums().read();
        let step = self.progress.step;
        let report = EpochReport {
            epoch: self.progress.epoch,
            step,
            updates: self.updates(),
            episodes: self.collecting.ended(),
            mean_return,
            return_deviation,
            training_return: self.collecting.epoch_return(),
            loss: (sums.samples > 0.0).then(|| sums.loss / sums.samples),
            epsilon: self.collecting.epsilon(step),
            posterior: self.network.learner().posterior(),
            seconds,
            steps_per_second: (step - first) as f64 / seconds,
            is_best: self.is_best(mean_return),
        };
        self.close_epoch(&report, checkpoint)?;
        observer.notice(&Event::Epoch(&report));
        Ok(Flow::Continue)
    }

    /// Whether the epoch's network did better than all before. One that has not learnt yet is better than none.
    fn is_best(&self, mean_return: f64) -> bool {
        let Place { best_return, best_has_learnt, .. } = self.place;
        let is_first = self.progress.best_epoch.is_none();
        let is_better = mean_return > best_return || best_return.is_nan();
        is_first || is_better || (self.updates() > 0 && !best_has_learnt)
    }

    /// The steps and updates of what is left of an epoch.
    fn collect(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Flow> {
        if self.progress.step == self.place.epoch_start {
            self.network.learner().sums().start_epoch();
            self.collecting.start_epoch();
        }
        let first = self.progress.step;
        let (began, mut shown) = (Instant::now(), Instant::now());
        while self.progress.step < self.epoch_end() {
            if stop.is_set() {
                self.save()?;
                return Ok(Flow::Stop);
            }
            let stepped = self.step(observer);
            if let Err(Error::Environment { .. }) = stepped {
                // What was learnt is not at fault.
                self.save()?;
            }
            stepped?;
            if self.saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
            if observer.wants_progress() && shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                let done = (self.progress.step - first) as f64;
                self.show_progress(observer, done / began.elapsed().as_secs_f64())?;
            }
        }
        Ok(Flow::Continue)
    }

    /// A step of each copy of the environment, and the updates that are due then.
    fn step(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let done = self.updates();
        self.collecting.step(&mut self.network, self.progress.step)?;
        self.progress.step += self.collecting.copies();
        for update in done + 1..=self.updates() {
            let head = self.network.update();
            self.network.learner().device().check_so_far()?;
            let is_logged = self.config.train.log_every > 0
                && update.is_multiple_of(self.config.train.log_every);
            if is_logged {
                self.log(update, &head, observer)?;
            }
            let is_looked_at = match self.network.learner().device().can_repeat() {
                true => is_logged,
                false => update.is_multiple_of(CHECK_EVERY),
            };
            if is_looked_at {
                self.network.learner().check_divergence(update)?;
            }
        }
        Ok(())
    }

    fn log(&mut self, update: u64, head: &Head, observer: &mut dyn Observer) -> Result<()> {
        self.network.learner().device().check()?;
        let report = StepReport {
            step: update,
            epoch: self.progress.epoch,
            loss: head.loss.item(),
            accuracy: None,
            classifier_loss: head.classifier_losses.to_f64s(),
            posterior: self.network.learner().posterior(),
        };
        self.directory.metrics().append(&Line::Step(&report))?;
        observer.notice(&Event::Step(&report));
        Ok(())
    }

    fn show_progress(&self, observer: &mut dyn Observer, steps_per_second: f64) -> Result<()> {
        self.network.learner().device().check()?;
        observer.notice(&Event::Progress {
            epoch: self.progress.epoch,
            step: self.progress.step,
            recent_return: self.collecting.recent_return(),
            epsilon: self.collecting.epsilon(self.progress.step),
            posterior: &self.network.learner().posterior(),
            steps_per_second,
        });
        Ok(())
    }

    fn evaluating(&self) -> Event<'static> {
        // The test comes after the last epoch.
        let epoch = self.progress.epoch.min(self.config.epochs());
        Event::Evaluating { epoch, step: self.progress.step }
    }

    /// The returns of the network's episodes; `None` where a stop was asked for.
    fn play(&mut self, kind: Kind, stop: &StopFlag) -> Result<Option<Vec<f64>>> {
        let episodes = self.config.evaluation_episodes as u64;
        let seeds: Vec<u64> =
            (0..episodes).map(|number| seed(self.config.train.seed, kind, number)).collect();
        let network = &self.network;
        play(&mut *self.arena, &seeds, &|observations| network.values(observations), stop)
    }

    /// Writes an epoch down: its line, the best network if it is that, and the state to continue from.
    fn close_epoch(&mut self, report: &EpochReport, mut checkpoint: Checkpoint) -> Result<()> {
        let is_whole = self.is_epoch_whole();
        self.progress.evaluate_next = false;
        self.progress.lines_before_end = (!is_whole).then(|| self.directory.metrics().lines());
        self.directory.metrics().append(&Line::Epoch(report))?;
        if is_whole {
            self.progress.epoch += 1;
            self.place.epoch_start = self.progress.step;
        }
        let has_best = self.progress.best_epoch.is_some();
        if report.is_best {
            self.place.best_return = report.mean_return;
            self.place.best_has_learnt = self.updates() > 0;
            self.progress.best_epoch = Some(report.epoch);
        }
        self.progress.metrics_lines = self.directory.metrics().lines();
        self.bring_up_to_date(&mut checkpoint);
        if report.is_best {
            if has_best && !is_whole {
                self.directory.keep_best()?;
            }
            // Whoever plays with it needs no replay buffer.
            let mut best = checkpoint.alone();
            self.place.put(&mut best);
            self.directory.write_best(&best)?;
        }
        self.write_last(checkpoint)
    }

    /// Tests the best epoch's network, which takes the place of the last one in memory; `None` where a stop was asked for.
    fn finish(
        &mut self,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<TestReport>> {
        let path = RunDirectory::best(self.directory.path());
        Checkpoint::read(&path)?.restore_predictor(self.network.learner(), &path)?;
        observer.notice(&self.evaluating());
        let Some(returns) = self.play(Kind::Test, stop)? else { return Ok(None) };
        let (mean_return, return_deviation) = mean_and_deviation(&returns);
        let report = TestReport {
            epoch: self.progress.best_epoch.unwrap_or_default(),
            mean_return,
            return_deviation,
            episodes: returns.len(),
        };
        let lines = self.directory.metrics().lines();
        self.progress.lines_before_end.get_or_insert(lines);
        self.directory.metrics().append(&Line::Test(&report))?;
        observer.notice(&Event::Test(&report));
        self.progress.finished = true;
        self.progress.metrics_lines = self.directory.metrics().lines();
        if let Some(checkpoint) = self.latest.take() {
            self.write_last(checkpoint)?;
        }
        Ok(Some(report))
    }

    fn counts(&self) -> Counts {
        self.network.learner().counts()
    }

    fn capture(&mut self) -> Checkpoint {
        self.progress.metrics_lines = self.directory.metrics().lines();
        let (record, progress) = (self.record.clone(), self.progress.clone());
        state::capture(&self.network, &self.collecting, record, progress, self.place)
    }

    /// Makes a checkpoint the same state, further on in the run.
    fn bring_up_to_date(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set_progress(self.progress.clone(), f64::INFINITY);
        self.place.put(checkpoint);
    }

    fn save(&mut self) -> Result<()> {
        self.network.learner().device().check()?;
        let checkpoint = self.capture();
        self.write_last(checkpoint)
    }

    fn write_last(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        self.bring_up_to_date(&mut checkpoint);
        self.directory.write_last(&checkpoint)?;
        self.latest = Some(checkpoint);
        self.saved = Instant::now();
        Ok(())
    }
}
