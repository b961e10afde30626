//! Seeds of episodes, and the returns of a policy in them.

use super::environment::Environments;
use super::policy::greedy;
use crate::error::Result;
use crate::learn::StopFlag;
use crate::random::{Philox, Purpose};

/// Largest number of steps of an evaluated episode, since an environment may have no time limit.
pub(super) const LONGEST: usize = 100_000;

/// The purpose of an episode. Episodes of different kinds practically never have the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpisodePurpose {
    /// Training.
    Training = 0,
    /// The choice of the best epoch, with the same episodes after each epoch.
    Evaluation = 1,
    /// The test of the best epoch's network.
    Test = 2,
    /// `alrao rl eval`.
    Asked = 3,
}

/// The seed of an episode, below 2^31 as some environments need it.
pub(super) fn seed(run_seed: u64, kind: EpisodePurpose, number: u64) -> u64 {
    u64::from(Philox::new(run_seed, Purpose::Episodes).at(kind as u64, number)[0] >> 1)
}

/// Plays an episode for each of `seeds` with the best actions, for at most [`LONGEST`] steps, and gives their returns;
/// `None` if `stop` was set. `values` computes each action's value for a batch of observations.
///
/// # Errors
/// Where the environment fails.
pub(super) fn play(
    environments: &mut dyn Environments,
    seeds: &[u64],
    values: &dyn Fn(&[f32]) -> Vec<f32>,
    stop: &StopFlag,
) -> Result<Option<Vec<f64>>> {
    let mut returns = Vec::with_capacity(seeds.len());
    for seeds in seeds.chunks(environments.count()) {
        match play_round(environments, seeds, values, stop)? {
            Some(own) => returns.extend(own),
            None => return Ok(None),
        }
    }
    Ok(Some(returns))
}

/// Plays at most one episode in each copy, all at the same time.
fn play_round(
    environments: &mut dyn Environments,
    seeds: &[u64],
    values: &dyn Fn(&[f32]) -> Vec<f32>,
    stop: &StopFlag,
) -> Result<Option<Vec<f64>>> {
    let spaces = environments.spaces();
    let copies = environments.count();
    let mut observations = vec![0.0; copies * spaces.observation];
    let resets: Vec<(usize, u64)> = seeds.iter().copied().enumerate().collect();
    environments.reset(&resets, &mut observations)?;
    let mut returns = vec![0.0; seeds.len()];
    let mut is_over = vec![false; seeds.len()];
    for _ in 0..LONGEST {
        if is_over.iter().all(|over| *over) {
            break;
        }
        if stop.is_set() {
            return Ok(None);
        }
        let values = values(&observations);
        let own = |copy: usize| &values[copy * spaces.actions..(copy + 1) * spaces.actions];
        let is_going = |copy: usize| is_over.get(copy).is_some_and(|over| !over);
        let actions: Vec<Option<usize>> =
            (0..copies).map(|copy| is_going(copy).then(|| greedy(own(copy)))).collect();
        let outcomes = environments.step_some(&actions, &mut observations)?;
        for (copy, outcome) in outcomes.into_iter().enumerate() {
            let Some(outcome) = outcome else { continue };
            returns[copy] += outcome.reward;
            is_over[copy] = outcome.has_ended();
        }
    }
    Ok(Some(returns))
}

/// Mean and standard deviation (of a sample, with n - 1) of some returns.
pub(super) fn mean_and_deviation(returns: &[f64]) -> (f64, f64) {
    let count = returns.len() as f64;
    let mean = returns.iter().sum::<f64>() / count;
    let squares = returns.iter().map(|own| (own - mean).powi(2)).sum::<f64>();
    (mean, if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rl::environment::{Outcome, Spaces};

    /// A reward of 1 a step. An episode of the first copy lasts three steps, those of the others never end.
    struct Endless(Vec<usize>);

    impl Environments for Endless {
        fn spaces(&self) -> Spaces {
            Spaces { observation: 1, actions: 2 }
        }

        fn count(&self) -> usize {
            self.0.len()
        }

        fn reset(&mut self, resets: &[(usize, u64)], _: &mut [f32]) -> Result<()> {
            resets.iter().for_each(|&(copy, _)| self.0[copy] = 0);
            Ok(())
        }

        fn step_some(
            &mut self,
            actions: &[Option<usize>],
            _: &mut [f32],
        ) -> Result<Vec<Option<Outcome>>> {
            let steps = self.0.iter_mut().zip(actions).enumerate();
            let outcomes = steps.map(|(copy, (steps, action))| {
                action.map(|_| {
                    *steps += 1;
                    let terminated = copy == 0 && *steps == 3;
                    Outcome { reward: 1.0, terminated, truncated: false }
                })
            });
            Ok(outcomes.collect())
        }

        fn state(&self) -> Option<Vec<f64>> {
            None
        }

        fn restore(&mut self, _: &[f64]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_episode_without_an_end_is_cut_off() {
        let values = |observations: &[f32]| vec![0.0; 2 * observations.len()];
        let mut endless = Endless(vec![0; 2]);
        let played = play(&mut endless, &[1, 2, 3], &values, &StopFlag::default());
        assert_eq!(played.expect("it never fails"), Some(vec![3.0, LONGEST as f64, 3.0]));
        let stop = StopFlag::default();
        stop.set();
        assert_eq!(play(&mut endless, &[1], &values, &stop).expect("it never fails"), None);
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 2.0, 3.0]), (2.0, 1.0));
        assert_eq!(mean_and_deviation(&[4.0]), (4.0, 0.0));
    }
}
