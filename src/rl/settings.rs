//! What a user of `alrao rl train` asks for: flags and the keys of a TOML file.

use std::path::Path;

use super::config::{Exploration, QConfig};
use crate::error::{Error, Result};
use crate::learn::settings::{Settings, because, file, number, settings};
use crate::models::{Activation, Architecture};

/// What a message says a key does not apply to.
const COMMAND: &str = "alrao rl train";

/// The settings of `alrao train` that Q-learning has too.
const SHARED: &[&str] = &[
    "hidden",
    "activation",
    "optimizer",
    "eta_min",
    "eta_max",
    "classifiers",
    "theta",
    "averaging",
    "trained_fraction",
    "lr",
    "momentum",
    "weight_decay",
    "clip",
    "batch_size",
    "seed",
    "device",
    "precision",
    "threads",
    "log_every",
];

/// Units of the two hidden layers of a Q-network.
const HIDDEN: [usize; 2] = [64, 64];

/// Updates from one `step` line of the metrics to the next.
const LOG_EVERY: u64 = 500;

/// The environment of `alrao rl train` without any flag.
const DEFAULT_ENVIRONMENT: &str = "pendulum";

/// More transitions than this are a slip of the keyboard.
const MOST_TRANSITIONS: usize = 1 << 30;

/// More copies of an environment than this are one too.
const MOST_ENVIRONMENTS: usize = 1 << 12;

settings! {
    /// The settings that only Q-learning has. Each is a flag, and a key of a TOML file by its name in snake_case; `None` where
    /// it was not given.
    QSettings;
    /// `pendulum[:TORQUES]` or `gym:NAME`.
    env: String,
    /// Steps of the environment in all.
    steps: u64,
    /// Copies of the environment that go side by side.
    environments: usize,
    /// Transitions that the replay buffer holds.
    buffer: usize,
    /// What a reward is worth a step later.
    discount: f64,
    /// The largest error of a value that is learnt from; 0 for any.
    error_clip: f64,
    /// What the rewards that are learnt from are multiplied by.
    reward_scale: f64,
    /// How much of itself the target network keeps in an update.
    tau: f64,
    /// Steps of random actions before the first update.
    learning_starts: u64,
    /// Steps of the environment from one update to the next.
    update_every: u64,
    /// The part of random actions after the first steps.
    epsilon_start: f64,
    /// The part of random actions in the end.
    epsilon_end: f64,
    /// Steps over which it goes from the one to the other.
    epsilon_steps: u64,
    /// Steps from one evaluation to the next.
    epoch_steps: u64,
    /// Episodes of an evaluation.
    evaluation_episodes: usize,
}

/// All settings of `alrao rl train`.
///
/// ```
/// use alrao::rl::settings::RlSettings;
/// let file = RlSettings::from_toml("env = 'pendulum:3'\nhidden = [32, 32]\nsteps = 5000", "run.toml".as_ref())?;
/// let mut flags = RlSettings::default();
/// flags.own.steps = Some(8000);
/// let config = flags.over(file).resolve()?;
/// assert_eq!((config.steps, config.model.hidden), (8000, vec![32, 32]));
/// # Ok::<(), alrao::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RlSettings {
    /// Those that only Q-learning has.
    pub own: QSettings,
    /// Those it shares with `alrao train`: of the network's hidden layers, learning, device and log.
    pub shared: Settings,
}

impl RlSettings {
    /// These settings, and `base`'s where these have none: flags over a file.
    pub fn over(self, base: RlSettings) -> RlSettings {
        RlSettings { own: self.own.over(base.own), shared: self.shared.over(base.shared) }
    }

    /// The keys that have a value.
    pub fn given(&self) -> Vec<&'static str> {
        [self.own.given(), self.shared.given()].concat()
    }

    /// Reads a TOML file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, the line and the key: text that is no TOML, an unknown key, a value of a wrong
    /// type.
    pub fn from_toml(text: &str, path: &Path) -> Result<RlSettings> {
        let keys = [QSettings::KEYS, SHARED].concat();
        let own: QSettings = file::parse(text, path, &keys, COMMAND)?;
        let shared: Settings = file::parse(text, path, &keys, COMMAND)?;
        Ok(RlSettings { own: own.read_from(path), shared: shared.read_from(path) })
    }

    /// As TOML, one key a line.
    pub fn to_toml(&self) -> String {
        file::to_toml(&self.own) + &file::to_toml(&self.shared)
    }

    /// Everything a run is a function of.
    ///
    /// # Errors
    /// [`Error::Input`] naming the flag, or the key and its file.
    pub fn resolve(&self) -> Result<QConfig> {
        self.check_values()?;
        if let Some(key) = self.shared.given().into_iter().find(|key| !SHARED.contains(key)) {
            let subject = self.shared.subject(key);
            return Err(Error::input(subject, because("Q-learning")));
        }
        let learning = Settings {
            model: Some(Architecture::Mlp),
            hidden: Some(self.shared.hidden.clone().unwrap_or(HIDDEN.to_vec())),
            activation: Some(self.shared.activation.unwrap_or(Activation::Tanh)),
            log_every: Some(self.shared.log_every.unwrap_or(LOG_EVERY)),
            ..self.shared.clone()
        };
        let learning = learning.resolve()?;
        let own = self.own.clone();
        let usual = QConfig::usual(own.env.unwrap_or_else(|| DEFAULT_ENVIRONMENT.into()), learning);
        let steps = own.steps.unwrap_or(usual.steps);
        let learning_starts = own.learning_starts.unwrap_or(usual.learning_starts.min(steps / 2));
        if learning_starts >= steps {
            let message = format!(
                "{learning_starts} is not below --steps's {steps}: nothing would be learnt"
            );
            return Err(Error::input(self.own.subject("learning_starts"), message));
        }
        let epoch_steps = own.epoch_steps.unwrap_or(usual.epoch_steps.min(steps));
        let environments = own.environments.unwrap_or(usual.environments.min(epoch_steps as usize));
        if environments as u64 > epoch_steps {
            let message = format!(
                "{environments} copies, each of which steps once, are more than --epoch-steps's {epoch_steps}"
            );
            return Err(Error::input(self.own.subject("environments"), message));
        }
        let start = own.epsilon_start.unwrap_or(usual.exploration.start);
        let end = own.epsilon_end.unwrap_or(usual.exploration.end.min(start));
        if end > start {
            let message = format!("{end:?} is above --epsilon-start's {start:?}");
            return Err(Error::input(self.own.subject("epsilon_end"), message));
        }
        let learning = steps - learning_starts;
        let update_every = own.update_every.unwrap_or(usual.update_every);
        if update_every > learning {
            let message = format!(
                "{update_every} is more than the {learning} steps after --learning-starts: nothing would be learnt"
            );
            return Err(Error::input(self.own.subject("update_every"), message));
        }
        Ok(QConfig {
            steps,
            environments,
            buffer: own.buffer.unwrap_or(usual.buffer),
            discount: own.discount.unwrap_or(usual.discount),
            error_clip: own.error_clip.unwrap_or(usual.error_clip),
            reward_scale: own.reward_scale.unwrap_or(usual.reward_scale),
            tau: own.tau.unwrap_or(usual.tau),
            learning_starts,
            update_every,
            exploration: Exploration {
                start,
                end,
                steps: own.epsilon_steps.unwrap_or(usual.exploration.steps.min(learning)),
            },
            epoch_steps,
            evaluation_episodes: own.evaluation_episodes.unwrap_or(usual.evaluation_episodes),
            ..usual
        })
    }

    /// Checks every value that was given on its own.
    pub fn check_values(&self) -> Result<()> {
        let own = &self.own;
        let real = |key: &str, value, is_right: fn(f64) -> bool, wanted: &str| {
            number::real(|| own.subject(key), value, is_right, wanted)
        };
        let part: fn(f64) -> bool = |x| (0.0..=1.0).contains(&x);
        real("discount", own.discount, part, "0 to 1")?;
        real("tau", own.tau, |x| (0.0..1.0).contains(&x), "0 (the network itself) to below 1")?;
        real("epsilon_start", own.epsilon_start, part, "0 to 1")?;
        real("epsilon_end", own.epsilon_end, part, "0 to 1")?;
        real("error_clip", own.error_clip, |x| x >= 0.0, "0 (any) or a number above 0")?;
        real("reward_scale", own.reward_scale, |x| x > 0.0, "a number above 0")?;
        for (key, value) in [
            ("steps", own.steps),
            ("update_every", own.update_every),
            ("epsilon_steps", own.epsilon_steps),
            ("epoch_steps", own.epoch_steps),
        ] {
            number::count(|| own.subject(key), value)?;
        }
        let size = |key: &str, value, most| number::size(|| own.subject(key), value, most);
        size("buffer", own.buffer, MOST_TRANSITIONS)?;
        size("environments", own.environments, MOST_ENVIRONMENTS)?;
        size("evaluation_episodes", own.evaluation_episodes, MOST_ENVIRONMENTS)?;
        self.shared.check_values()
    }
}

/// The settings that give this configuration back.
impl From<&QConfig> for RlSettings {
    fn from(config: &QConfig) -> RlSettings {
        let QConfig { exploration, model, alrao, train, device, threads, .. } = config;
        let optimizer = train.optimizer;
        let (is_alrao, is_adam) = (optimizer.is_alrao(), optimizer.is_adam());
        let own = QSettings {
            env: Some(config.env.clone()),
            steps: Some(config.steps),
            environments: Some(config.environments),
            buffer: Some(config.buffer),
            error_clip: Some(config.error_clip),
            discount: Some(config.discount),
            reward_scale: Some(config.reward_scale),
            tau: Some(config.tau),
            learning_starts: Some(config.learning_starts),
            update_every: Some(config.update_every),
            epsilon_start: Some(exploration.start),
            epsilon_end: Some(exploration.end),
            epsilon_steps: Some(exploration.steps),
            epoch_steps: Some(config.epoch_steps),
            evaluation_episodes: Some(config.evaluation_episodes),
            ..QSettings::default()
        };
        let shared = Settings {
            hidden: Some(model.hidden.clone()),
            activation: Some(model.activation),
            optimizer: Some(optimizer),
            eta_min: is_alrao.then_some(*alrao.eta.start()),
            eta_max: is_alrao.then_some(*alrao.eta.end()),
            classifiers: is_alrao.then_some(alrao.classifiers),
            theta: is_alrao.then_some(alrao.theta),
            averaging: is_alrao.then_some(alrao.averaging),
            trained_fraction: is_alrao.then_some(alrao.trained_fraction),
            lr: (!is_alrao).then_some(train.lr),
            momentum: (!is_adam).then_some(train.momentum),
            weight_decay: Some(train.weight_decay),
            clip: Some(train.clip),
            batch_size: Some(train.batch_size),
            seed: Some(train.seed),
            device: Some(*device),
            precision: Some(train.precision),
            threads: *threads,
            log_every: Some(train.log_every),
            ..Settings::default()
        };
        RlSettings { own, shared }
    }
}
