//! The training episodes in progress.

use std::collections::VecDeque;

use super::config::QConfig;
use super::environment::{Environments, Spaces};
use super::episodes::{EpisodePurpose, seed};
use super::memory::Transition;
use super::network::QNetwork;
use super::open::open;
use super::policy::{EpsilonGreedy, greedy};
use crate::error::Result;

/// Number of episodes in the mean return that the progress shows.
const RECENT: usize = 20;

/// Copies of an environment and their current episodes.
pub(crate) struct Collecting {
    environments: Box<dyn Environments>,
    policy: EpsilonGreedy,
    seed: u64,
    reward_scale: f64,
    /// Each copy's current observation, `[copies, n]`.
    observations: Vec<f32>,
    /// Return of each copy's episode so far.
    returns: Vec<f64>,
    /// Number of episodes begun.
    begun: u64,
    /// Number of episodes ended.
    ended: u64,
    /// Number of episodes that ended in this epoch, and the sum of their returns.
    in_epoch: (f64, f64),
    recent: VecDeque<f64>,
}

/// The state in a checkpoint, including that of the environments if it can be saved.
pub(super) struct State {
    pub observations: Vec<f32>,
    pub returns: Vec<f64>,
    /// Episodes begun, episodes ended, episodes ended in the epoch, and the sum of these returns.
    pub counts: [f64; 4],
    pub environments: Option<Vec<f64>>,
}

impl Collecting {
    /// Opens a configuration's environment, with every copy at the beginning of an episode.
    ///
    /// # Errors
    /// Where the environment cannot be opened.
    pub fn open(config: &QConfig) -> Result<Collecting> {
        let environments = open(&config.task.env, config.task.environments)?;
        let seed = config.train.seed;
        let policy = EpsilonGreedy::new(config.task.exploration, config.task.learning_starts, seed);
        Collecting::new(environments, policy, seed, config.task.reward_scale)
    }

    fn new(
        environments: Box<dyn Environments>,
        policy: EpsilonGreedy,
        seed: u64,
        reward_scale: f64,
    ) -> Result<Collecting> {
        let copies = environments.count();
        let size = environments.spaces().observation;
        let mut own = Collecting {
            environments,
            policy,
            seed,
            reward_scale,
            observations: vec![0.0; copies * size],
            returns: vec![0.0; copies],
            begun: 0,
            ended: 0,
            in_epoch: (0.0, 0.0),
            recent: VecDeque::new(),
        };
        own.begin(&(0..copies).collect::<Vec<_>>())?;
        Ok(own)
    }

    /// The observations and actions of the environment.
    pub fn spaces(&self) -> Spaces {
        self.environments.spaces()
    }

    /// Number of copies, which all step at the same time.
    pub fn copies(&self) -> u64 {
        self.environments.count() as u64
    }

    /// Takes one step in every copy and stores the transitions in the network's memory. `step` is the number of steps
    /// done before.
    ///
    /// # Errors
    /// Where the environment fails.
    pub fn step(&mut self, network: &mut QNetwork, step: u64) -> Result<()> {
        let spaces = self.environments.spaces();
        let actions = self.actions(network, step);
        let mut next = self.observations.clone();
        let outcomes = self.environments.step(&actions, &mut next)?;
        let size = spaces.observation;
        let row = |copy: usize| copy * size..(copy + 1) * size;
        network.remember(outcomes.iter().enumerate().map(|(copy, outcome)| Transition {
            observation: &self.observations[row(copy)],
            action: actions[copy],
            reward: outcome.reward * self.reward_scale,
            next_observation: &next[row(copy)],
            terminated: outcome.terminated,
        }));
        self.observations = next;
        let mut over = Vec::new();
        for (copy, outcome) in outcomes.iter().enumerate() {
            self.returns[copy] += outcome.reward;
            if outcome.has_ended() {
                self.end(copy);
                over.push(copy);
            }
        }
        self.begin(&over)
    }

    fn actions(&self, network: &QNetwork, step: u64) -> Vec<usize> {
        let spaces = self.environments.spaces();
        let copies = self.environments.count();
        let random = self.policy.random_actions(step, copies, spaces.actions);
        if let Some(all) = random.iter().copied().collect::<Option<Vec<usize>>>() {
            return all;
        }
        let values = network.values(&self.observations);
        let best = values.chunks(spaces.actions).map(greedy);
        random.into_iter().zip(best).map(|(random, best)| random.unwrap_or(best)).collect()
    }

    fn end(&mut self, copy: usize) {
        let own = std::mem::take(&mut self.returns[copy]);
        self.ended += 1;
        self.in_epoch = (self.in_epoch.0 + 1.0, self.in_epoch.1 + own);
        self.recent.push_back(own);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn begin(&mut self, copies: &[usize]) -> Result<()> {
        if copies.is_empty() {
            return Ok(());
        }
        let numbers = self.begun..;
        let resets: Vec<(usize, u64)> = copies
            .iter()
            .zip(numbers)
            .map(|(copy, number)| (*copy, seed(self.seed, EpisodePurpose::Training, number)))
            .collect();
        self.begun += copies.len() as u64;
        self.environments.reset(&resets, &mut self.observations)
    }

    /// Resets the epoch's counts.
    pub fn start_epoch(&mut self) {
        self.in_epoch = (0.0, 0.0);
    }

    /// Mean return of the episodes that ended in this epoch.
    pub fn epoch_return(&self) -> Option<f64> {
        let (count, sum) = self.in_epoch;
        (count > 0.0).then(|| sum / count)
    }

    /// Mean return of the last episodes that ended.
    pub fn recent_return(&self) -> Option<f64> {
        let sum: f64 = self.recent.iter().sum();
        (!self.recent.is_empty()).then(|| sum / self.recent.len() as f64)
    }

    /// Number of episodes ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The share of random actions at a step.
    pub fn epsilon(&self, step: u64) -> f64 {
        self.policy.epsilon(step)
    }

    /// The state that all later steps depend on.
    pub(super) fn state(&self) -> State {
        let (count, sum) = self.in_epoch;
        State {
            observations: self.observations.clone(),
            returns: self.returns.clone(),
            counts: [self.begun as f64, self.ended as f64, count, sum],
            environments: self.environments.state(),
        }
    }

    /// Restores a state. If the environment's state was not saved, new episodes begin.
    pub(super) fn restore(&mut self, state: State) -> Result<()> {
        let [begun, ended, count, sum] = state.counts;
        (self.begun, self.ended) = (begun as u64, ended as u64);
        self.in_epoch = (count, sum);
        match state.environments {
            Some(own) => {
                self.environments.restore(&own)?;
                self.observations = state.observations;
                self.returns = state.returns;
                Ok(())
            }
            None => {
                let copies = self.environments.count();
                self.returns = vec![0.0; copies];
                self.begin(&(0..copies).collect::<Vec<_>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::rl::environment::Outcome;
    use crate::rl::settings::Settings;

    /// Its observation is the number of steps. Episodes end in turn: terminated after two steps, truncated after three.
    struct Turns {
        episodes: usize,
        steps: usize,
    }

    impl Environments for Turns {
        fn spaces(&self) -> Spaces {
            Spaces { observation: 1, actions: 2 }
        }

        fn count(&self) -> usize {
            1
        }

        fn reset(&mut self, _: &[(usize, u64)], observations: &mut [f32]) -> Result<()> {
            (self.episodes, self.steps, observations[0]) = (self.episodes + 1, 0, 0.0);
            Ok(())
        }

        fn step_some(
            &mut self,
            _: &[Option<usize>],
            observations: &mut [f32],
        ) -> Result<Vec<Option<Outcome>>> {
            self.steps += 1;
            observations[0] = self.steps as f32;
            let is_odd = self.episodes % 2 == 1;
            let terminated = is_odd && self.steps == 2;
            let truncated = !is_odd && self.steps == 3;
            Ok(vec![Some(Outcome { reward: self.steps as f64, terminated, truncated })])
        }

        fn state(&self) -> Option<Vec<f64>> {
            None
        }

        fn restore(&mut self, _: &[f64]) -> Result<()> {
            Ok(())
        }
    }

    /// The observation after a truncation counts, the one after a termination does not. Neither is the next episode's
    /// first.
    #[test]
    fn an_episode_that_is_cut_off_is_not_at_its_end() {
        let settings = Settings::default();
        let mut config = settings.resolve().expect("the usual settings fit together");
        (config.task.buffer, config.model.hidden) = (16, vec![2]);
        let turns = Turns { episodes: 0, steps: 0 };
        let device = Device::cpu();
        let mut network = QNetwork::new(&config, turns.spaces(), &device).expect("it is small");
        let policy = EpsilonGreedy::new(config.task.exploration, 100, 0);
        let mut own = Collecting::new(Box::new(turns), policy, 0, 0.5).expect("it never fails");
        for step in 0..5 {
            own.step(&mut network, step).expect("it never fails");
        }
        let rows = network.memory().kept().to_vec::<f32>();
        let without_action: Vec<[f32; 4]> =
            rows.chunks(5).map(|row| [row[0], row[1], row[3], row[4]]).collect();
        assert_eq!(
            without_action,
            [
                [0.0, 1.0, 0.5, 1.0],
                [1.0, 2.0, 1.0, 0.0],
                [0.0, 1.0, 0.5, 1.0],
                [1.0, 2.0, 1.0, 1.0],
                [2.0, 3.0, 1.5, 1.0]
            ]
        );
        assert_eq!((own.ended(), own.epoch_return()), (2, Some(4.5)));
        assert!(rows.chunks(5).all(|row| row[2] == 0.0 || row[2] == 1.0));
    }
}
