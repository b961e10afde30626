//! `alrao bench step`.

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::{Rounds, check_precision, profile, trimmed};
use crate::bench::step::{OPTIMIZERS, Row, compare};
use crate::cli::arguments::{DeviceArguments, choice, real, whole};
use crate::cli::failure::Ending;
use crate::cli::messages;
use crate::device::DeviceKind;
use crate::error::Error;
use crate::models::Architecture;
use crate::train::settings::Settings;
use crate::train::{Optimizer, Precision, RunConfig};

/// Time a whole training step: one launch after the other and as one graph, plain SGD beside Alrao
#[derive(Args)]
#[command(allow_negative_numbers = true)]
#[command(after_help = "Every step is on the same batch, which is on the device already.\n\n\
    Examples:\n  alrao bench step --model vgg19\n  \
    alrao bench step --model cnn --model char-lstm --optimizer alrao --device cpu --json\n  \
    alrao bench step --model vgg19 --optimizer alrao --profile")]
pub(super) struct Arguments {
    /// Architecture; may be repeated [default: cnn]
    #[arg(long, value_name = "MODEL", value_parser = choice(Architecture::ALL))]
    model: Vec<Architecture>,
    /// How parameters learn; may be repeated [default: sgd and alrao]
    #[arg(long, value_name = "OPTIMIZER", value_parser = choice(Optimizer::ALL))]
    optimizer: Vec<Optimizer>,
    /// Samples of a step; LSTMs: columns of 70 characters or words [default: 32; LSTMs 20; simulator 2]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    batch_size: Option<usize>,
    /// Factor on the number of every layer's features [default: 1; simulator 0.25]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    width: Option<f64>,
    /// Alrao: copies of the last layer [default: 10; LSTMs 6]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// The numbers a step computes with [default: tf32 on cuda, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ALL))]
    precision: Option<Precision>,
    /// Steps of each kind that are timed [default: cuda 200, cpu 10, simulator 2]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    steps: Option<usize>,
    /// Where the time of a step goes, op by op, beside the machine's peaks of arithmetic and of copying
    #[arg(long)]
    profile: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    Rounds::check(arguments.steps)?;
    // What is wrong with the flags is told before a device is opened, what depends on the device after.
    configs(arguments, arguments.device.device.unwrap_or_default())?;
    let device = arguments.device.open()?;
    let configs = configs(arguments, device.name().parse()?)?;
    check_precision(arguments.precision, &device)?;
    let usual = match device.name() {
        "cuda" => (200, 10),
        "simulator" => (2, 1),
        _ => (10, 1),
    };
    let rounds = Rounds::new(arguments.steps, usual);
    if arguments.profile {
        return profile::run(&configs.concat(), &device, rounds.steps, arguments.json, quiet);
    }
    let mut rows = Vec::new();
    if !quiet {
        messages::note(&device.description());
    }
    for configs in &configs {
        if !quiet {
            messages::note(&introduction(configs, rounds.steps));
        }
        rows.extend(compare(configs, &device, rounds.count(), rounds.a_round)?);
    }
    let text = match arguments.json {
        true => json!({ "device": device.name(), "steps": rows }).to_string() + "\n",
        false => table(&rows),
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

/// For each model, what is compared.
fn configs(arguments: &Arguments, device: DeviceKind) -> Result<Vec<Vec<RunConfig>>, Error> {
    let or = |given: &[Architecture]| match given {
        [] => vec![Architecture::Cnn],
        given => given.to_vec(),
    };
    let optimizers = match &arguments.optimizer[..] {
        [] => OPTIMIZERS.to_vec(),
        given => given.to_vec(),
    };
    let is_slow = device == DeviceKind::Simulator;
    let config = |model: Architecture, optimizer: Optimizer| {
        let settings = Settings {
            model: Some(model),
            optimizer: Some(optimizer),
            width: arguments.width.or(is_slow.then_some(0.25)),
            batch_size: arguments.batch_size.or(is_slow.then_some(2)),
            classifiers: arguments.classifiers.filter(|_| optimizer.is_alrao()),
            precision: arguments.precision,
            device: Some(device),
            threads: arguments.device.threads,
            ..Settings::default()
        };
        settings.resolve()
    };
    or(&arguments.model)
        .into_iter()
        .map(|model| optimizers.iter().map(|own| config(model, *own)).collect())
        .collect()
}

fn introduction(configs: &[RunConfig], steps: usize) -> String {
    let Some(RunConfig { model, train, .. }) = configs.first() else { return String::new() };
    let (name, width, batch) = (model.architecture, model.width, train.batch_size);
    format!("{name}, width {width}, batch {batch}, {}: median over {steps} steps", train.precision)
}

/// Beside each row, its time as a multiple of the first optimizer's in the same mode.
fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12} {:<11} {:<9} {:>10} {:>11} {:>9}  beside\n",
        "model", "optimizer", "mode", "ms", "samples/s", "launches"
    );
    for row in rows {
        let first = rows.iter().find(|own| (&own.model, own.mode) == (&row.model, row.mode));
        let beside = first.map_or(String::new(), |own| match own.optimizer == row.optimizer {
            true => String::new(),
            false => format!("{:.2} {}", row.ms / own.ms, own.optimizer),
        });
        let launches = row.launches.map_or("-".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "{:<12} {:<11} {:<9} {:>10.3} {:>11.0} {launches:>9}  {beside}",
            row.model,
            row.optimizer,
            row.mode.name(),
            row.ms,
            row.samples_per_second,
        );
    }
    trimmed(&text)
}
