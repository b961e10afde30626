//! Products of two sets of channels summed over pixels, in register tiles: gradients of weights that need no patches.

use std::ops::Range;

use super::kernel::{COLUMNS, Left, ROWS, Sums, add_strided};
use super::weight_gradient::{PARTIAL_ELEMENTS, PARTIALS};
use crate::device::cpu::{Cpu, Float};
use crate::ops::reduce::add_column_sums;

/// Tasks at least, if there are so many tiles.
const TASKS: usize = 8;

/// Adds `sum(row, column)` over all units of work, where `add_unit(units, row blocks, tiles)` adds some units' products
/// to the tiles, `[columns / COLUMNS, row blocks]`; `add(row, column, sum)` then gets every sum.
pub(super) fn sum_products<T: Float>(
    cpu: &Cpu,
    [rows, columns, units]: [usize; 3],
    work: usize,
    add_units: impl Fn(Range<usize>, Range<usize>, &mut [Sums<T>]) + Sync,
    mut add: impl FnMut(usize, usize, T),
) {
    if rows * columns * units == 0 {
        return;
    }
    let (blocks, panels) = (rows.div_ceil(ROWS), columns.div_ceil(COLUMNS));
    let partials = (PARTIAL_ELEMENTS / (rows * columns)).clamp(1, PARTIALS).min(units);
    let length = units.div_ceil(partials);
    let partials = units.div_ceil(length);
    let height = blocks.div_ceil(TASKS.div_ceil(partials));
    let cuts = blocks.div_ceil(height);
    let mut tiles = vec![[[T::ZERO; COLUMNS]; ROWS]; partials * cuts * panels * height];
    cpu.pieces(&mut tiles, panels * height, work, |task, tiles| {
        let (first, block) = (task / cuts * length, task % cuts * height);
        add_units(first..(first + length).min(units), block..(block + height).min(blocks), tiles);
    });
    let mut sums = vec![[[T::ZERO; COLUMNS]; ROWS]; cuts * panels * height];
    let flat = sums.as_flattened_mut().as_flattened_mut();
    add_column_sums(cpu, tiles.as_flattened().as_flattened(), flat.len(), flat);
    for (index, tile) in sums.iter().enumerate() {
        let (cut, panel) = (index / height / panels, index / height % panels);
        let first = (cut * height + index % height) * ROWS;
        for (row, sums) in (first..rows).zip(tile) {
            for (column, sum) in (panel * COLUMNS..columns).zip(sums) {
                add(row, column, *sum);
            }
        }
    }
}

/// The offsets of all rows, in blocks; rows that are none read what the last one does.
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
