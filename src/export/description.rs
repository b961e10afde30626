//! What an exported file says about itself.

use serde_json::json;

use crate::data::Table;
use crate::error::Result;
use crate::learn::{ModelRecord, OWN_NETWORK};
use crate::models::Input;
use crate::supervised::vocabulary;
use crate::task::Task;

/// How the file's input is meant.
pub(super) fn of_input(record: &ModelRecord, input: Input) -> String {
    let floats = "numbers as in the training data";
    let numbers = match (input, record.input_type.as_deref()) {
        (Input::Tokens { .. }, _) => {
            return "numbers of tokens, time by time; the metadata's vocabulary has the tokens"
                .into();
        }
        (Input::Image { channels, .. }, Some("floats")) => format!("{}{floats}", colours(channels)),
        (Input::Image { channels, .. }, _) => {
            format!("{}numbers from 0 to 1, which are bytes / 255", colours(channels))
        }
        (Input::Vector { .. }, _) => floats.to_owned(),
    };
    let border = if record.padded { "; smaller images need a black border" } else { "" };
    match record.normalisation {
        Some(_) => format!("{numbers}{border}; the file standardises them"),
        None => numbers + border,
    }
}

/// The order of an image's channels, if their number tells it.
fn colours(channels: usize) -> &'static str {
    match channels {
        1 => "grey ",
        3 => "red, green, blue ",
        _ => "",
    }
}

/// What the file's output is.
pub(super) fn of_output(task: Task) -> &'static str {
    match task {
        Task::Classification { .. } => {
            "the probability of each class, averaged over the classifiers"
        }
        Task::Regression { .. } => {
            "predicted values in the targets' own units, averaged over the classifiers"
        }
    }
}

/// The texts that the file keeps, by key; lists are JSON.
pub(super) fn texts(record: &ModelRecord) -> Result<Vec<(&'static str, String)>> {
    let task = if record.regression { "regression" } else { "classification" };
    let mut texts = vec![("architecture", record.architecture.clone()), ("task", task.to_owned())];
    if let Some(classes) = &record.classes {
        texts.push(("classes", json!(classes).to_string()));
    }
    if let Some(table) = &record.table {
        texts.push(("columns", json!(columns(table)).to_string()));
        texts.push(("target", table.target.clone()));
    }
    // The tokens of a network of the user's own may be characters or words.
    if record.architecture != OWN_NETWORK
        && let Some(vocabulary) = vocabulary(record)?
    {
        texts.push(("vocabulary", json!(vocabulary.tokens().collect::<Vec<_>>()).to_string()));
    }
    Ok(texts)
}

/// The column of each input; `NAME=CATEGORY` for an input that is 1 in the rows of a category and 0 in others.
fn columns(table: &Table) -> Vec<String> {
    let of_column = |(name, categories): (&String, &Option<Vec<String>>)| match categories {
        None => vec![name.clone()],
        Some(all) => all.iter().map(|category| format!("{name}={category}")).collect(),
    };
    table.columns.iter().flat_map(|own| of_column((&own.name, &own.categories))).collect()
}
