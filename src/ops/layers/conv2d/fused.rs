//! Work that is fused into a convolution: an affine function and a ReLU on its input, a ReLU on its output, or the
//! output's moments.

use crate::device::cpu::Float;
use crate::ops::layers::batch_norm::{Affine, give_channels};
use crate::tape::Gradients;
use crate::tensor::{Tensor, assert_alike};

/// Work that is fused into a convolution; none by default.
#[derive(Clone, Copy, Default)]
pub struct Fused<'a> {
    /// Applied to the input as it is read.
    pub input: Option<InputAffine<'a>>,
    /// A tensor for the output, of its shape, with any pitch. On the CPU an output with a ReLU goes to new memory all
    /// the same.
    pub place: Option<&'a Tensor>,
    /// Whether a ReLU follows the bias.
    pub relu: bool,
    /// Whether to compute the moments of the output's channels, for a norm; not together with `relu`.
    pub moments: bool,
}

/// The convolution reads `scale[c] x + shift[c]`, or `max(scale[c] x + shift[c], 0)`, in place of `x`: a norm and its
/// ReLU whose output is not stored. Pixels outside of the image are still zero.
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

/// Passes `gradient`, that of the function's output, on to input number 0, `x`, to the scale, number `scale`, and to
/// the shift, the next number.
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
