//! Sums over taps at every pixel of a grid: the forward pass and the input's gradient.

use super::kernel::convolve_tile;
use super::output::{Channels, Output};
use super::tile::{COLUMNS, OUTSIDE, ROWS, Start, Tap, Target};
use crate::device::cpu::{Cpu, Float};

/// Output pixels of a task, if an image has enough.
const PIXELS: usize = 256;

/// For grids up to this width, a tile is one position in many images, so that no tile reads padding.
const NARROW: usize = 8;

/// A grid of output pixels, and the source pixels that each reads. Pixel `(u, v)` of the grid is the output's pixel
/// `start + step (u, v)` and reads the source's pixels `source_step (u, v) + tap`.
pub(super) struct Walk {
    pub images: usize,
    pub out_size: [usize; 2],
    pub start: [usize; 2],
    pub step: usize,
    pub source_size: [usize; 2],
    pub source_step: usize,
    pub taps: Vec<[isize; 2]>,
}

/// A tile and its range in a task's list of taps.
struct Tile {
    target: Target,
    taps: std::ops::Range<usize>,
}

/// A pixel of the grid, and its place in the output.
#[derive(Clone, Copy)]
struct Pixel {
    image: usize,
    place: [usize; 2],
    offset: usize,
}

impl Walk {
    fn is_narrow(&self) -> bool {
        self.out_size[1].div_ceil(self.step) <= NARROW && self.images >= ROWS
    }

    /// Output rows of one task: a whole number of images if tiles span images.
    pub fn task_rows(&self) -> usize {
        let [height, width] = self.out_size;
        let images = PIXELS.div_ceil(height * width);
        if self.is_narrow() {
            return images.min(self.images.div_ceil(2)).next_multiple_of(ROWS) * height;
        }
        if self.step > 1 {
            return images * height;
        }
        PIXELS.div_ceil(width)
    }

    /// Computes the grid's pixels: `out = start + sum over taps and channels`. Panels have [`COLUMNS`] columns.
    pub fn run<T: Float>(
        &self,
        cpu: &Cpu,
        (source, channels): (&[T], Channels),
        panels: &[T],
        out: Output<T>,
        start: Start<T>,
    ) {
        let columns = out.columns;
        let rows = self.task_rows();
        let row_length = self.out_size[1] * columns.pitch;
        let panel = self.taps.len() * channels.width * COLUMNS;
        let work =
            out.elements.len() / columns.pitch * panel.max(1) * columns.width.div_ceil(COLUMNS);
        let zeros = vec![T::ZERO; channels.width];
        out.tasks(cpu, rows * row_length, work, |task, out| {
            let pixels = self.pixels(task * rows, out.len().div_ceil(row_length), columns);
            let (tiles, taps) = self.tiles(&pixels, channels);
            for (index, first) in (0..columns.width).step_by(COLUMNS).enumerate() {
                let weights = &panels[index * panel..(index + 1) * panel];
                let width = COLUMNS.min(columns.width - first);
                let start = match start {
                    Start::Bias(bias) => Start::Bias(&bias[first..first + width]),
                    other => other,
                };
                for tile in &tiles {
                    let (taps, out) = (&taps[tile.taps.clone()], &mut out[first..]);
                    let target = &tile.target;
                    convolve_tile(source, &zeros, taps, weights, out, target, width, start);
                }
            }
        });
    }

    /// The grid's pixels in some of the output's rows.
    fn pixels(&self, first_row: usize, rows: usize, columns: Channels) -> Vec<Pixel> {
        let [height, width] = self.out_size;
        let mut pixels = Vec::with_capacity(rows * width);
        let mut visit = |row: usize| {
            let (image, y) = ((first_row + row) / height, (first_row + row) % height);
            if y % self.step != self.start[0] {
                return;
            }
            for x in (self.start[1]..width).step_by(self.step) {
                let offset = (row * width + x) * columns.pitch + columns.column;
                pixels.push(Pixel { image, place: [y / self.step, x / self.step], offset });
            }
        };
        (0..rows).for_each(&mut visit);
        if self.is_narrow() {
            pixels.sort_by_key(|pixel| (pixel.place, pixel.image));
        }
        pixels
    }

    fn tiles(&self, pixels: &[Pixel], channels: Channels) -> (Vec<Tile>, Vec<Tap>) {
        let mut tiles = Vec::with_capacity(pixels.len().div_ceil(ROWS));
        let mut taps = Vec::with_capacity(tiles.capacity() * self.taps.len());
        for group in pixels.chunks(ROWS) {
            let first = taps.len();
            for (number, tap) in self.taps.iter().enumerate() {
                let mut offsets = [OUTSIDE; ROWS];
                for (offset, pixel) in offsets.iter_mut().zip(group) {
                    *offset = self.source_offset(pixel, *tap, channels);
                }
                if offsets.iter().any(|offset| *offset != OUTSIDE) {
                    taps.push(Tap { number, offsets });
                }
            }
            let mut target = Target { offsets: [0; ROWS], pixels: group.len() };
            for (offset, pixel) in target.offsets.iter_mut().zip(group) {
                *offset = pixel.offset;
            }
            tiles.push(Tile { target, taps: first..taps.len() });
        }
        (tiles, taps)
    }

    fn source_offset(&self, pixel: &Pixel, tap: [isize; 2], channels: Channels) -> usize {
        let [height, width] = self.source_size;
        let y = (pixel.place[0] * self.source_step).wrapping_add_signed(tap[0]);
        let x = (pixel.place[1] * self.source_step).wrapping_add_signed(tap[1]);
        if y >= height || x >= width {
            return OUTSIDE;
        }
        ((pixel.image * height + y) * width + x) * channels.pitch + channels.column
    }
}
