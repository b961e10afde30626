//! `alrao predict`.

mod layout;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use self::layout::{Form, Layout};
use super::arguments::{Split, new_file};
use super::failure::Ending;
use super::messages;
use super::progress::Display;
use alrao::argument::whole;
use alrao::data::{STANDARD_INPUT, Samples, Task};
use alrao::error::Error;
use alrao::learn::OutputFile;
use alrao::learn::settings::DeviceSettings;
use alrao::supervised::{Predictor, read_class_names};

/// The time between two lines of progress where there is no bar.
const EVERY: Duration = Duration::from_secs(10);

/// Work that takes less shows no progress.
const SHORT: Duration = Duration::from_secs(1);

const TEMPLATE: &str =
    "predict {bar:20.cyan/dim} {percent:>3}%  {pos} of {len} samples, {eta} left";
const NARROW: (u16, &str) = (60, "predict {percent:>3}%  {pos} of {len}");

/// Predict data with a run's best model or the model in a checkpoint
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao predict runs/flowers new.csv\n  \
    alrao predict runs/flowers --split valid --csv\n  \
    alrao predict runs/photographs holiday.jpg --top 3\n  \
    alrao predict runs/fashion t10k-images-idx3-ubyte.gz --class-names names.txt --csv --output predictions.csv\n  \
    (head -n 1 log.csv; tail -n 100 log.csv) | alrao predict runs/load - --json")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// An image, a folder of images, a CSV, arrays (.npz, .npy, .safetensors), MNIST's or CIFAR-10's files, or - for the rows of a CSV from standard input
    #[arg(value_name = "DATA", allow_hyphen_values = true, required_unless_present = "split")]
    data: Option<String>,
    /// Predict this part of DATA, or without DATA of the run's own data, divided as in the training, and show the true classes or values
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// Show the likeliest N classes
    #[arg(long, value_name = "N", default_value = "1", value_parser = whole::<usize>)]
    top: usize,
    /// Print an object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a CSV with a header
    #[arg(long)]
    csv: bool,
    /// Write the predictions to a file [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it is there
    #[arg(long)]
    force: bool,
    /// Names of the classes, one a line, for a model whose classes have numbers only
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceSettings,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Arguments { source, data, top, output, class_names, .. } = arguments;
    if *top == 0 {
        return Err(Error::field("top", "0 classes is not possible; give 1 or more").into());
    }
    let output = output.as_deref().map(|path| place(path, arguments)).transpose()?;
    let device = arguments.device.open()?;
    let mut predictor = Predictor::open(source, &device)?;
    if let Some(path) = class_names {
        predictor.set_class_names(read_class_names(path)?)?;
    }
    if *top > 1 && matches!(predictor.task(), Task::Regression { .. }) {
        return Err(Error::field("top", "does not apply: the model predicts values").into());
    }
    let samples = read(&predictor, arguments)?;
    if !quiet {
        messages::note(&device.description());
        let scale = predictor.note_on_scale(&samples);
        let notes = samples.notes.iter().chain(&scale);
        notes.for_each(|note| messages::note(&format!("data    {note}")));
        messages::note_of_precision(predictor.precision());
        messages::notes_on_model(predictor.notes());
    }
    let form = Form::of(arguments.json, arguments.csv);
    let layout = Layout { predictor: &predictor, top: *top, form };
    let mut progress = Progress::new(samples.len(), quiet, output.is_some());
    let (mut collected, mut is_first, mut left) = (Vec::new(), true, 0);
    for batch in samples.batches(predictor.batch_size()) {
        batch.broken.iter().for_each(|line| progress.line(&format!("data    {line}")));
        left += batch.names.len();
        let predictions = predictor.predict(&batch.inputs)?;
        let text = layout.lines(&batch, &predictions, is_first && !batch.names.is_empty());
        is_first &= batch.names.is_empty();
        match output {
            Some(_) => collected.extend(text.into_bytes()),
            None => messages::result(&text)?,
        }
        progress.advance(batch.names.len() + batch.broken.len());
    }
    progress.finish();
    if left == 0 {
        let subject = data.clone().unwrap_or_else(|| source.display().to_string());
        return Err(Error::input(subject, "has no image that could be read").into());
    }
    if let Some(output) = &output {
        output.write(&collected)?;
    }
    Ok(Ending::Done)
}

/// The samples to predict.
fn read(predictor: &Predictor, arguments: &Arguments) -> Result<Samples, Error> {
    let samples = match (&arguments.data, arguments.split) {
        (Some(data), Some(_)) if data == STANDARD_INPUT => {
            let message = "does not apply to standard input, which is not in parts: give a file";
            Err(Error::field("split", message))
        }
        (None, Some(_)) if arguments.source.is_file() => {
            Err(Error::input("DATA", "is needed, since a checkpoint does not record its data"))
        }
        (data, Some(split)) => predictor.read_part(data.as_deref(), split.part()),
        (data, None) => predictor.read(data.as_deref().unwrap_or_default()),
    };
    samples.map_err(|error| match error {
        // Here DATA is an argument, not a flag.
        Error::Input { subject, message } => {
            Error::input(subject.strip_prefix("`data` ").unwrap_or(&subject), message)
        }
        other => other,
    })
}

/// The place of the predictions, which must be no file that is read.
fn place(path: &Path, arguments: &Arguments) -> Result<OutputFile, Error> {
    let Arguments { source, data, force, .. } = arguments;
    let is_file = |input: &&Path| *input != Path::new(STANDARD_INPUT) && !input.is_dir();
    let read = [Some(&**source), data.as_deref().map(Path::new)];
    let inputs: Vec<&Path> = read.into_iter().flatten().filter(is_file).collect();
    new_file("output", path, &inputs, *force)
}

/// The progress of long work, on standard error: a bar if the results do not appear on the same terminal, else lines.
struct Progress {
    display: Display,
    quiet: bool,
    began: Instant,
    told: Instant,
    samples: usize,
    done: usize,
}

impl Progress {
    fn new(samples: usize, quiet: bool, in_file: bool) -> Progress {
        let is_mixed = !in_file && io::stdout().is_terminal();
        let display = Display::new(quiet || is_mixed, TEMPLATE, NARROW);
        if let Display::Bar(bar) = &display {
            bar.set_length(samples as u64);
        }
        Progress { display, quiet, began: Instant::now(), told: Instant::now(), samples, done: 0 }
    }

    fn line(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| messages::note(text)),
            Display::Nothing | Display::Lines if !self.quiet => messages::note(text),
            Display::Nothing | Display::Lines => {}
        }
    }

    fn advance(&mut self, samples: usize) {
        self.done += samples;
        match &self.display {
            Display::Bar(bar) => {
                bar.set_position(self.done as u64);
                if self.began.elapsed() > SHORT {
                    self.display.appear();
                }
            }
            Display::Lines if self.told.elapsed() > EVERY => {
                self.told = Instant::now();
                messages::note(&format!("predicted {} of {} samples", self.done, self.samples));
            }
            Display::Nothing | Display::Lines => {}
        }
    }

    fn finish(&self) {
        self.display.finish();
    }
}
