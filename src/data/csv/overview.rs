//! What the columns of a table hold, whichever of them is predicted.

use std::collections::HashSet;
use std::path::Path;

use super::cell::Cell;
use super::header::Header;
use super::{File, MOST_CATEGORIES, first_record};
use crate::data::table::TableOptions;
use crate::data::{read, text};
use crate::error::Result;

/// What a column of a table holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnOverview {
    /// Its name; its number from 1 in a table without names.
    pub name: String,
    /// Its cells.
    pub cells: usize,
    /// Those without a value.
    pub missing: usize,
    /// The least and the largest of its numbers, if it has any.
    pub range: Option<[f64; 2]>,
    /// Its different texts, sorted; none if all its values are numbers. At most 257 are listed.
    pub texts: Vec<String>,
    /// Whether it is an input that looks like an id: whole numbers, each one more than the one before it, or a text that is
    /// different in each row.
    pub is_id: bool,
}

/// With fewer rows, texts that all differ may still be categories.
const FEWEST_ROWS: usize = 5;

/// What tells an id from other columns.
struct Sequence {
    /// The last number, while each is one more than the one before it.
    number: Option<f64>,
    is_counting: bool,
    /// All texts, while they all differ.
    texts: Option<HashSet<String>>,
}

impl Sequence {
    fn new() -> Sequence {
        Sequence { number: None, is_counting: true, texts: Some(HashSet::new()) }
    }

    fn add(&mut self, cell: &str) {
        let number = match Cell::of(cell) {
            Cell::Number(number) if number.fract() == 0.0 => Some(number),
            _ => None,
        };
        let follows = |number: f64| self.number.is_none_or(|last| number == last + 1.0);
        self.is_counting = self.is_counting && number.is_some_and(follows);
        self.number = number;
        let is_new = Cell::of(cell) == Cell::Text
            && self.texts.as_mut().is_some_and(|texts| texts.insert(cell.to_owned()));
        if !is_new {
            self.texts = None;
        }
    }

    fn is_id(&self) -> bool {
        self.is_counting || self.texts.is_some()
    }
}

/// The columns of a file.
///
/// # Errors
/// [`crate::Error::Input`] naming the file, and the line if it has another number of cells than the first; or the setting
/// that names a column which is not there.
pub(in crate::data) fn columns(path: &Path, options: &TableOptions) -> Result<Vec<ColumnOverview>> {
    let text = text::parse(read(path)?, path)?;
    let first = first_record(&text, path)?;
    let header = Header::of(&first, &text, options);
    let file = File { text: &text, path, header: &header };
    let profiles = file.profiles(|_| MOST_CATEGORIES)?;
    let target = options.target.as_ref().map(|_| file.target(options)).transpose()?;
    let ignored = file.ignored(options, target)?;
    let mut sequences: Vec<Sequence> = header.names.iter().map(|_| Sequence::new()).collect();
    file.each(|record| {
        sequences.iter_mut().zip(record).for_each(|(own, cell)| own.add(cell));
        Ok(())
    })?;
    let own =
        profiles.into_iter().zip(&header.names).enumerate().map(|(place, (profile, name))| {
            let is_input = file.is_input(place, target, &ignored);
            let (cells, has_texts) = (profile.cells(), profile.first_text.is_some());
            ColumnOverview {
                name: name.clone(),
                cells,
                missing: profile.missing,
                range: profile.range,
                texts: if has_texts { profile.texts.into_iter().collect() } else { Vec::new() },
                is_id: is_input && cells >= FEWEST_ROWS && sequences[place].is_id(),
            }
        });
    Ok(own.collect())
}
