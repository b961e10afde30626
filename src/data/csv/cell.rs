//! One cell of a table.

use ::csv::StringRecord;

/// Texts that mark a missing value besides an empty cell: most of pandas's, and the UCI repository's.
const MISSING: [&str; 11] =
    ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "?"];

/// The advice on numbers with a decimal comma.
pub(super) const DECIMAL_POINT: &str = "numbers have a decimal point, not a comma";

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    Missing,
    Number(f64),
    Text,
}

impl Cell {
    pub fn of(text: &str) -> Cell {
        match text.parse() {
            _ if text.is_empty() || MISSING.contains(&text) => Cell::Missing,
            Ok(number) => Cell::Number(number),
            Err(_) => Cell::Text,
        }
    }

    /// The cell's number, or what is wrong with it.
    pub fn number(self, text: &str) -> Result<f32, String> {
        match self {
            Cell::Number(number) if (number as f32).is_finite() => Ok(number as f32),
            Cell::Number(_) if text.contains(|c: char| c.is_ascii_digit()) => {
                Err(format!("{text} is too large for 32 bits: scale the numbers down"))
            }
            Cell::Number(_) => Err(format!("{text} is not a finite number")),
            Cell::Text if has_decimal_comma(text) => {
                Err(format!("\"{text}\" is not a number: {DECIMAL_POINT}"))
            }
            Cell::Text | Cell::Missing => Err(format!("\"{text}\" is not a number")),
        }
    }
}

/// Whether a text would be a number if its comma were a point.
pub(super) fn has_decimal_comma(text: &str) -> bool {
    text.replacen(',', ".", 1).parse::<f64>().is_ok()
}

/// Where a line begins in the text, or before it if empty lines come first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place(pub u64);

impl Place {
    pub fn of(record: &StringRecord) -> Place {
        Place(record.position().map_or(0, ::csv::Position::byte))
    }

    /// The line's number, from 1.
    pub fn line(self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let start = bytes.len().min(self.0 as usize);
        let empty = bytes[start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        1 + bytes[..start + empty].iter().filter(|byte| **byte == b'\n').count()
    }
}
