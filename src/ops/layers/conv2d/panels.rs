//! Weights in the order in which tiles read them: panels of [`COLUMNS`] columns, padded with zeros.

use super::Geometry;
use super::tile::COLUMNS;
use crate::device::cpu::{Cpu, Float};

/// One group's weights as `[K / COLUMNS, R S C, COLUMNS]`.
pub(super) fn by_feature<T: Float>(cpu: &Cpu, geometry: Geometry, weights: &[T]) -> Vec<T> {
    let (depth, features) = (geometry.depth(), geometry.features);
    let mut panels = vec![T::ZERO; features.div_ceil(COLUMNS) * depth * COLUMNS];
    let work = panels.len();
    cpu.pieces(&mut panels, depth * COLUMNS, work, |panel, to| {
        let first = panel * COLUMNS;
        let rows = &weights[first * depth..(first + COLUMNS).min(features) * depth];
        // A block of both matrices fits the L1 cache.
        for start in (0..depth).step_by(COLUMNS) {
            let end = (start + COLUMNS).min(depth);
            for (column, row) in rows.chunks_exact(depth).enumerate() {
                for (to, weight) in
                    to[start * COLUMNS..].chunks_exact_mut(COLUMNS).zip(&row[start..end])
                {
                    to[column] = *weight;
                }
            }
        }
    });
    panels
}

/// One group's weights at some taps as `[C / COLUMNS, taps, K, COLUMNS]`.
pub(super) fn by_channel<T: Float>(
    cpu: &Cpu,
    geometry: Geometry,
    taps: &[usize],
    weights: &[T],
) -> Vec<T> {
    let (depth, features, channels) = (geometry.depth(), geometry.features, geometry.channels);
    let length = taps.len() * features * COLUMNS;
    let mut panels = vec![T::ZERO; channels.div_ceil(COLUMNS) * length];
    let work = panels.len();
    cpu.pieces(&mut panels, length, work, |panel, to| {
        let first = panel * COLUMNS;
        let width = COLUMNS.min(channels - first);
        let mut to = to.chunks_exact_mut(COLUMNS);
        for tap in taps {
            for (feature, to) in (0..features).zip(&mut to) {
                let start = feature * depth + tap * channels + first;
                to[..width].copy_from_slice(&weights[start..start + width]);
            }
        }
    });
    panels
}
