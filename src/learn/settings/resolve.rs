//! From what was given to everything a run is a function of.

use std::ops::RangeInclusive;

use super::{Checked, Settings, because};
use crate::alrao::AlraoConfig;
use crate::device::DeviceKind;
use crate::error::Result;
use crate::learn::{Optimizer, Precision, RunConfig, TrainConfig};
use crate::models::{Activation, Architecture, ModelConfig};

/// Epochs on generated images and text, which are learnt quickly.
const GENERATED_EPOCHS: u64 = 12;

/// Adam's learning rate where none is given.
const ADAM_LR: f64 = 1e-3;

/// Whether data is generated rather than read.
pub(crate) fn is_generated(data: &str) -> bool {
    data == "generated" || data.starts_with("generated:")
}

/// What is taken for a model where nothing else was given.
struct Defaults {
    eta: RangeInclusive<f64>,
    classifiers: usize,
    batch_size: usize,
    dropout: f64,
    hidden: &'static [usize],
}

impl Defaults {
    fn of(architecture: Architecture) -> Defaults {
        let hidden: &[usize] = if architecture == Architecture::Mlp { &[256, 256] } else { &[] };
        let dropout = match architecture {
            _ if architecture.is_lstm() => 0.2,
            _ if architecture.has_dropout() => 0.5,
            _ => 0.0,
        };
        match architecture.is_lstm() {
            true => Defaults { eta: 1e-3..=100.0, classifiers: 6, batch_size: 20, dropout, hidden },
            false => {
                Defaults { eta: 1e-5..=10.0, classifiers: 10, batch_size: 32, dropout, hidden }
            }
        }
    }
}

impl Settings {
    /// Everything a run is a function of: what was given, and defaults that depend on the model and on the data.
    ///
    /// # Errors
    /// [`crate::Error::Input`] naming the flag, or the key and its file: a number that is not finite or out of its range, a
    /// setting that the model or the optimizer does not have, settings that contradict each other.
    pub fn resolve(&self) -> Result<RunConfig> {
        self.check_values()?;
        let architecture = self.model.unwrap_or(DEFAULT_MODEL);
        let optimizer = self.optimizer.unwrap_or(Optimizer::Alrao);
        let device = self.device.unwrap_or_default();
        self.check_model_has(architecture)?;
        self.check_optimizer_has(optimizer)?;
        self.check_precision(device)?;
        let defaults = Defaults::of(architecture);
        let data = self.data.clone().unwrap_or_else(|| "generated".into());
        let lr = self.lr(optimizer);
        Ok(RunConfig {
            model: self.model_config(architecture, &defaults),
            alrao: self.alrao(optimizer, lr, &defaults)?,
            train: self.train(optimizer, lr, &data, &defaults),
            data,
            valid_split: self.valid_split.unwrap_or(0.2),
            image_size: self.image_size,
            samples: self.samples,
            device,
            threads: self.threads,
        })
    }

    fn model_config(&self, architecture: Architecture, defaults: &Defaults) -> ModelConfig {
        ModelConfig {
            architecture,
            width: self.width.unwrap_or(1.0),
            hidden: self.hidden.clone().unwrap_or_else(|| defaults.hidden.to_vec()),
            activation: self.activation.unwrap_or(Activation::Relu),
            dropout: self.dropout.unwrap_or(defaults.dropout),
        }
    }

    fn lr(&self, optimizer: Optimizer) -> f64 {
        let is_plain_adam = optimizer.is_adam() && !optimizer.is_alrao();
        let default = if is_plain_adam { ADAM_LR } else { TrainConfig::default().lr };
        self.lr.unwrap_or(default)
    }

    fn alrao(&self, optimizer: Optimizer, lr: f64, defaults: &Defaults) -> Result<AlraoConfig> {
        let standard = AlraoConfig::default();
        if !optimizer.is_alrao() {
            return Ok(AlraoConfig { eta: lr..=lr, classifiers: 1, ..standard });
        }
        Ok(AlraoConfig {
            eta: self.eta(&defaults.eta)?,
            classifiers: self.classifiers.unwrap_or(defaults.classifiers),
            theta: self.theta.unwrap_or(standard.theta),
            averaging: self.averaging.unwrap_or(standard.averaging),
            likelihood: standard.likelihood,
            catch_up: self.catch_up.unwrap_or(standard.catch_up),
            trained_fraction: self.trained_fraction.unwrap_or(standard.trained_fraction),
        })
    }

    fn eta(&self, default: &RangeInclusive<f64>) -> Result<RangeInclusive<f64>> {
        let eta_min = self.eta_min.unwrap_or(*default.start());
        let eta_max = self.eta_max.unwrap_or(*default.end());
        if eta_min <= eta_max {
            return Ok(eta_min..=eta_max);
        }
        let origin =
            |given: Option<f64>| if given.is_some() { "" } else { " (the model's default)" };
        match self.eta_min {
            Some(_) => {
                let largest =
                    format!("{}'s {eta_max:?}{}", self.subject("eta_max"), origin(self.eta_max));
                Err(self.error(
                    "eta_min",
                    format!("{eta_min:?} is above {largest}; lower it or raise the other"),
                ))
            }
            None => {
                let smallest = format!("{}'s {eta_min:?}{}", self.subject("eta_min"), origin(None));
                Err(self.error(
                    "eta_max",
                    format!("{eta_max:?} is below {smallest}; raise it or lower the other"),
                ))
            }
        }
    }

    fn train(&self, optimizer: Optimizer, lr: f64, data: &str, defaults: &Defaults) -> TrainConfig {
        let standard = TrainConfig::default();
        let epochs = if is_generated(data) { GENERATED_EPOCHS } else { standard.epochs };
        TrainConfig {
            optimizer,
            lr,
            momentum: self.momentum.unwrap_or(standard.momentum),
            weight_decay: self.weight_decay.unwrap_or(standard.weight_decay),
            schedule: self.schedule.unwrap_or(standard.schedule),
            clip: self.clip.unwrap_or(standard.clip),
            epochs: self.epochs.unwrap_or(epochs),
            max_steps: self.max_steps,
            batch_size: self.batch_size.unwrap_or(defaults.batch_size),
            bptt: self.bptt.unwrap_or(standard.bptt),
            seed: self.seed.unwrap_or(standard.seed),
            patience: self.patience.unwrap_or(standard.patience),
            augment: self.augment.unwrap_or(standard.augment),
            order: self.order.unwrap_or(standard.order),
            precision: self
                .precision
                .unwrap_or(Precision::usual_on(self.device.unwrap_or_default())),
            log_every: self.log_every.unwrap_or(standard.log_every),
            init: self.init.clone(),
            rates: self.rates.clone(),
        }
    }

    fn check_model_has(&self, architecture: Architecture) -> Checked {
        let model = format!("--model {architecture}");
        let refused: &[&str] = match architecture {
            _ if architecture.is_lstm() => &["hidden", "activation", "order", "image_size"],
            Architecture::Mlp => &["dropout", "bptt"],
            _ if architecture.has_dropout() => &["hidden", "activation", "bptt"],
            _ => &["hidden", "activation", "dropout", "bptt"],
        };
        let mut given = self.given().into_iter();
        if let Some(key) = given.find(|key| refused.contains(key)) {
            return Err(match key {
                "hidden" | "activation" => {
                    self.error(key, format!("{}; it is mlp's", because(model)))
                }
                "dropout" => {
                    self.error(key, format!("{}; it is the LSTMs' and alexnet's", because(model)))
                }
                "order" => self.error(key, format!("{}: a text is read in order", because(model))),
                "image_size" => {
                    self.error(key, format!("{}: it is for folders of images", because(model)))
                }
                _ => self.error(key, format!("{}; it is the LSTMs'", because(model))),
            });
        }
        if self.augment == Some(true) && architecture.is_lstm() {
            return Err(self.error("augment", format!("{}: it is for images", because(model))));
        }
        Ok(())
    }

    fn check_optimizer_has(&self, optimizer: Optimizer) -> Checked {
        let name = format!("--optimizer {optimizer}");
        if optimizer.is_adam() && self.momentum.is_some() {
            return Err(
                self.error("momentum", format!("{}: Adam has moments of its own", because(name)))
            );
        }
        if optimizer.is_alrao() {
            return match self.lr {
                Some(_) => {
                    let message = format!("does not apply to {name}, whose features draw theirs; ");
                    Err(self
                        .error("lr", message + "use --eta-min and --eta-max, or --optimizer sgd"))
                }
                None => Ok(()),
            };
        }
        if self.classifiers.is_some_and(|classifiers| classifiers != 1) {
            return Err(
                self.error("classifiers", format!("{name} has one classifier; leave it out"))
            );
        }
        let alrao = ["eta_min", "eta_max", "theta", "averaging", "catch_up", "trained_fraction"];
        match self.given().into_iter().find(|key| alrao.contains(key)) {
            Some(key @ ("eta_min" | "eta_max")) => {
                let message =
                    format!("does not apply to {name}, which has one learning rate; use --lr");
                Err(self.error(key, message))
            }
            Some(key) => Err(self.error(key, format!("{}; it is Alrao's", because(name)))),
            None => Ok(()),
        }
    }

    fn check_precision(&self, device: DeviceKind) -> Checked {
        match (device, self.precision) {
            (DeviceKind::Cpu, Some(precision @ (Precision::Tf32 | Precision::Bf16))) => {
                let message =
                    format!("{precision} is a GPU's; the cpu computes in f32 or f64: use f32");
                Err(self.error("precision", message))
            }
            (DeviceKind::Cuda | DeviceKind::Simulator, Some(Precision::F64)) => Err(self.error(
                "precision",
                format!("f64 is the cpu's, not the {device}'s; use --device cpu"),
            )),
            _ => Ok(()),
        }
    }
}

/// The model of `alrao train` without any flag.
const DEFAULT_MODEL: Architecture = Architecture::Cnn;
