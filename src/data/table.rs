//! How the columns of a table become a model's inputs and its target.

use ::csv::{ReaderBuilder, Trim};
use serde::{Deserialize, Serialize};

use crate::error::quoted;
use crate::named::named;

/// Names of columns: one argument of the command line.
pub type ColumnList = Vec<String>;

named! {
    /// Whether the column to predict holds classes or numbers.
    TargetKind, "task" {
        /// Its cells decide: see [`super::csv`].
        Auto = "auto",
        /// Classes, each with its text or its whole number as the name.
        Classification = "classification",
        /// Numbers.
        Regression = "regression",
    }
}

named! {
    /// The treatment of a missing value among the inputs.
    Missing, "missing" {
        /// The data is refused.
        Refuse = "refuse",
        /// It becomes the mean of its column in the training part.
        Mean = "mean",
    }
}

/// How a table is read. It applies to CSV only.
#[derive(Clone, Debug, PartialEq)]
pub struct TableOptions {
    /// The column to predict: its name, or its number from 1. It must be given.
    pub target: Option<String>,
    /// Columns that are left out of the inputs, such as an id: their names, or their numbers from 1.
    pub ignore: ColumnList,
    /// Whether that column holds classes or numbers.
    pub task: TargetKind,
    /// The treatment of missing values.
    pub missing: Missing,
    /// The table of a trained model, whose columns and categories the data must have.
    pub known: Option<Table>,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            target: None,
            ignore: Vec::new(),
            task: TargetKind::Auto,
            missing: Missing::Refuse,
            known: None,
        }
    }
}

/// The columns of a table, from which a model's inputs are made. A checkpoint keeps them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The column that is predicted.
    pub target: String,
    /// Whether the first line has the names of the columns. If not, their names are their numbers from 1.
    pub has_header: bool,
    /// Whether there is a first column without a name, as pandas and R write for the names of rows. It is left out.
    pub has_row_names: bool,
    /// The columns that inputs are made of, in the file's order.
    pub columns: Vec<Column>,
    /// The columns that are left out, which other data may have or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// The numbers in place of missing ones, one for each of the model's inputs; none if missing values are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fill: Vec<f64>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The categories, sorted, each of which is an input that is 1 in its rows and 0 in others; `None` for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
}

impl Column {
    /// The number of the model's inputs that the column becomes.
    pub fn inputs(&self) -> usize {
        self.categories.as_ref().map_or(1, Vec::len)
    }
}

impl Table {
    /// The number of the model's inputs.
    pub fn inputs(&self) -> usize {
        self.columns.iter().map(Column::inputs).sum()
    }

    /// The column that an input is made of.
    pub(super) fn column_of(&self, input: usize) -> Option<&Column> {
        let mut columns = self.columns.iter().flat_map(|own| vec![own; own.inputs()]);
        columns.nth(input)
    }

    /// The names of the columns that inputs are made of, for messages.
    pub(super) fn names(&self) -> String {
        quoted(self.columns.iter().map(|column| &column.name))
    }

    /// Lines about how the table was read.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let of_categories: Vec<String> = self
            .columns
            .iter()
            .filter(|column| column.categories.is_some())
            .map(|column| format!("'{}' ({})", column.name, column.inputs()))
            .collect();
        let numbers = self.columns.len() - of_categories.len();
        let categories = match of_categories.is_empty() {
            true => String::new(),
            false => format!("; of categories: {}", of_categories.join(", ")),
        };
        let plural = if numbers == 1 { "" } else { "s" };
        notes.push(format!(
            "column '{}' is predicted from {numbers} column{plural} of numbers{categories}",
            self.target
        ));
        if !self.ignored.is_empty() {
            notes.push(format!("left out by `ignore`: {}", quoted(&self.ignored)));
        }
        if !self.has_header {
            notes.push(
                "the columns are numbered from 1, since the first line has a number, a text twice, or a text that occurs again in its column"
                    .into(),
            );
        }
        if self.has_row_names {
            notes.push("the first column has no name and is left out, as the names of rows".into());
        }
        notes
    }
}

/// Reads the names of columns from a list such as `id,name`. A name with a comma stands in quotation marks, as in a CSV.
///
/// # Errors
/// Where a name is empty, or there is none.
pub(crate) fn column_list(text: &str) -> Result<ColumnList, String> {
    let mut reader =
        ReaderBuilder::new().has_headers(false).trim(Trim::All).from_reader(text.as_bytes());
    let mut records = reader.records();
    let first = records.next().and_then(Result::ok);
    if records.next().is_some() {
        return Err("has a line break; separate columns by commas, such as id,name".into());
    }
    let names: ColumnList =
        first.iter().flat_map(|record| record.iter().map(str::to_owned)).collect();
    check_columns(&names).map(|()| names)
}

/// Refuses a list without names, or with an empty one.
pub(crate) fn check_columns(names: &[String]) -> Result<(), String> {
    match names.is_empty() || names.iter().any(String::is_empty) {
        true => {
            Err("has no name, or an empty one; give columns' names or numbers, such as id,name"
                .into())
        }
        false => Ok(()),
    }
}

#[cfg(feature = "cli")]
impl crate::argument::Argument for ColumnList {
    fn parser() -> impl clap::builder::TypedValueParser<Value = Self> {
        column_list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_list_may_have_a_comma() {
        assert_eq!(column_list("id, 3").unwrap(), ["id", "3"]);
        assert_eq!(column_list("\"last, first\",the id").unwrap(), ["last, first", "the id"]);
        for wrong in ["", "a,,b", ","] {
            assert!(column_list(wrong).unwrap_err().contains("empty"), "{wrong:?}");
        }
        assert!(column_list("a\nb").unwrap_err().starts_with("has a line break"));
    }
}
