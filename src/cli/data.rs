//! `alrao data`.

use std::fmt::Write;

use clap::Args;

use super::class_tables::table;
use super::failure::Ending;
use super::messages;
use alrao::argument::{Argument, choice, whole};
use alrao::data::{
    ColumnList, ColumnOverview, Content, Dataset, LoadOptions, Missing, Overview, Part,
    TableOptions, TargetKind, overview,
};

/// The most classes in a table.
const MOST_CLASSES: usize = 1000;

/// The most texts of a column that are shown.
const TEXTS: usize = 6;

/// The most texts of a column that are counted.
const MOST_TEXTS: usize = 256;

/// Show what data holds, without training: its format, shape, classes, columns, ranges and problems
#[derive(Args)]
#[command(
    after_help = "Examples:\n  alrao data table.csv\n  alrao data table.csv --target species --ignore id\n  \
    alrao data /usr/share/datasets/fashion-mnist"
)]
pub(super) struct Arguments {
    /// A file or a folder, as for alrao train --data
    #[arg(value_name = "DATA")]
    data: String,
    /// CSV: the column to predict, by its name or its number from 1
    #[arg(long, value_name = "COLUMN")]
    target: Option<String>,
    /// CSV: columns that are left out of the inputs, by their names or numbers from 1; a name with a comma in quotation marks
    #[arg(long, value_name = "COLUMN,..", value_parser = <ColumnList as Argument>::parser())]
    ignore: Option<ColumnList>,
    /// CSV: whether that column holds classes or numbers
    #[arg(long, value_name = "TASK", value_parser = choice(TargetKind::ALL), default_value = "auto")]
    task: TargetKind,
    /// CSV: missing values among the inputs
    #[arg(long, value_name = "MISSING", value_parser = choice(Missing::ALL), default_value = "refuse")]
    missing: Missing,
    /// Folders of images: rows and columns that they are resized to
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>, default_value = "32")]
    image_size: usize,
}

pub(super) fn run(arguments: &Arguments, quiet: bool) -> anyhow::Result<Ending> {
    let Arguments { data, target, ignore, task, missing, image_size } = arguments;
    let table = TableOptions {
        target: target.clone(),
        ignore: ignore.clone().unwrap_or_default(),
        task: *task,
        missing: *missing,
        ..TableOptions::default()
    };
    let options = LoadOptions { table, image_size: *image_size, ..LoadOptions::default() };
    let seen = overview(data, &options)?;
    messages::result(&in_words(&seen))?;
    if !quiet && seen.dataset.is_none() {
        messages::note("--target COLUMN tells which column is predicted, and checks the others");
    }
    Ok(Ending::Done)
}

fn in_words(seen: &Overview) -> String {
    let mut text = format!("format  {}\n", seen.format);
    let mut line = |name: &str, content: &str| {
        // A text in memory can be written.
        let _ = writeln!(text, "{name:<7} {content}");
    };
    match &seen.dataset {
        Some(dataset) => line("data", &dataset.description()),
        None => line("rows", &seen.columns.first().map_or(0, |own| own.cells).to_string()),
    }
    seen.ranges.iter().for_each(|own| line("range", own));
    seen.problems.iter().for_each(|own| line("note", &messages::for_people(own)));
    if !seen.columns.is_empty() {
        text += &of_columns(&seen.columns);
    }
    text + &seen.dataset.as_ref().and_then(of_classes).unwrap_or_default()
}

fn of_columns(columns: &[ColumnOverview]) -> String {
    let header = ["column", "missing", "least", "largest", "texts"].map(String::from).to_vec();
    let row = |own: &ColumnOverview| {
        let ends = own.range.map_or_else(Default::default, |ends| ends.map(|end| end.to_string()));
        let [least, largest]: [String; 2] = ends;
        vec![own.name.clone(), own.missing.to_string(), least, largest, texts(&own.texts)]
    };
    table(&[vec![header], columns.iter().map(row).collect()].concat(), &[0, 4])
}

/// The number of a column's texts, and the first of them.
fn texts(texts: &[String]) -> String {
    if texts.is_empty() {
        return String::new();
    }
    // A text may have commas.
    let quoted = texts.iter().take(TEXTS).map(|text| format!("'{text}'"));
    let shown = quoted.collect::<Vec<_>>().join(", ");
    let more = if texts.len() > TEXTS { ", .." } else { "" };
    let count = match texts.len() {
        count if count > MOST_TEXTS => format!("over {MOST_TEXTS}"),
        count => count.to_string(),
    };
    format!("{count}: {shown}{more}")
}

/// The samples of each class in each part.
fn of_classes(dataset: &Dataset) -> Option<String> {
    let parts = [Part::Train, Part::Valid, Part::Test];
    let counts: Vec<(Part, Vec<usize>)> =
        parts.iter().filter_map(|part| Some((*part, dataset.class_counts(*part)?))).collect();
    let classes = counts.first()?.1.len();
    if classes > MOST_CLASSES {
        return None;
    }
    let names = match &dataset.content {
        Content::Arrays(arrays) => arrays.class_names(),
        Content::Text(_) => None,
    };
    let name = |class: usize| names.map_or_else(|| class.to_string(), |names| names[class].clone());
    let header = ["class".to_owned()].into_iter();
    let header = header.chain(counts.iter().map(|(part, _)| part.name().to_owned())).collect();
    let row = |class: usize| {
        let counts = counts.iter().map(|(_, own)| own[class].to_string());
        [name(class)].into_iter().chain(counts).collect()
    };
    Some(table(&[vec![header], (0..classes).map(row).collect()].concat(), &[0]))
}
