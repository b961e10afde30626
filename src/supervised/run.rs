//! A run from the command line: from a configuration to a directory.

use std::path::Path;

use crate::alrao::{Alrao, Task};
use crate::data::{self, Content, Dataset, ImageFiles, Kind, LoadOptions, SampleShape, TokenKind};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::{self, Architecture, Input};
use crate::nn::Init;
use crate::train::checkpoint::ModelRecord;
use crate::train::feed::{self, Feed};
use crate::train::memory;
use crate::train::settings::Settings;
use crate::train::{
    Learner, Observer, Precision, Report, RunConfig, RunDirectory, StopFlag, Training,
};

/// What may be changed when a run is continued.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Passes over the training data.
    pub epochs: Option<u64>,
    /// Epochs without a better validation loss after which the run ends.
    pub patience: Option<u64>,
    /// Steps after which the run ends at the latest.
    pub max_steps: Option<u64>,
    /// Steps from one `step` line to the next.
    pub log_every: Option<u64>,
    /// Where the run's data is now, if it is known.
    pub data: Option<String>,
}

/// A run with its directory, ready to train.
pub struct Run {
    config: RunConfig,
    dataset: Dataset,
    training: Training,
}

impl Run {
    /// Loads and checks everything, then makes the directory: `out`, or `runs/MODEL-DATA-OPTIMIZER-N`.
    ///
    /// # Errors
    /// Where anything the user gave is at fault; no directory is left behind then.
    pub fn start(mut config: RunConfig, out: Option<&Path>, device: &Device) -> Result<Run> {
        out.map_or(Ok(()), RunDirectory::check_free)?;
        let (dataset, mut training) = prepare(&config, &config.data, device)?;
        config.image_size = dataset.files().map(ImageFiles::size);
        let name = format!(
            "{}-{}-{}",
            config.model.architecture.name(),
            dataset.name,
            config.train.optimizer
        );
        let text = to_toml(&config, &dataset.fingerprint);
        training.set_directory(RunDirectory::create(out, &name, &text)?);
        Ok(Run { config, dataset, training })
    }

    /// Continues a run from its last checkpoint.
    ///
    /// # Errors
    /// Where the directory is not a run, its data has changed, or its checkpoint is not whole.
    pub fn resume(path: &Path, overrides: &Overrides, device: &Device) -> Result<Run> {
        let mut directory = RunDirectory::open(path)?;
        let (mut config, fingerprint) = RunDirectory::config(path)?;
        let before = config.clone();
        let train = &mut config.train;
        train.epochs = overrides.epochs.unwrap_or(train.epochs);
        train.patience = overrides.patience.unwrap_or(train.patience);
        train.max_steps = overrides.max_steps.or(train.max_steps);
        train.log_every = overrides.log_every.unwrap_or(train.log_every);
        // From now on it runs there.
        config.device = device.name().parse().unwrap_or(config.device);
        let train = &mut config.train;
        check_precision_of_run(train.precision, device)?;
        let has_checkpoint = RunDirectory::last(path).exists();
        let (init, rates) = (train.init.clone(), train.rates.clone());
        if has_checkpoint {
            // It holds what these files gave.
            (train.init, train.rates) = (None, None);
        }
        let data = match &overrides.data {
            Some(data) => data.clone(),
            None => RunDirectory::find_data(path, &config.data)?,
        };
        let (dataset, mut training) = prepare(&config, &data, device)?;
        if fingerprint.is_some_and(|fingerprint| fingerprint != dataset.fingerprint) {
            let message = "is not the data this run was started on; give it back its data, or start a new run";
            return Err(Error::input(format!("--data {data}"), message));
        }
        // A run that was killed before its first checkpoint starts anew.
        if has_checkpoint {
            training.restore(&mut directory)?;
        }
        (config.train.init, config.train.rates) = (init, rates);
        if config != before {
            directory.write_config(&to_toml(&config, &dataset.fingerprint))?;
        }
        directory.remove_leftovers();
        training.reopen(directory)?;
        Ok(Run { config, dataset, training })
    }

    /// What the run is a function of.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The run's data.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Where it writes to.
    pub fn directory(&self) -> &Path {
        self.training.directory().map(RunDirectory::path).expect("a run has a directory")
    }

    /// Whether everything is done.
    pub fn is_finished(&self) -> bool {
        self.training.is_finished()
    }

    /// The training itself.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// Trains to the end, or until `stop` is set.
    ///
    /// # Errors
    /// As [`Training::run`].
    pub fn train(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<Report> {
        self.training.run(observer, stop)
    }
}

/// What a run's directory holds of its configuration.
fn to_toml(config: &RunConfig, fingerprint: &str) -> String {
    let data_fingerprint = Some(fingerprint.to_owned());
    Settings { data_fingerprint, ..Settings::from(config) }.to_toml()
}

/// What a model of this architecture takes.
pub(crate) fn kind(architecture: Architecture) -> Kind {
    match architecture {
        Architecture::CharLstm => Kind::Text(TokenKind::Character),
        Architecture::WordLstm => Kind::Text(TokenKind::Word),
        _ => Kind::Arrays,
    }
}

/// `data` is where the configuration's data is.
fn prepare(config: &RunConfig, data: &str, device: &Device) -> Result<(Dataset, Training)> {
    check_precision(config.train.precision, device)?;
    let architecture = config.model.architecture;
    let options = LoadOptions {
        samples: config.samples,
        valid_split: config.valid_split,
        image_size: config.image_size.unwrap_or_else(|| architecture.usual_side()),
        threads: device.host_threads(),
    };
    let dataset = data::load_with(data, kind(architecture), &options)?;
    if config.image_size.is_some() && dataset.files().is_none() {
        let message = format!("does not apply to --data {data}; it is for a folder of images");
        return Err(Error::input("--image-size", message));
    }
    let feed = Feed::new(&dataset, &config.train, device)?;
    let input = input(&dataset);
    let task = feed::task(&dataset);
    let copies = [config.alrao.classifiers, task.outputs()];
    memory::check_fits(&config.model, input, copies, &config.train)
        .map_err(|error| advised(error, architecture, &dataset))?;
    let pre_classifier = models::build(&config.model, input, &mut Init::new(config.train.seed))?;
    let record = model_record(config, &dataset, input, task);
    let model = Alrao::new(pre_classifier.module, task, config.alrao.clone());
    let learner = Learner::new(model, &feed.sample(), &config.train, device);
    let training = Training::new(learner, feed, config.train.clone(), Some(record))?;
    Ok((dataset, training))
}

/// The same error, with what would help where a folder's images have a size that the model does not take.
fn advised(error: Error, architecture: Architecture, dataset: &Dataset) -> Error {
    match error {
        Error::Input { subject, message }
            if dataset.files().is_some() && subject.starts_with("--model") =>
        {
            let side = architecture.usual_side();
            let advice = format!(
                "a folder's images are brought to --image-size: give {side}, or leave it out"
            );
            Error::input(subject, format!("{message}; {advice}"))
        }
        other => other,
    }
}

/// Refuses a precision that the device does not have.
pub(crate) fn check_precision(precision: Precision, device: &Device) -> Result<()> {
    if precision.is_on(device) {
        return Ok(());
    }
    let message = match device.name() {
        "cpu" => {
            format!(
                "{precision} is a GPU's; the cpu computes in f32 or f64 ({}); give --precision f32",
                device.description()
            )
        }
        name => format!(
            "the kernels of {name} compute in f32, tf32 or bf16, not in {precision}; give --precision tf32"
        ),
    };
    Err(Error::input("--precision", message))
}

/// Refuses to continue a run on a device that does not have its precision.
pub(crate) fn check_precision_of_run(precision: Precision, device: &Device) -> Result<()> {
    if precision.is_on(device) {
        return Ok(());
    }
    let others = match precision {
        Precision::F64 => "the cpu",
        _ => "cuda or the simulator",
    };
    let message = format!(
        "the run computes in {precision}, which {} does not ({}); it goes on on {others}",
        device.name(),
        device.description()
    );
    Err(Error::input("--resume", message))
}

/// What the data gives to a model.
pub(crate) fn input(dataset: &Dataset) -> Input {
    match &dataset.content {
        Content::Text(text) => Input::Tokens { vocabulary: text.vocabulary.len() },
        Content::Arrays(arrays) => match arrays.sample {
            SampleShape::Image { height, width, channels } => {
                Input::Image { height, width, channels }
            }
            SampleShape::Vector { size } => Input::Vector { size },
        },
    }
}

fn model_record(config: &RunConfig, dataset: &Dataset, input: Input, task: Task) -> ModelRecord {
    let (vocabulary, normalisation) = match &dataset.content {
        Content::Text(text) => (Some(text.vocabulary.record()), None),
        Content::Arrays(arrays) => {
            let own = arrays.normalisation.as_ref();
            (None, own.map(|own| (own.mean.clone(), own.deviation.clone())))
        }
    };
    ModelRecord {
        architecture: config.model.architecture.name().to_owned(),
        width: config.model.width,
        hidden: config.model.hidden.clone(),
        activation: ModelRecord::name_of(config.model.activation),
        dropout: config.model.dropout,
        classifiers: config.alrao.classifiers,
        outputs: task.outputs(),
        regression: matches!(task, Task::Regression { .. }),
        input: match input {
            Input::Image { height, width, channels } => vec![height, width, channels],
            Input::Vector { size } => vec![size],
            Input::Tokens { vocabulary } => vec![vocabulary],
        },
        precision: config.train.precision.name().to_owned(),
        vocabulary,
        normalisation,
        classes: dataset.files().map(|files| files.classes().to_vec()),
    }
}
