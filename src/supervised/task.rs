//! Learning from a data set as a task of the run loop.

use std::path::Path;

use super::batches::{BatchSource, Batches};
use super::measurement::{Measurement, measure};
use super::reports::{EpochReport, Plan, Status, TestReport};
use super::settings::DataConfig;
use crate::data::{Dataset, Part};
use crate::error::Result;
use crate::learn::{
    self, Checkpoint, Epoch, EvaluatedPart, Learner, ModelRecord, Progress, Reports, RunTask,
    Steps, StopFlag, TrainConfig,
};
use crate::ops::update::step_statistics::SumValues;

/// A model, its data, and the best epoch so far.
pub struct Supervised {
    learner: Learner,
    dataset: Dataset,
    source: BatchSource,
    /// The remaining batches of the epoch.
    batches: Batches,
    config: TrainConfig,
    best_loss: f64,
}

impl Supervised {
    /// The task before the first step, with parameters and rates from the configuration's files, if it names any.
    ///
    /// # Errors
    /// Where a file cannot be read or does not fit the model.
    pub(super) fn new(
        learner: Learner,
        dataset: Dataset,
        source: BatchSource,
        config: TrainConfig,
    ) -> Result<Supervised> {
        if let Some(path) = &config.init {
            learner.load_initial(path).map_err(|error| error.of_setting("init"))?;
        }
        if let Some(path) = &config.rates {
            learner.load_rates(path).map_err(|error| error.of_setting("rates"))?;
        }
        let batches = no_batches();
        Ok(Supervised { learner, dataset, source, batches, config, best_loss: f64::INFINITY })
    }

    pub(super) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    fn accuracy(&self, sums: &SumValues) -> Option<f64> {
        self.source.is_classification().then(|| sums.correct / sums.samples)
    }
}

fn no_batches() -> Batches {
    Box::new(std::iter::empty())
}

fn part(split: EvaluatedPart) -> Part {
    match split {
        EvaluatedPart::Valid => Part::Valid,
        EvaluatedPart::Test => Part::Test,
    }
}

/// Something that happened in a run.
pub type Event<'a> = learn::Event<'a, Supervised>;

impl Reports for Supervised {
    type Plan = Plan;
    type Status = Status;
    type EpochReport = EpochReport;
    type TestReport = TestReport;
}

impl RunTask for Supervised {
    type Config = DataConfig;
    /// `None` if the data lacks the part.
    type Measured = Option<Measurement>;
    /// The validation loss; `None` without validation data.
    type Best = Option<f64>;

    const MEASURE: &'static str = "validation loss";

    fn learner(&self) -> &Learner {
        &self.learner
    }

    fn plan(&self) -> Plan {
        Plan {
            steps_per_epoch: self.source.steps(Part::Train),
            epochs: self.config.epochs,
            max_steps: self.config.max_steps,
        }
    }

    fn log_every(&self) -> u64 {
        self.config.log_every
    }

    fn updates(&self, progress: &Progress) -> u64 {
        progress.step
    }

    fn has_all_steps(&self, progress: &Progress) -> bool {
        self.config.max_steps.is_some_and(|max_steps| progress.step >= max_steps)
    }

    fn has_all_epochs(&self, progress: &Progress) -> bool {
        let evaluated = progress.epoch.saturating_sub(1);
        let since_best = evaluated.saturating_sub(progress.best_epoch.unwrap_or(0));
        evaluated >= self.config.epochs || since_best >= self.config.patience
    }

    fn is_epoch_whole(&self, progress: &Progress) -> bool {
        progress.batch >= self.source.steps(Part::Train)
    }

    fn is_in_epoch(&self, progress: &Progress) -> bool {
        progress.batch > 0
    }

    fn start_training(&mut self, progress: &Progress) {
        if progress.batch == 0 {
            self.learner.reset_carried_state();
            self.learner.sums().start_epoch();
        }
        let factor = self.config.schedule.factor(progress.epoch, self.config.epochs);
        self.learner.set_schedule(factor);
        let step = self.learner.number();
        self.batches = self.source.training_batches(progress.epoch, progress.batch, step);
    }

    fn step(&mut self, steps: &mut Steps<'_, Self>) -> Result<usize> {
        let batch = self.batches.next().expect("the loader gives as many batches as an epoch has");
        self.source.check()?;
        let head = batch.train(&self.learner);
        steps.progress.step += 1;
        steps.progress.batch += 1;
        let step = steps.progress.step;
        let catch_up = self.learner.model().config().catch_up;
        if catch_up > 0 && step.is_multiple_of(catch_up) {
            self.learner.catch_up();
        }
        let is_classification = self.source.is_classification();
        let accuracy = || is_classification.then(|| head.correct.item() / batch.samples as f64);
        steps.update(self, step, &head, accuracy)?;
        Ok(batch.samples)
    }

    fn end_epoch(&mut self, progress: &mut Progress) {
        progress.batch = 0;
    }

    fn status(&self, progress: &Progress, per_second: f64) -> Status {
        let sums = self.learner.sums().read();
        Status {
            epoch: progress.epoch,
            step_in_epoch: progress.batch,
            loss: sums.loss / sums.samples,
            accuracy: self.accuracy(&sums),
            posterior: self.learner.posterior(),
            samples_per_second: per_second,
        }
    }

    fn has(&self, split: EvaluatedPart) -> bool {
        self.source.has(part(split))
    }

    fn evaluate(
        &mut self,
        split: EvaluatedPart,
        stop: &StopFlag,
    ) -> Result<Option<Option<Measurement>>> {
        // Drops the batches left over by the limit on steps, and with them the loader's thread.
        self.batches = no_batches();
        match self.has(split) {
            true => Ok(measure(&self.learner, &self.source, part(split), None, stop)?.map(Some)),
            false => Ok(Some(None)),
        }
    }

    fn damaged(&self) -> Vec<String> {
        self.source.newly_damaged()
    }

    fn report_epoch(&self, epoch: &Epoch<Option<Measurement>>, progress: &Progress) -> EpochReport {
        let (train, valid) = (self.learner.sums().read(), epoch.measured.as_ref());
        let errors = valid.and_then(|valid| valid.errors);
        EpochReport {
            epoch: progress.epoch,
            train_loss: train.loss / train.samples,
            train_accuracy: self.accuracy(&train),
            valid_loss: valid.map(Measurement::loss),
            valid_accuracy: valid.and_then(|valid| self.accuracy(&valid.sums)),
            valid_mse: errors.map(|errors| errors.mse),
            valid_mae: errors.map(|errors| errors.mae),
            valid_r2: errors.map(|errors| errors.r2),
            posterior: self.learner.posterior(),
            seconds: epoch.seconds,
            samples_per_second: epoch.per_second,
            is_best: epoch.is_best,
        }
    }

    fn report_test(&self, measured: &Option<Measurement>, epoch: u64) -> TestReport {
        let measured = measured.as_ref().expect("a test has data");
        let (loss, errors) = (measured.loss(), measured.errors);
        TestReport { epoch, loss, accuracy: self.accuracy(&measured.sums), errors }
    }

    fn best(&self) -> Option<f64> {
        self.has(EvaluatedPart::Valid).then_some(self.best_loss)
    }

    /// Without validation data the last epoch is the best.
    fn is_better(&self, measured: &Option<Measurement>, _: &Progress) -> bool {
        let loss = measured.as_ref().map(Measurement::loss);
        loss.is_none_or(|loss| loss.is_finite() && loss < self.best_loss)
    }

    fn note_best(&mut self, measured: &Option<Measurement>, _: &Progress) {
        self.best_loss = measured.as_ref().map_or(f64::INFINITY, Measurement::loss);
    }

    fn set_best(&mut self, checkpoint: Option<&Checkpoint>, _: &Path) -> Result<()> {
        self.best_loss = checkpoint.map_or(f64::INFINITY, Checkpoint::best_loss);
        Ok(())
    }

    fn put_best(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set_best_loss(self.best_loss);
    }

    fn capture(&self, record: Option<ModelRecord>, progress: Progress) -> Checkpoint {
        Checkpoint::capture(&self.learner, record, progress)
    }

    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        checkpoint.restore(&self.learner, path)?;
        self.set_best(Some(checkpoint), path)
    }
}
