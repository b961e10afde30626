//! Convolution with kernels of one pixel: a matrix product with one pixel a row.

use super::Geometry;
use super::kernel::convolve_tile;
use super::output::{Channels, Output};
use super::products::{Cut, Part, add_to_tiles, in_blocks, sum_products};
use super::tile::{COLUMNS, OUTSIDE, ROWS, Start, Tap, Target};
use super::weight_gradient::Operands;
use crate::device::cpu::{Cpu, Float};

/// Pixels of a task.
pub(super) const PIXELS: usize = 256;

/// Pixels that are multiplied by all panels of weights before the next pixels: they stay in the nearest caches.
const NEAR: usize = 64;

/// Up to this number, all weights stay in the nearest cache, so that pixels can be written in order.
const NEAR_WEIGHTS: usize = 4096;

/// Whether an output pixel reads only the input pixel of the same number.
pub(super) fn fits(geometry: Geometry) -> bool {
    let config = geometry.config;
    geometry.kernel_height * geometry.kernel_width == 1 && config.stride == 1 && config.padding == 0
}

/// `out[pixel] = start + source[pixel] weights`, for all pixels that `out` has.
pub(super) fn multiply<T: Float>(
    cpu: &Cpu,
    (source, channels): (&[T], Channels),
    panels: &[T],
    out: Output<T>,
    start: Start<T>,
) {
    let depth = channels.width;
    let zeros = vec![T::ZERO; depth];
    let columns = out.columns;
    let work = out.elements.len() / columns.pitch * panels.len();
    let is_writing = columns.width > 2 * depth;
    let near = if panels.len() <= NEAR_WEIGHTS { ROWS } else { NEAR };
    out.tasks(cpu, PIXELS * columns.pitch, work, |task, out| {
        let (mut rest, mut first_pixel) = (out, task * PIXELS);
        while !rest.is_empty() {
            let length = (near * columns.pitch).min(rest.len());
            let (out, next) = rest.split_at_mut(length);
            if is_writing {
                fetch(&next[..length.min(next.len())]);
            }
            rest = next;
            let source = &source[first_pixel * channels.pitch + channels.column..];
            first_pixel += near;
            let pixels = out.len().div_ceil(columns.pitch);
            for (panel, first) in panels.chunks_exact(depth * COLUMNS).zip((0..).step_by(COLUMNS)) {
                let width = COLUMNS.min(columns.width - first);
                let start = match start {
                    Start::Bias(bias) => Start::Bias(&bias[first..first + width]),
                    other => other,
                };
                let out = &mut out[columns.column + first..];
                for pixel in (0..pixels).step_by(ROWS) {
                    let count = ROWS.min(pixels - pixel);
                    let mut tap = Tap { number: 0, offsets: [OUTSIDE; ROWS] };
                    let mut target = Target { offsets: [0; ROWS], pixels: count };
                    for index in 0..count {
                        tap.offsets[index] = (pixel + index) * channels.pitch;
                        target.offsets[index] = (pixel + index) * columns.pitch;
                    }
                    convolve_tile(source, &zeros, &[tap], panel, out, &target, width, start);
                }
            }
        }
    });
}

/// Prefetches memory that will soon be written. It pays if more is written than read.
#[inline(always)]
fn fetch<T>(_memory: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in _memory.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction, and the address is that of an element.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Accumulates one group's gradient in `dw`, `[K, C]`.
pub(super) fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    operands: &Operands<T>,
    dw: &mut [T],
) {
    let (channels, features) = (geometry.channels, geometry.features);
    let pixels = geometry.images * geometry.out_pixels();
    // The more columns, the smaller the share of padding.
    if channels >= features {
        let sizes = [features, channels, pixels];
        sum_over_pixels(cpu, sizes, operands.dy, operands.x, |feature, first, sums| {
            let dw = &mut dw[feature * channels + first..];
            dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += *sum);
        });
    } else {
        let sizes = [channels, features, pixels];
        sum_over_pixels(cpu, sizes, operands.x, operands.dy, |channel, first, sums| {
            for (feature, sum) in (first..).zip(sums) {
                dw[feature * channels + channel] += *sum;
            }
        });
    }
}

fn sum_over_pixels<T: Float>(
    cpu: &Cpu,
    [rows, columns, pixels]: [usize; 3],
    (left, left_pitch, left_column): (&[T], usize, usize),
    (right, right_pitch, right_column): (&[T], usize, usize),
    add: impl FnMut(usize, usize, &[T]),
) {
    let blocks = in_blocks(rows, |row| row);
    let add_pixels = |part: Part, tiles: &mut [_]| {
        let mut packed = Vec::new();
        for unit in part.units {
            let first = unit * NEAR;
            let left = &left[first * left_pitch + left_column..];
            let right = &right[first * right_pitch + right_column..];
            let length = NEAR.min(pixels - first);
            let left = (left, left_pitch, &blocks[part.blocks.clone()]);
            add_to_tiles(left, (right, right_pitch, columns), length, tiles, &mut packed);
        }
    };
    let sizes = [rows, columns, pixels.div_ceil(NEAR)];
    sum_products(cpu, sizes, Cut::Rows, pixels * rows * columns, add_pixels, add);
}
