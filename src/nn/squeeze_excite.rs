//! Channel gates as a layer.

use crate::nn::{Conv2d, ForwardContext, Init, Module, Visitor};
use crate::ops::layers::conv2d::Conv2dConfig;
use crate::ops::layers::squeeze_excite::squeeze_excite;
use crate::tensor::Tensor;

/// Squeeze and excitation (Hu et al. 2018): scales each channel of an image by a factor between 0 and 1, which two
/// layers compute from the means of all channels. Images are `[N, H, W, C]`.
///
/// ```
/// use alrao::nn::{ForwardContext, Init, Module, SqueezeExcite};
/// use alrao::{DType, Device, Tensor};
/// let layer = SqueezeExcite::new(8, 2, &mut Init::new(0));
/// let device = Device::cpu();
/// let x = Tensor::zeros(&device, [2, 4, 4, 8], DType::F32);
/// let context = ForwardContext::evaluation(&device, DType::F32);
/// assert_eq!(layer.forward(&x, &context).shape(), x.shape());
/// ```
pub struct SqueezeExcite {
    squeeze: Conv2d,
    excite: Conv2d,
}

impl SqueezeExcite {
    /// The layers are 1x1 convolutions with a bias, from `channels` to `hidden` channels and back, with the initial
    /// values of [`Conv2d::new`].
    pub fn new(channels: usize, hidden: usize, init: &mut Init) -> Self {
        let mut layer =
            |inputs, outputs| Conv2d::new(inputs, outputs, 1, Conv2dConfig::default(), true, init);
        SqueezeExcite { squeeze: layer(channels, hidden), excite: layer(hidden, channels) }
    }

    /// The forward pass with a residual of the output's shape, which is added to the scaled channels, on a GPU in the
    /// same pass. Panics if the shapes differ.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor, context: &ForwardContext) -> Tensor {
        self.run(x, Some(residual), context)
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>, context: &ForwardContext) -> Tensor {
        let [squeeze, excite] =
            [&self.squeeze, &self.excite].map(|layer| layer.weight_and_bias(context));
        squeeze_excite(x, squeeze.each_ref(), excite.each_ref(), residual)
    }
}

impl Module for SqueezeExcite {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.run(x, None, context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("fc1", &self.squeeze);
        visitor.child("fc2", &self.excite);
    }
}
