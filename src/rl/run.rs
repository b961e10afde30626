//! A run from the command line: from a configuration to a directory.

use std::path::Path;

use serde::Serialize;

use super::collecting::Collecting;
use super::config::QConfig;
use super::environment::Spaces;
use super::episodes::{EpisodePurpose, mean_and_deviation, play, seed};
use super::network::{Acting, QNetwork};
use super::open::open;
use super::settings::Settings;
use super::task::QLearning;
use crate::alrao::Task;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::memory::{self, Part};
use crate::learn::{
    self, EvaluationPrecision, ModelRecord, RunDirectory, RunLoop, StopFlag, TrainConfig,
    check_precision, check_precision_of_run, load, locate,
};
use crate::models::Input;
use crate::ops::rl::replay::row_width;

/// Episodes of an evaluation that are played side by side.
const MOST_AT_ONCE: usize = 32;

/// The largest number of episodes of `alrao rl eval`.
const MOST_EPISODES: usize = 1_000_000;

/// What can be done with a run that has lost its last checkpoint.
const WITHOUT_CHECKPOINT: &str =
    "evaluate best.safetensors with `alrao rl eval`, or start a new run";

/// A run of Q-learning.
pub type Run = learn::Run<QLearning>;

impl Run {
    /// Opens the environment and checks everything, then creates the directory: `out`, or `runs/ENV-OPTIMIZER-N`.
    ///
    /// # Errors
    /// Where a setting or the environment is at fault; no directory is left behind then.
    pub fn start(config: QConfig, out: Option<&Path>, device: &Device) -> Result<Run> {
        out.map_or(Ok(()), RunDirectory::check_free)?;
        check_precision(config.train.precision, device)?;
        let mut run = prepare(&config, device)?;
        let name =
            format!("{}-{}", config.task.env.replace([':', '/'], "-"), config.train.optimizer);
        let text = Settings::from(&config).to_toml();
        run.set_directory(RunDirectory::create(out, &name, &text)?);
        Ok(Run::new(config, run))
    }

    /// Continues a run from its last checkpoint, with those of `changes` that a run may change.
    ///
    /// # Errors
    /// Where the directory is not a run of Q-learning, or its checkpoint is not whole.
    pub fn resume(path: &Path, changes: &Settings, device: &Device) -> Result<Run> {
        let mut directory = RunDirectory::open(path)?;
        let mut config = Run::config_of(path)?;
        let before = config.clone();
        changes.apply_changes(&mut config);
        // The run continues on this device.
        config.device = device.kind().unwrap_or(config.device);
        check_precision_of_run(config.train.precision, device)?;
        let has_checkpoint = directory.has_checkpoint(WITHOUT_CHECKPOINT)?;
        let mut run = prepare(&config, device)?;
        if has_checkpoint {
            run.restore(&mut directory)?;
        }
        let done = run.progress().step;
        if let Some(steps) = changes.task.steps.filter(|steps| *steps < done) {
            let message = format!("{steps} is below the {done} that are done");
            return Err(Error::field("steps", message));
        }
        run.reopen(directory)?;
        // A finished run keeps its configuration.
        if let (true, false, Some(directory)) =
            (config != before, run.is_finished(), run.directory())
        {
            directory.write_config(&Settings::from(&config).to_toml())?;
        }
        Ok(Run::new(config, run))
    }

    /// The configuration of an existing run.
    ///
    /// # Errors
    /// Where there is none, or it is of another kind of run.
    pub fn config_of(path: &Path) -> Result<QConfig> {
        let (text, file) = RunDirectory::config_text(path)?;
        if text.lines().any(|line| line.starts_with("model =")) {
            let message = "is not a run of Q-learning: use alrao train `resume`, or alrao eval";
            return Err(Error::input(path.display(), message));
        }
        let settings = Settings::from_toml(&text, &file)?;
        if settings.task.env.is_none() {
            return Err(Error::file(&file, "lacks the key 'env': it is empty or damaged"));
        }
        settings.with_effect().resolve()
    }

    /// The observations and actions of the environment.
    pub fn spaces(&self) -> Spaces {
        self.task().spaces()
    }
}

fn prepare(config: &QConfig, device: &Device) -> Result<RunLoop<QLearning>> {
    let collecting = Collecting::open(config)?;
    let arena = open(&config.task.env, config.task.evaluation_episodes.min(MOST_AT_ONCE))?;
    let spaces = collecting.spaces();
    check_room(config, spaces)?;
    let network = QNetwork::new(config, spaces, device)?;
    let input = Input::Vector { size: spaces.observation };
    let record = ModelRecord::of(config, input, Task::Regression { outputs: spaces.actions });
    let task = QLearning::new(network, collecting, arena, config.clone());
    let mut run = RunLoop::new(task, Some(record));
    run.set_settings(Settings::from(config).fixed());
    Ok(run)
}

/// Refuses a run that does not fit in memory, before anything is built.
pub(crate) fn check_room(config: &QConfig, spaces: Spaces) -> Result<()> {
    let input = Input::Vector { size: spaces.observation };
    let copies = [config.alrao.classifiers, spaces.actions];
    let model = memory::model_part(&config.model, input, copies, &config.train)?;
    memory::check_together(&[model, buffer_part(config, spaces), batch_part(config, spaces)])
}

/// The memory of the replay buffer and its checkpoints.
fn buffer_part(config: &QConfig, spaces: Spaces) -> Part {
    // The last checkpoint, a new one and the new one's bytes are in memory at the same time.
    const CHECKPOINTS: u128 = 3;
    let rows = config.task.buffer as u128;
    let kept = rows.min(u128::from(config.task.steps) + config.task.environments as u128);
    let row = row_width(spaces.observation) * config.train.precision.dtype().wide().size();
    Part {
        subject: format!("`buffer` {rows}"),
        what: "makes a replay buffer that takes, with its checkpoints,".into(),
        bytes: (rows + CHECKPOINTS * kept) * row as u128,
    }
}

/// The memory of an update: at least the transitions and, for each layer, its values in both networks, its gradient and
/// the activation's input.
fn batch_part(config: &QConfig, spaces: Spaces) -> Part {
    let layers: u128 = config.model.hidden.iter().map(|units| *units as u128).sum();
    let outputs = config.alrao.classifiers as u128 * spaces.actions as u128;
    let each = row_width(spaces.observation) as u128 + 4 * (layers + outputs);
    Part {
        subject: format!("`batch_size` {}", config.train.batch_size),
        what: "makes an update that takes at least".into(),
        bytes: config.train.batch_size as u128
            * each
            * config.train.precision.dtype().size() as u128,
    }
}

/// The result of a network's evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The environment.
    pub env: String,
    /// Number of episodes.
    pub episodes: usize,
    /// Mean return.
    #[serde(rename = "return")]
    pub mean_return: f64,
    /// Standard deviation over the episodes.
    pub return_deviation: f64,
    /// The return of each episode.
    pub returns: Vec<f64>,
    /// Remarks on the network's file.
    #[serde(skip)]
    pub notes_on_model: Vec<String>,
    /// The precision of the values.
    #[serde(skip)]
    pub precision: EvaluationPrecision,
}

/// Plays episodes with a run's best network, with its last one before the end of the first epoch, or with the network
/// in a checkpoint.
///
/// # Errors
/// Where the source is not a run or checkpoint of Q-learning, or does not fit the environment.
pub fn evaluate(
    source: &Path,
    env: Option<&str>,
    episodes: usize,
    episode_seed: u64,
    device: &Device,
) -> Result<Evaluation> {
    if !source.exists() {
        return Err(Error::file(source, "is not there; give a run's directory or a checkpoint"));
    }
    let (file, run) = locate(source)?;
    let env = match (env, run) {
        (Some(env), _) => env.to_owned(),
        (None, Some(run)) => Run::config_of(&run)?.task.env,
        (None, None) => {
            let message = "is needed, since a checkpoint does not record its environment";
            return Err(Error::field("env", message));
        }
    };
    number_of_episodes(episodes)?;
    let mut arena = open(&env, episodes.min(MOST_AT_ONCE))?;
    let spaces = arena.spaces();
    let trained = load(&file, TrainConfig::default(), device)?;
    fits(&trained.record, spaces).map_err(|message| {
        Error::file(&file, format!("{message}; `env` {env} {}", describe(spaces)))
    })?;
    let acting = Acting::new(spaces);
    let seeds: Vec<u64> = (0..episodes as u64)
        .map(|number| seed(episode_seed, EpisodePurpose::Asked, number))
        .collect();
    let values = |observations: &[f32]| acting.values(&trained.learner, observations);
    let returns = play(&mut *arena, &seeds, &values, &StopFlag::default())?;
    device.check()?;
    let returns = returns.expect("the flag is never set");
    let (mean_return, return_deviation) = mean_and_deviation(&returns);
    Ok(Evaluation {
        env,
        episodes,
        mean_return,
        return_deviation,
        returns,
        notes_on_model: trained.notes,
        precision: trained.precision,
    })
}

fn number_of_episodes(episodes: usize) -> Result<()> {
    match episodes {
        1..=MOST_EPISODES => Ok(()),
        _ => {
            let message = format!("{episodes} is not possible; give 1 to {MOST_EPISODES}");
            Err(Error::field("episodes", message))
        }
    }
}

fn fits(record: &ModelRecord, spaces: Spaces) -> std::result::Result<(), String> {
    if !record.regression {
        return Err("is a classifier, not a Q-network".into());
    }
    let input = record.input()?;
    let wanted = (Input::Vector { size: spaces.observation }, spaces.actions);
    match (input, record.outputs) == wanted {
        true => Ok(()),
        false => Err(format!("takes {input} and has {} actions", record.outputs)),
    }
}

/// The observations and actions of an environment, in words.
pub fn describe(spaces: Spaces) -> String {
    format!("shows {} numbers and takes {} actions", spaces.observation, spaces.actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With 3 numbers in an observation a transition has 9 numbers of 4 bytes.
    #[test]
    fn a_buffer_counts_with_its_checkpoints() {
        let settings = |text| Settings::from_toml(text, "test.toml".as_ref());
        let bytes = |text| {
            let config = settings(text).and_then(|own| own.resolve()).expect("it fits together");
            let spaces = Spaces { observation: 3, actions: 5 };
            (buffer_part(&config, spaces).bytes, batch_part(&config, spaces).bytes)
        };
        let text =
            "buffer = 1000000\nsteps = 9999\nbatch_size = 10\nhidden = [7, 8]\nclassifiers = 2";
        assert_eq!(bytes(text), ((1_000_000 + 30_000) * 36, 10 * (9 + 4 * 25) * 4));
        assert_eq!(bytes("buffer = 1000").0, 4 * 36_000);
    }
}
