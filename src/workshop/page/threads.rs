//! The threads of a warp, and the sectors of memory that they touch.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::marks::{CELL, Named, WIDTH, lane_cells, start_of_picture, text};
use crate::device::gpu::SampledRequest;

/// Bytes of a sector.
const SECTOR: u64 = 32;

/// Pixels between sectors that are no neighbours in memory.
const GAP: f64 = 6.0;

/// Top of the sectors.
const SECTORS: f64 = 112.0;
const HEIGHT: f64 = 24.0;

/// The sectors of a request in the order of their addresses: for each, the first lane that touches each of its bytes.
pub(super) fn sectors(request: &SampledRequest) -> BTreeMap<u64, [Option<u8>; 32]> {
    let mut sectors: BTreeMap<u64, [Option<u8>; 32]> = BTreeMap::new();
    for (lane, touched) in request.lanes.iter().enumerate() {
        let Some((offset, bytes)) = touched else { continue };
        for byte in *offset..offset + u64::from(*bytes) {
            // Sectors are counted from the one in which the array begins.
            let place = byte + request.start as u64;
            let sector = sectors.entry(place / SECTOR).or_default();
            sector[(place % SECTOR) as usize].get_or_insert(lane as u8);
        }
    }
    sectors
}

/// The places of the sectors: left end and width.
struct Layout {
    width: f64,
    left: BTreeMap<u64, f64>,
}

impl Layout {
    fn of(sectors: &BTreeMap<u64, [Option<u8>; 32]>) -> Layout {
        let numbers: Vec<u64> = sectors.keys().copied().collect();
        let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        let count = numbers.len().max(1) as f64;
        let gap = GAP.min(0.5 * WIDTH / count);
        let width = ((WIDTH - gaps as f64 * gap) / count).min(8.0 * CELL);
        let mut at = 0.0;
        let mut left = BTreeMap::new();
        for (place, number) in numbers.iter().enumerate() {
            if place > 0 {
                at += width + if numbers[place - 1] + 1 == *number { 0.0 } else { gap };
            }
            left.insert(*number, at);
        }
        Layout { width, left }
    }

    /// Where a byte of the array lies.
    fn x(&self, place: u64) -> f64 {
        let left = self.left.get(&(place / SECTOR)).copied().unwrap_or(0.0);
        left + self.width * (place % SECTOR) as f64 / SECTOR as f64
    }
}

/// A request of device memory: the lanes above, the sectors below, a line from each lane to its bytes.
pub(super) fn picture(request: &SampledRequest, named: &Named) -> String {
    let sectors = sectors(request);
    let layout = Layout::of(&sectors);
    let height = SECTORS + HEIGHT + 20.0;
    let mut svg = start_of_picture(request, height, "sectors requested");
    lane_cells(&mut svg, request, named);
    for (lane, touched) in request.lanes.iter().enumerate() {
        let Some((offset, bytes)) = touched else { continue };
        let place = offset + request.start as u64;
        let from = (lane as f64 + 0.5) * CELL;
        let to = layout.x(place) + 0.5 * layout.width * f64::from((*bytes).min(32)) / 32.0;
        let _ = write!(svg, "<path class=\"l{lane}\" d=\"M{from:.0} 33L{to:.1} {SECTORS}\"/>");
    }
    for (number, bytes) in &sectors {
        let left = layout.left[number];
        let _ = write!(
            svg,
            "<rect class=\"sector\" x=\"{left:.1}\" y=\"{SECTORS}\" width=\"{:.1}\" height=\"{HEIGHT}\"/>",
            layout.width
        );
        // Neighbouring bytes of a lane are one cell.
        let mut first = 0;
        while first < 32 {
            let lane = bytes[first];
            let mut end = first + 1;
            while end < 32 && bytes[end] == lane && !(end % 4 == 0 && lane.is_none()) {
                end += 1;
            }
            if let Some(lane) = lane {
                let width = layout.width / 32.0;
                let _ = write!(
                    svg,
                    "<rect class=\"l{lane}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    left + width * first as f64 + 0.3,
                    SECTORS + 3.0,
                    (width * (end - first) as f64 - 0.6).max(0.8),
                    HEIGHT - 6.0
                );
            }
            first = end;
        }
    }
    labels(&mut svg, request, named, &sectors, &layout);
    svg + "</svg>"
}

/// The elements at which runs of neighbouring sectors are first touched, where there is room.
fn labels(
    svg: &mut String,
    request: &SampledRequest,
    named: &Named,
    sectors: &BTreeMap<u64, [Option<u8>; 32]>,
    layout: &Layout,
) {
    let mut free = f64::NEG_INFINITY;
    let mut before = None;
    for (number, bytes) in sectors {
        let begins = before.is_none_or(|before: u64| before + 1 != *number);
        before = Some(*number);
        let first = bytes.iter().position(Option::is_some).unwrap_or(0) as u64;
        let place = number * SECTOR + first;
        if !begins {
            continue;
        }
        let label = named.element(place.wrapping_sub(request.start as u64));
        let width = 6.6 * label.chars().count() as f64;
        let left = layout.x(place).min(WIDTH - width);
        if left > free + 8.0 {
            text(svg, (left, SECTORS + HEIGHT + 14.0), "faint", &label);
            free = left + width;
        }
    }
}
