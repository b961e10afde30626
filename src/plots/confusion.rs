//! The confusion matrix of a classification, as SVG.

use super::chart::{Area, fill, picture_of, text_at, text_from};
use super::colours::INK;
use super::scale::number;
use plotters::style::text_anchor::HPos;
use plotters::style::{RGBColor, WHITE};

/// Pixels above the cells, and right of them.
const MARGIN: i32 = 24;
/// Pixels of all cells together, across and down.
const CELLS: i32 = 560;
/// The largest cell.
const LARGEST: i32 = 90;
/// Pixels of a letter in a name, about.
const LETTER: i32 = 8;
/// The most letters of a name.
const LETTERS: usize = 14;
/// With smaller cells there is no room for numbers and names.
const READABLE: i32 = 16;
/// The colour of the largest share.
const FULL: RGBColor = RGBColor(20, 72, 120);

/// The confusion matrix `matrix[true class][predicted class]` of classes with these names. A cell's colour is its share of the
/// true class's samples, its number is their count.
pub fn confusion(names: &[String], matrix: &[Vec<u64>]) -> String {
    let count = names.len().max(1) as i32;
    let side = (CELLS / count).clamp(1, LARGEST);
    let is_readable = side >= READABLE;
    let shown: Vec<String> = names.iter().map(|name| shortened(name)).collect();
    let letters = shown.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32;
    let name_width = if is_readable { LETTER * letters + 12 } else { 12 };
    // Names below the cells are turned where they are wider than a cell.
    let is_turned = is_readable && LETTER * letters > side;
    let name_height = if is_turned { name_width } else { 24 };
    let (left, whole) = (MARGIN + 20 + name_width, side * count);
    let size = (left + whole + MARGIN, MARGIN + whole + name_height + 40);
    picture_of((size.0.max(260) as u32, size.1 as u32), |area| {
        for (row, cells) in matrix.iter().enumerate() {
            let samples: u64 = cells.iter().sum();
            for (column, cell) in cells.iter().enumerate() {
                let corner = (left + side * column as i32, MARGIN + side * row as i32);
                let share = *cell as f64 / samples.max(1) as f64;
                draw(area, corner, side, share, (is_readable && *cell > 0).then_some(*cell));
            }
        }
        if is_readable {
            for (place, name) in shown.iter().enumerate() {
                let middle = side * place as i32 + side / 2;
                text_from(area, name, (left - 6, MARGIN + middle), (13, false), HPos::Right);
                let below = MARGIN + whole + if is_turned { 6 } else { 14 };
                let position = if is_turned { HPos::Left } else { HPos::Center };
                text_from(area, name, (left + middle, below), (13, is_turned), position);
            }
        }
        let bottom = MARGIN + whole + name_height + 20;
        text_at(area, "predicted class", (left + whole / 2, bottom), 15, INK);
        text_from(area, "true class", (MARGIN - 6, MARGIN + whole / 2), (15, true), HPos::Center);
    })
}

fn draw(area: &Area, (x, y): (i32, i32), side: i32, share: f64, count: Option<u64>) {
    let gap = i32::from(side >= 6);
    fill(area, [(x, y), (x + side - gap, y + side - gap)], colour(share));
    if let Some(count) = count {
        let ink = if share > 0.3 { WHITE } else { RGBColor(0, 0, 0) };
        let text = if count < 100_000 { count.to_string() } else { number(count as f64) };
        let letters = text.len() as i32;
        let size = (side * 3 / (2 * letters.max(1))).clamp(7, 14);
        text_at(area, &text, (x + side / 2, y + side / 2), size as u32, ink);
    }
}

/// From nearly white to dark blue; a few percent can be told from none.
fn colour(share: f64) -> RGBColor {
    const NONE: RGBColor = RGBColor(240, 243, 246);
    let part = share.clamp(0.0, 1.0).sqrt();
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mix(NONE.0, FULL.0), mix(NONE.1, FULL.1), mix(NONE.2, FULL.2))
}

fn shortened(name: &str) -> String {
    match name.chars().count() {
        ..=LETTERS => name.to_owned(),
        _ => name.chars().take(LETTERS - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_and_name_is_shown() {
        let names = ["cat", "dog", "a very long name of a class"].map(String::from);
        let matrix = [vec![7, 2, 0], vec![0, 31, 1], vec![0, 0, 123_456]];
        let svg = confusion(&names, &matrix);
        for text in
            ["cat", "dog", "a very long n…", "7", "2", "31", "1", "predicted class", "true class"]
        {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}: {svg}");
        }
        assert!(!svg.contains("\n0\n"));
        assert_eq!(colour(1.0), FULL);
    }

    #[test]
    fn many_classes_have_small_cells_without_text() {
        let names: Vec<String> = (0..200).map(|class| class.to_string()).collect();
        let matrix = vec![vec![1; 200]; 200];
        let svg = confusion(&names, &matrix);
        assert!(svg.contains("\ntrue class\n") && !svg.contains("\n1\n"));
    }
}
