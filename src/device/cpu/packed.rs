//! A matrix that is packed once and multiplied by a few rows many times, on one thread.
//!
//! The gemm crates pack their operands on every call. For a recurrent layer's products of a few rows that costs as much
//! as the product itself.

use super::vector::{multiply_add, vectorised};
use super::{Float, vector};

/// Columns that are computed together: one 512-bit vector of f32, or two 256-bit ones.
const PANEL: usize = 16;

/// A matrix `[depth, columns]` in panels of [`PANEL`] columns; the last panel is padded with zeros.
pub(crate) struct Packed<T> {
    panels: Vec<T>,
    depth: usize,
    columns: usize,
}

impl<T: Float> Packed<T> {
    /// Packs the matrix with element `(k, j)` at `k * strides.0 + j * strides.1`.
    pub fn new([depth, columns]: [usize; 2], elements: &[T], strides: (usize, usize)) -> Self {
        let mut panels = vec![T::ZERO; columns.next_multiple_of(PANEL) * depth];
        for (number, panel) in panels.chunks_mut((depth * PANEL).max(1)).enumerate() {
            let first = number * PANEL;
            for column in first..columns.min(first + PANEL) {
                for k in 0..depth {
                    panel[k * PANEL + column - first] =
                        elements[k * strides.0 + column * strides.1];
                }
            }
        }
        Packed { panels, depth, columns }
    }

    /// `C = A B`, or `C += A B`, for the `rows` rows of A and of C, which lie `a_stride` and `c_stride` apart.
    /// An element's bits do not depend on how many rows there are.
    pub fn multiply(
        &self,
        rows: usize,
        (a, a_stride): (&[T], usize),
        (c, c_stride): (&mut [T], usize),
        accumulate: bool,
    ) {
        // The rows whose sums fit the registers: 32 vectors of 64 bytes, or 16 of 32.
        let tallest = if vector::level().has_32_registers() { 10 } else { 6 };
        let panels = (&self.panels[..], self.depth, self.columns);
        multiply(panels, rows, tallest, a, a_stride, c, c_stride, accumulate);
    }
}

vectorised! {
    fn multiply[T: Float](
        panels: (&[T], usize, usize), rows: usize, tallest: usize,
        a: &[T], a_stride: usize, c: &mut [T], c_stride: usize, accumulate: bool,
    ) {
        let (panels, depth, columns) = panels;
        let mut row = 0;
        while row < rows {
            let left = tallest.min(rows - row);
            let height = [10, 6, 4, 2].into_iter().find(|height| *height <= left).unwrap_or(1);
            for number in 0..columns.div_ceil(PANEL) {
                let panel = &panels[number * depth * PANEL..(number + 1) * depth * PANEL];
                let width = PANEL.min(columns - number * PANEL);
                let a = (&a[row * a_stride..], a_stride);
                let c = (&mut c[row * c_stride + number * PANEL..], c_stride);
                match height {
                    10 => block10::<FUSED, T>(a, panel, c, width, accumulate),
                    6 => block6::<FUSED, T>(a, panel, c, width, accumulate),
                    4 => block4::<FUSED, T>(a, panel, c, width, accumulate),
                    2 => block2::<FUSED, T>(a, panel, c, width, accumulate),
                    _ => block1::<FUSED, T>(a, panel, c, width, accumulate),
                }
            }
            row += height;
        }
    }
}

/// Defines the product of a fixed number of rows with one panel. Each row's sums are a separate array; otherwise the
/// compiler does not keep them in registers.
macro_rules! block {
    ($name:ident, $rows:literal, $($row:literal $sums:ident),*) => {
        #[inline(always)]
        fn $name<const FUSED: bool, T: Float>(
            (a, a_stride): (&[T], usize),
            panel: &[T],
            (c, c_stride): (&mut [T], usize),
            width: usize,
            accumulate: bool,
        ) {
            let depth = panel.len() / PANEL;
            assert!(a.len() >= ($rows - 1) * a_stride + depth);
            $(let mut $sums = [T::ZERO; PANEL];)*
            for (k, b) in panel.chunks_exact(PANEL).enumerate() {
                $(
                    // SAFETY: `k` is below `depth`, and the assertion above covers the last row.
                    let factor = unsafe { *a.get_unchecked($row * a_stride + k) };
                    for lane in 0..PANEL {
                        $sums[lane] = multiply_add::<FUSED, T>(factor, b[lane], $sums[lane]);
                    }
                )*
            }
            $(store(&$sums, &mut c[$row * c_stride..$row * c_stride + width], accumulate);)*
        }
    };
}

block!(block10, 10, 0 s0, 1 s1, 2 s2, 3 s3, 4 s4, 5 s5, 6 s6, 7 s7, 8 s8, 9 s9);
block!(block6, 6, 0 s0, 1 s1, 2 s2, 3 s3, 4 s4, 5 s5);
block!(block4, 4, 0 s0, 1 s1, 2 s2, 3 s3);
block!(block2, 2, 0 s0, 1 s1);
block!(block1, 1, 0 s0);

#[inline(always)]
fn store<T: Float>(sums: &[T; PANEL], c: &mut [T], accumulate: bool) {
    if accumulate {
        c.iter_mut().zip(sums).for_each(|(c, sum)| *c += *sum);
    } else {
        c.copy_from_slice(&sums[..c.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_product_is_the_product() {
        for (rows, depth, columns) in [(1, 1, 1), (7, 5, 16), (13, 9, 33), (10, 4, 15), (3, 0, 2)] {
            let (a_stride, c_stride) = (depth + 2, columns + 1);
            let number = |i: usize, seed: usize| ((i * 7 + seed) % 11) as f64 - 5.0;
            let a: Vec<f64> = (0..rows * a_stride).map(|i| number(i, 1)).collect();
            let b: Vec<f64> = (0..depth * columns).map(|i| number(i, 3)).collect();
            let packed = Packed::new([depth, columns], &b, (columns, 1));
            let mut c = vec![0.5; rows * c_stride];
            for (times, accumulate) in [(1.0, false), (2.0, true)] {
                packed.multiply(rows, (&a, a_stride), (&mut c, c_stride), accumulate);
                for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    let sum: f64 =
                        (0..depth).map(|k| a[row * a_stride + k] * b[k * columns + column]).sum();
                    assert_eq!(c[row * c_stride + column], times * sum);
                }
            }
            assert!(c.chunks(c_stride).all(|row| row[columns] == 0.5));
        }
    }
}
