//! The convolutional layers.

use crate::nn::{Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use crate::ops::layers::batch_norm::Moments;
use crate::ops::layers::conv2d::{Conv2dConfig, Fused, conv2d_fused};
use crate::ops::layers::depthwise::{depthwise_conv2d, depthwise_conv2d_with_moments};
use crate::tensor::Tensor;

/// A convolution of images `[N, H, W, C]` with square kernels. The features are the output channels.
pub struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    config: Conv2dConfig,
    relu: bool,
}

/// The number of connections that scales the variance of initial weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// The inputs of one output, which keeps the variance of activations from layer to layer.
    In,
    /// The outputs that read one input, at stride 1, which keeps the variance of gradients.
    Out,
}

/// The extents of a convolution's weight. Panics if the groups do not divide the channels.
fn weight_shape(inputs: usize, outputs: usize, kernel: usize, groups: usize) -> [usize; 4] {
    assert!(
        groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "conv2d: {groups} groups for {inputs} inputs and {outputs} outputs"
    );
    [outputs, kernel, kernel, inputs / groups]
}

impl Conv2d {
    /// Weights and bias are uniform in `±1/sqrt(kernel^2 inputs / groups)`, as in PyTorch. Panics if the groups do not
    /// divide the channels.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: Conv2dConfig,
        has_bias: bool,
        init: &mut Init,
    ) -> Self {
        let shape = weight_shape(inputs, outputs, kernel, config.groups);
        let fan_in = shape[1..].iter().product();
        let group = init.group();
        let bound = 1.0 / (fan_in as f64).sqrt();
        let features = |inner| Features { count: outputs, inner, group };
        let weight = init.uniform(shape, bound, features(fan_in), FileLayout::Convolution);
        let bias = has_bias.then(|| init.uniform([outputs], bound, features(1), FileLayout::Same));
        Conv2d { weight, bias, config, relu: false }
    }

    /// Weights are Gaussian with variance `2 / fan` (He et al. 2015), as in torchvision's residual and dense networks; there
    /// is no bias. Panics if the groups do not divide the channels.
    pub fn kaiming_normal(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        config: Conv2dConfig,
        fan: Fan,
        init: &mut Init,
    ) -> Self {
        let shape = weight_shape(inputs, outputs, kernel, config.groups);
        let fan_in: usize = shape[1..].iter().product();
        let fan = match fan {
            Fan::In => fan_in,
            Fan::Out => kernel * kernel * outputs,
        };
        let features = Features { count: outputs, inner: fan_in, group: init.group() };
        let deviation = (2.0 / fan as f64).sqrt();
        let weight = init.normal(shape, deviation, features, FileLayout::Convolution);
        Conv2d { weight, bias: None, config, relu: false }
    }

    /// Adds a ReLU, computed in the same pass. If a norm follows the convolution, give the ReLU to the norm instead.
    pub fn with_relu(mut self) -> Self {
        self.relu = true;
        self
    }

    /// Marks the bias as one without a gradient, for [`Conv2d::forward_with_moments`].
    pub(crate) fn before_norm(self) -> Self {
        Conv2d { bias: self.bias.map(Parameter::with_zero_gradient), ..self }
    }

    /// The forward pass, and the moments of its output for the norm that follows. The bias gets no gradient.
    pub(crate) fn forward_with_moments(
        &self,
        x: &Tensor,
        context: &ForwardContext,
    ) -> (Tensor, Moments) {
        let bias = self.bias.as_ref().map(|bias| bias.value(context).detach());
        let fused = Fused { moments: true, ..Fused::default() };
        let (y, moments) = self.convolve(x, bias, context, fused);
        (y, moments.expect("moments that were asked for"))
    }

    /// Weight and bias in a forward pass, for an op that has the convolution as a part. Panics without a bias.
    pub(crate) fn weight_and_bias(&self, context: &ForwardContext) -> [Tensor; 2] {
        let bias = self.bias.as_ref().expect("a convolution with a bias");
        [self.weight.value(context), bias.value(context)]
    }

    fn convolve(
        &self,
        x: &Tensor,
        bias: Option<Tensor>,
        context: &ForwardContext,
        fused: Fused,
    ) -> (Tensor, Option<Moments>) {
        let fused = Fused { relu: self.relu, ..fused };
        conv2d_fused(x, &self.weight.value(context), bias.as_ref(), self.config, fused)
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let bias = self.bias.as_ref().map(|bias| bias.value(context));
        self.convolve(x, bias, context, Fused::default()).0
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        let bias = self.bias.as_ref().map(|bias| bias.value(context));
        self.convolve(x, bias, context, Fused { place: Some(place), ..Fused::default() }).0
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visitor.parameter("bias", bias);
        }
    }
}

/// A convolution of each channel with a square kernel of its own. The features are the channels.
pub struct DepthwiseConv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    stride: usize,
    padding: usize,
}

impl DepthwiseConv2d {
    /// Weights and bias are uniform in `±1/kernel`, as in PyTorch.
    pub fn new(
        channels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        has_bias: bool,
        init: &mut Init,
    ) -> Self {
        let features = Features { count: channels, inner: 1, group: init.group() };
        let bound = 1.0 / kernel as f64;
        let shape = [kernel, kernel, channels];
        let weight = init.uniform(shape, bound, features, FileLayout::Depthwise);
        let bias = has_bias.then(|| init.uniform([channels], bound, features, FileLayout::Same));
        DepthwiseConv2d { weight, bias, stride, padding }
    }

    /// Marks the bias as one without a gradient, for [`DepthwiseConv2d::forward_with_moments`].
    pub(crate) fn before_norm(self) -> Self {
        DepthwiseConv2d { bias: self.bias.map(Parameter::with_zero_gradient), ..self }
    }

    /// The forward pass, and the moments of its output for the norm that follows. The bias gets no gradient.
    pub(crate) fn forward_with_moments(
        &self,
        x: &Tensor,
        context: &ForwardContext,
    ) -> (Tensor, Moments) {
        let bias = self.bias.as_ref().map(|bias| bias.value(context).detach());
        let weight = self.weight.value(context);
        depthwise_conv2d_with_moments(x, &weight, bias.as_ref(), self.stride, self.padding)
    }
}

impl Module for DepthwiseConv2d {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        let bias = self.bias.as_ref().map(|bias| bias.value(context));
        depthwise_conv2d(x, &self.weight.value(context), bias.as_ref(), self.stride, self.padding)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter("weight", &self.weight);
        if let Some(bias) = &self.bias {
            visitor.parameter("bias", bias);
        }
    }
}
