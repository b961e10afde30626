//! `alrao train`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::arguments::{DeviceArguments, choice, message, real, whole};
use super::failure::Ending;
use super::progress::{self, Progress};
use super::{kernel_times, messages, signals};
use alrao::alrao::AveragingKind;
use alrao::data::TokenKind;
use alrao::device::{Device, DeviceKind};
use alrao::error::Error;
use alrao::learn::settings::{Settings, flag, hidden_layers};
use alrao::learn::{Optimizer, Order, Outcome, Precision, RunConfig, Schedule, StopFlag};
use alrao::models::{Activation, Architecture};
use alrao::plots::RunPlots;
use alrao::supervised::{Overrides, Report, Run};

/// Train a model, by default with Alrao on generated images, or continue a run
#[derive(Args)]
#[command(next_line_help = false, allow_negative_numbers = true)]
#[command(after_help = "Examples:\n  alrao train\n  \
    alrao train --model vgg11 --data cifar-10-batches-bin --augment --out runs/vgg11\n  \
    alrao train --data photographs --image-size 64 --augment    # train/CLASS/*.jpg\n  \
    alrao train --model word-lstm --data DIR    # train.txt, valid.txt and test.txt\n  \
    alrao train --resume runs/vgg11 --epochs 40")]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
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
#[command(next_help_heading = "Model and data")]
struct ModelArguments {
    /// Architecture [default: cnn]
    #[arg(long, value_name = "MODEL", value_parser = choice(Architecture::ALL))]
    model: Option<Architecture>,
    /// Factor on the number of every layer's features [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    width: Option<f64>,
    /// mlp: units of each hidden layer; an empty text for none [default: 256,256]
    #[arg(long, value_name = "UNITS,..", value_parser = hidden_layers)]
    hidden: Option<Layers>,
    /// mlp: what stands behind each hidden layer [default: relu]
    #[arg(long, value_name = "ACTIVATION", value_parser = choice(Activation::ALL))]
    activation: Option<Activation>,
    /// LSTMs and alexnet: the part of the activations that is dropped [default: 0.2; alexnet 0.5]
    #[arg(long, value_name = "PART", value_parser = real)]
    dropout: Option<f64>,
    /// generated[:SEED], FILE.safetensors, a folder with CIFAR-10's *.bin files or with images in train/CLASS/; LSTMs: a text, or a folder with train.txt [default: generated]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// How much of the training data, from its end (of each class of a folder of images), is validated on where no other data is; 0 for none [default: 0.2]
    #[arg(long, value_name = "PART", value_parser = real)]
    valid_split: Option<f64>,
    /// A folder of images: rows and columns they are brought to [default: 32; alexnet, resnet50, densenet121 224]
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>)]
    image_size: Option<usize>,
    /// At most so many samples of each part of the data, drawn once for all; of a text so many characters or words from its start [default: all]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    samples: Option<usize>,
    /// Crop and flip the training images at random
    #[arg(long)]
    augment: bool,
    /// Order of the samples in an epoch [default: shuffled]
    #[arg(long, value_name = "ORDER", value_parser = choice(Order::ALL))]
    order: Option<Order>,
    /// LSTMs: characters or words of each column that a step reads [default: 70]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    bptt: Option<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "Learning rates")]
struct LearningArguments {
    /// How parameters learn [default: alrao]
    #[arg(long, value_name = "OPTIMIZER", value_parser = choice(Optimizer::ALL))]
    optimizer: Option<Optimizer>,
    /// Alrao: the smallest learning rate [default: 1e-5; LSTMs 1e-3]
    #[arg(long, value_name = "RATE", value_parser = real)]
    eta_min: Option<f64>,
    /// Alrao: the largest learning rate [default: 10; LSTMs 100]
    #[arg(long, value_name = "RATE", value_parser = real)]
    eta_max: Option<f64>,
    /// Alrao: copies of the last layer [default: 10; LSTMs 6]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// Alrao: how much the switch expects to go on switching, above 0 to 1 [default: 0.999]
    #[arg(long, value_name = "THETA", value_parser = real)]
    theta: Option<f64>,
    /// Alrao: how the copies are averaged [default: switch]
    #[arg(long, value_name = "AVERAGE", value_parser = choice(AveragingKind::ALL))]
    averaging: Option<AveragingKind>,
    /// Alrao: every so many steps, copies that have lost all weight take the average's weights [default: 0, never]
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>)]
    catch_up: Option<u64>,
    /// Alrao: the part of the features that learns at all [default: 1]
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
    /// A factor on all rates: constant, cosine or step:EPOCHS:FACTOR [default: constant]
    #[arg(long, value_name = "SCHEDULE", value_parser = message::<Schedule>)]
    schedule: Option<Schedule>,
    /// The largest norm of the gradient, the classifiers' apart; 0 for no clip [default: 0]
    #[arg(long, value_name = "NORM", value_parser = real)]
    clip: Option<f64>,
    /// Learning rates of the features by PyTorch's names, in place of random ones; the classifiers keep theirs
    #[arg(long, value_name = "FILE.safetensors")]
    rates: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Training")]
struct TrainingArguments {
    /// Passes over the training data [default: 20; generated data 12]
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    epochs: Option<u64>,
    /// Steps after which the run ends at the latest
    #[arg(long, value_name = "N", value_parser = whole::<u64>)]
    max_steps: Option<u64>,
    /// Samples of a step; LSTMs: columns that the text is cut into [default: 32; LSTMs 20]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    batch_size: Option<usize>,
    /// Seed of all random numbers; generated data has its own [default: 0]
    #[arg(long, value_name = "SEED", value_parser = whole::<u64>)]
    seed: Option<u64>,
    /// Epochs without a better validation loss after which the run ends [default: 20]
    #[arg(long, value_name = "EPOCHS", value_parser = whole::<u64>)]
    patience: Option<u64>,
    /// The numbers the run computes with: f32; f64 on the cpu; tf32 or bf16 on a GPU [default: tf32 on cuda, else f32]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ALL))]
    precision: Option<Precision>,
    /// Initial parameters by PyTorch's names; a run's best.safetensors serves
    #[arg(long, value_name = "FILE.safetensors")]
    init: Option<PathBuf>,
    /// Steps from one step line of metrics.jsonl to the next; 0 for none [default: 20]
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>)]
    log_every: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Files")]
struct PlaceArguments {
    /// Settings, under the flags' names in snake_case; flags go over them
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The run's directory, absent or empty [default: runs/MODEL-DATA-OPTIMIZER-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue a run; only --epochs, --patience, --max-steps, --log-every, --threads and --device go with it
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
}

/// What a continued run may change, by key.
const CHANGEABLE: &[&str] = &["epochs", "patience", "max_steps", "log_every", "threads", "device"];

pub(super) fn run(arguments: Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let (run, device) = match &arguments.place.resume {
        Some(directory) => resume(&arguments, directory)?,
        None => start(&arguments)?,
    };
    if run.is_finished() {
        if !quiet {
            let directory = run.directory().display();
            messages::note(&format!(
                "{directory} is finished; a larger --epochs, --patience or --max-steps continues it"
            ));
        }
        return Ok(Ending::Done);
    }
    train(run, &device, quiet)
}

fn start(arguments: &Arguments) -> anyhow::Result<(Run, Device)> {
    let file = arguments.place.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let settings = arguments.settings().over(file);
    let config = settings.resolve()?;
    let device = Device::open_with_threads(config.device, config.threads)?;
    let config = on_device(settings, &device)?;
    Ok((Run::start(config, arguments.place.out.as_deref(), &device)?, device))
}

/// The configuration with the device that was opened, which the precision depends on.
fn on_device(mut settings: Settings, device: &Device) -> anyhow::Result<RunConfig> {
    settings.device = Some(device.name().parse::<DeviceKind>()?);
    Ok(settings.resolve()?)
}

fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::input(format!("--config {}", path.display()), format!("cannot be read: {error}"))
    })?;
    Ok(Settings::from_toml(&text, path)?)
}

fn resume(arguments: &Arguments, directory: &Path) -> anyhow::Result<(Run, Device)> {
    let given = arguments.settings();
    let places = [("config", &arguments.place.config), ("out", &arguments.place.out)];
    let places = places.into_iter().filter(|(_, path)| path.is_some()).map(|(key, _)| key);
    let mut refused =
        given.given().into_iter().filter(|key| !CHANGEABLE.contains(key)).chain(places);
    if let Some(key) = refused.next() {
        let flags = CHANGEABLE.iter().map(|key| flag(key)).collect::<Vec<_>>().join(", ");
        return Err(
            Error::input(flag(key), format!("does not go with --resume; only {flags} do")).into()
        );
    }
    given.check_values()?;
    let (config, _) = Run::config_of(directory)?;
    let device = Device::open_with_threads(
        given.device.unwrap_or(config.device),
        given.threads.or(config.threads),
    )?;
    let Settings { epochs, patience, max_steps, log_every, .. } = given;
    let overrides = Overrides { epochs, patience, max_steps, log_every, data: None };
    Ok((Run::resume(directory, &overrides, &device)?, device))
}

fn train(mut run: Run, device: &Device, quiet: bool) -> anyhow::Result<Ending> {
    let stop = StopFlag::default();
    let plots = RunPlots::new(run.directory(), &run.config().alrao);
    let mut progress = Progress::new(quiet, Some(plots), &stop);
    progress.line(&progress::introduction(device, run.dataset(), run.config(), run.directory()));
    run.dataset().notes().iter().for_each(|note| progress.line(&format!("data    {note}")));
    let received = signals::listen(&stop, progress.announcer())?;
    let report = run.train(&mut progress, &stop);
    progress.finish();
    let directory = run.directory().display().to_string();
    let report = report.with_context(|| format!("the run in {directory} ended"))?;
    if let Some(table) = kernel_times::table(device).filter(|_| !quiet) {
        messages::note(&table);
    }
    if report.outcome == Outcome::Finished {
        messages::result(&summary(&report, run.dataset().token(), &directory))?;
        return Ok(Ending::Done);
    }
    if !quiet {
        messages::note(&format!(
            "stopped, with a checkpoint; to go on: alrao train --resume {directory}"
        ));
    }
    Ok(received.signal().map_or(Ending::Unwatched, Ending::Signalled))
}

/// The run's results, one a line.
fn summary(report: &Report, token: Option<TokenKind>, directory: &str) -> String {
    let mut text = String::new();
    if let Some((epoch, loss)) = report.best {
        let loss = loss.map(|loss| format!(", validation loss {}", messages::loss_of(loss, token)));
        text += &format!("best  epoch {epoch}{}\n", loss.unwrap_or_default());
    }
    if let Some(test) = &report.test {
        let accuracy =
            test.accuracy.map(|accuracy| format!(", accuracy {}", messages::percent(accuracy)));
        text += &format!(
            "test  loss {}{}\n",
            messages::loss_of(test.loss, token),
            accuracy.unwrap_or_default()
        );
    }
    text + &format!("run   {directory}\n")
}

impl Arguments {
    fn settings(&self) -> Settings {
        let Arguments { model, learning, training, device, place: _ } = self;
        Settings {
            model: model.model,
            width: model.width,
            hidden: model.hidden.clone(),
            activation: model.activation,
            data: model.data.clone(),
            valid_split: model.valid_split,
            image_size: model.image_size,
            samples: model.samples,
            optimizer: learning.optimizer,
            eta_min: learning.eta_min,
            eta_max: learning.eta_max,
            classifiers: learning.classifiers,
            theta: learning.theta,
            averaging: learning.averaging,
            catch_up: learning.catch_up,
            trained_fraction: learning.trained_fraction,
            lr: learning.lr,
            momentum: learning.momentum,
            weight_decay: learning.weight_decay,
            schedule: learning.schedule,
            clip: learning.clip,
            dropout: model.dropout,
            bptt: model.bptt,
            epochs: training.epochs,
            max_steps: training.max_steps,
            batch_size: training.batch_size,
            seed: training.seed,
            patience: training.patience,
            augment: model.augment.then_some(true),
            order: model.order,
            device: device.device,
            precision: training.precision,
            threads: device.threads,
            log_every: training.log_every,
            init: training.init.clone(),
            rates: learning.rates.clone(),
            ..Settings::default()
        }
    }
}
