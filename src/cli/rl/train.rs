//! `alrao rl train`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::progress::introduction;
use crate::cli::arguments::{DeviceArguments, choice, real, whole};
use crate::cli::failure::Ending;
use crate::cli::progress::Progress;
use crate::cli::{kernel_times, messages, signals};
use alrao::alrao::AveragingKind;
use alrao::device::{Device, DeviceKind};
use alrao::error::Error;
use alrao::learn::settings::{Settings, flag, hidden_layers};
use alrao::learn::{Optimizer, Outcome, Precision, StopFlag};
use alrao::models::Activation;
use alrao::plots::RunPlots;
use alrao::rl::settings::{QSettings, RlSettings};
use alrao::rl::{Overrides, Report, Run};

/// Learn to act in an environment by Q-learning, by default with Alrao, or continue a run
#[derive(Args)]
#[command(next_line_help = false, allow_negative_numbers = true)]
#[command(after_help = "Examples:\n  alrao rl train --env pendulum\n  \
    alrao rl train --env gym:LunarLander-v3 --seed 1    # pip install \"gymnasium[box2d]\"\n  \
    alrao rl train --resume runs/pendulum-alrao-1 --steps 40000")]
pub(super) struct Arguments {
    #[command(flatten)]
    environment: EnvironmentArguments,
    #[command(flatten)]
    learning: LearningArguments,
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    device: DeviceArguments,
    #[command(flatten)]
    place: PlaceArguments,
}

/// A list as one argument.
type Layers = Vec<usize>;

#[derive(Args)]
#[command(next_help_heading = "Environment")]
struct EnvironmentArguments {
    /// pendulum[:TORQUES], or gym:NAME for one of Gymnasium's with discrete actions [default: pendulum]
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// Steps of the environment in all [default: 20000; gym 200000]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    steps: Option<u64>,
    /// Copies of the environment that go side by side [default: 1; gym 4]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    environments: Option<usize>,
    /// The part of random actions after the first steps, which are random altogether [default: 1]
    #[arg(long, value_name = "PART", value_parser = real)]
    epsilon_start: Option<f64>,
    /// The part of random actions in the end [default: 0.05; not above --epsilon-start]
    #[arg(long, value_name = "PART", value_parser = real)]
    epsilon_end: Option<f64>,
    /// Steps over which it goes from the one to the other [default: 10000; gym 50000; fewer in a short run]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    epsilon_steps: Option<u64>,
    /// What the rewards that are learnt from are multiplied by; returns are told as they are [default: 0.1]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    reward_scale: Option<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "Learning")]
struct LearningArguments {
    /// Units of each hidden layer; an empty text for none [default: 64,64]
    #[arg(long, value_name = "UNITS,..", value_parser = hidden_layers)]
    hidden: Option<Layers>,
    /// What stands behind each hidden layer; with relu, large learning rates mostly diverge [default: tanh]
    #[arg(long, value_name = "ACTIVATION", value_parser = choice(Activation::ALL))]
    activation: Option<Activation>,
    /// How parameters learn [default: alrao]
    #[arg(long, value_name = "OPTIMIZER", value_parser = choice(Optimizer::ALL))]
    optimizer: Option<Optimizer>,
    /// Alrao: the smallest learning rate [default: 1e-5]
    #[arg(long, value_name = "RATE", value_parser = real)]
    eta_min: Option<f64>,
    /// Alrao: the largest learning rate [default: 10]
    #[arg(long, value_name = "RATE", value_parser = real)]
    eta_max: Option<f64>,
    /// Alrao: copies of the last layer, each a classifier [default: 10]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// Alrao: how much the switch expects to go on switching, above 0 to 1 [default: 0.999]
    #[arg(long, value_name = "THETA", value_parser = real)]
    theta: Option<f64>,
    /// Alrao: how the copies are averaged [default: switch]
    #[arg(long, value_name = "AVERAGE", value_parser = choice(AveragingKind::ALL))]
    averaging: Option<AveragingKind>,
    /// Alrao: the part of the network's features that learns at all [default: 1]
    #[arg(long, value_name = "PART", value_parser = real)]
    trained_fraction: Option<f64>,
    /// sgd and adam: the learning rate [default: 0.01; adam 0.001]
    #[arg(long, value_name = "RATE", value_parser = real)]
    lr: Option<f64>,
    /// alrao and sgd: momentum [default: 0]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    momentum: Option<f64>,
    /// L2 penalty [default: 0]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    weight_decay: Option<f64>,
    /// The largest norm of the gradient, the classifiers' apart; 0 for no clip [default: 0]
    #[arg(long, value_name = "NORM", value_parser = real)]
    clip: Option<f64>,
    /// The largest error of a value that is learnt from; 0 for any [default: 1]
    #[arg(long, value_name = "ERROR", value_parser = real)]
    error_clip: Option<f64>,
    /// What a reward is worth a step later, gamma [default: 0.99]
    #[arg(long, value_name = "GAMMA", value_parser = real)]
    discount: Option<f64>,
    /// How much of itself the target network keeps in an update (1 less Lillicrap's tau) [default: 0.9]
    #[arg(long, value_name = "TAU", value_parser = real)]
    tau: Option<f64>,
    /// Transitions that the replay buffer holds [default: 1000000]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    buffer: Option<usize>,
    /// Transitions that an update learns from [default: 32]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    batch_size: Option<usize>,
    /// Steps of random actions before the first update [default: 1000; gym 10000; fewer in a short run]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    learning_starts: Option<u64>,
    /// Steps of the environment from one update to the next [default: 1]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    update_every: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Run")]
struct TrainingArguments {
    /// Steps of the environment from one evaluation to the next [default: 2000; gym 10000; fewer in a short run]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    epoch_steps: Option<u64>,
    /// Episodes of an evaluation, and of the test of the best network; each is cut off after 100000 steps [default: 20]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    evaluation_episodes: Option<usize>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "SEED", value_parser = whole::<u64>)]
    seed: Option<u64>,
    /// The numbers the run computes with: f32; f64 on the cpu; tf32 or bf16 on a GPU [default: tf32 on cuda, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ALL))]
    precision: Option<Precision>,
    /// Updates from one step line of metrics.jsonl to the next; 0 for none [default: 500]
    #[arg(long, value_name = "UPDATES", value_parser = whole::<u64>)]
    log_every: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Files")]
struct PlaceArguments {
    /// Settings, under the flags' names in snake_case; flags go over them
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The run's directory, absent or empty [default: runs/ENV-OPTIMIZER-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue a run; only --steps, --log-every, --threads and --device go with it
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
}

/// What a continued run may change, by key.
const CHANGEABLE: &[&str] = &["steps", "log_every", "threads", "device"];

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let (run, device) = match &arguments.place.resume {
        Some(directory) => resume(arguments, directory, quiet)?,
        None => start(arguments, quiet)?,
    };
    if run.is_finished() {
        if !quiet {
            let directory = run.directory().display();
            messages::note(&format!("{directory} is finished; a larger --steps continues it"));
        }
        return Ok(Ending::Done);
    }
    train(run, &device, quiet)
}

/// A Python process takes its time to start.
fn announce(env: &str, quiet: bool) {
    if env.starts_with("gym:") && !quiet {
        messages::note(&format!("opening {env} in Python"));
    }
}

fn start(arguments: &Arguments, quiet: bool) -> anyhow::Result<(Run, Device)> {
    let file = arguments.place.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let mut settings = arguments.settings().over(file);
    let config = settings.resolve()?;
    let device = Device::open_with_threads(config.device, config.threads)?;
    // The precision depends on the device that was opened.
    settings.shared.device = Some(device.name().parse::<DeviceKind>()?);
    announce(&config.env, quiet);
    Ok((Run::start(settings.resolve()?, arguments.place.out.as_deref(), &device)?, device))
}

fn read(path: &Path) -> anyhow::Result<RlSettings> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::input(format!("--config {}", path.display()), format!("cannot be read: {error}"))
    })?;
    Ok(RlSettings::from_toml(&text, path)?)
}

fn resume(arguments: &Arguments, directory: &Path, quiet: bool) -> anyhow::Result<(Run, Device)> {
    let given = arguments.settings();
    let places = [("config", &arguments.place.config), ("out", &arguments.place.out)];
    let places = places.into_iter().filter(|(_, path)| path.is_some()).map(|(key, _)| key);
    let mut refused =
        given.given().into_iter().filter(|key| !CHANGEABLE.contains(key)).chain(places);
    if let Some(key) = refused.next() {
        let flags = CHANGEABLE.iter().map(|key| flag(key)).collect::<Vec<_>>().join(", ");
        let message = format!("does not go with --resume; only {flags} do");
        return Err(Error::input(flag(key), message).into());
    }
    given.check_values()?;
    let config = Run::config_of(directory)?;
    let shared = &given.shared;
    let device = Device::open_with_threads(
        shared.device.unwrap_or(config.device),
        shared.threads.or(config.threads),
    )?;
    announce(&config.env, quiet);
    let overrides = Overrides { steps: given.own.steps, log_every: shared.log_every };
    Ok((Run::resume(directory, &overrides, &device)?, device))
}

fn train(mut run: Run, device: &Device, quiet: bool) -> anyhow::Result<Ending> {
    let stop = StopFlag::default();
    let plots = RunPlots::of_q_learning(run.directory(), &run.config().alrao);
    let mut progress = Progress::new(quiet, Some(plots), &stop);
    progress.line(&introduction(device, &run));
    let received = signals::listen(&stop, progress.announcer())?;
    let report = run.train(&mut progress, &stop);
    progress.finish();
    let directory = run.directory().display().to_string();
    let report = report.map_err(|error| {
        let ended = format!("the run in {directory} ended");
        let advice = format!("{ended} (to go on: alrao rl train --resume {directory})");
        let is_over = matches!(error, Error::Diverged { .. });
        anyhow::Error::from(error).context(if is_over { ended } else { advice })
    })?;
    if let Some(table) = kernel_times::table(device).filter(|_| !quiet) {
        messages::note(&table);
    }
    if report.outcome == Outcome::Finished {
        messages::result(&summary(&report, &directory))?;
        return Ok(Ending::Done);
    }
    if !quiet {
        messages::note(&format!(
            "stopped, with a checkpoint; to go on: alrao rl train --resume {directory}"
        ));
    }
    Ok(received.signal().map_or(Ending::Unwatched, Ending::Signalled))
}

/// The run's results, one a line.
fn summary(report: &Report, directory: &str) -> String {
    let mut text = String::new();
    if let Some((epoch, mean_return)) = report.best {
        text += &format!("best  epoch {epoch}, return {mean_return:.1}\n");
    }
    if let Some(test) = &report.test {
        text += &format!(
            "test  return {:.1} ± {:.1} over {} new episodes\n",
            test.mean_return, test.return_deviation, test.episodes
        );
    }
    text + &format!("run   {directory}\n")
}

impl Arguments {
    fn settings(&self) -> RlSettings {
        let Arguments { environment, learning, training, device, place: _ } = self;
        let own = QSettings {
            env: environment.env.clone(),
            steps: environment.steps,
            environments: environment.environments,
            buffer: learning.buffer,
            error_clip: learning.error_clip,
            discount: learning.discount,
            reward_scale: environment.reward_scale,
            tau: learning.tau,
            learning_starts: learning.learning_starts,
            update_every: learning.update_every,
            epsilon_start: environment.epsilon_start,
            epsilon_end: environment.epsilon_end,
            epsilon_steps: environment.epsilon_steps,
            epoch_steps: training.epoch_steps,
            evaluation_episodes: training.evaluation_episodes,
            ..QSettings::default()
        };
        let shared = Settings {
            hidden: learning.hidden.clone(),
            activation: learning.activation,
            optimizer: learning.optimizer,
            eta_min: learning.eta_min,
            eta_max: learning.eta_max,
            classifiers: learning.classifiers,
            theta: learning.theta,
            averaging: learning.averaging,
            trained_fraction: learning.trained_fraction,
            lr: learning.lr,
            momentum: learning.momentum,
            weight_decay: learning.weight_decay,
            clip: learning.clip,
            batch_size: learning.batch_size,
            seed: training.seed,
            device: device.device,
            precision: training.precision,
            threads: device.threads,
            log_every: training.log_every,
            ..Settings::default()
        };
        RlSettings { own, shared }
    }
}
