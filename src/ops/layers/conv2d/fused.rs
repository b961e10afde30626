//! Work that is fused into a convolution: an affine function and a ReLU on its input, a ReLU on its output, or the
//! output's moments.

use crate::tensor::{Tensor, assert_alike};

/// Work that is fused into a convolution; none by default.
#[derive(Clone, Copy, Default)]
pub struct Fused<'a> {
    /// Applied to the input before the convolution.
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
/// ReLU. Pixels outside of the image are still zero.
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
    /// What the convolution reads. These are ops of their own on every device: the kernels' asynchronous copies bypass
    /// registers, and a convolution that computed the function on the way would do so once for each tap.
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        assert_alike("conv2d", &[x, self.scale, self.shift]);
        for vector in [self.scale, self.shift] {
            assert!(
                vector.shape() == [x.shape().columns()].into(),
                "conv2d: a scale or shift {} for images {}",
                vector.shape(),
                x.shape()
            );
        }
        let read = x.mul(self.scale).add(self.shift);
        if self.relu { read.relu() } else { read }
    }
}
