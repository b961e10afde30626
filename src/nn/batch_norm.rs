//! Batch normalisation as a layer.

use crate::nn::{Buffer, Features, FileLayout, Init, Module, Parameter, Step, Visitor};
use crate::ops::batch_norm::{
    BatchNormConfig, Moments, batch_norm_eval, batch_norm_train_of, moments,
};
use crate::tensor::Tensor;

/// Normalises the channels of `[N, H, W, C]`: by the batch in training, else by running statistics. Features are the
/// channels.
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

    /// The same, followed by a ReLU in the same pass.
    pub fn with_relu(mut self) -> Self {
        self.config.relu = true;
        self
    }

    /// The forward pass in training, by the moments that the op before it took of `x`.
    pub(crate) fn forward_of(&self, x: &Tensor, moments: &Moments, step: &Step) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|parameter| parameter.value(step));
        let [mean, variance] = self.running(step);
        batch_norm_train_of(x, moments, &weight, &bias, &mean, &variance, self.config)
    }

    fn running(&self, step: &Step) -> [Tensor; 2] {
        [&self.running_mean, &self.running_variance]
            .map(|buffer| buffer.value(step.device(), step.dtype().wide()))
    }
}

impl Module for BatchNorm2d {
    fn forward(&self, x: &Tensor, step: &Step) -> Tensor {
        if step.is_training() {
            return self.forward_of(x, &moments(x), step);
        }
        let [weight, bias] = [&self.weight, &self.bias].map(|parameter| parameter.value(step));
        let [mean, variance] = self.running(step);
        batch_norm_eval(x, &weight, &bias, &mean, &variance, self.config)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        visitor.parameter("bias", &self.bias);
        visitor.buffer("running_mean", &self.running_mean);
        visitor.buffer("running_var", &self.running_variance);
    }
}
