//! Q-learning: updates, environment steps, and both in turn, eager and captured. `benches/peers/dqn.py` does the same
//! in PyTorch.

use std::cell::RefCell;
use std::time::Duration;

use serde::Serialize;

use super::step::{Mode, launches};
use super::turns::{Length, Timed, Times, Turns, in_turn};
use crate::device::Device;
use crate::error::Result;
use crate::rl::settings::Settings;
use crate::rl::{Collecting, QConfig, QNetwork, check_room};

/// Transitions of random actions that fill the replay buffer.
pub const TRANSITIONS: u64 = 10_000;

/// The fraction of random actions while steps are timed: the final one of `alrao rl train`.
const EPSILON: f64 = 0.05;

/// The settings that all measurements share; the others are free.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.task.learning_starts = Some(TRANSITIONS);
    settings.task.epsilon_start = Some(EPSILON);
    settings.task.epsilon_end = Some(EPSILON);
    settings.task.update_every = Some(1);
    settings
}

/// The work to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Updates alone.
    Updates,
    /// Choosing an action, stepping the environment, storing the transition.
    EnvironmentSteps,
    /// A step of every copy of the environment, and as many updates.
    Both,
}

const WORKS: [Work; 3] = [Work::Updates, Work::EnvironmentSteps, Work::Both];

/// A network ready to be timed, and its environment.
struct Contestant<'a> {
    config: &'a QConfig,
    mode: Mode,
    network: QNetwork,
    collecting: Collecting,
    /// Environment steps so far.
    steps: u64,
}

impl<'a> Contestant<'a> {
    fn new(config: &'a QConfig, mode: Mode, device: &Device) -> Result<Self> {
        let collecting = Collecting::open(config)?;
        check_room(config, collecting.spaces())?;
        let network = QNetwork::new(config, collecting.spaces(), device)?;
        network.set_capture(mode == Mode::Captured);
        let mut own = Contestant { config, mode, network, collecting, steps: 0 };
        while own.steps < TRANSITIONS {
            own.once(Work::EnvironmentSteps)?;
        }
        // The second update is captured; the third is the first replay.
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

    /// The time of `count` updates, or of as many steps of one environment, measured over at least as many.
    fn time(&mut self, work: Work, count: usize, device: &Device) -> Result<Duration> {
        let at_once = if work == Work::Updates { 1 } else { self.copies() };
        let repeats = (count as u64).div_ceil(at_once);
        let mut outcome = Ok(());
        let time = device.time(|| outcome = (0..repeats).try_for_each(|_| self.once(work)))?;
        outcome?;
        Ok(time.mul_f64(count as f64 / (repeats * at_once) as f64))
    }

    fn row(&self, times: &[Times]) -> Row {
        let QConfig { task, model, alrao, train, .. } = self.config;
        let [updates_per_second, environment_steps_per_second, steps_with_updates_per_second] =
            [0, 1, 2].map(|work| 1.0 / times[work].median());
        Row {
            env: task.env.clone(),
            environments: task.environments,
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

/// The measurements of one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The environment.
    pub env: String,
    /// The number of its copies.
    pub environments: usize,
    /// The optimiser.
    pub optimizer: String,
    /// Eager or captured, for updates and for choosing actions.
    pub mode: Mode,
    /// The precision.
    pub precision: String,
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Transitions in an update.
    pub batch_size: usize,
    /// Classifiers.
    pub classifiers: usize,
    /// Updates per second.
    pub updates_per_second: f64,
    /// Environment steps per second without updates, summed over all copies.
    pub environment_steps_per_second: f64,
    /// Environment steps per second with one update each.
    pub steps_with_updates_per_second: f64,
    /// Kernels in an update; `None` on the CPU.
    pub launches: Option<u64>,
}

/// Configurations in each of the device's modes, ready to be timed.
pub struct Comparison<'a> {
    contestants: Vec<Contestant<'a>>,
    device: &'a Device,
}

impl<'a> Comparison<'a> {
    /// Fills every replay buffer and does the first updates.
    ///
    /// # Errors
    /// If a network cannot be built or an environment not opened; [`Device::check`].
    pub fn new(configs: &'a [QConfig], device: &'a Device) -> Result<Self> {
        let ways = |config| Mode::on(device).iter().map(move |mode| (config, *mode));
        let contestants: Result<Vec<Contestant>> = configs
            .iter()
            .flat_map(ways)
            .map(|(config, mode)| Contestant::new(config, mode, device))
            .collect();
        Ok(Comparison { contestants: contestants?, device })
    }

    /// Times them in turn, round by round, so that a change of the machine's speed affects all. A round is `steps`
    /// updates, as many environment steps, and both; the result is the median over `rounds`.
    ///
    /// # Errors
    /// If an environment fails; [`Device::check`].
    pub fn run(&mut self, rounds: usize, steps: usize) -> Result<Vec<Row>> {
        let device = self.device;
        let shared: Vec<_> = self.contestants.iter_mut().map(RefCell::new).collect();
        let works = shared.iter().flat_map(|own| WORKS.map(|work| (own, work)));
        let timed = works.map(|(own, work)| -> Timed<_> {
            Box::new(move |count| own.borrow_mut().time(work, count, device))
        });
        let turns = Turns { rounds, length: Length::Steps(steps) };
        let times: Result<Vec<Times>> = in_turn(timed.collect(), turns).into_iter().collect();
        let of_each = times?;
        let pairs = self.contestants.iter().zip(of_each.chunks(WORKS.len()));
        Ok(pairs.map(|(own, times)| own.row(times)).collect())
    }
}
