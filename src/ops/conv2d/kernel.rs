//! The two register-blocked loops of convolution. Sums run over taps, channels and pixels in order, so that no
//! blocking changes their bits.

#[cfg(target_arch = "x86_64")]
use crate::device::DType;
use crate::device::cpu::Float;
#[cfg(target_arch = "x86_64")]
use crate::device::cpu::vector::{Level, level};
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

type Sums<T> = [[T; COLUMNS]; ROWS];

/// `out[pixel, column] = start + sum over taps and c of source[pixel's tap + c] panel[tap, c, column]` for a tile of
/// pixels and up to [`COLUMNS`] columns. `zeros` are a pixel's channels in the padding.
#[allow(clippy::too_many_arguments)]
pub(super) fn convolve_tile<T: Float>(
    source: &[T],
    zeros: &[T],
    taps: &[Tap],
    panel: &[T],
    out: &mut [T],
    target: &Target,
    width: usize,
    start: Start<'_, T>,
) {
    let (depth, mut sums) = (zeros.len(), [[T::ZERO; COLUMNS]; ROWS]);
    for tap in taps {
        let mut rows = [zeros; ROWS];
        for (row, offset) in rows.iter_mut().zip(tap.offsets) {
            if offset != OUTSIDE {
                *row = &source[offset..offset + depth];
            }
        }
        let weights = &panel[tap.number * depth * COLUMNS..][..depth * COLUMNS];
        add_tap(&rows, weights.as_chunks().0, &mut sums);
    }
    store(&sums, out, target, width, start);
}

fn add_tap<T: Float>(rows: &[&[T]; ROWS], weights: &[[T; COLUMNS]], sums: &mut Sums<T>) {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 {
        let rows = rows.map(bytemuck::cast_slice::<T, f32>);
        let (weights, own) = (bytemuck::cast_slice(weights), bytemuck::cast_mut(sums));
        match level() {
            // SAFETY: this level is only ever detected on a processor that has these instructions.
            Level::Avx512 => return unsafe { super::wide::avx512::add_tap(&rows, weights, own) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { super::wide::avx2::add_tap(&rows, weights, own) },
            Level::Plain => {}
        }
    }
    add_tap_generic(rows, weights, sums);
}

vectorised! {
    fn add_tap_generic[T: Float](rows: &[&[T]; ROWS], weights: &[[T; COLUMNS]], sums: &mut Sums<T>) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let mut own = *sums;
            for (x, weights) in row.iter().zip(weights) {
                for (sum, weight) in own.iter_mut().zip(weights) {
                    *sum = multiply_add::<FUSED, T>(*x, *weight, *sum);
                }
            }
            *sums = own;
        }
    }
}

vectorised! {
    fn store[T: Float](sums: &Sums<T>, out: &mut [T], target: &Target, width: usize, start: Start<'_, T>) {
        for (sums, offset) in sums.iter().zip(target.offsets).take(target.pixels) {
            let out = &mut out[offset..offset + width];
            match start {
                Start::Zero => out.copy_from_slice(&sums[..width]),
                Start::Output => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum),
                Start::Bias(bias) => {
                    let pairs = out.iter_mut().zip(sums.iter().zip(bias));
                    pairs.for_each(|(out, (sum, bias))| *out = *sum + *bias);
                }
            }
        }
    }
}

/// `out[row * pitch + column] += sum over t of left[t, row] right[t, column]`, for `rows` up to [`ROWS`] and `width` up
/// to [`COLUMNS`]. A segment is the first `t` of the left, of the right, and a length.
pub(super) fn outer_products<T: Float>(
    left: &[T],
    right: &[T],
    segments: &[(usize, usize, usize)],
    out: &mut [T],
    (pitch, rows, width): (usize, usize, usize),
) {
    let (left, right) = (left.as_chunks().0, right.as_chunks().0);
    let mut sums = [[T::ZERO; COLUMNS]; ROWS];
    for &(first, second, length) in segments {
        add_outer(&left[first..first + length], &right[second..second + length], &mut sums);
    }
    for (row, sums) in sums.iter().enumerate().take(rows) {
        let out = &mut out[row * pitch..][..width];
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum);
    }
}

fn add_outer<T: Float>(left: &[[T; ROWS]], right: &[[T; COLUMNS]], sums: &mut Sums<T>) {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 {
        let (left, right) = (bytemuck::cast_slice(left), bytemuck::cast_slice(right));
        let own = bytemuck::cast_mut(sums);
        match level() {
            // SAFETY: this level is only ever detected on a processor that has these instructions.
            Level::Avx512 => return unsafe { super::wide::avx512::add_outer(left, right, own) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { super::wide::avx2::add_outer(left, right, own) },
            Level::Plain => {}
        }
    }
    add_outer_generic(left, right, sums);
}

vectorised! {
    fn add_outer_generic[T: Float](left: &[[T; ROWS]], right: &[[T; COLUMNS]], sums: &mut Sums<T>) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let mut own = *sums;
            for (left, right) in left.iter().zip(right) {
                for (sum, y) in own.iter_mut().zip(right) {
                    *sum = multiply_add::<FUSED, T>(left[row], *y, *sum);
                }
            }
            *sums = own;
        }
    }
}
