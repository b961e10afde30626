//! Q-learning: updates, steps of the environment, and both in turn, step by step and captured. `benches/peers/dqn.py` does the
//! same in PyTorch.

use std::time::Duration;

use serde::Serialize;

use super::median;
use super::step::{Mode, launches};
use crate::device::Device;
use crate::error::Result;
use crate::rl::settings::RlSettings;
use crate::rl::{Collecting, QConfig, QNetwork};

/// Transitions that the updates draw from, of random actions.
pub const TRANSITIONS: u64 = 10_000;

/// The part of random actions while steps are timed: that of `alrao rl train` in the end.
const EPSILON: f64 = 0.05;

/// What everything here is timed with; the rest may be as one likes.
pub fn settings() -> RlSettings {
    let mut own = RlSettings::default();
    own.own.learning_starts = Some(TRANSITIONS);
    own.own.epsilon_start = Some(EPSILON);
    own.own.epsilon_end = Some(EPSILON);
    own.own.update_every = Some(1);
    own
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Learning alone.
    Updates,
    /// Choosing an action, doing it, keeping what came of it.
    EnvironmentSteps,
    /// A step of every copy of the environment, and as many updates.
    Both,
}

const WORKS: [Work; 3] = [Work::Updates, Work::EnvironmentSteps, Work::Both];

/// A network that is ready to be timed, and its environment.
struct Contestant<'a> {
    config: &'a QConfig,
    mode: Mode,
    network: QNetwork,
    collecting: Collecting,
    /// Steps of the environment so far.
    steps: u64,
}

impl<'a> Contestant<'a> {
    fn new(config: &'a QConfig, mode: Mode, device: &Device) -> Result<Self> {
        let collecting = Collecting::open(config)?;
        let network = QNetwork::new(config, collecting.spaces(), device)?;
        network.set_capture(mode == Mode::Captured);
        let mut own = Contestant { config, mode, network, collecting, steps: 0 };
        while own.steps < TRANSITIONS {
            own.once(Work::EnvironmentSteps)?;
        }
        // The second is captured, the third is the first that is replayed.
        (0..3).try_for_each(|_| own.once(Work::Both))?;
        device.check()?;
        Ok(own)
    }

    fn copies(&self) -> u64 {
        self.collecting.copies()
    }

    fn once(&mut self, work: Work) -> Result<()> {
        if work != Work::Updates {
            self.collecting.step(&mut self.network, self.steps)?;
            self.steps += self.copies();
        }
        let updates = match work {
            Work::Updates => 1,
            Work::EnvironmentSteps => 0,
            Work::Both => self.copies(),
        };
        (0..updates).for_each(|_| drop(self.network.update()));
        Ok(())
    }

    /// The time of one update, or of one step of one copy, over a round of at least `count`.
    fn time(&mut self, work: Work, count: usize, device: &Device) -> Result<Duration> {
        let at_once = if work == Work::Updates { 1 } else { self.copies() };
        let repeats = (count as u64).div_ceil(at_once);
        let mut outcome = Ok(());
        let time = device.time(|| outcome = (0..repeats).try_for_each(|_| self.once(work)))?;
        outcome?;
        Ok(Duration::from_secs_f64(time.as_secs_f64() / (repeats * at_once) as f64))
    }

    fn row(&self, times: &[Vec<Duration>; 3]) -> Row {
        let QConfig { env, environments, model, alrao, train, .. } = self.config;
        let [updates_per_second, environment_steps_per_second, steps_with_updates_per_second] =
            [0, 1, 2].map(|work| 1.0 / median(times[work].iter().copied()).as_secs_f64());
        Row {
            env: env.clone(),
            environments: *environments,
            optimizer: train.optimizer.to_string(),
            mode: self.mode,
            precision: train.precision.to_string(),
            hidden: model.hidden.clone(),
            batch_size: train.batch_size,
            classifiers: alrao.classifiers,
            updates_per_second,
            environment_steps_per_second,
            steps_with_updates_per_second,
            launches: launches(self.network.learner(), || drop(self.network.update())),
        }
    }
}

/// What Q-learning in a configuration comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The environment.
    pub env: String,
    /// Its copies.
    pub environments: usize,
    /// How parameters learn.
    pub optimizer: String,
    /// How updates are done, and actions chosen.
    pub mode: Mode,
    /// What they compute in.
    pub precision: String,
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Transitions of an update.
    pub batch_size: usize,
    /// Regressors.
    pub classifiers: usize,
    /// Updates a second.
    pub updates_per_second: f64,
    /// Steps of the environment a second without updates, those of all copies added up.
    pub environment_steps_per_second: f64,
    /// The same with an update for each.
    pub steps_with_updates_per_second: f64,
    /// Kernels of an update; `None` on the CPU.
    pub launches: Option<u64>,
}

/// Configurations in each of the device's ways, ready to be timed.
pub struct Comparison<'a> {
    contestants: Vec<Contestant<'a>>,
    device: &'a Device,
}

impl<'a> Comparison<'a> {
    /// Fills every memory and does the first updates.
    ///
    /// # Errors
    /// Where a network cannot be built or an environment not opened; [`Device::check`].
    pub fn new(configs: &'a [QConfig], device: &'a Device) -> Result<Self> {
        let ways = |config| Mode::on(device).iter().map(move |mode| (config, *mode));
        let contestants: Result<Vec<Contestant>> = configs
            .iter()
            .flat_map(ways)
            .map(|(config, mode)| Contestant::new(config, mode, device))
            .collect();
        Ok(Comparison { contestants: contestants?, device })
    }

    /// Times them one after the other, round by round, so that what changes about the machine hits all alike. A round is
    /// `steps` updates, as many steps of the environment, and both; the median over `rounds` counts.
    ///
    /// # Errors
    /// Where an environment fails; [`Device::check`].
    pub fn run(&mut self, rounds: usize, steps: usize) -> Result<Vec<Row>> {
        let mut times = vec![[const { Vec::new() }; 3]; self.contestants.len()];
        for _ in 0..rounds.max(1) {
            for (own, times) in self.contestants.iter_mut().zip(&mut times) {
                for (work, times) in WORKS.into_iter().zip(times) {
                    times.push(own.time(work, steps.max(1), self.device)?);
                }
            }
        }
        Ok(self.contestants.iter().zip(&times).map(|(own, times)| own.row(times)).collect())
    }
}
