//! The resolved configuration of a run of Q-learning, as its `config.toml` holds it.

use crate::learn::RunConfig;

/// The share of random actions, `epsilon`, which falls linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exploration {
    /// The share when learning starts; before that, all actions are random.
    pub start: f64,
    /// The share from step `steps` on.
    pub end: f64,
    /// Steps from the first share to the last.
    pub steps: u64,
}

impl Exploration {
    /// The share of random actions at a step, counted from 0.
    ///
    /// ```
    /// use alrao::rl::Exploration;
    /// let exploration = Exploration { start: 1.0, end: 0.1, steps: 90 };
    /// assert_eq!((exploration.epsilon(0), exploration.epsilon(90)), (1.0, 0.1));
    /// assert!((exploration.epsilon(30) - 0.7).abs() < 1e-15);
    /// ```
    pub fn epsilon(&self, step: u64) -> f64 {
        if step >= self.steps {
            return self.end;
        }
        self.start + (self.end - self.start) * step as f64 / self.steps as f64
    }
}

/// The environment of a run and the settings of Q-learning.
#[derive(Clone, Debug, PartialEq)]
pub struct QLearningConfig {
    /// The environment, as the user wrote it.
    pub env: String,
    /// Total steps of the environment, summed over its copies.
    pub steps: u64,
    /// Copies of the environment, side by side.
    pub environments: usize,
    /// Transitions in the replay buffer.
    pub buffer: usize,
    /// Discount of a reward one step later, gamma.
    pub discount: f64,
    /// Limit on the error of a value, as in Mnih et al. 2015; 0 for no limit. Without it the squared errors make large
    /// learning rates diverge, whereas the gradient of a classification loss is bounded.
    pub error_clip: f64,
    /// Factor on the rewards in training. Returns are reported without it.
    pub reward_scale: f64,
    /// Share of its own weights that the target network keeps in an update; the rest comes from the Q-network.
    pub tau: f64,
    /// Steps of random actions before the first update.
    pub learning_starts: u64,
    /// Steps of the environment from one update to the next.
    pub update_every: u64,
    /// Share of random actions.
    pub exploration: Exploration,
    /// Steps of the environment from one evaluation to the next.
    pub epoch_steps: u64,
    /// Episodes of an evaluation.
    pub evaluation_episodes: usize,
}

/// The whole configuration of a run of Q-learning.
pub type QConfig = RunConfig<QLearningConfig>;

impl Default for QLearningConfig {
    fn default() -> Self {
        QLearningConfig {
            env: "pendulum".into(),
            steps: 20_000,
            environments: 1,
            buffer: 1_000_000,
            discount: 0.99,
            error_clip: 1.0,
            reward_scale: 0.1,
            tau: 0.9,
            learning_starts: 1_000,
            update_every: 1,
            exploration: Exploration { start: 1.0, end: 0.05, steps: 10_000 },
            epoch_steps: 2_000,
            evaluation_episodes: 20,
        }
    }
}

impl QLearningConfig {
    /// The defaults of an environment.
    pub(super) fn usual(env: String) -> QLearningConfig {
        let is_of_gymnasium = env.starts_with("gym:");
        let usual = QLearningConfig { env, ..QLearningConfig::default() };
        match is_of_gymnasium {
            false => usual,
            true => QLearningConfig {
                steps: 200_000,
                environments: 4,
                learning_starts: 10_000,
                exploration: Exploration { steps: 50_000, ..usual.exploration },
                epoch_steps: 10_000,
                ..usual
            },
        }
    }

    /// Epochs of the run, the last of which may be short.
    pub fn epochs(&self) -> u64 {
        self.steps.div_ceil(self.epoch_steps)
    }

    /// Number of updates done after `step` steps of the environment.
    pub fn updates_after(&self, step: u64) -> u64 {
        step.saturating_sub(self.learning_starts) / self.update_every
    }
}
