//! The lines of predictions.

use serde::Serialize;

use alrao::data::{SampleBatch, SampleName, Targets, Task};
use alrao::supervised::{Predictions, Predictor};

/// The form of the lines.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Columns separated by tabs.
    Text,
    Json,
    Csv,
}

impl Form {
    pub fn of(is_json: bool, is_csv: bool) -> Form {
        match (is_json, is_csv) {
            (true, _) => Form::Json,
            (_, true) => Form::Csv,
            _ => Form::Text,
        }
    }
}

/// How predictions become lines.
pub(super) struct Layout<'a> {
    pub predictor: &'a Predictor,
    /// The number of classes that are shown.
    pub top: usize,
    pub form: Form,
}

impl Layout<'_> {
    /// The lines of a batch; of a CSV, the first ones are after the header.
    pub fn lines(&self, batch: &SampleBatch, predictions: &Predictions, is_first: bool) -> String {
        let mut text = String::new();
        if let (Form::Csv, true) = (self.form, is_first) {
            text += &cells(&self.header(batch));
        }
        for sample in 0..batch.names.len() {
            text += &match self.form {
                Form::Json => self.object(batch, predictions, sample) + "\n",
                Form::Csv => cells(&self.columns(batch, predictions, sample)),
                Form::Text => {
                    let columns = self.columns(batch, predictions, sample);
                    columns.iter().map(|own| without_controls(own)).collect::<Vec<_>>().join("\t")
                        + "\n"
                }
            };
        }
        text
    }

    fn header(&self, batch: &SampleBatch) -> Vec<String> {
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
        let name = named(&batch.names[0]).0.to_owned();
        let truths = match &batch.targets {
            Some(Targets::Values { columns, .. }) => numbered("true", *columns),
            Some(Targets::Classes(_)) => numbered("true", 1),
            None => Vec::new(),
        };
        [vec![name], truths, others].concat()
    }

    /// A sample's true class or values; `None` where the targets are not known.
    fn truth<'b>(&self, batch: &'b SampleBatch, sample: usize) -> Option<Truth<'b>> {
        Some(match batch.targets.as_ref()? {
            Targets::Classes(classes) => {
                Truth::Class(self.predictor.class_name(classes[sample] as usize))
            }
            Targets::Values { values, columns } => {
                Truth::Values(&values[sample * columns..(sample + 1) * columns])
            }
        })
    }

    fn columns(
        &self,
        batch: &SampleBatch,
        predictions: &Predictions,
        sample: usize,
    ) -> Vec<String> {
        let mut columns = vec![named(&batch.names[sample]).1];
        match self.truth(batch, sample) {
            Some(Truth::Class(name)) => columns.push(name),
            Some(Truth::Values(values)) => columns.extend(values.iter().map(f32::to_string)),
            None => {}
        }
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

    fn object(&self, batch: &SampleBatch, predictions: &Predictions, sample: usize) -> String {
        let mut object = Object::of(&batch.names[sample]);
        object.truth = self.truth(batch, sample);
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
    #[serde(rename = "true", skip_serializing_if = "Option::is_none")]
    truth: Option<Truth<'a>>,
    #[serde(flatten)]
    likeliest: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Pair>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a [f32]>,
}

/// A sample's true class or values.
#[derive(Serialize)]
#[serde(untagged)]
enum Truth<'a> {
    Class(String),
    Values(&'a [f32]),
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
