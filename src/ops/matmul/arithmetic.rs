//! What a product computes with.

use crate::device::{DType, Gpu};

/// How a product's factors enter. Sums are f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arithmetic {
    /// f32 as they are.
    F32,
    /// f32 rounded to 10 bits of fraction, for tensor cores.
    Tf32,
    /// bf16, for tensor cores.
    Bf16,
}

impl Arithmetic {
    /// That of operands of this type, as the device is set.
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
