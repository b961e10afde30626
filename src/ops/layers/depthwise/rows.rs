//! Sums over taps along a row of pixels, several pixels and one vector of channels at a time.

use std::ops::Range;

use crate::device::cpu::Float;
use crate::device::cpu::vector::{LANES, multiply_add, vectorised};

/// The elements of one axis that a grid of pixels reads: pixel `i` reads `start + i step` by the tap `(number, start)`.
pub(super) struct Axis {
    taps: Vec<(usize, isize)>,
    step: usize,
    /// The length of the axis that is read.
    extent: usize,
    /// Pixels of the grid.
    pub pixels: usize,
}

impl Axis {
    /// The axis of an output with `pixels` pixels that reads an input of `extent`.
    pub fn forward(
        extent: usize,
        pixels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        let taps = (0..kernel).map(|tap| (tap, tap as isize - padding as isize)).collect();
        Axis { taps, step: stride, extent, pixels }
    }

    /// The axis of every `stride`-th pixel from `first` on of an input of `extent`, whose gradient reads an output of
    /// `pixels`.
    pub fn backward(
        extent: usize,
        pixels: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        first: usize,
    ) -> Self {
        let distance = |tap: usize| (first + padding) as isize - tap as isize;
        let taps = (0..kernel)
            .filter(|tap| distance(*tap) % stride as isize == 0)
            .map(|tap| (tap, distance(tap) / stride as isize))
            .collect();
        Axis {
            taps,
            step: 1,
            extent: pixels,
            pixels: extent.saturating_sub(first).div_ceil(stride),
        }
    }

    /// The elements inside the axis that pixel `i` reads, as `(tap's number, element)`.
    fn reads(&self, i: usize) -> impl Iterator<Item = (usize, usize)> {
        self.taps.iter().filter_map(move |(number, start)| {
            let element = (i * self.step).wrapping_add_signed(*start);
            (element < self.extent).then_some((*number, element))
        })
    }

    /// The pixels whose taps all lie inside of the axis.
    fn interior(&self) -> Range<usize> {
        let is_inside = |i: usize| self.reads(i).count() == self.taps.len();
        let first = (0..self.pixels).find(|i| is_inside(*i)).unwrap_or(self.pixels);
        let last = (first..self.pixels).rfind(|i| is_inside(*i)).map_or(first, |last| last + 1);
        first..last
    }
}

/// A grid of pixels, and the pixels of an image that it reads.
pub(super) struct Grid {
    pub rows: Axis,
    pub columns: Axis,
    interior: Range<usize>,
    kernel_width: usize,
}

/// The place of a tap's first channel in the source, for the first pixel of a run, and in the weights.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub source: usize,
    pub weight: usize,
}

impl Grid {
    pub fn new(rows: Axis, columns: Axis, kernel_width: usize) -> Self {
        let interior = columns.interior();
        Grid { rows, columns, interior, kernel_width }
    }

    /// Elements between the taps of neighbouring pixels, in a source of this pitch.
    pub fn step(&self, pitch: usize) -> usize {
        self.columns.step * pitch
    }

    /// Calls `visit(first pixel, pixels, taps)` for all runs of a row's pixels with the same taps.
    pub fn runs(
        &self,
        row: usize,
        (pitch, channels): (usize, usize),
        mut visit: impl FnMut(usize, usize, &[Tap]),
    ) {
        let (mut first, mut taps) = (0, Vec::new());
        while first < self.columns.pixels {
            let last = if first == self.interior.start && !self.interior.is_empty() {
                self.interior.end
            } else {
                first + 1
            };
            taps.clear();
            for (r, y) in self.rows.reads(row) {
                for (s, x) in self.columns.reads(first) {
                    let source = (y * self.columns.extent + x) * pitch;
                    taps.push(Tap { source, weight: (r * self.kernel_width + s) * channels });
                }
            }
            visit(first, last - first, &taps);
            first = last;
        }
    }
}

/// The initial value of a run's sums.
#[derive(Clone, Copy)]
pub(super) enum Start<'a, T> {
    Zero,
    Bias(&'a [T]),
    Output,
}

/// A run of pixels and the distances between them.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub pixels: usize,
    pub channels: usize,
    pub source_step: usize,
    pub out_step: usize,
}

vectorised! {
    /// `out[i out_step + c] = start[c] + sum over taps of source[tap + i source_step + c] weights[tap + c]`.
    pub(super) fn convolve[T: Float](
        source: &[T], weights: &[T], taps: &[Tap], out: &mut [T], run: Run, start: Start<'_, T>,
    ) {
        let mut first = 0;
        while first + 4 <= run.pixels {
            convolve4::<FUSED, T>(source, weights, taps, out, run, first, start);
            first += 4;
        }
        while first < run.pixels {
            convolve1::<FUSED, T>(source, weights, taps, out, run, first, start);
            first += 1;
        }
    }
}

/// Defines [`convolve`] for a fixed number of pixels. Each pixel's sums are a separate array; otherwise the compiler
/// does not keep them in registers.
macro_rules! convolve {
    ($name:ident, $($pixel:literal $sums:ident),*) => {
        #[inline(always)]
        fn $name<const FUSED: bool, T: Float>(
            source: &[T],
            weights: &[T],
            taps: &[Tap],
            out: &mut [T],
            run: Run,
            first: usize,
            start: Start<'_, T>,
        ) {
            let count = [$($pixel),*].len();
            let (skipped, reach) = (first * run.source_step, (count - 1) * run.source_step + run.channels);
            for tap in taps {
                assert!(tap.source + skipped + reach <= source.len());
                assert!(tap.weight + run.channels <= weights.len());
            }
            let whole = run.channels / LANES * LANES;
            let out = &mut out[first * run.out_step..];
            for c in (0..whole).step_by(LANES) {
                $(
                    let mut $sums: [T; LANES] = match start {
                        Start::Zero => [T::ZERO; LANES],
                        Start::Bias(bias) => chunk(bias, c),
                        Start::Output => chunk(out, $pixel * run.out_step + c),
                    };
                )*
                for tap in taps {
                    // SAFETY: `c + LANES` is at most `channels`, which the assertions above cover.
                    let weight = unsafe { chunk_unchecked(weights, tap.weight + c) };
                    let source_start = tap.source + skipped + c;
                    $(
                        // SAFETY: as above, up to the last pixel.
                        let x = unsafe { chunk_unchecked(source, source_start + $pixel * run.source_step) };
                        for lane in 0..LANES {
                            $sums[lane] = multiply_add::<FUSED, T>(x[lane], weight[lane], $sums[lane]);
                        }
                    )*
                }
                $(out[$pixel * run.out_step + c..][..LANES].copy_from_slice(&$sums);)*
            }
            for pixel in 0..count {
                for c in whole..run.channels {
                    let out = &mut out[pixel * run.out_step + c];
                    let mut sum = match start {
                        Start::Zero => T::ZERO,
                        Start::Bias(bias) => bias[c],
                        Start::Output => *out,
                    };
                    for tap in taps {
                        let x = source[tap.source + skipped + pixel * run.source_step + c];
                        sum = multiply_add::<FUSED, T>(x, weights[tap.weight + c], sum);
                    }
                    *out = sum;
                }
            }
        }
    };
}

convolve!(convolve4, 0 s0, 1 s1, 2 s2, 3 s3);
convolve!(convolve1, 0 s0);

#[inline(always)]
fn chunk<T: Float>(from: &[T], first: usize) -> [T; LANES] {
    let mut chunk = [T::ZERO; LANES];
    chunk.copy_from_slice(&from[first..first + LANES]);
    chunk
}

/// # Safety
/// `from` must have [`LANES`] elements from `first` on.
#[inline(always)]
unsafe fn chunk_unchecked<T: Float>(from: &[T], first: usize) -> &[T; LANES] {
    debug_assert!(first + LANES <= from.len());
    // SAFETY: the caller's promise; an array is aligned as its elements are.
    unsafe { &*from.as_ptr().add(first).cast() }
}

vectorised! {
    /// `sums[tap + c] += sum over i of dy[i out_step + c] source[tap + i source_step + c]`.
    pub(super) fn correlate[T: Float](source: &[T], dy: &[T], taps: &[Tap], sums: &mut [T], run: Run) {
        let groups = taps.chunks_exact(3);
        for tap in groups.remainder() {
            correlate1::<FUSED, T>(source, dy, &[*tap], sums, run);
        }
        for taps in groups {
            correlate3::<FUSED, T>(source, dy, &[taps[0], taps[1], taps[2]], sums, run);
        }
    }
}

/// Defines [`correlate`] for a fixed number of taps.
macro_rules! correlate {
    ($name:ident, $count:literal, $($tap:literal $sums:ident),*) => {
        #[inline(always)]
        fn $name<const FUSED: bool, T: Float>(
            source: &[T],
            dy: &[T],
            taps: &[Tap; $count],
            sums: &mut [T],
            run: Run,
        ) {
            let last = run.pixels - 1;
            for tap in taps {
                assert!(tap.source + last * run.source_step + run.channels <= source.len());
            }
            assert!(last * run.out_step + run.channels <= dy.len());
            let whole = run.channels / LANES * LANES;
            for c in (0..whole).step_by(LANES) {
                $(let mut $sums = chunk(sums, taps[$tap].weight + c);)*
                for i in 0..run.pixels {
                    // SAFETY: `c + LANES` is at most `channels`, which the assertions above cover.
                    let dy = unsafe { chunk_unchecked(dy, i * run.out_step + c) };
                    $(
                        let first = taps[$tap].source + i * run.source_step + c;
                        // SAFETY: as above.
                        let x = unsafe { chunk_unchecked(source, first) };
                        for lane in 0..LANES {
                            $sums[lane] = multiply_add::<FUSED, T>(x[lane], dy[lane], $sums[lane]);
                        }
                    )*
                }
                $(sums[taps[$tap].weight + c..][..LANES].copy_from_slice(&$sums);)*
            }
            for tap in taps {
                for i in 0..run.pixels {
                    for c in whole..run.channels {
                        let x = source[tap.source + i * run.source_step + c];
                        let sum = &mut sums[tap.weight + c];
                        *sum = multiply_add::<FUSED, T>(x, dy[i * run.out_step + c], *sum);
                    }
                }
            }
        }
    };
}

correlate!(correlate3, 3, 0 s0, 1 s1, 2 s2);
correlate!(correlate1, 1, 0 s0);
