//! Products of two sets of channels, summed over pixels in register tiles: weight gradients that need no patches.

use std::ops::Range;

use super::kernel::{Left, add_strided};
use super::tile::{COLUMNS, ROWS, Sums};
use crate::device::cpu::{Cpu, Float};
use crate::ops::tensor::reduce::add_column_sums;

/// The most elements of partial sums, and the most partial sums.
const PARTIAL_ELEMENTS: usize = 1 << 18;
const PARTIALS: usize = 16;

/// The fewest tasks, if there are enough tiles.
const TASKS: usize = 8;

/// The axis that is cut if the units alone are too few tasks.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Cut {
    Rows,
    Columns,
}

/// Part of the products: units of work, blocks of rows, and panels of columns.
pub(super) struct Part {
    pub units: Range<usize>,
    pub blocks: Range<usize>,
    pub panels: Range<usize>,
}

/// Sums products over all units of work: `add_part(part, tiles)` adds a part's products to its tiles, `[panels,
/// blocks]`; `add(row, first column, sums)` then receives every sum.
pub(super) fn sum_products<T: Float>(
    cpu: &Cpu,
    [rows, columns, units]: [usize; 3],
    cut: Cut,
    work: usize,
    add_part: impl Fn(Part, &mut [Sums<T>]) + Sync,
    mut add: impl FnMut(usize, usize, &[T]),
) {
    if rows * columns * units == 0 {
        return;
    }
    let (blocks, panels) = (rows.div_ceil(ROWS), columns.div_ceil(COLUMNS));
    let partials = (PARTIAL_ELEMENTS / (rows * columns)).clamp(1, PARTIALS).min(units);
    let length = units.div_ceil(partials);
    let partials = units.div_ceil(length);
    let tasks = TASKS.div_ceil(partials);
    let height = if cut == Cut::Rows { blocks.div_ceil(tasks) } else { blocks };
    let span = if cut == Cut::Columns { panels.div_ceil(tasks) } else { panels };
    let cuts = blocks.div_ceil(height) * panels.div_ceil(span);
    let part = |task: usize| {
        let (unit, cut) = (task / cuts * length, task % cuts);
        // At most one of blocks and panels is cut.
        let block = if height < blocks { cut * height } else { 0 };
        let panel = if span < panels { cut * span } else { 0 };
        Part {
            units: unit..(unit + length).min(units),
            blocks: block..(block + height).min(blocks),
            panels: panel..(panel + span).min(panels),
        }
    };
    let mut tiles = vec![[[T::ZERO; COLUMNS]; ROWS]; partials * cuts * span * height];
    cpu.pieces(&mut tiles, span * height, work, |task, tiles| {
        let part = part(task);
        let count = part.blocks.len() * part.panels.len();
        add_part(part, &mut tiles[..count]);
    });
    let (sums, others) = tiles.split_at_mut(cuts * span * height);
    let sums = sums.as_flattened_mut().as_flattened_mut();
    if !others.is_empty() {
        let others = others.as_flattened().as_flattened();
        add_column_sums(cpu, others, sums.len(), sums);
    }
    for (task, tiles) in tiles[..cuts * span * height].chunks(span * height).enumerate() {
        let Part { blocks, panels, .. } = part(task);
        let places = panels.flat_map(|panel| blocks.clone().map(move |block| (panel, block)));
        for ((panel, block), tile) in places.zip(tiles) {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(columns - first);
            for (row, sums) in (block * ROWS..rows).zip(tile) {
                add(row, first, &sums[..width]);
            }
        }
    }
}

/// The offsets of all rows, in blocks; rows past the end repeat the last offset.
pub(super) fn in_blocks(rows: usize, offset: impl Fn(usize) -> usize) -> Vec<[usize; ROWS]> {
    (0..rows.div_ceil(ROWS))
        .map(|block| std::array::from_fn(|row| offset((block * ROWS + row).min(rows - 1))))
        .collect()
}

/// Adds `length` products to tiles, `[columns / COLUMNS, height]`, one block of rows for each of `blocks`.
pub(super) fn add_to_tiles<T: Float>(
    (left, step, blocks): (&[T], usize, &[[usize; ROWS]]),
    (right, pitch, columns): (&[T], usize, usize),
    length: usize,
    tiles: &mut [Sums<T>],
    packed: &mut Vec<T>,
) {
    let height = tiles.len() / columns.div_ceil(COLUMNS);
    for (panel, tiles) in tiles.chunks_mut(height).enumerate() {
        let first = panel * COLUMNS;
        let width = COLUMNS.min(columns - first);
        let whole = width.next_multiple_of(COLUMNS / 2);
        let mut right = (&right[first..], pitch);
        if width < whole {
            packed.resize(length * whole, T::ZERO);
            for (to, from) in packed.chunks_exact_mut(whole).zip(right.0.chunks(pitch)) {
                to[..width].copy_from_slice(&from[..width]);
            }
            right = (packed, whole);
        }
        for (sums, offsets) in tiles.iter_mut().zip(blocks) {
            add_strided(Left { elements: left, offsets, step }, right, (length, whole), sums);
        }
    }
}
