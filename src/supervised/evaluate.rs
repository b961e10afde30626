//! Evaluation of a trained model.

use std::path::Path;

use serde::Serialize;

use super::batches::BatchSource;
use super::class_measures::{ClassCounts, ClassMeasures};
use super::fit::fit;
use super::measurement::{Each, Measurement, RegressionErrors, measure};
use super::model_source::{ModelSource, lacks_part};
use super::predictor::check_class_names;
use crate::data::{Content, Part, Task, TokenKind};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::tensor_file::{Array, TensorFile, replace};
use crate::learn::{EvaluationPrecision, Learner, ModelRecord, StopFlag, TrainConfig, load};

/// The result of a model on one part of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// "train", "valid" or "test"; "all" for other data than the run's that is not in parts.
    pub split: String,
    /// Number of samples, or of characters or words.
    pub samples: usize,
    /// Mean loss, in nats.
    pub loss: f64,
    /// `None` for regression.
    pub accuracy: Option<f64>,
    /// The single classes; `None` for regression and for text.
    #[serde(flatten)]
    pub classes: Option<ClassMeasures>,
    /// `None` for classification.
    #[serde(flatten)]
    pub errors: Option<RegressionErrors>,
    /// The exponential of a text's loss: the number of equally likely characters or words with the same loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The loss of a text of characters, in bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_character: Option<f64>,
    /// The kind of a text's tokens; `None` for data that is not text.
    #[serde(skip)]
    pub token: Option<TokenKind>,
    /// Whether the classes have names from the data; otherwise numbers stand for them.
    #[serde(skip)]
    pub has_class_names: bool,
    /// Remarks on the data.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// Remarks on the model's file.
    #[serde(skip)]
    pub notes_on_model: Vec<String>,
    /// The precision of the computation.
    #[serde(skip)]
    pub precision: EvaluationPrecision,
}

impl Evaluation {
    /// Gives the classes names, by number.
    ///
    /// # Errors
    /// [`Error::Input`] if there are not as many names as classes, if the classes have names, or if the model does not classify
    /// samples.
    pub fn set_class_names(&mut self, names: Vec<String>) -> Result<()> {
        let Some(measures) = &mut self.classes else {
            let message = "applies to the classification of images and vectors only";
            return Err(Error::field("class_names", message));
        };
        let known: Option<Vec<String>> = self
            .has_class_names
            .then(|| measures.classes.iter().map(|own| own.class.clone()).collect());
        let task = Task::Classification { classes: measures.classes.len() };
        check_class_names(&names, task, known.as_deref())?;
        measures.classes.iter_mut().zip(names).for_each(|(own, name)| own.class = name);
        Ok(())
    }
}

/// Evaluates the best model of a run, or the model of a checkpoint, on the run's own data or other data of its kind.
/// `predictions` is written as safetensors: `log_probabilities` `[n, K]`, or `means` `[n, D]` in the targets' own units.
///
/// Without `split` it takes the test part. If there is none, it takes the validation part; other data than the run's gets no
/// validation part, so all samples of data that is not in parts are evaluated.
///
/// # Errors
/// Where the source is not a run or checkpoint, or the data does not fit it or lacks the part; where `predictions` cannot be
/// written, is a file of a run, or is one of the files that are read.
pub fn evaluate(
    source: &Path,
    data: Option<&str>,
    split: Option<Part>,
    predictions: Option<&Path>,
    device: &Device,
) -> Result<Evaluation> {
    let own = ModelSource::of(source, data)?;
    if let Some(path) = predictions {
        own.check_output("predictions", path)?;
    }
    let (mut dataset, part, mut notes) = own.load(split, device)?;
    let ModelSource { file, config, record, data, .. } = own;
    notes.extend(fit(&mut dataset, &record, &data, part)?);
    let mut train = config.map_or_else(TrainConfig::default, |config| config.train);
    train.precision = EvaluationPrecision::new(&record, device)?.evaluated;
    if let Content::Arrays(arrays) = &dataset.content {
        train.batch_size = train.batch_size.min(arrays.train.len());
    }
    let source = BatchSource::new(&dataset, &train, device).map_err(|error| match error {
        // An evaluation has no setting but the data.
        Error::Input { message, .. } => Error::input(format!("`data` {data}"), message),
        other => other,
    })?;
    if !source.has(part) {
        return Err(lacks_part(&data, part));
    }
    let trained = load(&file, train, device)?;
    let token = dataset.token();
    let PartResults { measured, counts, kept } =
        measure_part(&trained.learner, &source, part, predictions.is_some(), record.outputs)?;
    if let Some(path) = predictions {
        write_predictions(&kept, &record, path)?;
    }
    let names = match &dataset.content {
        Content::Arrays(arrays) => record.classes.as_deref().or(arrays.class_names()),
        Content::Text(_) => None,
    };
    let of_text = |kind: Option<TokenKind>, measure: f64| {
        token.filter(|own| kind.is_none_or(|kind| kind == *own)).map(|_| measure)
    };
    notes.extend(source.newly_damaged());
    Ok(Evaluation {
        split: if split.is_none() && part == Part::Train { "all" } else { part.name() }.to_owned(),
        samples: measured.sums.samples as usize,
        loss: measured.loss(),
        accuracy: source.is_classification().then(|| measured.accuracy()),
        classes: counts.map(|counts| counts.measures(names)),
        errors: measured.errors,
        perplexity: of_text(None, measured.loss().exp()),
        bits_per_character: of_text(
            Some(TokenKind::Character),
            measured.loss() / std::f64::consts::LN_2,
        ),
        token,
        has_class_names: names.is_some(),
        notes,
        notes_on_model: trained.notes,
        precision: trained.precision,
    })
}

/// The results on a part of the data.
struct PartResults {
    measured: Measurement,
    /// In the classification of images and vectors.
    counts: Option<ClassCounts>,
    /// All predictions, if they are to be kept.
    kept: Vec<f32>,
}

/// Measures a model of `outputs` outputs on a part of the data.
fn measure_part(
    learner: &Learner,
    source: &BatchSource,
    part: Part,
    is_kept: bool,
    outputs: usize,
) -> Result<PartResults> {
    let mut kept = Vec::new();
    let mut counts = source.classes(part).map(|own| ClassCounts::new(own.to_vec(), outputs));
    let needs_predictions = is_kept || counts.is_some();
    let mut each = |own: &[f32]| {
        if is_kept {
            kept.extend_from_slice(own);
        }
        counts.iter_mut().for_each(|counts| counts.add(own));
    };
    let each = needs_predictions.then_some(&mut each as &mut Each<'_>);
    let measured = measure(learner, source, part, each, &StopFlag::default())?;
    Ok(PartResults { measured: measured.expect("nothing stops it"), counts, kept })
}

fn write_predictions(predictions: &[f32], record: &ModelRecord, path: &Path) -> Result<()> {
    let name = if record.regression { "means" } else { "log_probabilities" };
    let shape = vec![predictions.len() / record.outputs, record.outputs];
    let mut file = TensorFile::default();
    file.arrays.insert(name.to_owned(), Array::new(shape, predictions));
    replace(path, &file.to_bytes())
}
