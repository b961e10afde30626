//! `alrao bench q-learning`.

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::{Rounds, check_precision, trimmed};
use crate::cli::failure::Ending;
use crate::cli::messages;
use alrao::argument::{choice, whole};
use alrao::bench::q_learning::{Comparison, Row, TRANSITIONS, settings};
use alrao::bench::step::OPTIMIZERS;
use alrao::device::DeviceKind;
use alrao::error::Error;
use alrao::learn::settings::DeviceSettings;
use alrao::learn::settings::hidden_layers;
use alrao::learn::{Optimizer, Precision};
use alrao::rl::QConfig;
use alrao::rl::settings::Settings;

/// Time Q-learning: updates, steps of the environment, and both in turn, plain SGD beside Alrao
#[derive(Args)]
#[command(allow_negative_numbers = true)]
#[command(
    after_help = "An update draws from 10,000 transitions of random actions. A step of the environment is chosen by the network\n\
    (5 % at random), done, and kept; with updates there are as many of them as steps.\n\n\
    Examples:\n  alrao bench q-learning\n  \
    alrao bench q-learning --env gym:LunarLander-v3 --environments 4 --optimizer alrao --json"
)]
pub(super) struct Arguments {
    /// pendulum[:TORQUES], or gym:NAME for one of Gymnasium's with discrete actions [default: pendulum]
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// Copies of the environment, side by side [default: 1; gym 4]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    environments: Option<usize>,
    /// Update rule; may be repeated [default: sgd and alrao]
    #[arg(long, value_name = "OPTIMIZER", value_parser = choice(Optimizer::ALL))]
    optimizer: Vec<Optimizer>,
    /// Transitions of an update [default: 32]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    batch_size: Option<usize>,
    /// Units of each hidden layer; an empty text for none [default: 64,64]
    #[arg(long, value_name = "UNITS,..", value_parser = hidden_layers)]
    hidden: Option<Layers>,
    /// Alrao: number of classifiers [default: 10]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// Number format of an update [default: tf32 on cuda, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ALL))]
    precision: Option<Precision>,
    /// Updates of each kind that are timed, and steps of the environment [default: 5000; simulator 4]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    steps: Option<usize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

/// A list as one argument.
type Layers = Vec<usize>;

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    Rounds::check(arguments.steps)?;
    // Errors in the flags are reported before a device is opened; those that depend on the device after.
    configs(arguments, arguments.device.device.unwrap_or_default())?;
    let device = arguments.device.open()?;
    let configs = configs(arguments, device.kind().unwrap_or_default())?;
    check_precision(arguments.precision, &device)?;
    let rounds = Rounds::new(
        arguments.steps,
        if device.name() == "simulator" { (4, 2) } else { (5_000, 250) },
    );
    let mut comparison = Comparison::new(&configs, &device)?;
    if !quiet {
        messages::note(&device.description());
        messages::note(&introduction(&configs, rounds.steps));
    }
    let rows = comparison.run(rounds.count(), rounds.a_round)?;
    let text = match arguments.json {
        true => json!({ "device": device.name(), "q_learning": rows }).to_string() + "\n",
        false => table(&rows),
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

/// The configurations that are compared.
fn configs(arguments: &Arguments, device: DeviceKind) -> Result<Vec<QConfig>, Error> {
    let optimizers = match &arguments.optimizer[..] {
        [] => OPTIMIZERS.to_vec(),
        given => given.to_vec(),
    };
    let config = |optimizer: Optimizer| {
        let mut own: Settings = settings();
        own.task.env.clone_from(&arguments.env);
        own.task.environments = arguments.environments;
        own.learning.optimizer = Some(optimizer);
        own.learning.batch_size = arguments.batch_size;
        own.learning.hidden.clone_from(&arguments.hidden);
        own.learning.classifiers = arguments.classifiers.filter(|_| optimizer.is_alrao());
        own.learning.precision = arguments.precision;
        own.device.device = Some(device);
        own.device.threads = arguments.device.threads;
        own.resolve()
    };
    optimizers.into_iter().map(config).collect()
}

fn introduction(configs: &[QConfig], steps: usize) -> String {
    let Some(QConfig { task, model, train, .. }) = configs.first() else {
        return String::new();
    };
    let hidden: Vec<String> = model.hidden.iter().map(usize::to_string).collect();
    format!(
        "{} of {}, hidden {}, batch {}, {}: {TRANSITIONS} transitions, median over {steps} updates",
        task.environments,
        task.env,
        hidden.join(","),
        train.batch_size,
        train.precision
    )
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<11} {:<9} {:>10} {:>12} {:>10} {:>18}\n",
        "optimizer", "mode", "updates/s", "env steps/s", "both/s", "launches/update"
    );
    for row in rows {
        let launches = row.launches.map_or("-".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "{:<11} {:<9} {:>10.0} {:>12.0} {:>10.0} {launches:>18}",
            row.optimizer,
            row.mode.name(),
            row.updates_per_second,
            row.environment_steps_per_second,
            row.steps_with_updates_per_second,
        );
    }
    trimmed(&text)
}
