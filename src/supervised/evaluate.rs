//! A trained model on data it has not seen.

use std::path::Path;

use serde::Serialize;

use super::batches::BatchSource;
use super::run::{Run, find_data, kind};
use super::settings::is_generated;
use crate::data::{
    self, Content, Dataset, Kind, LoadOptions, Normalisation, Part, Task, TokenKind, Vocabulary,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::tensor_file::{Array, TensorFile, replace};
use crate::learn::{
    EvaluationPrecision, Learner, ModelRecord, RunDirectory, StopFlag, TrainConfig, Trained,
    check_output, load, locate, read_record,
};
use crate::ops::step_statistics::SumValues;

/// The result of a model on one part of a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// "valid" or "test".
    pub split: String,
    /// Number of samples, or of characters or words.
    pub samples: usize,
    /// Mean loss, in nats.
    pub loss: f64,
    /// `None` for regression.
    pub accuracy: Option<f64>,
    /// The kind of a text's tokens; `None` for data that is not text.
    #[serde(skip)]
    pub token: Option<TokenKind>,
    /// Remarks on the data: see [`Dataset::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
    /// The precision of the computation.
    #[serde(skip)]
    pub precision: EvaluationPrecision,
}

/// Evaluates the best model of a run, or the model of a checkpoint, on the run's own data or other data of its kind.
/// `predictions` is written as safetensors: `log_probabilities` `[n, K]`, or `means` `[n, D]`.
///
/// # Errors
/// Where the source is not a run or checkpoint, or the data does not fit it or lacks the part; where `predictions` cannot be
/// written, is a file of a run, or is one of the files that are read.
pub fn evaluate(
    source: &Path,
    data: Option<&str>,
    split: Part,
    predictions: Option<&Path>,
    device: &Device,
) -> Result<Evaluation> {
    let (file, run) = locate(source)?;
    let config = run.as_deref().map(Run::config_of).transpose()?.map(|(config, _)| config);
    let record = read_record(&file)?.1;
    let options = LoadOptions {
        // The run's own data, as in the run.
        samples: config.as_ref().filter(|_| data.is_none()).and_then(|config| config.task.samples),
        valid_split: config.as_ref().map_or(0.2, |config| config.task.valid_split),
        image_size: record.input[0],
        threads: device.host_threads(),
    };
    let data = match (data, &config, &run) {
        (Some(data), _, _) => data.to_owned(),
        (None, Some(config), Some(run)) => find_data(run, &config.task.data)?,
        (None, _, _) => {
            return Err(Error::field(
                "data",
                "is needed, since a checkpoint does not record its data",
            ));
        }
    };
    if let Some(path) = predictions {
        let mut inputs = run.as_deref().map(RunDirectory::files).unwrap_or_default();
        inputs.push(file.clone());
        inputs.extend((!is_generated(&data)).then(|| data.clone().into()));
        let inputs: Vec<&Path> = inputs.iter().map(|input| &**input).collect();
        check_output("predictions", path, &inputs)?;
    }
    let mut dataset = data::load_with(&data, kind(record.architecture.parse()?), &options)?;
    let mut notes = dataset.notes();
    fit(&mut dataset, &record, &data)?;
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
    if !source.has(split) {
        return Err(Error::input(
            format!("`data` {data}"),
            format!("has no {} part; `split` chooses another", split.name()),
        ));
    }
    let trained = load(&file, train, device)?;
    let token = dataset.token();
    let (samples, loss, accuracy) = run_over(&trained.learner, &source, split)?;
    if let Some(path) = predictions {
        write_predictions(&trained, &source, split, path)?;
    }
    notes.extend(source.newly_damaged());
    let (split, precision) = (split.name().to_owned(), trained.precision);
    Ok(Evaluation { split, samples, loss, accuracy, token, notes, precision })
}

/// The vocabulary of a text model; `None` for other models.
pub(crate) fn vocabulary(record: &ModelRecord) -> Result<Option<Vocabulary>> {
    let Some(tokens) = &record.vocabulary else { return Ok(None) };
    Ok(match kind(record.architecture.parse()?) {
        Kind::Text(kind) => Some(Vocabulary::from_token_list(kind, tokens)),
        Kind::Arrays => None,
    })
}

/// Checks that a data set fits a model, and gives it the normalisation and numbering of the training data.
fn fit(dataset: &mut Dataset, record: &ModelRecord, data: &str) -> Result<()> {
    let misfit = |message: String| Err(Error::input(format!("`data` {data}"), message));
    match &mut dataset.content {
        Content::Text(text) => {
            let Some(known) = vocabulary(record)? else {
                return misfit("is a text, which the model does not take".into());
            };
            if let Some(unknown) = text.vocabulary.tokens().find(|own| known.code(own).is_none()) {
                let kind = known.kind().name();
                return misfit(format!(
                    "has the {kind} {unknown:?}, which the model does not know"
                ));
            }
            text.renumber(known);
        }
        Content::Arrays(arrays) => {
            let own = match arrays.sample {
                data::SampleShape::Image { height, width, channels } => {
                    vec![height, width, channels]
                }
                data::SampleShape::Vector { size } => vec![size],
            };
            if own != record.input {
                return misfit(format!(
                    "has samples of shape {own:?}, the model takes {:?}",
                    record.input
                ));
            }
            if let Some(known) = &record.classes
                && let Err(message) = arrays.renumber_classes(known)
            {
                return misfit(message);
            }
            let is_known = match arrays.task {
                Task::Classification { classes } => !record.regression && classes <= record.outputs,
                Task::Regression { outputs } => record.regression && outputs == record.outputs,
            };
            if !is_known {
                return misfit(format!("has another task ({:?}) than the model", arrays.task));
            }
            if let (Some(own), Some((mean, deviation))) =
                (&mut arrays.normalisation, &record.normalisation)
            {
                *own = Normalisation { mean: mean.clone(), deviation: deviation.clone() };
            }
        }
    }
    Ok(())
}

/// Number of samples, mean loss, and accuracy where there is one.
fn run_over(
    learner: &Learner,
    source: &BatchSource,
    split: Part,
) -> Result<(usize, f64, Option<f64>)> {
    let sums = sums_over(learner, source, split, &StopFlag::default())?.unwrap_or_default();
    let accuracy = source.is_classification().then(|| sums.correct / sums.samples);
    Ok((sums.samples as usize, sums.loss / sums.samples, accuracy))
}

/// The sums over a part of the data; `None` if `stop` was set.
pub(crate) fn sums_over(
    learner: &Learner,
    source: &BatchSource,
    part: Part,
    stop: &StopFlag,
) -> Result<Option<SumValues>> {
    learner.start_evaluation();
    for batch in source.batches(part) {
        if stop.is_set() {
            return Ok(None);
        }
        source.check()?;
        batch.evaluate(learner);
        learner.device().check_so_far()?;
    }
    learner.device().check()?;
    Ok(Some(learner.evaluation_sums().read()))
}

fn write_predictions(
    trained: &Trained,
    source: &BatchSource,
    split: Part,
    path: &Path,
) -> Result<()> {
    trained.learner.reset_carried_state();
    let mut rows = Vec::new();
    let mut samples = 0;
    for batch in source.batches(split) {
        let prediction = trained.learner.predict(&batch.tensors().x);
        batch.advance();
        trained.learner.device().check()?;
        rows.extend(prediction.to_f64s().into_iter().map(|value| value as f32));
        samples += batch.samples;
    }
    let name = if trained.record.regression { "means" } else { "log_probabilities" };
    let mut file = TensorFile::default();
    file.arrays.insert(name.to_owned(), Array::new(vec![samples, trained.record.outputs], &rows));
    replace(path, &file.to_bytes())
}
