//! Turns any pre-classifier into an Alrao model.

use std::cell::OnceCell;

use crate::alrao::{AlraoConfig, Averaging, Classifiers};
use crate::nn::{ForwardContext, Init, Module, Visitor, for_each_entry};
use crate::ops::head::classifiers::{Head, Targets};
use crate::ops::head::prediction::PredictionKind;
use crate::task::Task;
use crate::tensor::Tensor;

/// Prefixes that no name in a pre-classifier may have: the classifiers' names and a checkpoint's other tensors use them.
const RESERVED: [&str; 2] = ["classifiers.", "alrao."];

/// A pre-classifier followed by N_cl classifiers (Algorithm 1).
///
/// As a [`Module`] it maps inputs to the logits of every classifier, `[samples, N_cl, K]`. It visits the pre-classifier's
/// parameters under their own names, then `classifiers.weight` and `classifiers.bias`. So a pre-classifier may not have a
/// child named `classifiers`, nor one named `alrao`, the prefix of a checkpoint's other tensors.
pub struct Alrao {
    pre_classifier: Box<dyn Module>,
    classifiers: OnceCell<Classifiers>,
    task: Task,
    config: AlraoConfig,
}

impl Alrao {
    /// A model that classifies into `classes` classes from the pre-classifier's features `[samples, d]`.
    ///
    /// # Panics
    /// If a name in the pre-classifier begins with `classifiers.` or `alrao.`, which are reserved.
    pub fn classifier(
        pre_classifier: impl Module + 'static,
        classes: usize,
        config: AlraoConfig,
    ) -> Self {
        Alrao::new(Box::new(pre_classifier), Task::Classification { classes }, config)
    }

    /// A model that predicts `outputs` numbers.
    ///
    /// # Panics
    /// As [`Alrao::classifier`].
    pub fn regression(
        pre_classifier: impl Module + 'static,
        outputs: usize,
        config: AlraoConfig,
    ) -> Self {
        Alrao::new(Box::new(pre_classifier), Task::Regression { outputs }, config)
    }

    pub(crate) fn new(pre_classifier: Box<dyn Module>, task: Task, config: AlraoConfig) -> Self {
        for_each_entry(&*pre_classifier, &mut |name, _| {
            let reserved = RESERVED.iter().find(|reserved| name.starts_with(**reserved));
            if let Some(reserved) = reserved {
                panic!(
                    "Alrao: the pre-classifier has '{name}', but names that begin with '{reserved}' are Alrao's own; \
                     rename its child '{}'",
                    reserved.trim_end_matches('.')
                );
            }
        });
        Alrao { pre_classifier, classifiers: OnceCell::new(), task, config }
    }

    /// Draws the classifiers' initial weights, for the number of features that the pre-classifier gives on a sample batch.
    /// A second call changes nothing.
    pub(crate) fn ensure_classifiers(&self, sample: &Tensor, context: &ForwardContext, seed: u64) {
        self.classifiers.get_or_init(|| {
            let features = self.pre_classifier.forward(sample, context).shape().columns();
            Classifiers::new(
                self.config.classifiers,
                features,
                self.task.outputs(),
                &mut Init::for_classifiers(seed),
            )
        });
    }

    pub(crate) fn classifiers(&self) -> &Classifiers {
        self.classifiers.get().expect("the classifiers are made when training begins")
    }

    /// The network below the classifiers.
    pub(crate) fn pre_classifier(&self) -> &dyn Module {
        &*self.pre_classifier
    }

    /// Classification or regression.
    pub fn task(&self) -> Task {
        self.task
    }

    /// The settings of the algorithm.
    pub fn config(&self) -> &AlraoConfig {
        &self.config
    }

    /// The losses of a batch under the given `log a_j`; in training also the objective that the backward pass starts from.
    pub(crate) fn losses(
        &self,
        x: &Tensor,
        targets: Targets,
        log_posterior: &Tensor,
        context: &ForwardContext,
    ) -> Head {
        let z = self.pre_classifier.forward(x, context);
        self.classifiers().losses(&z, targets, log_posterior, context)
    }

    /// The mixture's prediction: log probabilities `[samples, K]`, or means `[samples, D]`.
    pub(crate) fn predict(
        &self,
        x: &Tensor,
        averaging: &Averaging,
        context: &ForwardContext,
    ) -> Tensor {
        self.predict_from(&self.pre_classifier.forward(x, context), averaging, context)
    }

    /// As [`Alrao::predict`], together with the losses.
    pub(crate) fn losses_and_prediction(
        &self,
        x: &Tensor,
        targets: Targets,
        averaging: &Averaging,
        context: &ForwardContext,
    ) -> (Head, Tensor) {
        let z = self.pre_classifier.forward(x, context);
        let head = self.classifiers().losses(&z, targets, averaging.log_posterior(), context);
        (head, self.predict_from(&z, averaging, context))
    }

    fn predict_from(&self, z: &Tensor, averaging: &Averaging, context: &ForwardContext) -> Tensor {
        let (weights, kind) = match self.task {
            Task::Classification { .. } => {
                (averaging.log_posterior(), PredictionKind::LogProbabilities)
            }
            Task::Regression { .. } => (averaging.log_value_weights(), PredictionKind::Mean),
        };
        self.classifiers().predict(z, weights, kind, context)
    }
}

impl Module for Alrao {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.classifiers().forward(&self.pre_classifier.forward(x, context), context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        self.pre_classifier.visit(visitor);
        if let Some(classifiers) = self.classifiers.get() {
            visitor.child("classifiers", classifiers);
        }
    }
}
