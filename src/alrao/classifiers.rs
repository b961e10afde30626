//! The copies of the last layer.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::classifiers as op;
use crate::ops::prediction::{PredictionKind, predict};
use crate::tensor::Tensor;

/// All N_cl copies of the last layer in one weight `[N_cl, K, d]` and one bias `[N_cl, K]`, each with initial values
/// of its own. A copy is one feature: it has one learning rate.
pub struct Classifiers {
    weight: Parameter,
    bias: Parameter,
}

impl Classifiers {
    /// `copies` layers from `inputs` features to `outputs` classes, drawn as PyTorch draws a linear layer.
    pub fn new(copies: usize, inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let group = init.group();
        let bound = 1.0 / (inputs as f64).sqrt();
        let features = |inner| Features { count: copies, inner, group };
        Classifiers {
            weight: init.uniform(
                [copies, outputs, inputs],
                bound,
                features(outputs * inputs),
                FileLayout::Same,
            ),
            bias: init
                .uniform([copies, outputs], bound, features(outputs), FileLayout::Same)
                .marked_as_bias(),
        }
    }

    /// The losses of a batch, and on a tape the one objective from which everything learns.
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

    /// The prediction of the mixture.
    pub fn predict(
        &self,
        z: &Tensor,
        log_posterior: &Tensor,
        kind: PredictionKind,
        context: &ForwardContext,
    ) -> Tensor {
        predict(z, &self.weight.value(context), &self.bias.value(context), log_posterior, kind)
    }

    pub(crate) fn weight(&self) -> &Parameter {
        &self.weight
    }

    pub(crate) fn bias(&self) -> &Parameter {
        &self.bias
    }
}

impl Module for Classifiers {
    /// The outputs of every copy, `[samples, N_cl, K]`, without a gradient.
    fn forward(&self, z: &Tensor, context: &ForwardContext) -> Tensor {
        op::outputs(z, &self.weight.value(context), &self.bias.value(context))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        visitor.parameter("bias", &self.bias);
    }
}
