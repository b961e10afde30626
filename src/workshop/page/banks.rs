//! The lanes of a warp on the banks of shared memory.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::marks::{CELL, Named, start_of_picture, text};
use crate::device::gpu::SampledRequest;
use crate::plots::page::escape;

/// Banks, each of 4 bytes.
const BANKS: u64 = 32;

/// Lanes that one word serves.
type Lanes = Vec<usize>;

/// The words that each bank has to give, with the lanes that want them: for each group of lanes that is served together.
pub(super) fn groups(request: &SampledRequest) -> Vec<BTreeMap<u64, BTreeMap<u64, Lanes>>> {
    let widest = request.lanes.iter().flatten().map(|(_, bytes)| *bytes).max().unwrap_or(4);
    let lanes = (128 / widest.max(4)).clamp(1, 32) as usize;
    let group = |(number, part): (usize, &[Option<(u64, u32)>])| {
        let mut banks: BTreeMap<u64, BTreeMap<u64, Lanes>> = BTreeMap::new();
        for (place, touched) in part.iter().enumerate() {
            let Some((offset, bytes)) = touched else { continue };
            for word in offset / 4..(offset + u64::from(*bytes)).div_ceil(4) {
                let words = banks.entry(word % BANKS).or_default();
                words.entry(word).or_default().push(number * lanes + place);
            }
        }
        banks
    };
    let groups = request.lanes.chunks(lanes).enumerate().map(group);
    groups.filter(|banks| !banks.is_empty()).collect()
}

/// A request of shared memory: a column for each bank, and on it a cell for each of its words that is wanted.
pub(super) fn picture(request: &SampledRequest, named: &Named) -> String {
    let groups = groups(request);
    let heights: Vec<usize> =
        groups.iter().map(|banks| banks.values().map(BTreeMap::len).max().unwrap_or(0)).collect();
    let total: usize = heights.iter().sum();
    let cell = if total > 12 { 10.0 } else { 15.0 };
    let separators = 4.0 * groups.len().saturating_sub(1) as f64;
    let base = total as f64 * cell + separators + 4.0;
    let height = base + 34.0;
    let mut svg = start_of_picture(request, height, "wavefronts");
    for bank in 0..BANKS {
        let left = bank as f64 * CELL;
        let _ = write!(
            svg,
            "<rect class=\"bank\" x=\"{left}\" y=\"2\" width=\"{CELL}\" height=\"{:.0}\"/>\
             <text class=\"faint mid\" x=\"{:.0}\" y=\"{:.0}\">{bank}</text>",
            base - 2.0,
            left + CELL / 2.0,
            base + 13.0
        );
    }
    let mut bottom = base;
    for (banks, tallest) in groups.iter().zip(&heights) {
        for (bank, words) in banks {
            for (level, (word, lanes)) in words.iter().enumerate() {
                let (left, top) = (*bank as f64 * CELL, bottom - (level + 1) as f64 * cell);
                let first = lanes[0];
                let label = match lanes.len() {
                    1 => first.to_string(),
                    count => format!("×{count}"),
                };
                let _ = write!(
                    svg,
                    "<g class=\"l{first}\"><title>{}, bank {bank}: {}</title>\
                     <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
                     <text class=\"on\" x=\"{:.0}\" y=\"{:.1}\">{label}</text></g>",
                    escape(&named.element(4 * word)),
                    of_lanes(lanes),
                    left + 0.7,
                    top + 0.5,
                    CELL - 1.4,
                    cell - 1.0,
                    left + CELL / 2.0,
                    top + cell / 2.0 + 3.3
                );
            }
        }
        bottom -= *tallest as f64 * cell + 4.0;
    }
    text(
        &mut svg,
        (0.0, base + 28.0),
        "faint",
        "banks; each cell is a word with the number of its lane, ×n: n lanes",
    );
    svg + "</svg>"
}

fn of_lanes(lanes: &[usize]) -> String {
    let word = if lanes.len() == 1 { "lane" } else { "lanes" };
    let numbers: Vec<String> = lanes.iter().map(usize::to_string).collect();
    format!("{word} {}", numbers.join(", "))
}
