//! Training of a user's own model.

use std::path::{Path, PathBuf};

use super::Report;
use super::batches::{BatchSource, task};
use super::run::{WITHOUT_CHECKPOINT, check_same_data, input, model_record, note, own_model_line};
use super::settings::{Note, RunConfig, Settings, SupervisedSettings, usual};
use super::task::Supervised;
use crate::alrao::Alrao;
use crate::data::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::settings::file::parse;
use crate::learn::settings::validate;
use crate::learn::{
    Learner, ModelRecord, OWN_NETWORK, Observer, RunDirectory, RunLoop, StopFlag, TrainConfig,
    check_output, check_precision,
};
use crate::models::Architecture;

/// The settings that a run of an author's own network does not have.
const OF_MODEL_AND_DATA: [&str; 15] = [
    "model",
    "width",
    "dropout",
    "hidden",
    "activation",
    "data",
    "target",
    "task",
    "missing",
    "valid_split",
    "split_seed",
    "normalize",
    "image_size",
    "pad",
    "samples",
];

/// Trains a model on a data set. Without [`Trainer::directory`] no files are written, and the best epoch's model is kept in
/// memory.
///
/// ```no_run
/// use alrao::nn::{Init, Linear};
/// use alrao::learn::{Silent, TrainConfig};
/// use alrao::supervised::Trainer;
/// use alrao::{Alrao, AlraoConfig, Device, data};
/// let dataset = data::load("digits.safetensors", data::Kind::Arrays, 0.2)?;
/// let model = Alrao::classifier(Linear::new(64, 32, &mut Init::new(0)), 10, AlraoConfig::default());
/// let report = Trainer::new(model, dataset, TrainConfig::default()).run(&Device::cpu(), &mut Silent)?;
/// println!("{:?}", report.test);
/// # Ok::<(), alrao::Error>(())
/// ```
pub struct Trainer {
    model: Alrao,
    dataset: Dataset,
    config: TrainConfig,
    stop: StopFlag,
    weights: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl Trainer {
    /// A training of `model` on `dataset`.
    pub fn new(model: Alrao, dataset: Dataset, config: TrainConfig) -> Self {
        Trainer {
            model,
            dataset,
            config,
            stop: StopFlag::default(),
            weights: None,
            directory: None,
        }
    }

    /// Lets another thread end the training early.
    pub fn stop_flag(mut self, stop: &StopFlag) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Writes the trained state to a file at the end, also if no epoch had a finite validation loss, under PyTorch's names.
    /// [`super::Predictor::load`] takes it.
    pub fn save_to(mut self, path: &Path) -> Self {
        self.weights = Some(path.to_owned());
        self
    }

    /// Keeps the run in a directory, as the command line does: its settings, `metrics.jsonl`, `last.safetensors` and the best
    /// epoch's model, `best.safetensors`. If the directory holds this run, it goes on from its last checkpoint; if it has ended,
    /// the best model is tested again. `alrao runs` lists it, and `plots::RunPlots` (feature `cli`) draws its pictures.
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// The configuration as the command line has it, with any architecture in place of the network.
    fn run_config(&self) -> RunConfig {
        let (alrao, train) = (self.model.config().clone(), self.config.clone());
        let stand_in = match self.dataset.token() {
            Some(_) => Architecture::CharLstm,
            None => Architecture::Cnn,
        };
        RunConfig { alrao, train, ..usual(stand_in) }
    }

    /// Checks the numbers of the two configurations as the command line does. Nothing of the model is checked.
    fn check(&self, device: &Device) -> Result<()> {
        check_precision(self.config.precision, device)?;
        validate::<SupervisedSettings>(&self.run_config())
    }

    /// The description of the model in its checkpoint, from which everything but the network is built.
    fn record(&self) -> ModelRecord {
        let (input, task) = (input(&self.dataset), self.model.task());
        let record = model_record(&self.run_config(), &self.dataset, input, task);
        ModelRecord { architecture: OWN_NETWORK.to_owned(), validation: None, ..record }
    }

    /// Trains.
    ///
    /// # Errors
    /// If data and model do not fit, a value of the configurations is out of its range, the file to save to cannot be written
    /// or is one of the files that are read; if the directory holds something else, or a run of another model, of other data or
    /// of other settings, among which only `epochs`, `patience`, `max_steps`, `log_every`, `init` and `rates` may differ; or as
    /// [`super::Run::train`].
    pub fn run(
        mut self,
        device: &Device,
        observer: &mut dyn Observer<Supervised>,
    ) -> Result<Report> {
        let wanted = task(&self.dataset);
        if self.model.task() != wanted {
            let message =
                format!("the model's task is {:?}, the data's is {wanted:?}", self.model.task());
            return Err(Error::input(&self.dataset.name, message));
        }
        self.check(device)?;
        self.dataset.check_targets()?;
        if let Some(path) = &self.weights {
            let inputs = [&self.config.init, &self.config.rates];
            let inputs: Vec<&Path> = inputs.into_iter().flatten().map(|path| &**path).collect();
            check_output("save_to", path, &inputs)?;
        }
        let source = BatchSource::new(&self.dataset, &self.config, device)?;
        let record = self.record();
        let kept = self
            .directory
            .take()
            .map(|path| (path, Kept::new(&self.run_config(), &self.dataset, device)));
        let learner = Learner::new(self.model, &source.sample(), &self.config, device);
        let mut run = RunLoop::new(
            Supervised::new(learner, self.dataset, source, self.config)?,
            Some(record),
        );
        if let Some((path, kept)) = kept {
            kept.attach(&mut run, &path)?;
        }
        let report = run.run(observer, &self.stop);
        // A training without a best epoch has a last model all the same.
        if let (Some(path), Ok(_) | Err(Error::NoBestEpoch { .. })) = (&self.weights, &report) {
            run.write_state(path)?;
        }
        report
    }
}

/// What the directory of a run keeps of its settings.
struct Kept {
    settings: Settings,
    /// The text of `config.toml`.
    config: String,
}

impl Kept {
    /// The settings of training. Those of the model and the data are in the author's program.
    fn new(config: &RunConfig, dataset: &Dataset, device: &Device) -> Kept {
        let device = device.kind().unwrap_or(config.device);
        let settings = Settings::from(&RunConfig { device, ..config.clone() })
            .retain(&|key| !OF_MODEL_AND_DATA.contains(&key));
        let data = toml::Value::from(dataset.name.as_str());
        let head = format!("{}\ndata = {data}\n", own_model_line());
        let config = head + &settings.to_toml() + &note(dataset, false);
        Kept { settings, config }
    }

    /// Begins the run in a new directory, or continues it in its own.
    fn attach(self, run: &mut RunLoop<Supervised>, path: &Path) -> Result<()> {
        run.set_settings(self.settings.fixed());
        if !RunDirectory::has_begun(path) {
            run.set_directory(RunDirectory::create(Some(path), "", &self.config)?);
            return Ok(());
        }
        let mut directory = RunDirectory::open(path)?;
        let (text, file) = RunDirectory::config_text(path)?;
        let note = parse::<Note>(&text, &file)?;
        let dataset = run.task().dataset();
        check_same_data(note.data_fingerprint, dataset, &dataset.name)?;
        if directory.has_checkpoint(WITHOUT_CHECKPOINT)? {
            run.restore(&mut directory)?;
        }
        if text != self.config && !(run.is_finished() && run.is_over()) {
            directory.write_config(&self.config)?;
        }
        run.reopen(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alrao::AlraoConfig;
    use crate::data::{self, Kind};
    use crate::learn::{Optimizer, Schedule};
    use crate::nn::{Init, Linear};

    /// The error for these configurations, if there is one.
    fn refusal(alrao: AlraoConfig, config: TrainConfig) -> Option<String> {
        let model = Alrao::classifier(Linear::new(4, 2, &mut Init::new(0)), 10, alrao);
        let dataset = data::load("generated", Kind::Arrays, 0.2).unwrap();
        let checked = Trainer::new(model, dataset, config).check(&Device::cpu());
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn values_out_of_their_range_are_refused_by_their_field() {
        let alrao = AlraoConfig::default;
        let train = TrainConfig::default;
        let one = || AlraoConfig { classifiers: 1, ..alrao() };
        let sgd = || TrainConfig { optimizer: Optimizer::Sgd, ..train() };
        let never = Schedule::Step { epochs: 0, factor: 0.5 };
        for (field, alrao, config) in [
            ("batch_size", alrao(), TrainConfig { batch_size: 0, ..train() }),
            ("bptt", alrao(), TrainConfig { bptt: 0, ..train() }),
            ("schedule", alrao(), TrainConfig { schedule: never, ..train() }),
            ("momentum", alrao(), TrainConfig { momentum: 1.5, ..train() }),
            ("lr", one(), TrainConfig { lr: f64::NAN, ..sgd() }),
            ("classifiers", alrao(), sgd()),
            ("classifiers", AlraoConfig { classifiers: 0, ..alrao() }, train()),
            ("theta", AlraoConfig { theta: 0.0, ..alrao() }, train()),
            ("eta_min", AlraoConfig { eta: 0.0..=1.0, ..alrao() }, train()),
            ("eta_min", AlraoConfig { eta: 2.0..=1.0, ..alrao() }, train()),
            ("eta_max", AlraoConfig { eta: 1.0..=f64::INFINITY, ..alrao() }, train()),
        ] {
            let message = refusal(alrao, config).expect(field);
            assert!(message.starts_with(&format!("`{field}`: ")), "{message}");
        }
        assert_eq!(refusal(alrao(), train()), None);
        assert_eq!(refusal(one(), sgd()), None);
        // Alrao does not use it.
        assert_eq!(refusal(alrao(), TrainConfig { lr: f64::NAN, ..train() }), None);
    }
}
