//! Convolution, batch norm and activation as one layer, so that fusing them concerns this file alone.

use crate::nn::{BatchNorm2d, Conv2d, DepthwiseConv2d, ForwardContext, Init, Module, Visitor};
use crate::ops::layers::batch_norm::Moments;
use crate::tensor::Tensor;

/// The activation after the norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// No activation.
    None,
    /// `max(x, 0)`.
    Relu,
}

/// Either kind of convolution.
pub enum Convolution {
    /// Every output channel reads every input channel of its group.
    Full(Conv2d),
    /// Every channel is convolved by itself.
    Depthwise(DepthwiseConv2d),
}

impl Convolution {
    fn as_module(&self) -> &dyn Module {
        match self {
            Convolution::Full(convolution) => convolution,
            Convolution::Depthwise(convolution) => convolution,
        }
    }

    fn forward_with_moments(&self, x: &Tensor, context: &ForwardContext) -> (Tensor, Moments) {
        match self {
            Convolution::Full(convolution) => convolution.forward_with_moments(x, context),
            Convolution::Depthwise(convolution) => convolution.forward_with_moments(x, context),
        }
    }
}

impl From<Conv2d> for Convolution {
    fn from(convolution: Conv2d) -> Self {
        Convolution::Full(convolution)
    }
}

impl From<DepthwiseConv2d> for Convolution {
    fn from(convolution: DepthwiseConv2d) -> Self {
        Convolution::Depthwise(convolution)
    }
}

/// A convolution, a [`BatchNorm2d`] and an activation. Its two children have the names given to [`ConvBn::new`] and no
/// prefix, so a parent visits it as if they were its own children; see [`crate::nn::Sequential::push_flat`].
///
/// ```
/// use alrao::nn::{Activation, Conv2d, ConvBn, Init, Module, ForwardContext};
/// use alrao::{DType, Device, Tensor};
/// let mut init = Init::new(0);
/// let convolution = Conv2d::new(3, 8, 1, Default::default(), false, &mut init);
/// let layer = ConvBn::new(["conv1", "bn1"], convolution, 8, Activation::Relu, &mut init);
/// let device = Device::cpu();
/// let x = Tensor::zeros(&device, [2, 4, 4, 3], DType::F32);
/// let context = ForwardContext::evaluation(&device, DType::F32);
/// assert_eq!(layer.forward(&x, &context).shape(), [2, 4, 4, 8].into());
/// ```
pub struct ConvBn {
    names: [String; 2],
    convolution: Convolution,
    norm: BatchNorm2d,
}

impl ConvBn {
    /// The convolution with a new norm over its `outputs` channels; `names` are PyTorch's names of the two.
    pub fn new(
        names: [&str; 2],
        convolution: impl Into<Convolution>,
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Self {
        let norm = BatchNorm2d::new(outputs, init);
        let norm = match activation {
            Activation::None => norm,
            Activation::Relu => norm.with_relu(),
        };
        ConvBn { names: names.map(str::to_owned), convolution: convolution.into(), norm }
    }

    fn run(&self, x: &Tensor, context: &ForwardContext, place: Option<&Tensor>) -> Tensor {
        let (y, moments) = match context.is_training() {
            true => {
                let (y, moments) = self.convolution.forward_with_moments(x, context);
                (y, Some(moments))
            }
            false => (self.convolution.as_module().forward(x, context), None),
        };
        self.norm.normalise(&y, moments.as_ref(), context, place)
    }
}

impl Module for ConvBn {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.run(x, context, None)
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        self.run(x, context, Some(place))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child(&self.names[0], self.convolution.as_module());
        visitor.child(&self.names[1], &self.norm);
    }
}
