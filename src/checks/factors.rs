//! The factors of a case's matrix products.

use crate::ops::tensor::matmul::with_rounded;
use crate::{DType, Device, Tensor};

use super::draw;

/// The number format of the factors in matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    F32,
    /// f32, rounded inside the kernel. The reference gets numbers that are already rounded, so only the sums' roundings
    /// differ.
    Tf32,
    /// The same, and a convolution takes the gradient of its output, which is rounded already, without rounding it.
    RoundedTf32,
    /// Whole numbers in bf16, so small and few that bf16 holds their sums exactly: nothing is rounded.
    Bf16,
}

impl Factors {
    pub const ALL: [Factors; 3] = [Factors::F32, Factors::Tf32, Factors::Bf16];
    /// All, and gradients that are rounded already.
    pub const AND_ROUNDED: [Factors; 4] =
        [Factors::F32, Factors::Tf32, Factors::RoundedTf32, Factors::Bf16];
    pub const ON_TENSOR_CORES: [Factors; 2] = [Factors::Tf32, Factors::Bf16];

    /// Runs `work` while the device's f32 products use these factors.
    pub fn on<R>(self, device: &Device, work: impl FnOnce() -> R) -> R {
        device.set_tf32(self.is_tf32());
        let result = match self {
            Factors::RoundedTf32 => with_rounded(true, work),
            _ => work(),
        };
        device.set_tf32(false);
        result
    }

    /// Whether products are in tf32.
    pub fn is_tf32(self) -> bool {
        matches!(self, Factors::Tf32 | Factors::RoundedTf32)
    }

    /// The type of a product's operands in a case of `dtype`.
    pub fn dtype(self, dtype: DType) -> DType {
        match (self, dtype) {
            (Factors::Bf16, DType::F32) => DType::BF16,
            _ => dtype,
        }
    }

    fn draw(self, dtype: DType, length: usize, number: u64) -> Vec<f64> {
        let numbers = draw(length, number).into_iter();
        match (self, dtype) {
            (Factors::Tf32 | Factors::RoundedTf32, DType::F64) => numbers.map(rounded).collect(),
            (Factors::Bf16, _) => numbers.map(|x| (4.0 * x).trunc()).collect(),
            _ => numbers.collect(),
        }
    }

    /// A drawn operand whose row stride exceeds its row length by `before + after` elements.
    pub fn pitched(
        self,
        device: &Device,
        shape: &[usize],
        dtype: DType,
        [before, after]: [usize; 2],
        number: u64,
    ) -> Tensor {
        let (columns, outer) = shape.split_last().expect("a shape has axes");
        let whole = [outer, &[before + columns + after]].concat();
        let elements = self.draw(dtype, whole.iter().product(), number);
        let tensor = Tensor::from_f64s(device, &whole[..], self.dtype(dtype), &elements);
        tensor.slice(whole.len() - 1, before, *columns)
    }

    /// A drawn bias: f32 for all factors.
    pub fn bias(self, device: &Device, length: usize, dtype: DType, number: u64) -> Tensor {
        let elements = match self {
            Factors::Bf16 => self.draw(dtype, length, number),
            _ => draw(length, number),
        };
        Tensor::from_f64s(device, [length], dtype, &elements)
    }

    /// A weighted sum of all elements of `y`, with a different weight for each. In whole numbers it is no output to
    /// compare, since bf16 may not hold it.
    pub fn weighed(self, y: &Tensor, dtype: DType, number: u64) -> Tensor {
        let elements = y.shape().elements();
        let weights = self.pitched(y.device(), &[elements, 1], dtype, [0, 0], number);
        y.reshape([1, elements]).matmul(&weights)
    }
}

/// The number rounded to 10 bits of fraction, ties away from zero.
pub fn rounded(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    f64::from(f32::from_bits((bits + 0x1000) & !0x1fff))
}
