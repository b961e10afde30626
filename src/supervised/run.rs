//! A run from the command line: from a configuration to a directory.

use std::fs;
use std::iter;
use std::path::Path;

use super::batches::{self, BatchSource};
use super::fit::{kind, parts_on_another_scale};
use super::room::check_room;
use super::settings::{DataConfig, Note, RunConfig, Settings, is_generated};
use super::task::Supervised;
use crate::alrao::{Alrao, Task};
use crate::data::{self, Content, Dataset, ImageFiles, LoadOptions, Normalisation, Part};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::settings;
use crate::learn::{
    self, Learner, ModelRecord, OWN_NETWORK, RunDirectory, RunLoop, check_precision,
    check_precision_of_run, memory,
};
use crate::models::{self, Architecture, Input};
use crate::nn::Init;

/// What can be done with a run that has lost its last checkpoint.
pub(super) const WITHOUT_CHECKPOINT: &str =
    "evaluate best.safetensors with `alrao eval`, or start a new run from it with `init`";

/// A run of supervised learning.
pub type Run = learn::Run<Supervised>;

impl Run {
    /// Loads the data and checks everything, then creates the directory: `out`, or `runs/MODEL-DATA-OPTIMIZER-N`.
    ///
    /// # Errors
    /// Where a setting or the data is at fault; no directory is left behind then.
    pub fn start(mut config: RunConfig, out: Option<&Path>, device: &Device) -> Result<Run> {
        out.map_or(Ok(()), RunDirectory::check_free)?;
        let mut run = prepare(&config, &config.task.data, device, true)?;
        let dataset = run.task().dataset();
        config.task.image_size = dataset.files().map(ImageFiles::size);
        let name = format!(
            "{}-{}-{}",
            config.model.architecture.name(),
            dataset.name,
            config.train.optimizer
        );
        let text = to_toml(&config, dataset);
        run.set_settings(Settings::from(&config).fixed());
        run.set_directory(RunDirectory::create(out, &name, &text)?);
        Ok(Run::new(config, run))
    }

    /// Continues a run from its last checkpoint, with those of `changes` that a run may change. `data` is the current
    /// place of the run's data, if it is known.
    ///
    /// # Errors
    /// Where the directory is not a run, its data has changed, or its checkpoint is not whole.
    pub fn resume(
        path: &Path,
        changes: &Settings,
        data: Option<&str>,
        device: &Device,
    ) -> Result<Run> {
        let mut directory = RunDirectory::open(path)?;
        let (mut config, fingerprint) = Run::config_of(path)?;
        let before = config.clone();
        changes.apply_changes(&mut config);
        // The run continues on this device.
        config.device = device.kind().unwrap_or(config.device);
        let train = &mut config.train;
        check_precision_of_run(train.precision, device)?;
        let has_checkpoint = directory.has_checkpoint(WITHOUT_CHECKPOINT)?;
        let (init, rates) = (train.init.clone(), train.rates.clone());
        if has_checkpoint {
            // The checkpoint holds the values of these files.
            (train.init, train.rates) = (None, None);
        }
        let data = match data {
            Some(data) => data.to_owned(),
            None => find_data(path, &config.task.data)?,
        };
        let mut run = prepare(&config, &data, device, false)?;
        check_same_data(fingerprint, run.task().dataset(), &data)?;
        (config.train.init, config.train.rates) = (init, rates);
        run.set_settings(Settings::from(&config).fixed());
        if has_checkpoint {
            run.restore(&mut directory)?;
        }
        // A run that stays finished keeps its configuration.
        if config != before && !(run.is_finished() && run.is_over()) {
            directory.write_config(&to_toml(&config, run.task().dataset()))?;
        }
        run.reopen(directory)?;
        Ok(Run::new(config, run))
    }

    /// The run's data.
    pub fn dataset(&self) -> &Dataset {
        self.task().dataset()
    }

    /// Remarks on the data, and on the rules by which it was read.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.dataset().notes();
        notes.extend(self.dataset().class_notes());
        notes.extend(parts_on_another_scale(self.dataset()));
        let is_arrays = matches!(self.dataset().content, Content::Arrays(_));
        if is_arrays && self.config().task.first_rules {
            notes.push(
                "this run was started by version 0.1.0 and keeps its rules: where validation samples are taken from the \
                 training data, they are its end, and floats are not standardised"
                    .into(),
            );
        }
        notes
    }

    /// The configuration of an existing run, and its data's fingerprint.
    ///
    /// # Errors
    /// Where there is none, or it is of another kind of run.
    pub fn config_of(path: &Path) -> Result<(RunConfig, Option<String>)> {
        let (text, file) = RunDirectory::config_text(path)?;
        if text.lines().any(|line| line.starts_with("env =")) {
            let message = "is a run of Q-learning: use alrao rl train `resume`, or alrao rl eval";
            return Err(Error::input(path.display(), message));
        }
        if text.lines().any(|line| line == own_model_line()) {
            let message = "is a run of a network of its author's own: the program that has the network continues it, and \
                           `Predictor::load` in Rust takes its best.safetensors";
            return Err(Error::input(path.display(), message));
        }
        let settings = Settings::from_toml(&text, &file)?;
        if settings.task.model.is_none() {
            return Err(Error::file(&file, "lacks the key 'model': it is empty or damaged"));
        }
        let mut config = settings.with_effect().resolve()?;
        let note = settings::file::parse::<Note>(&text, &file)?;
        config.task.first_rules = note.data_rules.is_none();
        Ok((config, note.data_fingerprint))
    }
}

/// The rules by which this version reads data.
const DATA_RULES: u32 = 2;

/// The text of a run's `config.toml`.
fn to_toml(config: &RunConfig, dataset: &Dataset) -> String {
    Settings::from(config).to_toml() + &note(dataset, config.task.first_rules)
}

/// The lines of `config.toml` on the data.
pub(super) fn note(dataset: &Dataset, first_rules: bool) -> String {
    let note = Note {
        data_fingerprint: Some(dataset.fingerprint.clone()),
        data_rules: (!first_rules).then_some(DATA_RULES),
        train_classes: dataset.class_counts(Part::Train),
        valid_classes: dataset.class_counts(Part::Valid),
        test_classes: dataset.class_counts(Part::Test),
    };
    toml::to_string(&note).expect("a text can be written")
}

/// The line of `config.toml` that names the model, where it is its author's own.
pub(super) fn own_model_line() -> String {
    format!("model = \"{OWN_NETWORK}\"")
}

/// Refuses data that a run was not started on. `fingerprint` is that of the run's data, if it is known.
pub(super) fn check_same_data(
    fingerprint: Option<String>,
    dataset: &Dataset,
    data: &str,
) -> Result<()> {
    if fingerprint.is_some_and(|fingerprint| fingerprint != dataset.fingerprint) {
        let message =
            "is not the data this run was started on; give it back its data, or start a new run";
        return Err(Error::input(format!("`data` {data}"), message));
    }
    Ok(())
}

/// Finds a run's data. A relative path is relative to the folder in which the run was started, which is not stored. So
/// it is tried from the current folder, then from each folder around the run, innermost first. The run directory itself is
/// skipped, since it may have its data's name.
///
/// # Errors
/// Where it is in none of them.
pub(super) fn find_data(path: &Path, data: &str) -> Result<String> {
    if is_generated(data) {
        return Ok(data.to_owned());
    }
    let whole = fs::canonicalize(path).unwrap_or_default();
    let folders = iter::once(Path::new("")).chain(whole.ancestors().skip(1));
    let candidates = folders.map(|folder| folder.join(data));
    let found = candidates.filter(|own| fs::canonicalize(own).is_ok_and(|place| place != whole));
    let mut found = found.filter_map(|candidate| candidate.to_str().map(str::to_owned));
    found.next().ok_or_else(|| {
        let message = match Path::new(data).is_absolute() {
            true => "is gone; put the run's data back there".into(),
            false => format!(
                "is neither here nor in a folder above {}; the path is relative to the folder in which the run \
                 was started: change to that folder, or name the data",
                path.display()
            ),
        };
        Error::input(format!("`data` {data}"), message)
    })
}

/// `data` is the current place of the configuration's data. The targets are checked for a new run only.
fn prepare(
    config: &RunConfig,
    data: &str,
    device: &Device,
    is_new: bool,
) -> Result<RunLoop<Supervised>> {
    check_precision(config.train.precision, device)?;
    let architecture = config.model.architecture;
    let options = LoadOptions {
        samples: config.task.samples,
        valid_split: config.task.valid_split,
        split_seed: config.task.split_seed,
        normalize: config.task.normalize,
        table: config.task.table_options(),
        image_size: config.task.image_size.unwrap_or_else(|| architecture.usual_side()),
        pad: config.task.pad,
        test_alone: false,
        threads: device.host_threads(),
        first_rules: config.task.first_rules,
    };
    memory::check_data(data, data::least_bytes(data, kind(architecture)))?;
    let dataset = data::load_with(data, kind(architecture), &options)
        .map_err(|error| error.of_setting("data"))?;
    if is_new {
        dataset.check_targets()?;
    }
    if config.task.image_size.is_some() && dataset.files().is_none() {
        let message = format!("does not apply to `data` {data}; it is for a folder of images");
        return Err(Error::field("image_size", message));
    }
    check_table(config, data, &dataset)?;
    let source = BatchSource::new(&dataset, &config.train, device)?;
    let input = input(&dataset);
    let task = batches::task(&dataset);
    let copies = [config.alrao.classifiers, task.outputs()];
    memory::checkpoints_part(&config.model, input, copies, &config.train)
        .and_then(|part| {
            check_room(&with_whole_batch(config, &dataset), input, task, device, &[part])
        })
        .map_err(|error| advised(error, architecture, &dataset))?;
    let pre_classifier = models::build(&config.model, input, &mut Init::new(config.train.seed))?;
    let record = model_record(config, &dataset, input, task);
    let model = Alrao::new(pre_classifier.module, task, config.alrao.clone());
    let learner = Learner::new(model, &source.sample(), &config.train, device);
    let task = Supervised::new(learner, dataset, source, config.train.clone())?;
    Ok(RunLoop::new(task, Some(record)))
}

/// Refuses settings of a table where the data is none.
fn check_table(config: &RunConfig, data: &str, dataset: &Dataset) -> Result<()> {
    let DataConfig { target, ignore, task, missing, .. } = &config.task;
    let given = [
        ("target", target.is_some()),
        ("ignore", ignore.is_some()),
        ("task", task.is_some()),
        ("missing", missing.is_some()),
    ];
    let is_table = matches!(&dataset.content, Content::Arrays(arrays) if arrays.table.is_some());
    match given.into_iter().find(|(_, is_given)| *is_given && !is_table) {
        Some((key, _)) => {
            let message = format!("does not apply to `data` {data}; it is for a CSV");
            Err(Error::field(key, message))
        }
        None => Ok(()),
    }
}

/// The configuration with the size of the largest batch that the data has.
fn with_whole_batch(config: &RunConfig, dataset: &Dataset) -> RunConfig {
    let mut config = config.clone();
    let size = dataset.size(Part::Train).unwrap_or_default();
    let train = &mut config.train;
    match &dataset.content {
        Content::Text(_) => train.bptt = train.bptt.min(size / train.batch_size),
        Content::Arrays(_) => train.batch_size = train.batch_size.min(size),
    }
    config
}

/// Adds advice to the error where images have a size that the model does not take.
fn advised(error: Error, architecture: Architecture, dataset: &Dataset) -> Error {
    let side = architecture.usual_side();
    let advice = match input(dataset) {
        _ if dataset.files().is_some() => {
            format!("a folder's images are resized to `image_size`: give {side}, or leave it out")
        }
        sample @ Input::Image { height, width, .. }
            if height.max(width) < side && sample.note_on_axes().is_none() =>
        {
            format!("`pad` {side} gives the images a black border")
        }
        _ => return error,
    };
    match error {
        Error::Input { subject, message } if subject.starts_with("`model`") => {
            Error::input(subject, format!("{message}; {advice}"))
        }
        other => other,
    }
}

/// A model's input for a data set.
pub fn input(dataset: &Dataset) -> Input {
    match &dataset.content {
        Content::Text(text) => Input::Tokens { vocabulary: text.vocabulary.len() },
        Content::Arrays(arrays) => arrays.sample,
    }
}

/// The description of a run's model in its checkpoints.
pub(super) fn model_record(
    config: &RunConfig,
    dataset: &Dataset,
    input: Input,
    task: Task,
) -> ModelRecord {
    let validation = Some((config.task.valid_split, config.task.split_seed));
    let record = ModelRecord { validation, ..ModelRecord::of(config, input, task) };
    match &dataset.content {
        Content::Text(text) => {
            let vocabulary = Some(text.vocabulary.token_list());
            ModelRecord { vocabulary, ..record }
        }
        Content::Arrays(arrays) => ModelRecord {
            input_type: Some(arrays.train.inputs.stored_type().to_owned()),
            normalisation: arrays.normalisation.as_ref().map(Normalisation::to_pair),
            target_normalisation: arrays.target_normalisation.as_ref().map(Normalisation::to_pair),
            classes: arrays.class_names().map(<[String]>::to_vec),
            table: arrays.table.as_deref().cloned(),
            padded: config.task.pad.is_some(),
            ..record
        },
    }
}
