//! Evaluation of a trained model.

use std::path::Path;

use serde::Serialize;

use super::batches::BatchSource;
use super::fit::{fit, kind};
use super::measurement::{RegressionErrors, measure};
use super::run::{Run, find_data};
use super::settings::{DataConfig, is_generated};
use crate::data::{
    self, Content, LoadOptions, Missing, Normalize, Part, TableOptions, TargetKind, TokenKind,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::tensor_file::{Array, TensorFile, replace};
use crate::learn::{
    EvaluationPrecision, ModelRecord, RunDirectory, StopFlag, TrainConfig, check_output, load,
    locate, memory, read_record,
};

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
    /// `None` for classification.
    #[serde(flatten)]
    pub errors: Option<RegressionErrors>,
    /// The kind of a text's tokens; `None` for data that is not text.
    #[serde(skip)]
    pub token: Option<TokenKind>,
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

/// Evaluates the best model of a run, or the model of a checkpoint, on the run's own data or other data of its kind.
/// `predictions` is written as safetensors: `log_probabilities` `[n, K]`, or `means` `[n, D]` in the targets' own units.
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
    let (config, fingerprint) = match run.as_deref().map(Run::config_of).transpose()? {
        Some((config, fingerprint)) => (Some(config), fingerprint.filter(|_| data.is_none())),
        None => (None, None),
    };
    let record = read_record(&file)?.1;
    let rules = config.as_ref().map_or_else(|| rules_of(&record), |config| config.task.clone());
    let table = TableOptions {
        target: None,
        task: if record.regression { TargetKind::Regression } else { TargetKind::Classification },
        missing: match &record.table {
            Some(table) if !table.fill.is_empty() => Missing::Mean,
            _ => Missing::Refuse,
        },
        known: record.table.clone(),
    };
    let options = LoadOptions {
        table,
        // The run's own data, as in the run.
        samples: rules.samples.filter(|_| data.is_none()),
        valid_split: rules.valid_split,
        split_seed: rules.split_seed,
        // The model's record has the means and deviations.
        normalize: Normalize::None,
        image_size: record.extents[0],
        threads: device.host_threads(),
        first_rules: rules.first_rules,
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
    let kind = kind(record.architecture.parse()?);
    memory::check_data(&data, data::least_bytes(&data, kind))?;
    if record.table.is_none() && data::is_csv(&data, kind) {
        let message =
            "is a CSV, and the model was not trained on one: give it data of its own format";
        return Err(Error::input(format!("`data` {data}"), message));
    }
    let mut dataset = data::load_with(&data, kind, &options)?;
    let mut notes = dataset.notes();
    if fingerprint.is_some_and(|fingerprint| fingerprint != dataset.fingerprint) {
        notes.push(format!(
            "{data} or the run's settings have changed since training, so the evaluated samples may include training samples"
        ));
    }
    notes.extend(fit(&mut dataset, &record, &data, split)?);
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
    let stop = StopFlag::default();
    let measured = measure(&trained.learner, &source, split, predictions.is_some(), &stop)?;
    let measured = measured.expect("nothing stops it");
    if let Some(path) = predictions {
        write_predictions(&measured.predictions, &record, path)?;
    }
    notes.extend(source.newly_damaged());
    Ok(Evaluation {
        split: split.name().to_owned(),
        samples: measured.sums.samples as usize,
        loss: measured.loss(),
        accuracy: source.is_classification().then(|| measured.accuracy()),
        errors: measured.errors,
        token,
        notes,
        notes_on_model: trained.notes,
        precision: trained.precision,
    })
}

/// The rules by which the data of a checkpoint without its run was read.
fn rules_of(record: &ModelRecord) -> DataConfig {
    let usual = DataConfig::default();
    let (valid_split, split_seed) =
        record.validation.unwrap_or((usual.valid_split, usual.split_seed));
    // Version 0.1.0 did not record this.
    let first_rules = record.input_type.is_none() && record.vocabulary.is_none();
    DataConfig { valid_split, split_seed, first_rules, ..usual }
}

fn write_predictions(predictions: &[f32], record: &ModelRecord, path: &Path) -> Result<()> {
    let name = if record.regression { "means" } else { "log_probabilities" };
    let shape = vec![predictions.len() / record.outputs, record.outputs];
    let mut file = TensorFile::default();
    file.arrays.insert(name.to_owned(), Array::new(shape, predictions));
    replace(path, &file.to_bytes())
}
