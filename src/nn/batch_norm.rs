//! Batch normalisation as a layer.

use crate::nn::{Buffer, Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::layers::batch_norm::{
    BatchNormConfig, Moments, batch_norm_add, batch_norm_at, moments,
};
use crate::tensor::Tensor;

/// Normalises the channels of `[N, H, W, C]`, in training by the batch, in evaluation by running statistics. The features
/// are the channels.
pub struct BatchNorm2d {
    weight: Parameter,
    bias: Parameter,
    running_mean: Buffer,
    running_variance: Buffer,
    config: BatchNormConfig,
}

impl BatchNorm2d {
    /// Weight 1, bias 0, momentum 0.1 and epsilon 1e-5, PyTorch's defaults.
    pub fn new(channels: usize, init: &mut Init) -> Self {
        let features = Features { count: channels, inner: 1, group: init.group() };
        BatchNorm2d {
            weight: init.constant([channels], 1.0, features, FileLayout::Same),
            bias: init.constant([channels], 0.0, features, FileLayout::Same),
            running_mean: Buffer::statistic([channels], 0.0),
            running_variance: Buffer::statistic([channels], 1.0),
            config: BatchNormConfig::default(),
        }
    }

    /// Adds a ReLU, computed in the same pass.
    pub fn with_relu(mut self) -> Self {
        self.config.relu = true;
        self
    }

    /// The forward pass by the given moments of `x`, which the op before may have computed, or else by the running
    /// statistics.
    pub(crate) fn normalise(
        &self,
        x: &Tensor,
        moments: Option<&Moments>,
        context: &ForwardContext,
        output: Output,
    ) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|parameter| parameter.value(context));
        let running = [&self.running_mean, &self.running_variance]
            .map(|buffer| buffer.value(context.device(), context.dtype().wide()));
        let (inputs, running) = ([x, &weight, &bias], running.each_ref());
        match output {
            Output::Sum(residual) => {
                let inputs = [x, &weight, &bias, residual];
                batch_norm_add(inputs, moments, running, self.config)
            }
            Output::New => batch_norm_at(None, inputs, moments, running, self.config),
            Output::At(place) => batch_norm_at(Some(place), inputs, moments, running, self.config),
        }
    }
}

/// The output of a norm.
#[derive(Clone, Copy)]
pub(crate) enum Output<'a> {
    /// In memory of its own.
    New,
    /// Written to this tensor.
    At(&'a Tensor),
    /// In memory of its own, with this residual added before the ReLU.
    Sum(&'a Tensor),
}

impl Module for BatchNorm2d {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let moments = context.is_training().then(|| moments(x));
        self.normalise(x, moments.as_ref(), context, Output::New)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        visitor.parameter("bias", &self.bias);
        visitor.buffer("running_mean", &self.running_mean);
        visitor.buffer("running_var", &self.running_variance);
    }
}
