//! A model that learns: one training step, one evaluation, one prediction.

use std::path::Path;

use super::captured_step::{CapturedStep, StaticInputs};
use super::regression_sums::RegressionSums;
use super::{Counts, Precision, TrainConfig, rates};
use crate::alrao::{Alrao, Averaging, learning_rates};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::nn::{BufferKind, Entry, ForwardContext, for_each_entry, zero_missing_gradients};
use crate::ops::head::classifiers::{Head, Targets};
use crate::ops::update::catch_up::catch_up;
use crate::ops::update::optimizer::Rule;
use crate::ops::update::step_statistics::{Sums, accumulate, advance};
use crate::optim::{FlatParameters, Optimizer};
use crate::tensor::Tensor;

/// Steps in a row without a finite loss after which a run has diverged.
const BARREN_STEPS: u64 = 100;

/// Classifiers whose log-posterior is below this take part in the catch-up.
const CATCH_UP_THRESHOLD: f64 = -20.0;

/// Takes a step. For data on the device, the third argument is its cursor and the number of rows to advance it by.
pub(crate) type TakeStep<'a> = dyn Fn(&Tensor, Targets, Option<(&Tensor, usize)>) -> Head + 'a;

/// Adds a batch's losses to an evaluation's sums.
pub(crate) type Evaluate<'a> = dyn Fn(&Tensor, Targets) + 'a;

/// A model on a device, with its optimiser and posterior. All state is in device memory.
pub struct Learner {
    model: Alrao,
    flat: FlatParameters,
    optimizer: Optimizer,
    averaging: Averaging,
    sums: Sums,
    /// The next step's number, I64 `[1]`, 1 for the first.
    number: Tensor,
    seed: u64,
    device: Device,
    precision: Precision,
    steps: CapturedStep<Head>,
    /// Copies of the batches given to [`Learner::step`].
    inputs: StaticInputs,
    evaluations: CapturedStep<()>,
    evaluation_sums: Sums,
    /// In regression.
    evaluation_errors: Option<RegressionSums>,
}

impl Learner {
    /// Moves a model to a device and draws its learning rates. `sample` is a batch of inputs, from which the number of
    /// the pre-classifier's features follows.
    pub fn new(model: Alrao, sample: &Tensor, config: &TrainConfig, device: &Device) -> Self {
        let dtype = config.precision.dtype();
        device.set_tf32(config.precision == Precision::Tf32);
        model.ensure_classifiers(sample, &ForwardContext::evaluation(device, dtype), config.seed);
        let in_head = |name: &str| name.starts_with("classifiers.");
        let (flat, optimizer) =
            device.owned_by("parameters with their gradients, rates and moments", || {
                let flat = FlatParameters::new(&model, &in_head, device, dtype);
                let clip = (config.clip > 0.0).then_some(config.clip);
                let optimizer = Optimizer::new(rule(config), &flat, clip);
                (flat, optimizer)
            });
        draw_rates(&model, &flat, config);
        let alrao = model.config();
        let evaluation_errors = RegressionSums::new(model.task(), device, dtype.wide());
        let learner = Learner {
            optimizer,
            averaging: Averaging::new(
                alrao.averaging,
                alrao.likelihood,
                alrao.classifiers,
                alrao.theta,
                device,
            ),
            sums: Sums::new(device),
            number: Tensor::from_slice(device, [1], &[1i64]),
            seed: config.seed,
            device: device.clone(),
            precision: config.precision,
            model,
            flat,
            steps: CapturedStep::default(),
            inputs: StaticInputs::default(),
            evaluations: CapturedStep::default(),
            evaluation_sums: Sums::new(device),
            evaluation_errors,
        };
        learner.reset_carried_state();
        learner
    }

    /// Loads the pre-classifier's learning rates from a safetensors file with one vector for each of its parameters.
    ///
    /// # Errors
    /// One error for all vectors that are missing or unknown, or have a wrong shape, type or value.
    pub fn load_rates(&self, path: &Path) -> Result<()> {
        rates::load_rates(&self.flat, path)
    }

    /// Takes one step in the paper's order (Algorithm 1): forward pass under the current posterior, backward pass,
    /// update of all parameters, update of the posterior from this step's losses. The returned losses are those before
    /// the update.
    ///
    /// On a device that captures graphs, the second step on a batch shape is captured and later ones replay it. Their
    /// results are in the same tensors.
    pub fn step(&self, x: &Tensor, targets: Targets, samples: usize) -> Head {
        let batch = [&[x], &targets.tensors()[..]].concat();
        let inputs = match self.steps.is_on(&self.device) {
            true => self.inputs.copy(&batch),
            false => batch.into_iter().cloned().collect(),
        };
        self.step_within(&inputs, samples, &|take| {
            take(&inputs[0], targets.made_of(&inputs[1..]), None)
        })
    }

    /// Captures `work`, for example making the batch, together with the step. `work` is passed a function that takes
    /// the step. Everything that changes from step to step has to come from `sources`.
    pub(crate) fn step_within(
        &self,
        sources: &[Tensor],
        samples: usize,
        work: &dyn Fn(&TakeStep<'_>) -> Head,
    ) -> Head {
        self.steps.run((&self.model, &self.device), sources, samples, &|| {
            self.set_products();
            work(&|x, targets, cursor| self.step_once(x, targets, samples, cursor))
        })
    }

    /// Checks that the run has not diverged. `step` is the last step done, for the message.
    ///
    /// # Errors
    /// [`Error::Diverged`] after 100 steps in a row without a finite loss, or the failure of the device.
    pub(crate) fn check_divergence(&self, step: u64) -> Result<()> {
        self.device.check()?;
        match self.sums.read().longest_streak >= BARREN_STEPS as f64 {
            true => Err(Error::Diverged { steps: BARREN_STEPS, step }),
            false => Ok(()),
        }
    }

    /// Checks a run that may be too short for [`Learner::check_divergence`].
    ///
    /// # Errors
    /// [`Error::Diverged`] where none of its `step` steps had a finite loss.
    pub(crate) fn check_any_finite_loss(&self, step: u64) -> Result<()> {
        match step > 0 && self.sums.read().streak >= step as f64 {
            true => Err(Error::Diverged { steps: step, step }),
            false => Ok(()),
        }
    }

    /// The captured training steps.
    pub fn steps(&self) -> &CapturedStep<Head> {
        &self.steps
    }

    fn step_once(
        &self,
        x: &Tensor,
        targets: Targets,
        samples: usize,
        cursor: Option<(&Tensor, usize)>,
    ) -> Head {
        let step = ForwardContext::training(&self.device, self.dtype(), self.seed, &self.number);
        let head = self.model.losses(x, targets, self.averaging.log_posterior(), &step);
        if let Some(tape) = step.tape() {
            tape.backward(&head.objective);
            zero_missing_gradients(&self.model, tape);
        }
        self.update(&head);
        self.average(&head, samples);
        accumulate(&self.sums, &head, samples);
        advance(Some(&self.number), cursor);
        head
    }

    /// Updates all parameters from their gradients, except those of classifiers that diverged in this step.
    pub(crate) fn update(&self, head: &Head) {
        self.optimizer.step(Some(&head.diverged), &self.number);
    }

    /// Updates the posterior from a step's losses.
    pub(crate) fn average(&self, head: &Head, samples: usize) {
        self.averaging.update(&head.classifier_losses, samples);
    }

    /// Gives classifiers without weight the weighted mean of all classifiers' parameters.
    pub fn catch_up(&self) {
        let classifiers = self.model.classifiers();
        let [weight, bias] = [classifiers.weight(), classifiers.bias()]
            .map(|own| own.stored().expect("the flat buffers hold every parameter"));
        catch_up(&weight, &bias, self.averaging.log_posterior(), CATCH_UP_THRESHOLD);
        self.flat.refresh_narrow();
    }

    /// Adds a batch's losses to `sums`, without an update.
    pub fn evaluate(&self, x: &Tensor, targets: Targets, samples: usize, sums: &Sums) {
        self.set_products();
        let step = ForwardContext::evaluation(&self.device, self.dtype());
        let head = self.model.losses(x, targets, self.averaging.log_posterior(), &step);
        accumulate(sums, &head, samples);
    }

    /// Starts an evaluation: sets its sums and the carried state to zero.
    pub(crate) fn start_evaluation(&self) {
        self.evaluation_sums.clear();
        self.evaluation_errors.iter().for_each(RegressionSums::clear);
        self.reset_carried_state();
    }

    /// As [`Learner::step_within`], for an evaluation: adds a batch's losses to its sums.
    pub(crate) fn evaluate_within(
        &self,
        sources: &[Tensor],
        samples: usize,
        work: &dyn Fn(&Evaluate<'_>),
    ) {
        self.evaluations.run((&self.model, &self.device), sources, samples, &|| {
            work(&|x, targets| match self.evaluation_errors {
                Some(_) => drop(self.evaluate_and_predict(x, targets, samples)),
                None => self.evaluate(x, targets, samples, &self.evaluation_sums),
            });
        });
    }

    /// Adds a batch's losses, and in regression its errors, to the evaluation's sums. Returns the mixture's prediction as
    /// [`Learner::predict`] does.
    pub(crate) fn evaluate_and_predict(
        &self,
        x: &Tensor,
        targets: Targets,
        samples: usize,
    ) -> Tensor {
        self.set_products();
        let context = ForwardContext::evaluation(&self.device, self.dtype());
        let (head, prediction) =
            self.model.losses_and_prediction(x, targets, &self.averaging, &context);
        accumulate(&self.evaluation_sums, &head, samples);
        if let (Some(errors), Targets::Values(values)) = (&self.evaluation_errors, targets) {
            errors.add(&prediction, values);
        }
        prediction
    }

    /// For each output, the sums of the squared and of the absolute errors in the evaluation; `None` in classification.
    pub(crate) fn evaluation_errors(&self) -> Option<[Vec<f64>; 2]> {
        self.evaluation_errors.as_ref().map(RegressionSums::read)
    }

    /// Sums over the batches of the evaluation.
    pub(crate) fn evaluation_sums(&self) -> &Sums {
        &self.evaluation_sums
    }

    /// The mixture's prediction: log probabilities `[samples, K]`, or means `[samples, D]`.
    pub fn predict(&self, x: &Tensor) -> Tensor {
        self.set_products();
        self.model.predict(
            x,
            &self.averaging,
            &ForwardContext::evaluation(&self.device, self.dtype()),
        )
    }

    /// Multiplies all learning rates from now on by `factor`.
    pub fn set_schedule(&self, factor: f64) {
        self.optimizer.set_schedule(factor);
    }

    /// Sets the state that an LSTM carries from one window of a text to the next to zero.
    pub fn reset_carried_state(&self) {
        for_each_entry(&self.model, &mut |_, entry| {
            if let Entry::Buffer(buffer) = entry
                && buffer.kind() == BufferKind::Carried
            {
                buffer.reset();
            }
        });
    }

    /// The weight of each classifier.
    pub fn posterior(&self) -> Vec<f64> {
        self.averaging.log_posterior().to_f64s().into_iter().map(f64::exp).collect()
    }

    /// The model.
    pub fn model(&self) -> &Alrao {
        &self.model
    }

    /// The model's parameters and learning rates.
    pub fn flat(&self) -> &FlatParameters {
        &self.flat
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The posterior over the classifiers.
    pub fn averaging(&self) -> &Averaging {
        &self.averaging
    }

    /// Sums over the training steps.
    pub fn sums(&self) -> &Sums {
        &self.sums
    }

    /// The next step's number, I64 `[1]`.
    pub fn number(&self) -> &Tensor {
        &self.number
    }

    /// Counts of divergences so far.
    pub fn counts(&self) -> Counts {
        let sums = self.sums.read();
        Counts {
            samples_without_finite_classifier: sums.samples_without_finite_classifier,
            diverged_classifiers: sums.diverged_classifiers,
            skipped_elements: self.optimizer.skipped().item(),
        }
    }

    /// The model's device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The precision of parameters and activations.
    pub fn dtype(&self) -> DType {
        self.precision.dtype()
    }

    /// Sets the device's precision of matrix products, which another learner may have changed.
    pub(crate) fn set_products(&self) {
        self.device.set_tf32(self.precision == Precision::Tf32);
    }
}

/// The update rule of a configuration.
pub(crate) fn rule(config: &TrainConfig) -> Rule {
    match (config.optimizer.is_adam(), Rule::ADAM) {
        (true, Rule::Adam { beta1, beta2, epsilon, .. }) => Rule::Adam {
            beta1,
            beta2,
            epsilon,
            weight_decay: config.weight_decay,
            is_decoupled: config.optimizer.is_decoupled(),
        },
        _ => Rule::Sgd { momentum: config.momentum, weight_decay: config.weight_decay },
    }
}

fn draw_rates(model: &Alrao, flat: &FlatParameters, config: &TrainConfig) {
    let alrao = model.config();
    let eta = if config.optimizer.is_alrao() { alrao.eta.clone() } else { config.lr..=config.lr };
    learning_rates::draw(flat, &eta, alrao.trained_fraction, config.seed);
    learning_rates::set_classifier_rates(
        flat,
        &learning_rates::classifier_rates(alrao.classifiers, &eta),
    );
}
