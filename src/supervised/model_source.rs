//! A trained model's file, its run, and the data on which it is evaluated or whose parts it predicts.

use std::path::{Path, PathBuf};

use super::fit::kind;
use super::run::{Run, find_data};
use super::settings::{DataConfig, RunConfig, is_generated};
use crate::data::{
    self, Content, Dataset, LoadOptions, Missing, Normalize, Part, TableOptions, TargetKind,
};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::{ModelRecord, RunDirectory, check_output, locate, memory, read_record};

/// A trained model's file and the place of data for it.
pub(super) struct ModelSource {
    pub file: PathBuf,
    /// The configuration of the model's run, if there is one.
    pub config: Option<RunConfig>,
    pub record: ModelRecord,
    /// The place of the data.
    pub data: String,
    run: Option<PathBuf>,
    /// The fingerprint of the run's data; `None` for a checkpoint without its run.
    fingerprint: Option<String>,
    /// Whether the data is not the run's own.
    is_other: bool,
}

impl ModelSource {
    /// The best model of a run or the model of a checkpoint, with other data or the run's own.
    ///
    /// # Errors
    /// Where the source is not a run or checkpoint, or its data is not known or not there.
    pub fn of(source: &Path, data: Option<&str>) -> Result<ModelSource> {
        let is_other = data.is_some();
        let (file, run) = locate(source)?;
        let (config, fingerprint) = match run.as_deref().map(Run::config_of).transpose()? {
            Some((config, fingerprint)) => (Some(config), fingerprint),
            None => (None, None),
        };
        let record = read_record(&file)?.1;
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
        Ok(ModelSource { file, config, record, data, run, fingerprint, is_other })
    }

    /// Checks that an output takes the place of no file that is read.
    ///
    /// # Errors
    /// As [`check_output`].
    pub fn check_output(&self, setting: &str, path: &Path) -> Result<()> {
        let mut inputs = self.run.as_deref().map(RunDirectory::files).unwrap_or_default();
        inputs.push(self.file.clone());
        inputs.extend((!is_generated(&self.data)).then(|| self.data.clone().into()));
        let inputs: Vec<&Path> = inputs.iter().map(|input| &**input).collect();
        check_output(setting, path, &inputs)
    }

    /// Reads the data by the rules of the training, without standardising it. Returns also the part that is asked for, or else the
    /// usual one, and remarks.
    ///
    /// # Errors
    /// Where the data cannot be read or is of another kind than the model's.
    pub fn load(
        &self,
        split: Option<Part>,
        device: &Device,
    ) -> Result<(Dataset, Part, Vec<String>)> {
        let ModelSource { config, record, data, is_other, .. } = self;
        let rules = config.as_ref().map_or_else(|| rules_of(record), |config| config.task.clone());
        let options = load_options(record, &rules, *is_other, split, device);
        let kind = kind(record.architecture()?);
        memory::check_data(data, data::least_bytes(data, kind))?;
        if record.table.is_none() && data::is_csv(data, kind) {
            let message =
                "is a CSV, and the model was not trained on one: give it data of its own format";
            return Err(Error::input(format!("`data` {data}"), message));
        }
        let dataset = data::load_with(data, kind, &options)?;
        let mut notes = dataset.notes();
        let differs = self.fingerprint.as_ref().is_some_and(|own| *own != dataset.fingerprint);
        if differs && !is_other {
            notes.push(format!(
                "{data} or the run's settings have changed since training, so these samples may include training samples"
            ));
        }
        if differs && *is_other && split == Some(Part::Valid) && is_divided(&dataset) {
            notes.push(format!(
                "{data} differs from the training data: if they share samples, the valid part may include training samples"
            ));
        }
        let part = split.unwrap_or_else(|| usual_part(&dataset, *is_other));
        if split.is_none() && !is_other && part == Part::Valid {
            notes.push(format!("{data} has no test part, so its validation part is evaluated"));
        }
        let own_data = || find_data(self.run.as_deref()?, &config.as_ref()?.task.data).ok();
        if *is_other
            && part == Part::Train
            && own_data().is_some_and(|own| is_same_place(&own, data))
        {
            notes.push(format!(
                "{data} is the run's own data, so these samples include its training samples"
            ));
        }
        Ok((dataset, part, notes))
    }
}

/// How the data of an evaluation is read.
fn load_options(
    record: &ModelRecord,
    rules: &DataConfig,
    is_other: bool,
    split: Option<Part>,
    device: &Device,
) -> LoadOptions {
    let table = TableOptions {
        task: if record.regression { TargetKind::Regression } else { TargetKind::Classification },
        missing: match &record.table {
            Some(table) if !table.fill.is_empty() => Missing::Mean,
            _ => Missing::Refuse,
        },
        known: record.table.clone(),
        ..TableOptions::default()
    };
    LoadOptions {
        table,
        // The run's own data, as in the run.
        samples: rules.samples.filter(|_| !is_other),
        valid_split: if is_other && split.is_none() { 0.0 } else { rules.valid_split },
        split_seed: rules.split_seed,
        // The model's record has the means and deviations.
        normalize: Normalize::None,
        image_size: record.extents[0],
        pad: record.padded.then(|| record.extents[0]),
        test_alone: is_other,
        threads: device.host_threads(),
        first_rules: rules.first_rules,
    }
}

/// The part that is evaluated where none is asked for.
fn usual_part(dataset: &Dataset, is_other: bool) -> Part {
    match [Part::Test, Part::Valid].into_iter().find(|part| dataset.has(*part)) {
        Some(part) => part,
        None if is_other => Part::Train,
        None => Part::Test,
    }
}

/// Whether the training part was divided from samples that were not in parts; of a text this is not known.
fn is_divided(dataset: &Dataset) -> bool {
    match &dataset.content {
        Content::Arrays(arrays) => arrays.train.numbers.is_some(),
        Content::Text(_) => true,
    }
}

fn is_same_place(one: &str, other: &str) -> bool {
    let real = |place: &str| std::fs::canonicalize(place).ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
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

/// The error where data lacks a part.
pub(super) fn lacks_part(data: &str, part: Part) -> Error {
    let message = format!("has no {} part; `split` chooses another", part.name());
    Error::input(format!("`data` {data}"), message)
}
