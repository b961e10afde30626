//! The columns of a trained model in a file.

use std::path::Path;

use super::cell::Place;
use super::header::Header;
use super::missing::fill;
use super::{File, encode, first_record};
use crate::data::table::{Column, Missing, Table, TableOptions};
use crate::data::text;
use crate::error::{Error, Result, quoted};

/// The inputs of a trained model in a file's bytes, one row for each line; `path` is for messages. The column that the model
/// predicts and those that it ignores are passed over, and may be missing.
///
/// # Errors
/// [`Error::Input`] naming the file: a column that the model does not take or that is missing, a category that it does not
/// know, or a missing value if the model was trained without; with the line and column if a cell is at fault.
pub(in crate::data) fn inputs(bytes: Vec<u8>, path: &Path, known: &Table) -> Result<Vec<f32>> {
    let text = text::parse(bytes, path)?;
    let first = first_record(&text, path)?;
    let missing = if known.fill.is_empty() { Missing::Refuse } else { Missing::Mean };
    let options = TableOptions { missing, known: Some(known.clone()), ..TableOptions::default() };
    let header = Header::of(&first, &text, &options);
    let file = File { text: &text, path, header: &header };
    let is_numbered = !known.has_header && header.names.len() == known.columns.len();
    let places = match is_numbered {
        // Without names, the columns are those before and after the target, in their order.
        true => (0..known.columns.len()).collect(),
        false => file.places(known)?,
    };
    let mut inputs = Vec::new();
    file.each(|record| {
        let at = Place::of(record);
        for (column, &place) in known.columns.iter().zip(&places) {
            encode(&record[place], column, &options, &mut inputs)
                .map_err(|message| file.error_at(at, place, message))?;
        }
        Ok(())
    })?;
    if inputs.is_empty() {
        return Err(Error::file(path, "has no lines of data"));
    }
    fill(&mut inputs, &known.fill);
    Ok(inputs)
}

impl File<'_> {
    /// The places of a trained model's columns in this file, which may have the model's target besides.
    pub(super) fn places(&self, known: &Table) -> Result<Vec<usize>> {
        let names = &self.header.names;
        let first = usize::from(self.header.has_row_names());
        let all = known.columns.len() + 1 + known.ignored.len();
        if !known.has_header && !known.ignored.is_empty() && names.len() != all {
            return Err(self.error(format!(
                "has {} columns without names; the model takes {all}, as its training data had, or {} without the one that it \
                 predicts and those that it ignores",
                names.len(),
                known.columns.len()
            )));
        }
        let is_known = |name: &String| {
            *name == known.target || known.columns.iter().any(|column| column.name == *name)
        };
        let odd = (first..names.len())
            .filter(|&place| !known.ignored.contains(&names[place]))
            .find(|&place| !is_known(&names[place]) || names[..place].contains(&names[place]));
        let place = |column: &Column| names.iter().position(|name| *name == column.name);
        let lacking = known.columns.iter().find(|column| place(column).is_none());
        let fault = match (lacking, odd) {
            (_, Some(place)) if names[..place].contains(&names[place]) => {
                format!("has the column '{}' twice", names[place])
            }
            (Some(column), _) => format!("lacks the column '{}'", column.name),
            (None, Some(place)) => {
                format!("has the column '{}', which the model does not take", names[place])
            }
            (None, None) => return Ok(known.columns.iter().filter_map(place).collect()),
        };
        let ignored = match known.ignored.is_empty() {
            true => String::new(),
            false => format!(", and {}, which it ignores", quoted(&known.ignored)),
        };
        Err(self.error(format!(
            "{fault}: it has {}; the model takes {}; '{}', which it predicts, may be there too{ignored}",
            quoted(names),
            known.names(),
            known.target
        )))
    }
}
