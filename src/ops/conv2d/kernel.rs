//! The two register-blocked loops of convolution, and the panels of weights that they read.

use crate::device::cpu::Float;
use crate::device::cpu::vector::{multiply_add, vectorised};

/// Rows of sums that stay in registers: pixels, or features of a weight's gradient.
pub(super) const ROWS: usize = 8;

/// Columns of sums that stay in registers: two 512-bit vectors of f32.
pub(super) const COLUMNS: usize = 32;

/// Stands for a pixel outside the image.
pub(super) const OUTSIDE: usize = usize::MAX;

/// One tap of a kernel over a tile of pixels.
pub(super) struct Tap {
    /// Its place in the panel.
    pub number: usize,
    /// Where the pixels it reads start in the source; [`OUTSIDE`] for zeros.
    pub offsets: [usize; ROWS],
}

/// Where a tile's sums go.
pub(super) struct Target {
    pub offsets: [usize; ROWS],
    /// How many of the offsets are pixels.
    pub pixels: usize,
}

/// What a tile's sums are added to.
#[derive(Clone, Copy)]
pub(super) enum Start<'a, T> {
    Zero,
    Bias(&'a [T]),
    Output,
}

vectorised! {
    /// `out[pixel, column] = start + sum over taps and c of source[pixel's tap + c] panel[tap, c, column]` for a tile of
    /// pixels and up to [`COLUMNS`] columns. `zeros` has `depth` elements.
    pub(super) fn convolve_tile[T: Float](source: &[T], zeros: &[T], taps: &[Tap], depth: usize, panel: &[T],
        out: &mut [T], target: &Target, width: usize, start: Start<'_, T>) {
        let mut sums = [[T::ZERO; COLUMNS]; ROWS];
        for tap in taps {
            let mut rows = [zeros; ROWS];
            for (row, offset) in rows.iter_mut().zip(tap.offsets) {
                *row = if offset == OUTSIDE { &zeros[..depth] } else { &source[offset..offset + depth] };
            }
            let weights = &panel[tap.number * depth * COLUMNS..][..depth * COLUMNS];
            let (weights, _) = weights.as_chunks::<COLUMNS>();
            for (c, weights) in weights.iter().enumerate() {
                for (sums, row) in sums.iter_mut().zip(rows) {
                    // SAFETY: every row has `depth` elements, and there are `depth` chunks of weights.
                    let x = unsafe { *row.get_unchecked(c) };
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = multiply_add::<FUSED, T>(x, *weight, *sum);
                    }
                }
            }
        }
        for (sums, offset) in sums.iter().zip(target.offsets).take(target.pixels) {
            let out = &mut out[offset..offset + width];
            match start {
                Start::Zero => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
                Start::Output => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *out + *sum),
                Start::Bias(bias) => {
                    let pairs = out.iter_mut().zip(sums.iter().zip(bias));
                    pairs.for_each(|(out, (sum, bias))| *out = *sum + *bias);
                }
            }
        }
    }
}

vectorised! {
    /// `out[row * pitch + column] += sum over t of left[t, row] right[t, column]`, for `rows` up to [`ROWS`] and `width`
    /// up to [`COLUMNS`]. A segment is the first `t` of the left, of the right, and a length.
    pub(super) fn outer_products[T: Float](left: &[T], right: &[T], segments: &[(usize, usize, usize)],
        out: &mut [T], pitch: usize, rows: usize, width: usize) {
        let (left, _) = left.as_chunks::<ROWS>();
        let (right, _) = right.as_chunks::<COLUMNS>();
        let mut sums = [[T::ZERO; COLUMNS]; ROWS];
        for &(first, second, length) in segments {
            let pairs = left[first..first + length].iter().zip(&right[second..second + length]);
            for (left, right) in pairs {
                for (sums, x) in sums.iter_mut().zip(left) {
                    for (sum, y) in sums.iter_mut().zip(right) {
                        *sum = multiply_add::<FUSED, T>(*x, *y, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate().take(rows) {
            let out = &mut out[row * pitch..][..width];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *out + *sum);
        }
    }
}
