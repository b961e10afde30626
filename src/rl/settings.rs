//! The settings of `alrao rl train`.

use serde::de::IgnoredAny;

use super::config::{Exploration, QConfig, QLearningConfig};
use crate::error::Result;
use crate::learn::settings::{self as settings, TaskSettings, check, not_of_optimizer};
use crate::models::{Activation, Architecture, ModelConfig};

/// Units of the two hidden layers of a Q-network.
const HIDDEN: [usize; 2] = [64, 64];

/// Updates from one `step` line of the metrics to the next.
const LOG_EVERY: u64 = 500;

/// The largest replay buffer, in transitions.
const MOST_TRANSITIONS: usize = 1 << 30;

/// The largest number of copies of an environment, and of episodes of an evaluation.
const MOST_ENVIRONMENTS: usize = 1 << 12;

/// All settings of `alrao rl train`.
///
/// ```
/// use alrao::rl::settings::Settings;
/// let file = Settings::from_toml("env = 'pendulum:3'\nhidden = [32, 32]\nsteps = 5000", "run.toml".as_ref())?;
/// let mut flags = Settings::default();
/// flags.task.steps = Some(8000);
/// let config = flags.over(file).resolve()?;
/// assert_eq!((config.task.steps, config.model.hidden), (8000, vec![32, 32]));
/// # Ok::<(), alrao::Error>(())
/// ```
pub type Settings = settings::Settings<QLearningSettings>;

settings::settings! {
    /// Settings of environments, exploration and Q-learning.
    QLearningSettings, [] QConfig;
    "Environment" {
        /// pendulum[:TORQUES], or gym:NAME for one of Gymnasium's with discrete actions [default: pendulum]
        env: String, "ENV", check::any => task.env;
        /// Steps of the environment in all [default: 20000; gym 200000]
        steps: u64, "N", check::count => task.steps;
        /// Copies of the environment, side by side [default: 1; gym 4]
        environments: usize, "N", check::up_to(MOST_ENVIRONMENTS) => task.environments;
        /// Steps from one evaluation to the next [default: 2000; gym 10000; fewer in a short run]
        epoch_steps: u64, "N", check::count => task.epoch_steps;
        /// Episodes of an evaluation, and of the test of the best network; each ends after 100000 steps [default: 20]
        evaluation_episodes: usize, "N", check::up_to(MOST_ENVIRONMENTS) => task.evaluation_episodes;
    }
    "Q-learning" {
        /// Steps of random actions before the first update [default: 1000; gym 10000; fewer in a short run]
        learning_starts: u64, "N", check::any => task.learning_starts;
        /// Steps of the environment from one update to the next [default: 1]
        update_every: u64, "N", check::count => task.update_every;
        /// Share of random actions when learning starts [default: 1]
        epsilon_start: f64, "SHARE", check::share("0 to 1") => task.exploration.start;
        /// Share of random actions at the end [default: 0.05; at most that of the start]
        epsilon_end: f64, "SHARE", check::share("0 to 1") => task.exploration.end;
        /// Steps from the first share to the last [default: 10000; gym 50000; fewer in a short run]
        epsilon_steps: u64, "N", check::count => task.exploration.steps;
        /// Transitions in the replay buffer [default: 1000000]
        buffer: usize, "N", check::up_to(MOST_TRANSITIONS) => task.buffer;
        /// Discount of a reward one step later, gamma [default: 0.99]
        discount: f64, "GAMMA", check::share("0 to 1") => task.discount;
        /// Factor on the rewards in training; returns are shown without it [default: 0.1]
        reward_scale: f64, "FACTOR", check::positive => task.reward_scale;
        /// Limit on the error of a value in an update; 0 for no limit [default: 1]
        error_clip: f64, "ERROR", check::real(|x| x >= 0.0, "0 (no limit) or a number above 0") => task.error_clip;
        /// Share of itself that the target network keeps in an update (1 less Lillicrap's tau) [default: 0.9]
        tau: f64, "TAU", check::below_one("0 (the network itself) to below 1") => task.tau;
    }
}

impl TaskSettings for QLearningSettings {
    type Config = QLearningConfig;
    type Notes = IgnoredAny;
    const CHANGEABLE: &'static [&'static str] = &["steps", "log_every"];

    /// The defaults depend on the environment and the number of steps.
    fn resolve(settings: &Settings) -> Result<QConfig> {
        let config = settings.applied_to(settings.usual())?;
        settings.check_together(&config.task)?;
        Ok(config)
    }
}

impl Settings {
    /// The defaults of the environment, and of a short run.
    fn usual(&self) -> QConfig {
        let model = ModelConfig {
            architecture: Architecture::Mlp,
            width: 1.0,
            hidden: HIDDEN.to_vec(),
            activation: Activation::Tanh,
            dropout: 0.0,
        };
        let given = &self.task;
        let env = given.env.clone();
        let mut task = env.map_or_else(QLearningConfig::default, QLearningConfig::usual);
        let steps = given.steps.unwrap_or(task.steps);
        task.learning_starts = task.learning_starts.min(steps / 2);
        let starts = given.learning_starts.unwrap_or(task.learning_starts);
        task.epoch_steps = task.epoch_steps.min(steps);
        let epoch_steps = given.epoch_steps.unwrap_or(task.epoch_steps);
        task.environments = task.environments.min(epoch_steps as usize);
        let exploration = &mut task.exploration;
        let start = given.epsilon_start.unwrap_or(exploration.start);
        exploration.end = exploration.end.min(start);
        exploration.steps = exploration.steps.min(steps.saturating_sub(starts));
        let mut config = QConfig::new(task, model);
        config.train.log_every = LOG_EVERY;
        config
    }

    fn check_together(&self, config: &QLearningConfig) -> Result<()> {
        let QLearningConfig { steps, learning_starts, update_every, .. } = *config;
        let QLearningConfig { environments, epoch_steps, exploration, .. } = *config;
        let Exploration { start, end, .. } = exploration;
        let learning = steps.saturating_sub(learning_starts);
        let (key, message) = if learning == 0 {
            let message = format!(
                "{learning_starts} is not below `steps`'s {steps}: nothing would be learnt"
            );
            ("learning_starts", message)
        } else if environments as u64 > epoch_steps {
            let message = format!(
                "{environments} copies, each of which steps once, are more than `epoch_steps`'s {epoch_steps}"
            );
            ("environments", message)
        } else if end > start {
            ("epsilon_end", format!("{end:?} is above `epsilon_start`'s {start:?}"))
        } else if update_every > learning {
            let message = format!(
                "{update_every} is more than the {learning} steps after `learning_starts`: nothing would be learnt"
            );
            ("update_every", message)
        } else {
            return Ok(());
        };
        Err(self.error(key, message))
    }
}

/// The settings that reproduce a configuration.
impl From<&QConfig> for Settings {
    fn from(config: &QConfig) -> Settings {
        let optimizer = config.train.optimizer;
        Settings::of(config).retain(&|key| not_of_optimizer(key, optimizer).is_none()).with_effect()
    }
}
