//! How far a result may be from the reference's.

use super::factors::Factors;
use super::reference::Array;
use crate::DType;

/// The rounding error of one operation, with room for approximations of functions.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-15,
        DType::U8 | DType::I32 | DType::I64 => 0.0,
        DType::F32 | DType::BF16 => 5e-7,
    }
}

/// The largest error of each element of an array.
pub(super) struct Tolerance<'a> {
    /// The rounding of all operations behind an element.
    of_operations: f64,
    /// The largest error of a product of rounded factors, relative to its size.
    of_factors: f64,
    /// For each element, the sum of its products' absolute values.
    sizes: Option<&'a [f64]>,
}

impl<'a> Tolerance<'a> {
    /// The tolerance of a result behind which there are at most this many additions; inputs must stay as they are.
    pub fn of(array: &'a Array, terms: usize, factors: Factors) -> Tolerance<'a> {
        let largest = array.expected.iter().flatten().fold(1.0f64, |a, b| a.max(b.abs()));
        let is_input = array.expected.is_none();
        let rounding = if is_input { 0.0 } else { rounding(array.dtype) };
        Tolerance {
            of_operations: rounding * largest * (terms as f64).max(4.0),
            of_factors: factors.error(),
            sizes: array.sizes.as_deref(),
        }
    }

    /// The largest allowed error of this element.
    pub fn at(&self, element: usize) -> f64 {
        self.of_operations + self.sizes.map_or(0.0, |sizes| self.of_factors * sizes[element])
    }
}
