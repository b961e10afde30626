//! What a convolution does besides: an affine function and a ReLU on its input, a ReLU on its output or its moments.

use crate::device::cpu::Float;
use crate::ops::batch_norm::{Affine, give_channels};
use crate::tape::Gradients;
use crate::tensor::{Tensor, assert_alike};

/// What a convolution does besides, in passes that it makes anyway; nothing by default.
#[derive(Clone, Copy, Default)]
pub struct Fused<'a> {
    /// Applied to the input as it is read.
    pub input: Option<InputAffine<'a>>,
    /// Where the output may be written, of its shape, at any pitch: on the CPU one with a ReLU goes to new memory all the
    /// same.
    pub place: Option<&'a Tensor>,
    /// Whether sums below 0 become 0, after the bias.
    pub relu: bool,
    /// Whether the moments of the output's channels are taken: for a norm, which wants them without a ReLU.
    pub moments: bool,
}

/// A convolution reads `scale[c] x + shift[c]`, or `max(scale[c] x + shift[c], 0)`, in place of `x`: a norm and its
/// ReLU whose output is never stored. Pixels outside the image are zero all the same.
#[derive(Clone, Copy)]
pub struct InputAffine<'a> {
    /// `[C]`.
    pub scale: &'a Tensor,
    /// `[C]`.
    pub shift: &'a Tensor,
    /// Whether a ReLU follows.
    pub relu: bool,
}

impl InputAffine<'_> {
    pub(super) fn check(&self, x: &Tensor) {
        assert_alike("conv2d", &[x, self.scale, self.shift]);
        for vector in [self.scale, self.shift] {
            assert!(
                vector.shape() == [x.shape().columns()].into(),
                "conv2d: a scale or shift {} for images {}",
                vector.shape(),
                x.shape()
            );
        }
    }

    pub(super) fn function<T: Float>(&self) -> Affine<T> {
        let (scale, bias) = (self.scale.to_vec::<T>(), self.shift.to_vec());
        Affine { mean: vec![T::ZERO; scale.len()], scale, bias, relu: self.relu }
    }
}

/// Goes on from `gradient`, that of the function's output, to input number 0, `x`, and to those of its scale and
/// shift, of which the scale is number `scale`.
pub(super) fn input_backward<T: Float>(
    function: &Affine<T>,
    x: &Tensor,
    gradient: &Tensor,
    gradients: &mut Gradients,
    scale: usize,
) {
    if let Some(slot) = gradients.slot(0, x) {
        function.input_gradient(x, gradient, None, &slot);
    }
    if gradients.wants(scale) || gradients.wants(scale + 1) {
        let (sums, products) = function.gradient_sums(x, gradient);
        give_channels::<T>(gradients, x, [(scale, &products), (scale + 1, &sums)]);
    }
}
