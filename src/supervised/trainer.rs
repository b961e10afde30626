//! Training of a user's own model.

use std::path::{Path, PathBuf};

use super::Report;
use super::batches::{BatchSource, task};
use super::settings::{RunConfig, SupervisedSettings, usual};
use super::task::Supervised;
use crate::alrao::Alrao;
use crate::data::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::settings::validate;
use crate::learn::{Learner, Observer, RunLoop, StopFlag, TrainConfig, check_precision};
use crate::models::Architecture;

/// Trains a model on a data set, without a run directory: the best epoch's model is kept in memory.
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
}

impl Trainer {
    /// A training of `model` on `dataset`.
    pub fn new(model: Alrao, dataset: Dataset, config: TrainConfig) -> Self {
        Trainer { model, dataset, config, stop: StopFlag::default(), weights: None }
    }

    /// Lets another thread end the training early.
    pub fn stop_flag(mut self, stop: &StopFlag) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Writes the trained state to a file at the end, under PyTorch's names.
    pub fn save_to(mut self, path: &Path) -> Self {
        self.weights = Some(path.to_owned());
        self
    }

    /// Makes the checks that the command line makes.
    fn check(&self, device: &Device) -> Result<()> {
        check_precision(self.config.precision, device)?;
        let (alrao, train) = (self.model.config().clone(), self.config.clone());
        validate::<SupervisedSettings>(&RunConfig { alrao, train, ..usual(Architecture::Cnn) })
    }

    /// Trains.
    ///
    /// # Errors
    /// Where data and model do not fit, or as [`super::Run::train`].
    pub fn run(self, device: &Device, observer: &mut dyn Observer<Supervised>) -> Result<Report> {
        let wanted = task(&self.dataset);
        if self.model.task() != wanted {
            let message =
                format!("the model's task is {:?}, the data's is {wanted:?}", self.model.task());
            return Err(Error::input(&self.dataset.name, message));
        }
        self.check(device)?;
        let source = BatchSource::new(&self.dataset, &self.config, device)?;
        let learner = Learner::new(self.model, &source.sample(), &self.config, device);
        let mut run =
            RunLoop::new(Supervised::new(learner, self.dataset, source, self.config)?, None);
        let report = run.run(observer, &self.stop)?;
        match &self.weights {
            Some(path) => run.write_state(path).map(|()| report),
            None => Ok(report),
        }
    }
}
