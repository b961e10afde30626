//! The weights' gradient: products of the output's gradient with the patches of the input.

use super::Geometry;
use super::kernel::outer_products;
use super::products::{Cut, Part, sum_products};
use super::tile::{COLUMNS, OUTSIDE, ROWS};
use crate::device::cpu::{Cpu, Float};

/// Output pixels whose patches are gathered at a time: a panel of them fits the L1 cache.
const PIXELS: usize = 128;

/// One group's operands: the elements, their pitch, and the group's first channel.
pub(super) struct Operands<'a, T> {
    pub x: (&'a [T], usize, usize),
    pub dy: (&'a [T], usize, usize),
}

/// Accumulates one group's gradient in `dw`, `[K, R S C]`.
pub(super) fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    operands: &Operands<T>,
    dw: &mut [T],
) {
    let (depth, features) = (geometry.depth(), geometry.features);
    let pixels = geometry.images * geometry.out_pixels();
    let sizes = [features, depth, pixels.div_ceil(PIXELS)];
    let add_blocks = |part: Part, tiles: &mut [_]| {
        let height = part.blocks.len();
        let mut left = vec![T::ZERO; height * ROWS * PIXELS];
        let mut right = vec![T::ZERO; PIXELS * COLUMNS];
        let mut segments = Vec::with_capacity(PIXELS);
        for block in part.units {
            let pixels = block_pixels(geometry, block);
            gather_features(operands, &pixels, features, &mut left);
            for (panel, tiles) in part.panels.clone().zip(tiles.chunks_mut(height)) {
                let columns = panel * COLUMNS..((panel + 1) * COLUMNS).min(depth);
                gather_patches(geometry, operands, &pixels, columns, &mut right, &mut segments);
                for (sums, left) in tiles.iter_mut().zip(left.chunks(ROWS * PIXELS)) {
                    outer_products(left, &right, &segments, sums);
                }
            }
        }
    };
    let work = pixels * depth * features;
    sum_products(cpu, sizes, Cut::Columns, work, add_blocks, |feature, first, sums| {
        let dw = &mut dw[feature * depth + first..];
        dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += *sum);
    });
}

/// An output pixel: its number in memory, its image and its place.
struct Pixel {
    number: usize,
    image: usize,
    place: [usize; 2],
}

/// One block of output pixels. For small images it goes position by position, so that pixels whose tap lies outside are
/// adjacent.
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
    features: usize,
    left: &mut [T],
) {
    let (dy, pitch, column) = operands.dy;
    for (index, pixel) in pixels.iter().enumerate() {
        let from = &dy[pixel.number * pitch + column..][..features];
        for (part, from) in from.chunks(ROWS).enumerate() {
            left[(part * PIXELS + index) * ROWS..][..from.len()].copy_from_slice(from);
        }
    }
}

/// Columns of the patches, `[used pixels, COLUMNS]`, without the pixels that read only padding; `segments` says which
/// pixels are used.
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

/// The channels of one tap within some columns of the patches.
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

/// Copies a run; the most common lengths without a call.
#[inline(always)]
fn copy_run<T: Float>(from: &[T], to: &mut [T]) {
    match to.len() {
        COLUMNS => to[..COLUMNS].copy_from_slice(&from[..COLUMNS]),
        3 => to[..3].copy_from_slice(&from[..3]),
        length => to.copy_from_slice(&from[..length]),
    }
}
