//! What the columns of a table hold, whichever of them is predicted.

use std::path::Path;

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
}

/// The columns of a file.
///
/// # Errors
/// [`crate::Error::Input`] naming the file, and the line if it has another number of cells than the first.
pub(in crate::data) fn columns(path: &Path, options: &TableOptions) -> Result<Vec<ColumnOverview>> {
    let text = text::parse(read(path)?, path)?;
    let first = first_record(&text, path)?;
    let header = Header::of(&first, &text, options);
    let file = File { text: &text, path, header: &header };
    let profiles = file.profiles(|_| MOST_CATEGORIES)?;
    let own = profiles.into_iter().zip(&header.names).map(|(profile, name)| {
        let has_texts = profile.first_text.is_some();
        ColumnOverview {
            name: name.clone(),
            cells: profile.cells(),
            missing: profile.missing,
            range: profile.range,
            texts: if has_texts { profile.texts.into_iter().collect() } else { Vec::new() },
        }
    });
    Ok(own.collect())
}
