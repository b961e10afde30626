//! The classifiers: N copies of the last layer.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::head::classifiers as op;
use crate::ops::head::prediction::{PredictionKind, predict};
use crate::tensor::Tensor;

/// All N_cl classifiers in one weight `[N_cl, K, d]` and one bias `[N_cl, K]`, each with initial values of its own. A
/// classifier is one feature: it has one learning rate.
pub struct Classifiers {
    weight: Parameter,
    bias: Parameter,
}

impl Classifiers {
    /// `count` classifiers from `inputs` features to `outputs` classes, initialised as PyTorch initialises a linear layer.
    pub fn new(count: usize, inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let group = init.group();
        let bound = 1.0 / (inputs as f64).sqrt();
        let features = |inner| Features { count, inner, group };
        Classifiers {
            weight: init.uniform(
                [count, outputs, inputs],
                bound,
                features(outputs * inputs),
                FileLayout::Same,
            ),
            bias: init
                .uniform([count, outputs], bound, features(outputs), FileLayout::Same)
                .marked_as_bias(),
        }
    }

    /// The losses of a batch; in training also the objective that the backward pass starts from.
    pub fn losses(
        &self,
        z: &Tensor,
        targets: op::Targets,
        log_posterior: &Tensor,
        context: &ForwardContext,
    ) -> op::Head {
        op::classifiers(
            z,
            &self.weight.value(context),
            &self.bias.value(context),
            targets,
            log_posterior,
        )
    }

    /// The prediction of the mixture with these weights.
    pub fn predict(
        &self,
        z: &Tensor,
        log_weights: &Tensor,
        kind: PredictionKind,
        context: &ForwardContext,
    ) -> Tensor {
        predict(z, &self.weight.value(context), &self.bias.value(context), log_weights, kind)
    }

    pub(crate) fn weight(&self) -> &Parameter {
        &self.weight
    }

    pub(crate) fn bias(&self) -> &Parameter {
        &self.bias
    }
}

impl Module for Classifiers {
    /// The logits of every classifier, `[samples, N_cl, K]`, without a gradient.
    fn forward(&self, z: &Tensor, context: &ForwardContext) -> Tensor {
        op::outputs(z, &self.weight.value(context), &self.bias.value(context))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        visitor.parameter("bias", &self.bias);
    }
}
