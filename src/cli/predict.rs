//! `alrao predict`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::arguments::new_file;
use super::failure::Ending;
use super::messages;
use super::progress::Display;
use alrao::argument::whole;
use alrao::data::{STANDARD_INPUT, SampleBatch, SampleName, Task};
use alrao::error::Error;
use alrao::learn::OutputFile;
use alrao::learn::settings::DeviceSettings;
use alrao::supervised::{Predictions, Predictor, read_class_names};

/// The time between two lines of progress where there is no bar.
const EVERY: Duration = Duration::from_secs(10);

/// Work that takes less shows no progress.
const SHORT: Duration = Duration::from_secs(1);

const TEMPLATE: &str =
    "predict {bar:20.cyan/dim} {percent:>3}%  {pos} of {len} samples, {eta} left";
const NARROW: (u16, &str) = (60, "predict {percent:>3}%  {pos} of {len}");

/// Predict data, with or without targets, with a run's best model or the model in a checkpoint
#[derive(Args)]
#[command(after_help = "Examples:\n  alrao predict runs/flowers new.csv\n  \
    alrao predict runs/photographs holiday.jpg --top 3\n  \
    alrao predict runs/fashion t10k-images-idx3-ubyte.gz --class-names names.txt --csv --output predictions.csv\n  \
    (head -n 1 log.csv; tail -n 100 log.csv) | alrao predict runs/load - --json")]
pub(super) struct Arguments {
    /// A run's directory, or a checkpoint
    #[arg(value_name = "RUN|FILE")]
    source: PathBuf,
    /// An image, a folder of images, a CSV, arrays (.npz, .npy, .safetensors), MNIST's or CIFAR-10's files, or - for the rows of a CSV from standard input
    #[arg(value_name = "DATA", allow_hyphen_values = true)]
    data: String,
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
    let samples = predictor.read(data)?;
    if !quiet {
        messages::note(&device.description());
        let scale = predictor.note_on_scale(&samples);
        let notes = samples.notes.iter().chain(&scale);
        notes.for_each(|note| messages::note(&format!("data    {note}")));
        messages::note_of_precision(predictor.precision());
        messages::notes_on_model(predictor.notes());
    }
    let layout = Layout { predictor: &predictor, top: *top, form: Form::of(arguments) };
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
        return Err(Error::input(data, "has no image that could be read").into());
    }
    if let Some(output) = &output {
        output.write(&collected)?;
    }
    Ok(Ending::Done)
}

/// The place of the predictions, which must be no file that is read.
fn place(path: &Path, arguments: &Arguments) -> Result<OutputFile, Error> {
    let Arguments { source, data, force, .. } = arguments;
    let is_file = |input: &&Path| *input != Path::new(STANDARD_INPUT) && !input.is_dir();
    let inputs: Vec<&Path> = [source, Path::new(data)].into_iter().filter(is_file).collect();
    new_file("output", path, &inputs, *force)
}

/// The form of the lines.
#[derive(Clone, Copy)]
enum Form {
    /// Columns separated by tabs.
    Text,
    Json,
    Csv,
}

impl Form {
    fn of(arguments: &Arguments) -> Form {
        match (arguments.json, arguments.csv) {
            (true, _) => Form::Json,
            (_, true) => Form::Csv,
            _ => Form::Text,
        }
    }
}

/// How predictions become lines.
struct Layout<'a> {
    predictor: &'a Predictor,
    top: usize,
    form: Form,
}

impl Layout<'_> {
    /// The lines of a batch; of a CSV, the first ones are after the header.
    fn lines(&self, batch: &SampleBatch, predictions: &Predictions, is_first: bool) -> String {
        let mut text = String::new();
        if let (Form::Csv, true) = (self.form, is_first) {
            text += &cells(&self.header(&batch.names[0]));
        }
        for (sample, name) in batch.names.iter().enumerate() {
            text += &match self.form {
                Form::Json => self.object(name, predictions, sample) + "\n",
                Form::Csv => cells(&self.columns(name, predictions, sample)),
                Form::Text => {
                    let columns = self.columns(name, predictions, sample);
                    columns.iter().map(|own| without_controls(own)).collect::<Vec<_>>().join("\t")
                        + "\n"
                }
            };
        }
        text
    }

    fn header(&self, name: &SampleName) -> Vec<String> {
        let numbered = |what: &str, count: usize| -> Vec<String> {
            match count {
                1 => vec![what.to_owned()],
                _ => (1..=count).map(|number| format!("{what}_{number}")).collect(),
            }
        };
        let others = match self.predictor.task() {
            Task::Classification { classes } => {
                let count = self.top.min(classes);
                let pairs =
                    numbered("class", count).into_iter().zip(numbered("probability", count));
                pairs.flat_map(|(class, probability)| [class, probability]).collect()
            }
            Task::Regression { outputs } => {
                numbered(self.predictor.target().unwrap_or("value"), outputs)
            }
        };
        [vec![named(name).0.to_owned()], others].concat()
    }

    fn columns(&self, name: &SampleName, predictions: &Predictions, sample: usize) -> Vec<String> {
        let mut columns = vec![named(name).1];
        match self.predictor.task() {
            Task::Classification { .. } => {
                for (class, probability) in predictions.likeliest(sample, self.top) {
                    columns.push(self.predictor.class_name(class));
                    columns.push(format!("{probability:.4}"));
                }
            }
            Task::Regression { .. } => {
                columns.extend(predictions.row(sample).iter().map(f32::to_string));
            }
        }
        columns
    }

    fn object(&self, name: &SampleName, predictions: &Predictions, sample: usize) -> String {
        let mut object = Object::of(name);
        match self.predictor.task() {
            Task::Classification { .. } => {
                let pair = |(class, probability)| Pair {
                    class: self.predictor.class_name(class),
                    probability,
                };
                let likeliest = predictions.likeliest(sample, self.top);
                object.likeliest = likeliest.first().map(|own| pair(*own));
                let top = || likeliest.iter().map(|own| pair(*own)).collect();
                object.top = (self.top > 1).then(top);
            }
            Task::Regression { .. } => object.values = Some(predictions.row(sample)),
        }
        serde_json::to_string(&object).expect("names and numbers can be written")
    }
}

/// A prediction as an object.
#[derive(Default, Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(flatten)]
    likeliest: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Pair>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a [f32]>,
}

/// A class and its probability.
#[derive(Serialize)]
struct Pair {
    class: String,
    probability: f32,
}

impl Object<'_> {
    fn of(name: &SampleName) -> Self {
        let empty = Object::default();
        match name {
            SampleName::Row(number) => Object { row: Some(*number), ..empty },
            SampleName::Sample(number) => Object { sample: Some(*number), ..empty },
            SampleName::File(path) => Object { file: Some(path.display().to_string()), ..empty },
        }
    }
}

/// What a sample is called, and its name.
fn named(name: &SampleName) -> (&'static str, String) {
    match name {
        SampleName::Row(number) => ("row", number.to_string()),
        SampleName::Sample(number) => ("sample", number.to_string()),
        SampleName::File(path) => ("file", path.display().to_string()),
    }
}

/// A text in which a line end or a tab is escaped.
fn without_controls(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

/// A line of a CSV.
fn cells(cells: &[String]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).expect("memory can be written");
    let line = writer.into_inner().expect("memory can be written");
    String::from_utf8(line).expect("cells are UTF-8")
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
