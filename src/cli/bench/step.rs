//! `alrao bench step`.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{check_precision, profile, trimmed};
use crate::cli::failure::Ending;
use crate::cli::{messages, signals};
use alrao::argument::{choice, real, whole};
use alrao::bench::comparison::{Comparison, Ratio, compare};
use alrao::bench::machine::{Machine, threads};
use alrao::bench::peers::{Setup, end_all};
use alrao::bench::step::OPTIMIZERS;
use alrao::bench::turns::{Length, Turns};
use alrao::device::{Device, DeviceKind};
use alrao::error::Error;
use alrao::learn::settings::{DeviceSettings, LearningSettings};
use alrao::learn::{Optimizer, Precision};
use alrao::models::Architecture;
use alrao::supervised::RunConfig;
use alrao::supervised::settings::{Settings, SupervisedSettings};

/// Seconds in which a laptop compiles a model.
const PATIENCE: u64 = 120;

/// Time a whole training step, plain SGD beside Alrao, and beside PyTorch's
#[derive(Args)]
#[command(allow_negative_numbers = true)]
#[command(
    after_help = "All steps use one batch, which is on the device already. Every contestant has one turn in each \
    round;\nthe table shows medians over the rounds. PyTorch's steps: sgd, as it comes; sgd-channels-last, images and weights in that layout;\n\
    sgd-compiled, forward and backward by torch.compile; authors, Alrao as its authors' code does it, the head twice; alrao,\n\
    with one backward pass. Both sides make subnormal gradients zero on the cpu. On a GPU the engine's parts of a step are\n\
    captured in a graph, PyTorch's are launched one by one.\n\n\
    Examples:\n  alrao bench step --model vgg19\n  \
    alrao bench step --peers python3 --model cnn --model char-lstm     # python3 with torch\n  \
    alrao bench step --model cnn --optimizer alrao --device cpu --json\n  \
    alrao bench step --model vgg19 --optimizer alrao --profile"
)]
pub(super) struct Arguments {
    /// Architecture; may be repeated [default: cnn]
    #[arg(long, value_name = "MODEL", value_parser = choice(Architecture::ALL))]
    model: Vec<Architecture>,
    /// Update rule; may be repeated [default: sgd and alrao]
    #[arg(long, value_name = "OPTIMIZER", value_parser = choice(Optimizer::ALL))]
    optimizer: Vec<Optimizer>,
    /// Time PyTorch in the same run, by this Python: SGD in three ways, Alrao in two, and the update, head and switch by themselves
    #[arg(long, value_name = "PYTHON")]
    peers: Option<String>,
    /// With --peers: seconds that PyTorch may take to make a step ready; compiling one takes the longest [default: 120]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>, requires = "peers")]
    patience: Option<u64>,
    /// Samples of a step; LSTMs: columns of 70 characters or words [default: 32; LSTMs 20; simulator 2]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    batch_size: Option<usize>,
    /// Factor on the number of every layer's features [default: 1; simulator 0.25]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    width: Option<f64>,
    /// Alrao: number of classifiers [default: 10; LSTMs 6]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// Number format of a step [default: tf32 on cuda, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ALL))]
    precision: Option<Precision>,
    /// Turns of each kind of step [default: 5; simulator 1]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    rounds: Option<usize>,
    /// Steps of a turn, or of a profile [default: as many as take 0.4 s, cuda 0.1 s; simulator 1; of a profile cuda 200, cpu 10, simulator 2]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    steps: Option<usize>,
    /// Show the time of a step op by op, beside the machine's peaks of arithmetic and of copying
    #[arg(long, conflicts_with_all = ["peers", "rounds"])]
    profile: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceSettings,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let patience = arguments.patience.map(|own| own as usize);
    for (flag, count) in
        [("--steps", arguments.steps), ("--rounds", arguments.rounds), ("--patience", patience)]
    {
        if count == Some(0) {
            return Err(Error::input(flag, "0 is not possible; give at least 1").into());
        }
    }
    // Errors in the flags are reported before a device is opened; those that depend on the device after.
    configs(arguments, arguments.device.device.unwrap_or_default())?;
    let device = arguments.device.open()?;
    let configs = configs(arguments, device.kind().unwrap_or_default())?;
    check_precision(arguments.precision, &device)?;
    if arguments.profile {
        let steps = arguments.steps.unwrap_or(match device.name() {
            "cuda" => 200,
            "simulator" => 2,
            _ => 10,
        });
        return profile::run(&configs.concat(), &device, steps, arguments.json, quiet);
    }
    let turns = turns(arguments, &device);
    let mut peers = setup(arguments, &configs[0][0], &device)?;
    if peers.is_some() {
        signals::clean_up_with(end_all)?;
    }
    let (mut all, mut greeting) = (Comparison::default(), None);
    if !quiet {
        messages::note(&device.description());
    }
    for configs in &configs {
        if !quiet {
            messages::note(&introduction(configs, turns));
        }
        let (own, answer) = compare(configs, &device, turns, peers.as_ref())?;
        match answer {
            Some(Ok(own)) => greeting = Some(own),
            Some(Err(message)) => {
                if !quiet {
                    messages::note(&format!("warning: PyTorch is left out: {message}"));
                }
                peers = None;
            }
            None => {}
        }
        if !arguments.json {
            messages::result(&table(configs, &own, turns))?;
        }
        all.extend(own);
    }
    let machine = Machine::of(&device, greeting.as_ref());
    let text = match arguments.json {
        true => json(&machine, turns, &all)?.to_string() + "\n",
        false => machine.text(),
    };
    messages::result(&text)?;
    Ok(Ending::Done)
}

fn json(machine: &Machine, turns: Turns, all: &Comparison) -> serde_json::Result<Value> {
    let mut report = serde_json::to_value(all)?;
    report["machine"] = serde_json::to_value(machine)?;
    report["device"] = machine.device.clone().into();
    report["rounds"] = turns.rounds.into();
    Ok(report)
}

/// The turns that were given, or the device's usual ones.
fn turns(arguments: &Arguments, device: &Device) -> Turns {
    let is_slow = device.name() == "simulator";
    // Long enough for the processor's caches and clock to settle after another's turn.
    let usual = match device.name() {
        "simulator" => Length::Steps(1),
        "cuda" => Length::Time(Duration::from_millis(100)),
        _ => Length::Time(Duration::from_millis(400)),
    };
    Turns {
        rounds: arguments.rounds.unwrap_or(if is_slow { 1 } else { 5 }),
        length: arguments.steps.map_or(usual, Length::Steps),
    }
}

/// PyTorch on the same device with the same number of threads.
fn setup(
    arguments: &Arguments,
    config: &RunConfig,
    device: &Device,
) -> Result<Option<Setup>, Error> {
    let Some(python) = arguments.peers.clone() else { return Ok(None) };
    let has_counterpart = |own: &Optimizer| matches!(own, Optimizer::Sgd | Optimizer::Alrao);
    if !arguments.optimizer.is_empty() && !arguments.optimizer.iter().any(has_counterpart) {
        let message = "PyTorch has steps for sgd and alrao only; add --optimizer sgd or alrao";
        return Err(Error::input("--peers", message));
    }
    let name = match device.kind() {
        Some(DeviceKind::Cuda(0)) => "cuda",
        Some(DeviceKind::Cpu) => "cpu",
        Some(DeviceKind::Cuda(number)) => {
            let message = format!(
                "PyTorch would run on the first GPU; use --device cuda with CUDA_VISIBLE_DEVICES={number}"
            );
            return Err(Error::input("--peers", message));
        }
        _ => {
            let message =
                format!("PyTorch does not run on {}; use --device cpu or cuda", device.name());
            return Err(Error::input("--peers", message));
        }
    };
    if config.train.precision == Precision::F64 {
        return Err(Error::input("--peers", "f64 is for proofs, not for a comparison of speed"));
    }
    Ok(Some(Setup {
        python,
        device: name,
        precision: config.train.precision.to_string(),
        threads: threads(device),
        patience: Duration::from_secs(arguments.patience.unwrap_or(PATIENCE)),
    }))
}

/// The configurations that are compared, for each model.
fn configs(arguments: &Arguments, device: DeviceKind) -> Result<Vec<Vec<RunConfig>>, Error> {
    let models = match &arguments.model[..] {
        [] => &[Architecture::Cnn],
        given => given,
    };
    let optimizers = match &arguments.optimizer[..] {
        [] => &OPTIMIZERS,
        given => given,
    };
    let is_slow = device == DeviceKind::Simulator;
    let config = |model: Architecture, optimizer: Optimizer| {
        let width = arguments.width.or(is_slow.then_some(0.25));
        let task =
            SupervisedSettings { model: Some(model), width, ..SupervisedSettings::default() };
        let learning = LearningSettings {
            optimizer: Some(optimizer),
            batch_size: arguments.batch_size.or(is_slow.then_some(2)),
            classifiers: arguments.classifiers.filter(|_| optimizer.is_alrao()),
            precision: arguments.precision,
            ..LearningSettings::default()
        };
        let device = DeviceSettings { device: Some(device), ..arguments.device.clone() };
        Settings::new(task, learning, device).resolve()
    };
    models.iter().map(|model| optimizers.iter().map(|own| config(*model, *own)).collect()).collect()
}

fn introduction(configs: &[RunConfig], turns: Turns) -> String {
    let Some(RunConfig { model, train, .. }) = configs.first() else { return String::new() };
    let (name, width, batch) = (model.architecture, model.width, train.batch_size);
    let rounds = match turns.rounds {
        1 => "one round".to_owned(),
        rounds => format!("median over {rounds} rounds"),
    };
    format!("{name}, width {width}, batch {batch}, {}: {rounds}", train.precision)
}

/// One model's rows, each with the row that it is compared with.
fn table(configs: &[RunConfig], own: &Comparison, turns: Turns) -> String {
    let has_launches = own.steps.iter().any(|row| row.launches.is_some());
    let mut text = format!("{}\n", introduction(configs, turns));
    let launches = if has_launches { format!(" {:>9}", "launches") } else { String::new() };
    let _ = writeln!(
        text,
        "  {:<8} {:<18} {:>9} {:>15} {:>10}{launches} {:>7} {:>15}  of",
        "", "step", "ms", "from .. to", "samples/s", "times", "from .. to"
    );
    for row in &own.steps {
        let mode = row.mode.filter(|_| has_launches).map_or("", |mode| mode.name());
        let _ = write!(
            text,
            "  {:<8} {:<18} {:>9.3} {:>15} {:>10.0}",
            row.side.name(),
            format!("{} {mode}", row.way),
            row.ms,
            span(row.ms_min, row.ms_max),
            row.samples_per_second
        );
        if has_launches {
            let _ =
                write!(text, " {:>9}", row.launches.map_or(String::new(), |own| own.to_string()));
        }
        text += &beside(row.beside.as_ref());
    }
    if !own.pieces.is_empty() {
        let _ = writeln!(
            text,
            "\n  {:<8} {:<27} {:>9} {:>15}",
            "", "part of a step", "us", "from .. to"
        );
    }
    for row in &own.pieces {
        let name = format!("{}: {}", row.piece.name(), row.way);
        let (us, span) = (row.us, span(row.us_min, row.us_max));
        let _ = write!(text, "  {:<8} {name:<27} {us:>9.1} {span:>15}  ", row.side.name());
        text += &beside(row.beside.as_ref());
    }
    for failed in &own.failed {
        let is_late = failed.error.starts_with("not ready");
        let hint = if is_late { "; --patience gives it more" } else { "" };
        let _ = writeln!(text, "  PyTorch  {:<18} failed: {}{hint}", failed.way, failed.error);
    }
    trimmed(&text)
}

/// The end of a row: its time over another row's, and that row's name.
fn beside(ratio: Option<&Ratio>) -> String {
    let Some(ratio) = ratio else { return "\n".to_owned() };
    let span = span(ratio.ratio_min, ratio.ratio_max);
    format!(" {:>7.2} {span:>15}  {}\n", ratio.ratio, ratio.of)
}

/// The shortest and the longest round, in three or four digits.
fn span(least: f64, most: f64) -> String {
    let digits = |value: f64| match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    format!("{} .. {}", digits(least), digits(most))
}
