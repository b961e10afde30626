//! Q-learning as a task of the run loop: its steps are those of the environment, its evaluations are episodes.

use std::path::Path;

use super::collecting::Collecting;
use super::config::{QConfig, QLearningConfig};
use super::environment::{Environments, Spaces};
use super::episodes::{EpisodePurpose, mean_and_deviation, play, seed};
use super::network::QNetwork;
use super::reports::{EpochReport, Plan, Status, TestReport};
use super::state::{self, Standing};
use crate::error::Result;
use crate::learn::{
    self, Checkpoint, Epoch, EvaluatedPart, Learner, ModelRecord, Progress, Reports, RunTask,
    Steps, StopFlag,
};

/// A Q-network, its episodes, and the best epoch so far.
pub struct QLearning {
    network: QNetwork,
    collecting: Collecting,
    /// The environments of evaluations, separate from those of training.
    arena: Box<dyn Environments>,
    config: QConfig,
    place: Standing,
}

/// The returns of an evaluation's episodes.
pub struct Returns {
    mean: f64,
    deviation: f64,
    episodes: usize,
}

impl QLearning {
    /// The task before the first step.
    pub(super) fn new(
        network: QNetwork,
        collecting: Collecting,
        arena: Box<dyn Environments>,
        config: QConfig,
    ) -> QLearning {
        QLearning { network, collecting, arena, config, place: Standing::START }
    }

    /// The observations and actions of the environment.
    pub(super) fn spaces(&self) -> Spaces {
        self.collecting.spaces()
    }

    /// The step that ends a whole epoch.
    fn whole_epoch_end(&self) -> u64 {
        let epoch_steps = self.config.task.epoch_steps;
        (self.place.epoch_start / epoch_steps + 1).saturating_mul(epoch_steps)
    }
}

/// Something that happened in a run.
pub type Event<'a> = learn::Event<'a, QLearning>;

impl Reports for QLearning {
    type Plan = Plan;
    type Status = Status;
    type EpochReport = EpochReport;
    type TestReport = TestReport;
}

impl RunTask for QLearning {
    type Config = QLearningConfig;
    type Measured = Returns;
    type Best = f64;

    const MEASURE: &'static str = "mean return";

    fn learner(&self) -> &Learner {
        self.network.learner()
    }

    fn plan(&self) -> Plan {
        Plan { steps: self.config.task.steps, epochs: self.config.task.epochs() }
    }

    fn log_every(&self) -> u64 {
        self.config.train.log_every
    }

    fn updates(&self, progress: &Progress) -> u64 {
        self.config.task.updates_after(progress.step)
    }

    fn has_all_steps(&self, progress: &Progress) -> bool {
        progress.step >= self.config.task.steps
    }

    fn has_all_epochs(&self, _: &Progress) -> bool {
        false
    }

    fn is_epoch_whole(&self, progress: &Progress) -> bool {
        progress.step >= self.whole_epoch_end()
    }

    fn is_in_epoch(&self, progress: &Progress) -> bool {
        progress.step > self.place.epoch_start
    }

    fn start_training(&mut self, progress: &Progress) {
        if !self.is_in_epoch(progress) {
            self.learner().sums().start_epoch();
            self.collecting.start_epoch();
        }
    }

    /// Takes a step in each copy of the environment, and the updates that are then due.
    fn step(&mut self, steps: &mut Steps<'_, Self>) -> Result<usize> {
        let done = self.updates(steps.progress);
        self.collecting.step(&mut self.network, steps.progress.step)?;
        let copies = self.collecting.copies();
        steps.progress.step += copies;
        for update in done + 1..=self.updates(steps.progress) {
            let head = self.network.update();
            steps.update(self, update, &head, || None)?;
        }
        Ok(copies as usize)
    }

    fn end_epoch(&mut self, progress: &mut Progress) {
        self.place.epoch_start = progress.step;
    }

    fn status(&self, progress: &Progress, per_second: f64) -> Status {
        Status {
            epoch: progress.epoch,
            step: progress.step,
            recent_return: self.collecting.recent_return(),
            epsilon: self.collecting.epsilon(progress.step),
            posterior: self.learner().posterior(),
            steps_per_second: per_second,
        }
    }

    fn has(&self, _: EvaluatedPart) -> bool {
        true
    }

    fn evaluate(&mut self, split: EvaluatedPart, stop: &StopFlag) -> Result<Option<Returns>> {
        let kind = match split {
            EvaluatedPart::Valid => EpisodePurpose::Evaluation,
            EvaluatedPart::Test => EpisodePurpose::Test,
        };
        let episodes = self.config.task.evaluation_episodes as u64;
        let seeds: Vec<u64> =
            (0..episodes).map(|number| seed(self.config.train.seed, kind, number)).collect();
        let network = &self.network;
        let returns =
            play(&mut *self.arena, &seeds, &|observations| network.values(observations), stop)?;
        Ok(returns.map(|returns| {
            let (mean, deviation) = mean_and_deviation(&returns);
            Returns { mean, deviation, episodes: returns.len() }
        }))
    }

    fn report_epoch(&self, epoch: &Epoch<Returns>, progress: &Progress) -> EpochReport {
        let sums = self.learner().sums().read();
        EpochReport {
            epoch: progress.epoch,
            step: progress.step,
            updates: self.updates(progress),
            episodes: self.collecting.ended(),
            mean_return: epoch.measured.mean,
            return_deviation: epoch.measured.deviation,
            training_return: self.collecting.epoch_return(),
            loss: (sums.samples > 0.0).then(|| sums.loss / sums.samples),
            epsilon: self.collecting.epsilon(progress.step),
            posterior: self.learner().posterior(),
            seconds: epoch.seconds,
            steps_per_second: epoch.per_second,
            is_best: epoch.is_best,
        }
    }

    fn report_test(&self, measured: &Returns, epoch: u64) -> TestReport {
        let Returns { mean, deviation, episodes } = *measured;
        TestReport { epoch, mean_return: mean, return_deviation: deviation, episodes }
    }

    fn best(&self) -> f64 {
        self.place.best_return
    }

    /// A network without updates is the best only until one with updates is evaluated.
    fn is_better(&self, measured: &Returns, progress: &Progress) -> bool {
        let is_first_learnt = self.updates(progress) > 0 && !self.place.best_has_learnt;
        is_better_return(measured.mean, self.place.best_return, is_first_learnt)
    }

    fn note_best(&mut self, measured: &Returns, progress: &Progress) {
        self.place.best_return = measured.mean;
        self.place.best_has_learnt = self.updates(progress) > 0;
    }

    fn set_best(&mut self, checkpoint: Option<&Checkpoint>, path: &Path) -> Result<()> {
        let best = checkpoint.map_or(Ok(Standing::START), |own| Standing::read(own, path))?;
        self.place = Standing { epoch_start: self.place.epoch_start, ..best };
        Ok(())
    }

    fn put_best(&self, checkpoint: &mut Checkpoint) {
        self.place.put(checkpoint);
    }

    fn capture(&self, record: Option<ModelRecord>, progress: Progress) -> Checkpoint {
        state::capture(&self.network, &self.collecting, record, progress)
    }

    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<()> {
        self.place = state::restore(checkpoint, &mut self.network, &mut self.collecting, path)?;
        Ok(())
    }

    /// Predictions need no replay buffer.
    fn model_of(&self, checkpoint: &Checkpoint) -> Checkpoint {
        let mut own = checkpoint.without(state::PREFIX);
        self.place.put(&mut own);
        own
    }
}

/// Whether a return is better than the best so far, or finite and the first of a network that has learnt.
fn is_better_return(own: f64, best: f64, is_first_learnt: bool) -> bool {
    // An earlier version could take a return that is not a number for the best.
    own.is_finite() && (own > best || best.is_nan() || is_first_learnt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finite_return_is_the_best() {
        for own in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!is_better_return(own, f64::NEG_INFINITY, true));
        }
        assert!(is_better_return(-5.0, f64::NAN, false) && is_better_return(-5.0, -4.0, true));
        assert!(!is_better_return(-5.0, -4.0, false));
    }
}
