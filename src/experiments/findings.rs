//! The findings of an experiment: text, tables and pictures for people, and values for programs.

use std::fmt::Write;

use serde_json::Value;

/// A table of texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The caption.
    pub caption: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Line>,
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// A text for each column.
    pub cells: Vec<String>,
    /// Whether the cells are the paper's numbers.
    pub is_papers: bool,
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Table { caption: caption.into(), head, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        let cells = row.into_iter().map(Into::into).collect();
        self.rows.push(Line { cells, is_papers: false });
    }

    /// Adds a row of the paper's numbers, to be compared with the row called `name`.
    pub fn push_papers(&mut self, name: &str, row: impl IntoIterator<Item = impl Into<String>>) {
        let name = format!("{name} (paper)");
        let cells = [name].into_iter().chain(row.into_iter().map(Into::into)).collect();
        self.rows.push(Line { cells, is_papers: true });
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = self.head.iter().map(|_| "---".to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(&row.cells)).collect();
        format!("{}\n\n{}{}{rows}", self.caption, line(&self.head), line(&rule))
    }
}

/// A picture with its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its file's name, without the extension.
    pub name: String,
    /// The picture.
    pub svg: String,
    /// The caption.
    pub caption: String,
}

impl Picture {
    /// A picture.
    pub fn new(name: impl Into<String>, svg: String, caption: impl Into<String>) -> Self {
        Picture { name: name.into(), svg, caption: caption.into() }
    }
}

/// The findings of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The experiment, in one line.
    pub title: String,
    /// The paper's finding; empty if the paper has none.
    pub paper: String,
    /// The runs that failed, and the reasons.
    pub failures: Vec<String>,
    /// The results, a sentence each.
    pub observations: Vec<String>,
    /// The differences from the paper's experiment, a sentence each.
    pub differences: Vec<String>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// The results for programs.
    pub values: Value,
}

impl Findings {
    /// Everything but the pictures, in markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        if !self.paper.is_empty() {
            let _ = write!(text, "\nIn the paper: {}\n", self.paper);
        }
        list(&mut text, FAILURES, &self.failures);
        list(&mut text, "What came out", &self.observations);
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
        list(&mut text, "What differs from the paper", &self.differences);
        text
    }
}

/// The heading over the runs that failed.
pub(super) const FAILURES: &str = "Failed runs, which are not counted below";

fn list(text: &mut String, title: &str, points: &[String]) {
    if !points.is_empty() {
        let points: String = points.iter().map(|point| format!("- {point}\n")).collect();
        let _ = write!(text, "\n{title}:\n\n{points}");
    }
}

/// The text of a value for a table's cell, or a dash.
pub(super) fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".into(), text)
}
