//! A trained model from a file.

use std::path::{Path, PathBuf};

use super::memory::check_fits;
use super::{
    Checkpoint, EvaluationPrecision, Learner, ModelRecord, RunConfig, RunDirectory, TrainConfig,
    check_precision,
};
use crate::alrao::{Alrao, AlraoConfig, Task};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::models::{self, Input, ModelConfig};
use crate::nn::{Init, Module};
use crate::tensor::Tensor;

/// A model from a checkpoint, ready to predict.
pub(crate) struct Trained {
    pub learner: Learner,
    pub record: ModelRecord,
    pub precision: EvaluationPrecision,
    /// Remarks on the file.
    pub notes: Vec<String>,
}

/// The checkpoint's file, and the run if `source` is a run directory.
pub(crate) fn locate(source: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    if !source.is_dir() {
        return Ok((source.to_owned(), None));
    }
    let (best, last) = (RunDirectory::best(source), RunDirectory::last(source));
    if best.is_file() {
        return Ok((best, Some(source.to_owned())));
    }
    if !last.is_file() {
        return Err(Error::file(source, "is not a run: it has no checkpoint"));
    }
    // Before the end of the first epoch no model is the best, and the last one takes its place.
    match Checkpoint::read(&last)?.record.progress.best_epoch {
        None => Ok((last, Some(source.to_owned()))),
        Some(epoch) => {
            let message = format!(
                "is gone, and with it the best model, of epoch {epoch}; put it back, or give {}, the last model",
                last.display()
            );
            Err(Error::file(&best, message))
        }
    }
}

pub(crate) fn read_record(file: &Path) -> Result<(Checkpoint, ModelRecord)> {
    let checkpoint = Checkpoint::read(file)?;
    let record = checkpoint.record.model.clone();
    let record = record.ok_or_else(|| Error::file(file, "does not describe its model"))?;
    Ok((checkpoint, record))
}

impl ModelRecord {
    /// The record of a run's model, without vocabulary, normalisation and class names.
    pub(crate) fn of<T>(config: &RunConfig<T>, input: Input, task: Task) -> ModelRecord {
        ModelRecord {
            architecture: config.model.architecture.name().to_owned(),
            width: config.model.width,
            hidden: config.model.hidden.clone(),
            activation: ModelRecord::name_of(config.model.activation),
            dropout: config.model.dropout,
            classifiers: config.alrao.classifiers,
            outputs: task.outputs(),
            regression: matches!(task, Task::Regression { .. }),
            extents: ModelRecord::extents_of(input),
            precision: config.train.precision.name().to_owned(),
            vocabulary: None,
            input_type: None,
            validation: None,
            normalisation: None,
            target_normalisation: None,
            classes: None,
            table: None,
            padded: false,
        }
    }
}

/// Builds the model that a checkpoint describes, and loads its state.
pub(crate) fn load(file: &Path, config: TrainConfig, device: &Device) -> Result<Trained> {
    let (checkpoint, record) = read_record(file)?;
    let of_file = |error: Error| match error {
        Error::Input { message, .. } => Error::file(file, message),
        other => other,
    };
    let model = ModelConfig {
        architecture: record.architecture().map_err(of_file)?,
        width: record.width,
        hidden: record.hidden.clone(),
        activation: record.activation()?,
        dropout: record.dropout,
    };
    let precision = EvaluationPrecision::new(&record, device)?;
    let config = TrainConfig { precision: precision.evaluated, ..config };
    let input = record.input().map_err(|message| Error::file(file, message))?;
    let copies = [record.classifiers, record.outputs];
    check_fits(&model, input, copies, &config).map_err(|error| {
        Error::file(file, format!("is of a model that cannot be built here: {error}"))
    })?;
    let network = models::build(&model, input, &mut Init::new(0))?.module;
    restored(&checkpoint, record, network, file, config, device)
}

/// Loads a checkpoint's state into a model with a pre-classifier of the caller's.
pub(crate) fn load_into(
    pre_classifier: Box<dyn Module>,
    file: &Path,
    device: &Device,
) -> Result<Trained> {
    let (checkpoint, record) = read_record(file)?;
    restored(&checkpoint, record, pre_classifier, file, TrainConfig::default(), device)
}

fn restored(
    checkpoint: &Checkpoint,
    record: ModelRecord,
    pre_classifier: Box<dyn Module>,
    file: &Path,
    config: TrainConfig,
    device: &Device,
) -> Result<Trained> {
    let precision = EvaluationPrecision::new(&record, device)?;
    let config = TrainConfig { precision: precision.evaluated, init: None, rates: None, ..config };
    check_precision(config.precision, device)?;
    let sample = match record.input().map_err(|message| Error::file(file, message))? {
        Input::Tokens { .. } => Tensor::zeros(device, [1, 1], DType::I32),
        input => Tensor::zeros(device, &input.batch(1)[..], config.precision.dtype()),
    };
    let alrao = AlraoConfig { classifiers: record.classifiers, ..AlraoConfig::default() };
    let model = Alrao::new(pre_classifier, record.task(), alrao);
    let learner = Learner::new(model, &sample, &config, device);
    checkpoint.restore_predictor(&learner, file)?;
    let mut notes: Vec<String> = checkpoint.note_of_alteration(file).into_iter().collect();
    if checkpoint.record.progress.best_epoch.is_none() {
        let step = checkpoint.record.progress.step;
        notes.push(format!("no epoch has been validated yet: this is the state after step {step}"));
    }
    Ok(Trained { learner, record, precision, notes })
}
