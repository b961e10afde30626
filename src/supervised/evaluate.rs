//! A trained model on data it has not seen.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::alrao::{Alrao, AlraoConfig, Task};
use crate::data::{
    self, Content, Dataset, Kind, LoadOptions, Normalisation, Part, TokenKind, Vocabulary,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::{self, ModelConfig};
use crate::nn::Init;
use crate::ops::tally::SumValues;
use crate::train::checkpoint::{Checkpoint, ModelRecord};
use crate::train::feed::Feed;
use crate::train::memory::check_fits;
use crate::train::run::{check_precision, kind};
use crate::train::tensor_file::{Array, TensorFile, replace};
use crate::train::{Learner, Precision, RunDirectory, StopFlag, TrainConfig};

/// What a model comes to on one part of some data.
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
    /// What a text is a stream of; `None` for samples that are no text.
    #[serde(skip)]
    pub token: Option<TokenKind>,
    /// What somebody should know of the data: see [`Dataset::notes`].
    #[serde(skip)]
    pub notes: Vec<String>,
    /// What it was computed in.
    #[serde(skip)]
    pub precision: EvaluationPrecision,
}

/// What a model was trained in, and what it is evaluated in: not every device computes in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationPrecision {
    /// What the run computed with.
    pub trained: Precision,
    /// The same, or what is nearest to it on the device.
    pub evaluated: Precision,
}

impl EvaluationPrecision {
    fn new(record: &ModelRecord, device: &Device) -> Result<Self> {
        let trained = record.precision.parse::<Precision>()?;
        Ok(EvaluationPrecision { trained, evaluated: trained.or_nearest_on(device) })
    }
}

/// A model from a checkpoint, ready to predict.
pub(crate) struct Trained {
    pub learner: Learner,
    pub record: ModelRecord,
    pub precision: EvaluationPrecision,
}

/// Evaluates the best model of a run, or the model of a checkpoint, on the run's own data or other data of its kind.
/// `predictions` is written as safetensors: `log_probabilities` `[n, K]`, or `means` `[n, D]`.
///
/// # Errors
/// Where the source is no run or checkpoint, the data does not fit it or lacks the part.
pub fn evaluate(
    source: &Path,
    data: Option<&str>,
    split: Part,
    predictions: Option<&Path>,
    device: &Device,
) -> Result<Evaluation> {
    let (file, run) = locate(source)?;
    let config = run.as_deref().map(RunDirectory::config).transpose()?.map(|(config, _)| config);
    let record = read_record(&file)?.1;
    let options = LoadOptions {
        // The run's own data as the run saw them.
        samples: config.as_ref().filter(|_| data.is_none()).and_then(|config| config.samples),
        valid_split: config.as_ref().map_or(0.2, |config| config.valid_split),
        image_size: record.input[0],
        threads: device.host_threads(),
    };
    let data = match (data, &config, &run) {
        (Some(data), _, _) => data.to_owned(),
        (None, Some(config), Some(run)) => RunDirectory::find_data(run, &config.data)?,
        (None, _, _) => {
            return Err(Error::input("--data", "is needed, since a file does not know its data"));
        }
    };
    let mut dataset = data::load_with(&data, kind(record.architecture.parse()?), &options)?;
    let mut notes = dataset.notes();
    fit(&mut dataset, &record, &data)?;
    let mut train = config.map_or_else(TrainConfig::default, |config| config.train);
    train.precision = EvaluationPrecision::new(&record, device)?.evaluated;
    if let Content::Arrays(arrays) = &dataset.content {
        train.batch_size = train.batch_size.min(arrays.train.len());
    }
    let feed = Feed::new(&dataset, &train, device).map_err(|error| match error {
        // There is no such flag here.
        Error::Input { message, .. } => Error::input(format!("--data {data}"), message),
        other => other,
    })?;
    if !feed.has(split) {
        return Err(Error::input(
            format!("--data {data}"),
            format!("has no {} part; --split chooses another", split.name()),
        ));
    }
    let trained = load(&file, train, device)?;
    let token = dataset.token();
    let (samples, loss, accuracy) = run_over(&trained.learner, &feed, split)?;
    if let Some(path) = predictions {
        write_predictions(&trained, &feed, split, path)?;
    }
    notes.extend(feed.news());
    let (split, precision) = (split.name().to_owned(), trained.precision);
    Ok(Evaluation { split, samples, loss, accuracy, token, notes, precision })
}

/// The checkpoint's file, and the run it belongs to if a run was named.
pub(crate) fn locate(source: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    if !source.is_dir() {
        return Ok((source.to_owned(), None));
    }
    let candidates = [RunDirectory::best(source), RunDirectory::last(source)];
    let found = candidates.iter().find(|path| path.is_file());
    let file = found.ok_or_else(|| Error::file(source, "is not a run: it has no checkpoint"))?;
    Ok((file.clone(), Some(source.to_owned())))
}

fn read_record(file: &Path) -> Result<(Checkpoint, ModelRecord)> {
    let checkpoint = Checkpoint::read(file)?;
    let record = checkpoint.record.model.clone();
    let record =
        record.ok_or_else(|| Error::file(file, "does not say which architecture it is of"))?;
    Ok((checkpoint, record))
}

/// Builds the model that a checkpoint describes, and fills it.
pub(crate) fn load(file: &Path, config: TrainConfig, device: &Device) -> Result<Trained> {
    let (checkpoint, record) = read_record(file)?;
    let precision = EvaluationPrecision::new(&record, device)?;
    let config = TrainConfig { precision: precision.evaluated, init: None, rates: None, ..config };
    check_precision(config.precision, device)?;
    let model = ModelConfig {
        architecture: record.architecture.parse()?,
        width: record.width,
        hidden: record.hidden.clone(),
        activation: record.activation()?,
        dropout: record.dropout,
    };
    let (input, sample) = sample_of(&record, file, device, &config)?;
    let copies = [record.classifiers, record.outputs];
    check_fits(&model, input, copies, &config).map_err(|error| {
        Error::file(file, format!("is of a model that cannot be made here: {error}"))
    })?;
    let pre_classifier = models::build(&model, input, &mut Init::new(0))?;
    let task = match record.regression {
        true => Task::Regression { outputs: record.outputs },
        false => Task::Classification { classes: record.outputs },
    };
    let alrao = AlraoConfig { classifiers: record.classifiers, ..AlraoConfig::default() };
    let learner =
        Learner::new(Alrao::new(pre_classifier.module, task, alrao), &sample, &config, device);
    checkpoint.restore_predictor(&learner, file)?;
    Ok(Trained { learner, record, precision })
}

/// The tokens that a model of text knows; `None` for others.
pub(crate) fn vocabulary(record: &ModelRecord) -> Result<Option<Vocabulary>> {
    let Some(tokens) = &record.vocabulary else { return Ok(None) };
    Ok(match kind(record.architecture.parse()?) {
        Kind::Text(kind) => Some(Vocabulary::from_record(kind, tokens)),
        Kind::Arrays => None,
    })
}

fn sample_of(
    record: &ModelRecord,
    file: &Path,
    device: &Device,
    config: &TrainConfig,
) -> Result<(models::Input, crate::Tensor)> {
    use crate::{DType, Tensor, models::Input};
    let zeros = |extents: &[usize]| Tensor::zeros(device, extents, config.precision.dtype().wide());
    match (record.input.as_slice(), &record.vocabulary) {
        (&[vocabulary], Some(_)) => {
            Ok((Input::Tokens { vocabulary }, Tensor::zeros(device, [1, 1], DType::I32)))
        }
        (&[size], None) => Ok((Input::Vector { size }, zeros(&[1, size]))),
        (&[height, width, channels], None) => {
            Ok((Input::Image { height, width, channels }, zeros(&[1, height, width, channels])))
        }
        _ => Err(Error::file(
            file,
            format!("has an input of shape {:?}, which no model takes", record.input),
        )),
    }
}

/// Makes sure that data is of the kind a model was trained on, and is normalised as it was then.
fn fit(dataset: &mut Dataset, record: &ModelRecord, data: &str) -> Result<()> {
    let misfit = |message: String| Err(Error::input(format!("--data {data}"), message));
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
fn run_over(learner: &Learner, feed: &Feed, split: Part) -> Result<(usize, f64, Option<f64>)> {
    let sums = sums_over(learner, feed, split, &StopFlag::default())?.unwrap_or_default();
    let accuracy = feed.is_classification().then(|| sums.correct / sums.samples);
    Ok((sums.samples as usize, sums.loss / sums.samples, accuracy))
}

/// The sums over a part of the data; `None` where a stop was asked for on the way.
pub(crate) fn sums_over(
    learner: &Learner,
    feed: &Feed,
    part: Part,
    stop: &StopFlag,
) -> Result<Option<SumValues>> {
    learner.start_evaluation();
    for load in feed.batches(part) {
        if stop.is_set() {
            return Ok(None);
        }
        feed.check()?;
        learner.evaluate_on(&load);
        learner.device().check_so_far()?;
    }
    learner.device().check()?;
    Ok(Some(learner.evaluation_sums().read()))
}

fn write_predictions(trained: &Trained, feed: &Feed, split: Part, path: &Path) -> Result<()> {
    trained.learner.reset_carried_state();
    let mut rows = Vec::new();
    let mut samples = 0;
    for load in feed.batches(split) {
        let prediction = trained.learner.predict(&load.batch().x);
        load.tick(None);
        trained.learner.device().check()?;
        rows.extend(prediction.to_f64s().into_iter().map(|value| value as f32));
        samples += load.samples;
    }
    let name = if trained.record.regression { "means" } else { "log_probabilities" };
    let mut file = TensorFile::default();
    file.arrays.insert(name.to_owned(), Array::new(vec![samples, trained.record.outputs], &rows));
    replace(path, &file.to_bytes())
}
