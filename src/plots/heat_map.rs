//! Heat maps, as SVG.

use super::chart::{Area, fill, picture, text_at};
use super::colours::{INK, viridis};
use super::scale::{extent, number};
use plotters::style::{RGBColor, WHITE};

/// Pixels left of the cells and below them, for their names.
const MARGIN: (i32, i32) = (86, 58);
/// Width and height of all cells together.
const CELLS: (i32, i32) = (540, 350);
const TOP: i32 = 20;
/// Position of the colour key.
const KEY: (i32, i32) = (672, 20);

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// No cell, left white.
    Absent,
    /// A cell without a number: grey, with a dash.
    Blank,
    /// A number.
    Value(f64),
}

/// A heat map of cells by row, the first at the bottom, and column; small numbers are light. `names` are the names of the
/// columns and of the rows, `labels` the axes' labels, and `unit` the key's. All numbers above `top` have one colour.
pub fn heat_map(
    cells: &[Vec<Cell>],
    names: [&[String]; 2],
    labels: [&str; 2],
    unit: &str,
    top: f64,
) -> String {
    let values = cells.iter().flatten().filter_map(|cell| match cell {
        Cell::Value(value) => Some(*value),
        _ => None,
    });
    let (low, high) = extent(values.map(|value| value.min(top))).unwrap_or((0.0, 1.0));
    // Logarithmic, since the differences of interest are among the smallest numbers.
    let is_by_ratio = low > 0.0;
    let place = move |value: f64| match is_by_ratio {
        _ if high <= low => 0.0,
        true => (value / low).ln() / (high / low).ln(),
        false => (value - low) / (high - low),
    };
    let value_at = move |place: f64| match is_by_ratio {
        true => low * (high / low).powf(place),
        false => low + place * (high - low),
    };
    picture(|area| {
        let (width, height) =
            (CELLS.0 / names[0].len().max(1) as i32, CELLS.1 / names[1].len().max(1) as i32);
        let corner = |row: usize, column: usize| {
            let bottom = TOP + height * (names[1].len() - row) as i32;
            (MARGIN.0 + width * column as i32, bottom)
        };
        for (row, cells) in cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let (x, y) = corner(row, column);
                let corners = [(x + 1, y - height + 1), (x + width - 1, y - 1)];
                draw(area, *cell, corners, &place);
            }
        }
        for (column, name) in names[0].iter().enumerate() {
            let (x, y) = corner(0, column);
            text_at(area, name, (x + width / 2, y + 14), 14, INK);
        }
        for (row, name) in names[1].iter().enumerate() {
            let (x, y) = corner(row, 0);
            text_at(area, name, (x - 26, y - height / 2), 14, INK);
        }
        let bottom = TOP + height * names[1].len() as i32;
        text_at(area, labels[0], (MARGIN.0 + CELLS.0 / 2, bottom + MARGIN.1 - 18), 15, INK);
        text_at(area, labels[1], (24, TOP + CELLS.1 / 2), 15, INK);
        key(area, &value_at, unit);
    })
}

fn draw(area: &Area, cell: Cell, corners: [(i32, i32); 2], place: &dyn Fn(f64) -> f64) {
    let middle = ((corners[0].0 + corners[1].0) / 2, (corners[0].1 + corners[1].1) / 2);
    match cell {
        Cell::Absent => {}
        Cell::Blank => {
            fill(area, corners, RGBColor(225, 225, 225));
            text_at(area, "–", middle, 14, INK);
        }
        Cell::Value(value) => {
            let place = place(value);
            fill(area, corners, colour(place));
            let ink = if place < 0.5 { RGBColor(0, 0, 0) } else { WHITE };
            text_at(area, &number(value), middle, 13, ink);
        }
    }
}

/// The colour at a position from 0, light, to 1, dark.
fn colour(place: f64) -> RGBColor {
    viridis(1.0 - place)
}

fn key(area: &Area, value_at: &dyn Fn(f64) -> f64, unit: &str) {
    const PARTS: i32 = 50;
    let height = CELLS.1 / PARTS;
    for part in 0..PARTS {
        let place = f64::from(part) / f64::from(PARTS - 1);
        let y = KEY.1 + height * (PARTS - part);
        // Each part extends under the one above it, so that no seam shows.
        fill(area, [(KEY.0, y - height - 1), (KEY.0 + 18, y)], colour(place));
        if part % 12 == 0 {
            text_at(area, &number(value_at(place)), (KEY.0 + 48, y - height / 2), 13, INK);
        }
    }
    text_at(area, unit, (KEY.0 + 30, KEY.1 + CELLS.1 + 16), 14, INK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_in_its_cell() {
        let names = ["1", "2"].map(String::from);
        let cells = [vec![Cell::Value(0.25), Cell::Absent], vec![Cell::Blank, Cell::Value(4.0)]];
        let svg = heat_map(&cells, [&names, &names], ["across", "up"], "loss", 3.0);
        // A cell shows its own number even above the end of the key.
        for text in ["0.25", "4", "–", "across", "up", "loss"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}");
        }
        assert_eq!(colour(0.0), RGBColor(253, 231, 37));
    }
}
