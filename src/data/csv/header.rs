//! The names of a table's columns, and the separator.

use ::csv::StringRecord;

use super::cell::Cell;
use super::reader;
use crate::data::table::TableOptions;

const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// With this many numbers 0, 1, 2, .. a line has pandas's names for columns without names.
const FEWEST_NUMBERED: usize = 3;

/// The lines that tell whether a text is a table.
const LINES: usize = 5;

/// The names of the columns.
pub(super) struct Header {
    /// Whether the file's first line has them.
    pub is_there: bool,
    /// The names; numbers from 1 where there are none.
    pub names: Vec<String>,
    /// The reason why the first line has none.
    pub why_no_names: Option<String>,
}

impl Header {
    /// The names by the first line of a text. A trained model knows whether there are any; a target that is named is one.
    pub fn of(first: &StringRecord, text: &str, options: &TableOptions) -> Header {
        let names_target = || first.iter().any(|cell| options.target.as_deref() == Some(cell));
        let is_there = match &options.known {
            Some(known) => known.has_header,
            None if are_names(first) => names_target() || !occurs_again(first, text),
            None => is_named(first, text, options),
        };
        let name =
            |(number, cell): (usize, &str)| match is_there && (!cell.is_empty() || number == 0) {
                true => cell.to_owned(),
                false => (number + 1).to_string(),
            };
        let names = first.iter().enumerate().map(name).collect();
        let why_no_names = (!is_there).then(|| why_no_names(first, text)).flatten();
        Header { is_there, names, why_no_names }
    }

    /// Whether the first column has no name, as the one in which pandas and R write the names of rows.
    pub fn has_row_names(&self) -> bool {
        self.is_there && self.names[0].is_empty()
    }
}

/// Whether the target is the text of a cell of the first line that no other line has in this column. Then the other cells may be
/// numbers, such as years.
fn is_named(first: &StringRecord, text: &str, options: &TableOptions) -> bool {
    let Some(target) = options.target.as_deref() else { return false };
    let is_number = target.parse::<usize>().is_ok_and(|number| number <= first.len());
    let place = first.iter().position(|cell| cell == target).filter(|_| !is_number);
    place.is_some_and(|place| {
        let is_there = |record: StringRecord| record.get(place) == Some(target);
        all_differ(first) && !reader(text).into_records().skip(1).flatten().any(is_there)
    })
}

/// The first cell because of which a line's cells are no names.
fn why_no_names(first: &StringRecord, text: &str) -> Option<String> {
    let cells: Vec<&str> = first.iter().collect();
    let twice = |place: &usize| cells[..*place].contains(&cells[*place]);
    if let Some(place) = (0..cells.len()).find(twice) {
        return Some(format!("'{}' is there twice: rename one", cells[place]));
    }
    if let Some(number) = cells.iter().find(|cell| matches!(Cell::of(cell), Cell::Number(_))) {
        return Some(format!("'{number}' is a number"));
    }
    let occurs = |place: &usize| {
        let mut others = reader(text).into_records().skip(1).flatten();
        !cells[*place].is_empty() && others.any(|record| record.get(*place) == Some(cells[*place]))
    };
    (0..cells.len())
        .find(occurs)
        .map(|place| format!("'{}' occurs again in its column", cells[place]))
}

fn all_differ(cells: &StringRecord) -> bool {
    let mut sorted: Vec<&str> = cells.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

fn are_names(cells: &StringRecord) -> bool {
    let is_number = |cell: &&str| matches!(Cell::of(cell), Cell::Number(_));
    let numbers: Vec<&str> = cells.iter().filter(is_number).collect();
    let are_counted = numbers.len() >= FEWEST_NUMBERED
        && numbers.iter().enumerate().all(|(number, cell)| **cell == number.to_string());
    all_differ(cells) && (numbers.is_empty() || are_counted)
}

/// Whether a cell of the first line is a value of its column in another line.
fn occurs_again(first: &StringRecord, text: &str) -> bool {
    let is_in = |record: StringRecord| {
        record.iter().zip(first).any(|(cell, first)| !cell.is_empty() && cell == first)
    };
    reader(text).into_records().skip(1).flatten().any(is_in)
}

/// The separator: the one that the first line has most of outside of quotation marks.
pub(super) fn delimiter(text: &str) -> u8 {
    let first = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let most = DELIMITERS.iter().rev().max_by_key(|own| count(first, **own));
    most.copied().unwrap_or(b',')
}

fn count(line: &str, delimiter: u8) -> usize {
    let outside = line.split('"').step_by(2);
    outside.map(|part| part.bytes().filter(|byte| *byte == delimiter).count()).sum()
}

/// Whether a file's first bytes look like a table: lines with the same number of separators.
pub(in crate::data) fn looks_like(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    // The last line may be cut off.
    let Some((whole, _)) = text.rsplit_once('\n') else { return false };
    let own = delimiter(whole);
    let mut counts =
        whole.lines().filter(|line| !line.is_empty()).take(LINES).map(|line| count(line, own));
    let first = counts.next().unwrap_or_default();
    let others: Vec<usize> = counts.collect();
    first > 0 && !others.is_empty() && others.iter().all(|other| *other == first)
}
