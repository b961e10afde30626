//! CSV: a table with a line for each sample, of numbers and of categories, and a column to predict.
//!
//! Columns are separated by commas, semicolons or tabs, whichever the first line has most of. The first line has the names
//! of the columns if they all differ, none is a number, and none occurs again in its column; pandas's names 0, 1, 2, .. are
//! names too, and so are all texts beside the name of the column to predict.
//!
//! A column of numbers is an input. A column of texts holds categories, each of which is an input that is 1 or 0. A column
//! with both holds categories if there are few. In the column to predict, texts are classes. Numbers are classes if they are
//! whole and few, with several lines each; other numbers are predicted as numbers. [`TargetKind`] overrides this.

mod cell;
mod choice;
mod header;
mod known;
mod missing;
mod overview;
mod profile;
mod quotes;

use std::path::Path;
use std::sync::Arc;

use ::csv::{ReaderBuilder, StringRecord, StringRecordsIter, Trim};

use self::cell::{Cell, DECIMAL_POINT, Place};
use self::header::{Header, delimiter};
use self::profile::Profile;
use self::quotes::{Opening, unclosed};
use super::table::{Column, Missing, Table, TableOptions, TargetKind};
use super::validation::ValidationRule;
use super::vocabulary::{FORMS, differs_in_form};
use super::{Arrays, Input, Inputs, LoadOptions, Split, Targets, Task, read, text};
use crate::error::{Error, Result, quoted};

pub(super) use self::header::looks_like;
pub(super) use self::known::inputs;
pub use self::overview::ColumnOverview;
pub(super) use self::overview::columns;

/// The most categories of a column.
const MOST_CATEGORIES: usize = 256;

/// The most classes of the column to predict.
const MOST_CLASSES: usize = 1 << 16;

/// The most different values for which whole numbers are taken for classes, and a column with both numbers and texts for
/// categories.
const FEW: usize = 20;

/// Reads a file; see [`parse`].
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, and those of [`parse`].
pub fn load(path: &Path, options: &LoadOptions) -> Result<Arrays> {
    parse(read(path)?, path, options)
}

/// The samples in a file's bytes; `path` is for messages. A share of the samples becomes the validation part; see
/// [`LoadOptions`].
///
/// # Errors
/// [`Error::Input`] naming the file, and the line and column if a cell is at fault: text that is not UTF-8, lines of
/// different lengths, a value that is missing or not finite, a column that is neither numbers nor categories, or columns
/// other than those that a trained model takes.
pub fn parse(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Arrays> {
    let text = text::parse(bytes, path)?;
    let first = first_record(&text, path)?;
    let known = options.table.known.as_ref();
    let header = Header::of(&first, &text, &options.table);
    let file = File { text: &text, path, header: &header };
    let chosen = file.target(&options.table)?;
    let ignored = file.ignored(&options.table, Some(chosen))?;
    let most = |column| if column == chosen { MOST_CLASSES } else { MOST_CATEGORIES };
    let profiles = file.profiles(most)?;
    let rows = profiles[chosen].cells();
    if rows == 0 {
        return Err(Error::file(path, "has no lines of data"));
    }
    let (columns, places) = match known {
        Some(known) => (known.columns.clone(), file.places(known)?),
        None => file.columns(&profiles, chosen, &ignored)?,
    };
    let kind = file.kind(&profiles[chosen], chosen, options.table.task)?;
    let (inputs, targets, class_names) = file.samples(&columns, &places, chosen, &kind, options)?;
    let table = Table {
        target: header.names[chosen].clone(),
        has_header: header.is_there,
        has_row_names: header.has_row_names(),
        columns,
        ignored: match known {
            Some(known) => known.ignored.clone(),
            None => ignored.iter().map(|&place| header.names[place].clone()).collect(),
        },
        fill: known.map(|known| known.fill.clone()).unwrap_or_default(),
    };
    let task = match &targets {
        Targets::Classes(_) => Task::Classification { classes: class_names.len() },
        Targets::Values { columns, .. } => Task::Regression { outputs: *columns },
    };
    let split = Split::new(Inputs::Floats(inputs), targets);
    let sample = Input::Vector { size: table.inputs() };
    let last = ValidationRule::Last { share: options.valid_split };
    let rule = ValidationRule::of(options, last);
    let class_names = matches!(task, Task::Classification { .. }).then_some(class_names);
    let arrays = Arrays::assemble(split, None, None, sample, task, rule);
    let mut arrays = Arrays { table: Some(Arc::new(table)), names: class_names, ..arrays };
    if options.table.missing == Missing::Mean {
        arrays.fill_missing().map_err(|name| {
            let message = format!(
                "column '{name}' has no value in the training part: `ignore` leaves it out"
            );
            Error::file(path, message)
        })?;
    }
    Ok(arrays)
}

/// The first line's cells, once no quotation mark of the text is left open.
fn first_record(text: &str, path: &Path) -> Result<StringRecord> {
    if let Some(Opening { byte, column }) = unclosed(text, delimiter(text)) {
        let message = format!(
            "line {}, column {}: the quotation mark that opens here is never closed",
            text[..byte].matches('\n').count() + 1,
            column + 1
        );
        return Err(Error::file(path, message));
    }
    let mut reader = reader(text);
    let first = reader.records().next();
    first.and_then(std::result::Result::ok).ok_or_else(|| Error::file(path, "has no lines"))
}

fn reader(text: &str) -> ::csv::Reader<&[u8]> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).trim(Trim::All).delimiter(delimiter(text));
    builder.from_reader(text.as_bytes())
}

/// What the column to predict holds.
enum Kind {
    /// The classes' names, in the order of their numbers; `true` if they are whole numbers.
    Classes(Vec<String>, bool),
    Numbers,
}

/// A file and the names of its columns.
struct File<'a> {
    text: &'a str,
    path: &'a Path,
    header: &'a Header,
}

impl File<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::file(self.path, message)
    }

    /// An error about a cell.
    fn error_at(&self, place: Place, column: usize, message: impl std::fmt::Display) -> Error {
        let (line, name) = (place.line(self.text), &self.header.names[column]);
        self.error(format!("line {line}, column '{name}': {message}"))
    }

    /// Calls a function with each line of data.
    fn each(&self, mut row: impl FnMut(&StringRecord) -> Result<()>) -> Result<()> {
        let mut reader = reader(self.text);
        let mut records: StringRecordsIter<_> = reader.records();
        if self.header.is_there {
            records.next();
        }
        records.try_for_each(|record| row(&record.map_err(|error| self.unlike_first(&error))?))
    }

    /// The error for a line with another number of cells than the first.
    fn unlike_first(&self, error: &::csv::Error) -> Error {
        match error.kind() {
            ::csv::ErrorKind::UnequalLengths { pos: Some(position), expected_len, len } => {
                let plural = if *len == 1 { "" } else { "s" };
                let line = Place(position.byte()).line(self.text);
                self.error(format!(
                    "line {line} has {len} column{plural}, the first line {expected_len}; is a text with the separator in it not quoted?"
                ))
            }
            _ => self.error(format!("could not be read: {error}")),
        }
    }

    /// What each column holds. `most` is the number of different values that are kept of a column.
    fn profiles(&self, most: impl Fn(usize) -> usize) -> Result<Vec<Profile>> {
        let mut profiles: Vec<Profile> =
            (0..self.header.names.len()).map(|column| Profile::new(most(column))).collect();
        self.each(|record| {
            let place = Place::of(record);
            for (profile, cell) in profiles.iter_mut().zip(record) {
                profile.add(cell, place);
            }
            Ok(())
        })?;
        Ok(profiles)
    }

    /// Whether a column is an input: not the target, nor left out, nor the names of rows.
    fn is_input(&self, place: usize, target: Option<usize>, ignored: &[usize]) -> bool {
        let is_row_name = self.header.has_row_names() && place == 0;
        Some(place) != target && !ignored.contains(&place) && !is_row_name
    }

    /// The columns that inputs are made of, and their places in a line.
    fn columns(
        &self,
        profiles: &[Profile],
        target: usize,
        ignored: &[usize],
    ) -> Result<(Vec<Column>, Vec<usize>)> {
        let is_input = |place: &usize| self.is_input(*place, Some(target), ignored);
        let places: Vec<usize> = (0..profiles.len()).filter(is_input).collect();
        if places.is_empty() {
            let others = if ignored.is_empty() { "" } else { " and those that `ignore` names" };
            return Err(self.error(format!("has no column besides the one to predict{others}")));
        }
        let column = |&place: &usize| {
            let categories = self.categories(&profiles[place], place)?;
            Ok(Column { name: self.header.names[place].clone(), categories })
        };
        Ok((places.iter().map(column).collect::<Result<_>>()?, places))
    }

    /// A column's categories; `None` if it has numbers.
    fn categories(&self, profile: &Profile, place: usize) -> Result<Option<Vec<String>>> {
        let name = &self.header.names[place];
        let Some(first) = &profile.first_text else {
            return match profile.numbers {
                0 => {
                    Err(self.error(format!("column '{name}' has no value: `ignore` leaves it out")))
                }
                _ => Ok(None),
            };
        };
        self.check_decimal_commas(profile, place)?;
        self.check_mixed(profile, place)?;
        let (texts, rows) = (&profile.texts, profile.cells());
        match texts.len() {
            // Where each text has about one line of its own, nothing can be learnt from it.
            count if count > MOST_CATEGORIES || (count > FEW && 2 * count > rows) => {
                let count = if count > MOST_CATEGORIES {
                    format!("more than {MOST_CATEGORIES}")
                } else {
                    count.to_string()
                };
                let advice = match cell::has_decimal_comma(&first.0) {
                    true => DECIMAL_POINT,
                    false => "`ignore` leaves the column out",
                };
                Err(self.error_at(first.1, place, format!(
                    "\"{}\" is not a number, and {count} different texts in {rows} lines are too many for categories: {advice}", first.0
                )))
            }
            _ => Ok(Some(texts.iter().cloned().collect())),
        }
    }

    /// Refuses a column whose texts all are numbers with a decimal comma.
    fn check_decimal_commas(&self, profile: &Profile, place: usize) -> Result<()> {
        let is_number =
            |text: &String| Cell::of(text) != Cell::Text || cell::has_decimal_comma(text);
        match &profile.first_text {
            Some((text, at)) if profile.texts.iter().all(is_number) => {
                let message = format!("\"{text}\" is not a number: {DECIMAL_POINT}");
                Err(self.error_at(*at, place, message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a column of numbers with a text among them.
    fn check_mixed(&self, profile: &Profile, place: usize) -> Result<()> {
        match &profile.first_text {
            Some((text, at)) if profile.numbers > 0 && profile.texts.len() > FEW => {
                let advice = match cell::has_decimal_comma(text) {
                    true => DECIMAL_POINT,
                    false => "correct it, or leave it empty if it is missing",
                };
                Err(self.error_at(
                    *at,
                    place,
                    format!(
                        "\"{text}\" is not a number, as {} other cells of the column are; {advice}",
                        profile.numbers
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    fn kind(&self, profile: &Profile, target: usize, task: TargetKind) -> Result<Kind> {
        let (rows, texts) = (profile.cells(), &profile.texts);
        if let Some((text, at)) = &profile.first_text {
            if task == TargetKind::Regression {
                let message = format!(
                    "\"{text}\" is not a number; `task` classification takes texts as classes"
                );
                return Err(self.error_at(*at, target, message));
            }
            let is_open = task == TargetKind::Auto;
            if is_open {
                self.check_decimal_commas(profile, target)?;
                self.check_mixed(profile, target)?;
            }
            let are_rare = texts.len() > FEW && 2 * texts.len() > rows;
            if texts.len() > MOST_CLASSES || (is_open && are_rare) {
                let message = format!(
                    "\"{text}\" is one of {} different texts in {rows} lines: too many for classes{}",
                    texts.len(),
                    if is_open { "; `task` classification takes them" } else { "" }
                );
                return Err(self.error_at(*at, target, message));
            }
            return Ok(Kind::Classes(texts.iter().cloned().collect(), false));
        }
        let classes = || {
            let whole = profile.whole_numbers.iter().map(i64::to_string);
            Kind::Classes(whole.collect(), true)
        };
        let whole = profile.whole_numbers.len();
        match (task, profile.first_fraction) {
            (TargetKind::Regression, _) | (TargetKind::Auto, Some(_)) => Ok(Kind::Numbers),
            (TargetKind::Classification, Some(at)) => {
                let message = "is not a whole number, and a class needs one or a text";
                Err(self.error_at(at, target, message))
            }
            (TargetKind::Classification, None) if whole > MOST_CLASSES => {
                let message = format!(
                    "column '{}' has more than {MOST_CLASSES} different numbers: too many for classes",
                    self.header.names[target]
                );
                Err(self.error(message))
            }
            (TargetKind::Auto, None) if whole > FEW || 2 * whole > rows => Ok(Kind::Numbers),
            (TargetKind::Auto | TargetKind::Classification, None) => Ok(classes()),
        }
    }

    /// The numbers of all lines: NaN where one is missing. The last of the three are the names of the classes.
    fn samples(
        &self,
        columns: &[Column],
        places: &[usize],
        target: usize,
        kind: &Kind,
        options: &LoadOptions,
    ) -> Result<(Vec<f32>, Targets, Vec<String>)> {
        let (mut inputs, mut classes, mut values) = (Vec::new(), Vec::new(), Vec::new());
        self.each(|record| {
            let at = Place::of(record);
            for (column, &place) in columns.iter().zip(places) {
                encode(&record[place], column, &options.table, &mut inputs)
                    .map_err(|message| self.error_at(at, place, message))?;
            }
            let cell = &record[target];
            match (kind, Cell::of(cell)) {
                (_, Cell::Missing) => {
                    Err("has no value, and it is the column to predict: leave such lines out"
                        .into())
                }
                (Kind::Numbers, read) => read.number(cell).map(|number| values.push(number)),
                (Kind::Classes(names, is_whole), read) => {
                    let name = match (read, is_whole) {
                        (Cell::Number(number), true) => (number as i64).to_string(),
                        _ => cell.to_owned(),
                    };
                    let class = names.iter().position(|own| *own == name);
                    class
                        .map(|class| classes.push(class as i32))
                        .ok_or_else(|| format!("\"{cell}\" is no class"))
                }
            }
            .map_err(|message: String| self.error_at(at, target, message))
        })?;
        Ok(match kind {
            Kind::Numbers => (inputs, Targets::Values { values, columns: 1 }, Vec::new()),
            Kind::Classes(names, _) => (inputs, Targets::Classes(classes), names.clone()),
        })
    }
}

/// Adds a cell's inputs, or says what is wrong with it.
fn encode(
    text: &str,
    column: &Column,
    options: &TableOptions,
    inputs: &mut Vec<f32>,
) -> std::result::Result<(), String> {
    let cell = Cell::of(text);
    if matches!(cell, Cell::Missing) {
        if options.missing == Missing::Refuse {
            let shown = if text.is_empty() {
                "is empty".into()
            } else {
                format!("\"{text}\" is a missing value")
            };
            let advice = match options.known {
                Some(_) => "the model was trained without missing values: leave such lines out",
                None => "`missing` mean puts the column's mean there, or leave such lines out",
            };
            return Err(format!("{shown}; {advice}"));
        }
        inputs.extend(std::iter::repeat_n(f32::NAN, column.inputs()));
        return Ok(());
    }
    let Some(categories) = &column.categories else {
        inputs.push(cell.number(text)?);
        return Ok(());
    };
    let own = categories.binary_search_by(|category| category.as_str().cmp(text));
    let own = own.map_err(|_| {
        let differs = differs_in_form(text, categories.iter().map(String::as_str));
        let advice = if differs { FORMS } else { "" };
        format!("\"{text}\" is none of the model's categories: {}{advice}", quoted(categories))
    })?;
    inputs.extend((0..categories.len()).map(|category| if category == own { 1.0 } else { 0.0 }));
    Ok(())
}

#[cfg(test)]
mod tests;
