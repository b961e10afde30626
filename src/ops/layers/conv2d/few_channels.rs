//! Convolution of images with few channels: each row of a kernel reads contiguous pixels of a padded image row, so no
//! patch is copied.

use super::Geometry;
use super::kernel::convolve_tile;
use super::output::{Channels, Output};
use super::products::{Cut, Part, add_to_tiles, in_blocks, sum_products};
use super::tile::{COLUMNS, OUTSIDE, ROWS, Start, Tap, Target};
use super::weight_gradient::Operands;
use crate::device::cpu::{Cpu, Float};

/// Below this number of channels, single taps are too short runs.
const FEW_CHANNELS: usize = 16;

/// Output pixels of a task, if there are enough.
const PIXELS: usize = 256;

/// Whether this method is the faster one.
pub(super) fn fits(geometry: Geometry) -> bool {
    geometry.channels < FEW_CHANNELS && geometry.kernel_width > 1
}

/// The input, padding included, of some rows of an image's output.
struct PaddedRows<T> {
    elements: Vec<T>,
    pitch: usize,
}

impl<T: Float> PaddedRows<T> {
    /// Space for the input of `rows` rows of the output.
    fn new(geometry: Geometry, rows: usize) -> Self {
        let stride = geometry.config.stride;
        let pitch = ((geometry.out_width - 1) * stride + geometry.kernel_width) * geometry.channels;
        let height = (rows - 1) * stride + geometry.kernel_height;
        PaddedRows { elements: vec![T::ZERO; height * pitch], pitch }
    }

    /// Copies the input of an image's output rows from `first` on. The padding beside a row stays zero.
    fn fill(&mut self, geometry: Geometry, x: &[T], from: Channels, image: usize, first: usize) {
        let Geometry { height, width, channels, config, .. } = geometry;
        let left = config.padding * channels;
        let pixels = (self.pitch.saturating_sub(left) / channels).min(width);
        for (index, to) in self.elements.chunks_exact_mut(self.pitch).enumerate() {
            let row = (first * config.stride + index).wrapping_sub(config.padding);
            if row >= height {
                to.fill(T::ZERO);
                continue;
            }
            if pixels == 0 {
                continue;
            }
            let x = &x[(image * height + row) * width * from.pitch + from.column..];
            let to = &mut to[left..][..pixels * channels];
            if from.pitch == channels {
                to.copy_from_slice(&x[..to.len()]);
                continue;
            }
            for (to, x) in to.chunks_exact_mut(channels).zip(x.chunks(from.pitch)) {
                to.copy_from_slice(&x[..channels]);
            }
        }
    }
}

/// Calls `visit(image, its first row, rows)` for every image that some output rows belong to.
fn by_image(
    geometry: Geometry,
    rows: std::ops::Range<usize>,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let mut row = rows.start;
    while row < rows.end {
        let (image, first) = (row / geometry.out_height, row % geometry.out_height);
        let count = (geometry.out_height - first).min(rows.end - row);
        visit(image, first, count);
        row += count;
    }
}

/// Output rows of one task.
pub(super) fn task_rows(geometry: Geometry) -> usize {
    PIXELS.div_ceil(geometry.out_width)
}

/// One group's output.
pub(super) fn convolve<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    (x, from): (&[T], Channels),
    panels: &[T],
    out: Output<T>,
    start: Start<T>,
) {
    let columns = out.columns;
    let row_length = geometry.out_width * columns.pitch;
    let rows = task_rows(geometry);
    let work = geometry.images * geometry.out_pixels() * panels.len();
    let zeros = vec![T::ZERO; geometry.kernel_width * geometry.channels];
    out.tasks(cpu, rows * row_length, work, |task, out| {
        let mut padded = PaddedRows::new(geometry, rows.min(geometry.out_height));
        let first = task * rows;
        let count = out.len().div_ceil(row_length);
        by_image(geometry, first..first + count, |image, row, count| {
            padded.fill(geometry, x, from, image, row);
            let skipped = image * geometry.out_height + row - first;
            let out = &mut out[skipped * row_length..];
            convolve_rows(geometry, &padded, count, &zeros, panels, (out, columns), start);
        });
    });
}

fn convolve_rows<T: Float>(
    geometry: Geometry,
    padded: &PaddedRows<T>,
    rows: usize,
    zeros: &[T],
    panels: &[T],
    (out, columns): (&mut [T], Channels),
    start: Start<T>,
) {
    let depth = geometry.depth();
    for (panel, first) in panels.chunks_exact(depth * COLUMNS).zip((0..).step_by(COLUMNS)) {
        let width = COLUMNS.min(columns.width - first);
        let start = match start {
            Start::Bias(bias) => Start::Bias(&bias[first..first + width]),
            other => other,
        };
        let out = &mut out[columns.column + first..];
        let mut taps: Vec<_> = (0..geometry.kernel_height)
            .map(|number| Tap { number, offsets: [OUTSIDE; ROWS] })
            .collect();
        let (mut row, mut column) = (0, 0);
        for pixel in (0..rows * geometry.out_width).step_by(ROWS) {
            let pixels = ROWS.min(rows * geometry.out_width - pixel);
            let offsets = std::array::from_fn(|index| (pixel + index) * columns.pitch);
            for index in 0..ROWS {
                let offset = row * geometry.config.stride * padded.pitch
                    + column * geometry.config.stride * geometry.channels;
                for (tap, r) in taps.iter_mut().zip(0..) {
                    tap.offsets[index] =
                        if index < pixels { offset + r * padded.pitch } else { OUTSIDE };
                }
                column += 1;
                if column == geometry.out_width {
                    (row, column) = (row + 1, 0);
                }
            }
            let target = Target { offsets, pixels };
            convolve_tile(&padded.elements, zeros, &taps, panel, out, &target, width, start);
        }
    }
}

/// Accumulates one group's gradient in `dw`, `[K, R S C]`.
pub(super) fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    operands: &Operands<T>,
    dw: &mut [T],
) {
    let (depth, features) = (geometry.depth(), geometry.features);
    let (x, pitch, column) = operands.x;
    let from = Channels { pitch, column, width: geometry.channels };
    let (dy, dy_pitch, dy_column) = operands.dy;
    let run = geometry.kernel_width * geometry.channels;
    let step = geometry.config.stride * geometry.channels;
    let rows = geometry.images * geometry.out_height;
    let work = rows * geometry.out_width * depth * features;
    let line = PaddedRows::<T>::new(geometry, 1).pitch;
    let blocks = in_blocks(depth, |weight| weight / run * line + weight % run);
    let add_rows = |part: Part, tiles: &mut [_]| {
        let (mut padded, mut packed) = (PaddedRows::new(geometry, 1), Vec::new());
        for row in part.units {
            let (image, p) = (row / geometry.out_height, row % geometry.out_height);
            padded.fill(geometry, x, from, image, p);
            let left = (&padded.elements[..], step, &blocks[part.blocks.clone()]);
            let dy = &dy[row * geometry.out_width * dy_pitch + dy_column..];
            add_to_tiles(left, (dy, dy_pitch, features), geometry.out_width, tiles, &mut packed);
        }
    };
    let sizes = [depth, features, rows];
    sum_products(cpu, sizes, Cut::Rows, work, add_rows, |weight, first, sums| {
        for (feature, sum) in (first..).zip(sums) {
            dw[feature * depth + weight] += *sum;
        }
    });
}
