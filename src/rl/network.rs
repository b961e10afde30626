//! A Q-network, its slowly following target, and the memory it learns from: one update is one captured graph.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use super::config::QConfig;
use super::environment::Spaces;
use super::memory::{Memory, Transition};
use crate::alrao::{Alrao, Task};
use crate::device::{DType, Device};
use crate::error::Result;
use crate::learn::Learner;
use crate::learn::captured_step::CapturedStep;
use crate::models::{self, Input};
use crate::nn::{ForwardContext, Init};
use crate::ops::head::classifiers::{Head, Targets};
use crate::ops::rl::bellman;
use crate::ops::rl::replay::{self, Draw};
use crate::ops::update::soft_update::soft_update;
use crate::optim::FlatParameters;
use crate::tensor::Tensor;

/// A Q-network that learns. `Q(s, a)` is the weighted average of the outputs of N_cl classifiers, which have one output per
/// action (the paper's Appendix D); see [`crate::alrao::Averaging::log_value_weights`].
pub struct QNetwork {
    learner: Learner,
    target: Target,
    memory: Memory,
    discount: f64,
    tau: f64,
    error_limit: f64,
    seed: u64,
    batch_size: usize,
    acting: Acting,
}

/// The network that computes the values of the next observations. It only follows the Q-network.
struct Target {
    model: Alrao,
    flat: FlatParameters,
}

impl QNetwork {
    /// A network with random weights, its target with the same, and an empty memory.
    ///
    /// # Errors
    /// Where the network cannot be built.
    pub fn new(config: &QConfig, spaces: Spaces, device: &Device) -> Result<QNetwork> {
        let model = model(config, spaces)?;
        let sample = Tensor::zeros(device, [1, spaces.observation], config.train.precision.dtype());
        let learner = Learner::new(model, &sample, &config.train, device);
        let target =
            device.owned_by("the target network", || Target::new(config, spaces, &sample))?;
        let wide = learner.dtype().wide();
        let memory = device.owned_by("the replay buffer, `buffer`", || {
            Memory::new(config.task.buffer, spaces, wide, device)
        });
        let network = QNetwork {
            learner,
            target,
            memory,
            discount: config.task.discount,
            tau: config.task.tau,
            error_limit: if config.task.error_clip > 0.0 {
                config.task.error_clip
            } else {
                f64::INFINITY
            },
            seed: config.train.seed,
            batch_size: config.train.batch_size,
            acting: Acting::new(spaces),
        };
        device.check()?;
        Ok(network)
    }

    /// Draws transitions from the memory and learns from them, in the paper's order: the target's values of the next
    /// observations, then a step (Algorithm 1) on the chosen actions' values, then a soft
    /// update of the target. The losses are those before the update.
    ///
    /// # Panics
    /// Where the memory is empty.
    pub fn update(&self) -> Head {
        let (rows, filled) = (self.memory.rows(), self.memory.filled());
        let sources = [rows.clone(), filled.clone()];
        let dtype = self.learner.dtype();
        self.learner.step_within(&sources, self.batch_size, &|learn| {
            let step = self.learner.number();
            let draw = Draw { seed: self.seed, step, filled, count: self.batch_size };
            let drawn = replay::sample(rows, draw);
            let next_values = self.target.model.predict(
                &drawn.next_observations.cast(dtype),
                self.learner.averaging(),
                &ForwardContext::evaluation(self.learner.device(), dtype),
            );
            let values =
                bellman::targets(&drawn.rewards, &drawn.continues, &next_values, self.discount);
            let targets = Targets::Chosen {
                outputs: &drawn.actions,
                values: &values,
                limit: self.error_limit,
            };
            let head = learn(&drawn.observations.cast(dtype), targets, None);
            let (target, online) = (self.target.flat.values(), self.learner.flat().values());
            soft_update(target, online, self.learner.optimizer().table(), self.tau);
            self.target.flat.refresh_narrow();
            head
        })
    }

    /// Loads initial parameters as [`Learner::load_initial`] does, also into the target.
    ///
    /// # Errors
    /// As [`Learner::load_initial`].
    pub fn load_initial(&self, path: &Path) -> Result<()> {
        self.learner.load_initial(path)?;
        let (target, online) = (self.target.flat.values(), self.learner.flat().values());
        soft_update(target, online, self.learner.optimizer().table(), 0.0);
        self.target.flat.refresh_narrow();
        Ok(())
    }

    /// `Q(s, a)` of each action, `[observations, actions]`, for a batch of observations.
    pub fn values(&self, observations: &[f32]) -> Vec<f32> {
        self.acting.values(&self.learner, observations)
    }

    /// Turns capture of updates and values on or off; it is on by default. Results do not depend on it.
    pub fn set_capture(&self, is_on: bool) {
        self.learner.steps().set_on(is_on);
        self.acting.work.set_on(is_on);
    }

    /// The learner.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// The target's parameters, in the same places as the learner's.
    pub(super) fn target(&self) -> &FlatParameters {
        &self.target.flat
    }

    /// The replay buffer.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Stores transitions in the replay buffer.
    pub fn remember<'a>(&mut self, transitions: impl IntoIterator<Item = Transition<'a>>) {
        self.memory.push(transitions);
    }

    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl Target {
    fn new(config: &QConfig, spaces: Spaces, sample: &Tensor) -> Result<Target> {
        let (device, dtype) = (sample.device(), sample.dtype());
        let model = model(config, spaces)?;
        // The same seed gives the same weights.
        model.ensure_classifiers(
            sample,
            &ForwardContext::evaluation(device, dtype),
            config.train.seed,
        );
        let flat = FlatParameters::new(&model, &|_| false, device, dtype);
        Ok(Target { model, flat })
    }
}

fn model(config: &QConfig, spaces: Spaces) -> Result<Alrao> {
    let input = Input::Vector { size: spaces.observation };
    let built = models::build(&config.model, input, &mut Init::new(config.train.seed))?;
    let task = Task::Regression { outputs: spaces.actions };
    Ok(Alrao::new(built.module, task, config.alrao.clone()))
}

/// Computes action values, with one captured graph for each number of observations.
pub(super) struct Acting {
    /// Numbers in an observation.
    size: usize,
    /// Device memory for observations, by their number.
    held: RefCell<BTreeMap<usize, Tensor>>,
    work: CapturedStep<Tensor>,
}

impl Acting {
    pub fn new(spaces: Spaces) -> Acting {
        let (held, work) = (RefCell::default(), CapturedStep::default());
        Acting { size: spaces.observation, held, work }
    }

    /// The action values of the learner's mixture for a batch of observations, `[observations, actions]`.
    pub fn values(&self, learner: &Learner, observations: &[f32]) -> Vec<f32> {
        let count = observations.len() / self.size;
        let mut held = self.held.borrow_mut();
        let x = held.entry(count).or_insert_with(|| {
            Tensor::from_slice(learner.device(), [count, self.size], observations)
        });
        x.copy_from_slice(observations);
        let sources = [x.clone()];
        let values = self.work.run((learner.model(), learner.device()), &sources, count, &|| {
            learner.predict(&x.cast(learner.dtype())).cast(DType::F32)
        });
        values.to_vec()
    }
}
