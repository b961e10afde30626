//! Gradients that are rounded to tf32 where they are written, so that the products which read them need not round them at each read.

use std::cell::Cell;

use super::arithmetic::Arithmetic;
use crate::device::{DType, Gpu};
use crate::ops::with_setting;
use crate::tape::Gradients;

thread_local! {
    /// What [`with_rounded`] asks for.
    static FORCED: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Does `work` with the gradients of all convolutions taken as tf32 numbers, or as others. For tests of both kinds of kernels; in a
/// run it depends on the op behind each of them.
pub(crate) fn with_rounded<R>(is_rounded: bool, work: impl FnOnce() -> R) -> R {
    with_setting(&FORCED, Some(is_rounded), work)
}

/// The wish of an op whose backward pass multiplies the gradient of its output: the op that completes this gradient rounds it to
/// tf32, if products use that.
#[derive(Default)]
pub(crate) struct Rounding {
    is_done: Cell<bool>,
}

impl Rounding {
    /// Accepts the wish, if there is one: the op that runs then has to round the gradient of its input number `input`, which it
    /// writes in this type.
    pub fn accept(gradients: &Gradients, input: usize, gpu: &Gpu, dtype: DType) -> bool {
        let wish = gradients.wanted::<Rounding>(input);
        let wish = wish.filter(|_| Arithmetic::of(gpu, dtype) == Arithmetic::Tf32);
        wish.inspect(|wish| wish.is_done.set(true)).is_some()
    }

    /// Whether the gradient has been rounded.
    pub fn is_done(&self) -> bool {
        FORCED.get().unwrap_or(self.is_done.get())
    }
}
