//! The gradient of the weights: products of the output's gradient with the patches that made it.

use super::Geometry;
use super::kernel::{COLUMNS, OUTSIDE, ROWS, outer_products};
use crate::device::cpu::{Cpu, Float};

/// Output pixels whose patches are gathered at a time: a panel of them fits the first-level cache.
const PIXELS: usize = 128;

/// Features a task computes at most.
const FEATURES: usize = 64;

/// The most elements of partial sums, and the most partial sums.
pub(super) const PARTIAL_ELEMENTS: usize = 1 << 18;
pub(super) const PARTIALS: usize = 16;

/// One group's operands: the elements, their pitch, and the group's first channel.
pub(super) struct Operands<'a, T> {
    pub x: (&'a [T], usize, usize),
    pub dy: (&'a [T], usize, usize),
}

/// Adds one group's gradient to `dw`, `[K, R S C]`.
pub(super) fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    operands: &Operands<T>,
    dw: &mut [T],
) {
    let (depth, features) = (geometry.depth(), geometry.features);
    let pixels = geometry.images * geometry.out_pixels();
    let work = pixels * depth * features;
    let blocks = pixels.div_ceil(PIXELS);
    let partials = (PARTIAL_ELEMENTS / (features * depth)).clamp(1, PARTIALS).min(blocks);
    if partials == 1 {
        // Enough tasks for many cores, each of whole rows of sums.
        let rows = features.div_ceil(8).next_multiple_of(ROWS).min(FEATURES);
        return cpu.pieces(dw, rows * depth, work, |task, dw| {
            add_products(geometry, operands, task * rows, 0..blocks, dw);
        });
    }
    let length = blocks.div_ceil(partials);
    let mut sums = vec![T::ZERO; blocks.div_ceil(length) * features * depth];
    cpu.pieces(&mut sums, features * depth, work, |task, sums| {
        for (index, sums) in sums.chunks_mut(FEATURES * depth).enumerate() {
            let range = task * length..((task + 1) * length).min(blocks);
            add_products(geometry, operands, index * FEATURES, range, sums);
        }
    });
    crate::ops::reduce::add_column_sums(cpu, &sums, features * depth, dw);
}

/// Adds the products over some blocks of pixels for the features from `first` on that `dw` has room for.
fn add_products<T: Float>(
    geometry: Geometry,
    operands: &Operands<T>,
    first: usize,
    blocks: std::ops::Range<usize>,
    dw: &mut [T],
) {
    let depth = geometry.depth();
    let features = dw.len() / depth;
    let mut left = vec![T::ZERO; features.next_multiple_of(ROWS) * PIXELS];
    let mut right = vec![T::ZERO; PIXELS * COLUMNS];
    let mut segments = Vec::with_capacity(PIXELS);
    for block in blocks {
        let pixels = block_pixels(geometry, block);
        gather_features(operands, &pixels, first, features, &mut left);
        for start in (0..depth).step_by(COLUMNS) {
            let width = COLUMNS.min(depth - start);
            gather_patches(
                geometry,
                operands,
                &pixels,
                start..start + width,
                &mut right,
                &mut segments,
            );
            for (index, dw) in dw.chunks_mut(ROWS * depth).enumerate() {
                let left = &left[index * ROWS * PIXELS..][..ROWS * PIXELS];
                let rows = dw.len() / depth;
                outer_products(left, &right, &segments, &mut dw[start..], (depth, rows, width));
            }
        }
    }
}

/// An output pixel: its number in memory, its image and its place.
struct Pixel {
    number: usize,
    image: usize,
    place: [usize; 2],
}

/// One block of output pixels. Small images go position by position, so that pixels whose tap lies outside are together.
fn block_pixels(geometry: Geometry, block: usize) -> Vec<Pixel> {
    let (images, width, all) = (geometry.images, geometry.out_width, geometry.out_pixels());
    let narrow = width <= 8;
    (block * PIXELS..((block + 1) * PIXELS).min(images * all))
        .map(|index| {
            let (image, pixel) =
                if narrow { (index % images, index / images) } else { (index / all, index % all) };
            Pixel { number: image * all + pixel, image, place: [pixel / width, pixel % width] }
        })
        .collect()
}

/// The output's gradient as `[features / ROWS, PIXELS, ROWS]`.
fn gather_features<T: Float>(
    operands: &Operands<T>,
    pixels: &[Pixel],
    first: usize,
    features: usize,
    left: &mut [T],
) {
    let (dy, pitch, column) = operands.dy;
    for (index, pixel) in pixels.iter().enumerate() {
        let from = &dy[pixel.number * pitch + column + first..][..features];
        for (part, from) in from.chunks(ROWS).enumerate() {
            left[(part * PIXELS + index) * ROWS..][..from.len()].copy_from_slice(from);
        }
    }
}

/// Columns of the patches, `[live pixels, COLUMNS]`, without the pixels that see nothing but padding; `segments` says
/// which pixels are left.
fn gather_patches<T: Float>(
    geometry: Geometry,
    operands: &Operands<T>,
    pixels: &[Pixel],
    columns: std::ops::Range<usize>,
    right: &mut [T],
    segments: &mut Vec<(usize, usize, usize)>,
) {
    let (x, pitch, column) = operands.x;
    let runs = runs(geometry, columns);
    segments.clear();
    let mut count = 0;
    for (index, pixel) in pixels.iter().enumerate() {
        let row = &mut right[count * COLUMNS..(count + 1) * COLUMNS];
        let mut is_live = false;
        for run in &runs {
            let to = &mut row[run.at..run.at + run.length];
            match geometry.input_pixel(pixel.image, pixel.place, run.tap) {
                OUTSIDE => to.fill(T::ZERO),
                number => {
                    copy_run(&x[number * pitch + column + run.channel..], to);
                    is_live = true;
                }
            }
        }
        if !is_live {
            continue;
        }
        match segments.last_mut() {
            Some((first, _, length)) if *first + *length == index => *length += 1,
            _ => segments.push((index, count, 1)),
        }
        count += 1;
    }
}

/// Channels of one tap among some columns of the patches.
struct Run {
    tap: [usize; 2],
    channel: usize,
    at: usize,
    length: usize,
}

fn runs(geometry: Geometry, columns: std::ops::Range<usize>) -> Vec<Run> {
    let (channels, width) = (geometry.channels, geometry.kernel_width);
    let mut runs = Vec::new();
    let mut start = columns.start;
    while start < columns.end {
        let (tap, channel) = (start / channels, start % channels);
        let length = (channels - channel).min(columns.end - start);
        let tap = [tap / width, tap % width];
        runs.push(Run { tap, channel, at: start - columns.start, length });
        start += length;
    }
    runs
}

/// Copies a run; the commonest lengths without a call.
#[inline(always)]
fn copy_run<T: Float>(from: &[T], to: &mut [T]) {
    match to.len() {
        COLUMNS => to[..COLUMNS].copy_from_slice(&from[..COLUMNS]),
        3 => to[..3].copy_from_slice(&from[..3]),
        length => to.copy_from_slice(&from[..length]),
    }
}
