//! The choice of actions: the one with the largest value, or a random one.

use super::config::Exploration;
use crate::random::{Philox, Purpose, unit_f64};

/// The action with the largest value, the first if several have it. NaN is never the largest.
///
/// ```
/// assert_eq!(alrao::rl::greedy(&[0.5, 2.0, f32::NAN, 2.0]), 1);
/// ```
pub fn greedy(values: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (action, value) in values.iter().enumerate() {
        if *value > best.1 {
            best = (action, *value);
        }
    }
    best.0
}

/// Epsilon-greedy actions. The random ones are a function of the seed, the step and the copy of the environment.
pub(super) struct EpsilonGreedy {
    exploration: Exploration,
    random: Philox,
    /// Steps at the beginning with only random actions.
    random_steps: u64,
}

impl EpsilonGreedy {
    pub fn new(exploration: Exploration, random_steps: u64, seed: u64) -> EpsilonGreedy {
        EpsilonGreedy { exploration, random: Philox::new(seed, Purpose::Exploration), random_steps }
    }

    /// The share of random actions at a step, counted from 0 over all copies.
    pub fn epsilon(&self, step: u64) -> f64 {
        match step.checked_sub(self.random_steps) {
            None => 1.0,
            Some(step) => self.exploration.epsilon(step),
        }
    }

    /// Each copy's random action at a step; `None` where the best action is to be taken.
    pub fn random_actions(&self, step: u64, copies: usize, actions: usize) -> Vec<Option<usize>> {
        let epsilon = self.epsilon(step);
        let choose = |copy: usize| {
            let bits = self.random.at(step, copy as u64);
            let coin = unit_f64(u64::from(bits[0]) << 32 | u64::from(bits[1]));
            let action = (u64::from(bits[2]) * actions as u64) >> 32;
            (coin < epsilon).then_some(action as usize)
        };
        (0..copies).map(choose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_actions_are_random_as_epsilon_says() {
        let exploration = Exploration { start: 0.5, end: 0.1, steps: 1000 };
        let policy = EpsilonGreedy::new(exploration, 10, 3);
        assert_eq!((policy.epsilon(9), policy.epsilon(10), policy.epsilon(5000)), (1.0, 0.5, 0.1));
        let chosen: Vec<Option<usize>> =
            (2000..3000).flat_map(|step| policy.random_actions(step, 4, 5)).collect();
        let random: Vec<usize> = chosen.iter().flatten().copied().collect();
        assert!((300..500).contains(&random.len()), "{} of 4000", random.len());
        for action in 0..5 {
            let count = random.iter().filter(|own| **own == action).count();
            assert!((40..120).contains(&count), "action {action}: {count} of {}", random.len());
        }
        assert!(policy.random_actions(5, 4, 5).iter().all(Option::is_some));
    }
}
