//! The arithmetic of a product.

use crate::device::{DType, Gpu};

/// The type of a product's factors. Sums are f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arithmetic {
    /// f32, unrounded.
    F32,
    /// f32 rounded to 10 bits of fraction, for tensor cores.
    Tf32,
    /// bf16, for tensor cores.
    Bf16,
}

impl Arithmetic {
    /// The arithmetic for operands of this type, by the device's setting.
    pub fn of(gpu: &Gpu, operands: DType) -> Self {
        match operands {
            DType::F32 if gpu.uses_tf32() => Arithmetic::Tf32,
            DType::F32 => Arithmetic::F32,
            DType::BF16 => Arithmetic::Bf16,
            other => panic!("a matrix product: no kernel for {other:?}"),
        }
    }

    /// The end of its kernels' names.
    pub fn suffix(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::Tf32 => "tf32",
            Arithmetic::Bf16 => "bf16",
        }
    }
}
