//! The two register-blocked loops of convolution. Sums run over taps, channels and pixels in order, so that blocking
//! does not change their bits.

use super::tile::{COLUMNS, OUTSIDE, ROWS, Start, Sums, Tap, Target};
#[cfg(target_arch = "x86_64")]
use crate::device::DType;
use crate::device::cpu::Float;
use crate::device::cpu::vector::{LANES, multiply_add, vectorised};
#[cfg(target_arch = "x86_64")]
use crate::device::cpu::vector::{Level, level};

/// `out[pixel, column] = start + sum over taps and c of source[pixel's tap + c] panel[tap, c, column]` for a tile of
/// pixels and up to [`COLUMNS`] columns. `zeros` are the channels of a padding pixel.
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
    let mut sums = [[T::ZERO; COLUMNS]; ROWS];
    add_taps(source, zeros, taps, panel.as_chunks().0, width, &mut sums);
    store(&sums, out, target, width, start);
}

fn add_taps<T: Float>(
    source: &[T],
    zeros: &[T],
    taps: &[Tap],
    panel: &[[T; COLUMNS]],
    width: usize,
    sums: &mut Sums<T>,
) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = width;
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 {
        use super::wide::{avx2, avx512};
        let (source, zeros) = (bytemuck::cast_slice(source), bytemuck::cast_slice(zeros));
        let (panel, sums) = (bytemuck::cast_slice(panel), bytemuck::cast_mut(sums));
        let is_half = width <= COLUMNS / 2;
        // SAFETY: a level is only ever detected on a processor that has its instructions.
        unsafe {
            match (level(), is_half) {
                (Level::Avx512, false) => {
                    return avx512::add_taps::<{ avx512::VECTORS }>(
                        source, zeros, taps, panel, sums,
                    );
                }
                (Level::Avx512, true) => {
                    const HALF: usize = avx512::VECTORS / 2;
                    return avx512::add_taps::<HALF>(source, zeros, taps, panel, sums);
                }
                (Level::Avx2, false) => {
                    return avx2::add_taps::<{ avx2::VECTORS }>(source, zeros, taps, panel, sums);
                }
                (Level::Avx2, true) => {
                    const HALF: usize = avx2::VECTORS / 2;
                    return avx2::add_taps::<HALF>(source, zeros, taps, panel, sums);
                }
                (Level::Plain, _) => {}
            }
        }
    }
    let depth = zeros.len();
    for tap in taps {
        let mut rows = [zeros; ROWS];
        for (row, offset) in rows.iter_mut().zip(tap.offsets) {
            if offset != OUTSIDE {
                *row = &source[offset..offset + depth];
            }
        }
        add_tap_generic(&rows, &panel[tap.number * depth..][..depth], sums);
    }
}

vectorised! {
    fn add_tap_generic[T: Float](rows: &[&[T]; ROWS], weights: &[[T; COLUMNS]], sums: &mut Sums<T>) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let mut local = *sums;
            for (x, weights) in row.iter().zip(weights) {
                for (sum, weight) in local.iter_mut().zip(weights) {
                    *sum = multiply_add::<FUSED, T>(*x, *weight, *sum);
                }
            }
            *sums = local;
        }
    }
}

vectorised! {
    fn store[T: Float](sums: &Sums<T>, out: &mut [T], target: &Target, width: usize, start: Start<'_, T>) {
        for (sums, offset) in sums.iter().zip(target.offsets).take(target.pixels) {
            let (wholes, rest) = out[offset..offset + width].as_chunks_mut::<LANES>();
            let whole = wholes.len() * LANES;
            for (index, out) in wholes.iter_mut().enumerate() {
                let first = index * LANES;
                for lane in 0..LANES {
                    out[lane] = match start {
                        Start::Zero => sums[first + lane],
                        Start::Output => out[lane] + sums[first + lane],
                        Start::Bias(bias) => sums[first + lane] + bias[first + lane],
                    };
                }
            }
            for (index, out) in rest.iter_mut().enumerate() {
                *out = match start {
                    Start::Zero => sums[whole + index],
                    Start::Output => *out + sums[whole + index],
                    Start::Bias(bias) => sums[whole + index] + bias[whole + index],
                };
            }
        }
    }
}

/// `sums[row, column] += sum over t of left[t, row] right[t, column]`. A segment is the first `t` of the left, that of
/// the right, and a length.
pub(super) fn outer_products<T: Float>(
    left: &[T],
    right: &[T],
    segments: &[(usize, usize, usize)],
    sums: &mut Sums<T>,
) {
    let (left, right) = (left.as_chunks().0, right.as_chunks().0);
    for &(first, second, length) in segments {
        add_outer(&left[first..first + length], &right[second..second + length], sums);
    }
}

fn add_outer<T: Float>(left: &[[T; ROWS]], right: &[[T; COLUMNS]], sums: &mut Sums<T>) {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 {
        let (left, right) = (bytemuck::cast_slice(left), bytemuck::cast_slice(right));
        let sums = bytemuck::cast_mut(sums);
        match level() {
            // SAFETY: this level is only ever detected on a processor that has these instructions.
            Level::Avx512 => return unsafe { super::wide::avx512::add_outer(left, right, sums) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { super::wide::avx2::add_outer(left, right, sums) },
            Level::Plain => {}
        }
    }
    add_outer_generic(left, right, sums);
}

vectorised! {
    fn add_outer_generic[T: Float](left: &[[T; ROWS]], right: &[[T; COLUMNS]], sums: &mut Sums<T>) {
        for (row, sums) in sums.iter_mut().enumerate() {
            let mut local = *sums;
            for (left, right) in left.iter().zip(right) {
                for (sum, y) in local.iter_mut().zip(right) {
                    *sum = multiply_add::<FUSED, T>(left[row], *y, *sum);
                }
            }
            *sums = local;
        }
    }
}

/// The left factors of [`add_strided`]: those of row `i` begin at `offsets[i]`, `step` apart.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, T> {
    pub elements: &'a [T],
    pub offsets: &'a [usize; ROWS],
    pub step: usize,
}

/// `sums[row, column] += sum over t of left[row's offset + t step] right[t pitch + column]` for `length` products and
/// the first `width` columns, half or all of [`COLUMNS`]. The other columns are undefined.
pub(super) fn add_strided<T: Float>(
    left: Left<T>,
    (right, pitch): (&[T], usize),
    (length, width): (usize, usize),
    sums: &mut Sums<T>,
) {
    #[cfg(target_arch = "x86_64")]
    if T::DTYPE == DType::F32 {
        use super::wide::{avx2, avx512};
        let left = (bytemuck::cast_slice(left.elements), left.offsets, left.step);
        let (right, sums) = ((bytemuck::cast_slice(right), pitch), bytemuck::cast_mut(sums));
        let is_half = width <= COLUMNS / 2;
        // SAFETY: a level is only ever detected on a processor that has its instructions.
        unsafe {
            match (level(), is_half) {
                (Level::Avx512, false) => {
                    return avx512::add_strided::<{ avx512::VECTORS }>(left, right, length, sums);
                }
                (Level::Avx512, true) => {
                    const HALF: usize = avx512::VECTORS / 2;
                    return avx512::add_strided::<HALF>(left, right, length, sums);
                }
                (Level::Avx2, false) => {
                    return avx2::add_strided::<{ avx2::VECTORS }>(left, right, length, sums);
                }
                (Level::Avx2, true) => {
                    const HALF: usize = avx2::VECTORS / 2;
                    return avx2::add_strided::<HALF>(left, right, length, sums);
                }
                (Level::Plain, _) => {}
            }
        }
    }
    add_strided_generic(left, right, pitch, length, width, sums);
}

vectorised! {
    fn add_strided_generic[T: Float](
        left: Left<T>, right: &[T], pitch: usize, length: usize, width: usize, sums: &mut Sums<T>,
    ) {
        for (sums, offset) in sums.iter_mut().zip(left.offsets) {
            let mut local = *sums;
            for t in 0..length {
                let (x, right) = (left.elements[offset + t * left.step], &right[t * pitch..][..width]);
                for (sum, y) in local.iter_mut().zip(right) {
                    *sum = multiply_add::<FUSED, T>(x, *y, *sum);
                }
            }
            *sums = local;
        }
    }
}
