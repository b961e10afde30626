//! Adapts a data set to a trained model: normalisation, class numbers and vocabulary.

use crate::data::{
    Arrays, Content, Dataset, Inputs, Kind, Normalisation, Part, Task, Text, TokenKind, Vocabulary,
};
use crate::error::{Error, Result};
use crate::learn::ModelRecord;
use crate::models::Architecture;

/// Factor between standard deviations at which inputs are taken to be on another scale.
const FAR: f64 = 10.0;

/// The kind of data that an architecture takes.
pub fn kind(architecture: Architecture) -> Kind {
    match architecture {
        Architecture::CharLstm => Kind::Text(TokenKind::Character),
        Architecture::WordLstm => Kind::Text(TokenKind::Word),
        _ => Kind::Arrays,
    }
}

/// The vocabulary of a text model; `None` for other models.
pub(crate) fn vocabulary(record: &ModelRecord) -> Result<Option<Vocabulary>> {
    let Some(tokens) = &record.vocabulary else { return Ok(None) };
    Ok(match kind(record.architecture.parse()?) {
        Kind::Text(kind) => Some(Vocabulary::from_token_list(kind, tokens)),
        Kind::Arrays => None,
    })
}

/// Checks that a data set fits a model, and gives it the normalisation and numbering of the training data. Returns
/// remarks.
pub(super) fn fit(
    dataset: &mut Dataset,
    record: &ModelRecord,
    data: &str,
    part: Part,
) -> Result<Vec<String>> {
    let fitted = match &mut dataset.content {
        Content::Text(text) => fit_text(text, record),
        Content::Arrays(arrays) => fit_arrays(arrays, record, part),
    };
    fitted.map_err(|message| Error::input(format!("`data` {data}"), message))
}

fn fit_text(text: &mut Text, record: &ModelRecord) -> std::result::Result<Vec<String>, String> {
    let Some(known) = vocabulary(record).map_err(|error| error.to_string())? else {
        return Err("is a text, which the model does not take".into());
    };
    if let Some(unknown) = text.vocabulary.tokens().find(|own| known.code(own).is_none()) {
        let kind = known.kind().name();
        let message = format!("has the {kind} {unknown:?}, which the model does not know");
        return Err(message);
    }
    text.renumber(known);
    Ok(Vec::new())
}

fn fit_arrays(
    arrays: &mut Arrays,
    record: &ModelRecord,
    part: Part,
) -> std::result::Result<Vec<String>, String> {
    let (own, input) = (arrays.sample, record.input()?);
    if own != input {
        return Err(format!("has {own}, the model takes {input}"));
    }
    let stored = arrays.train.inputs.stored_type();
    if let Some(trained_on) = record.input_type.as_deref().filter(|known| *known != stored) {
        let wanted = match trained_on {
            "bytes" => "u8, from 0 to 255",
            _ => "f32, on the scale of its training data",
        };
        return Err(format!(
            "holds {stored}, but the model was trained on {trained_on}: give it images as {wanted}"
        ));
    }
    if let Some(known) = &record.classes {
        arrays.renumber_classes(known)?;
    }
    let is_known = match arrays.task {
        Task::Classification { classes } => !record.regression && classes <= record.outputs,
        Task::Regression { outputs } => record.regression && outputs == record.outputs,
    };
    if !is_known {
        let [data, model] = [described(arrays.task), described(record.task())];
        return Err(format!("is for {data}, the model for {model}"));
    }
    let (inputs, targets) = (&record.normalisation, &record.target_normalisation);
    let of_record = |pair: &Option<_>| pair.as_ref().map(Normalisation::of_pair);
    let (inputs, targets) = (of_record(inputs), of_record(targets));
    let columns = [input.extents().last().copied().unwrap_or_default(), record.outputs];
    let is_whole = |(own, columns): (&Option<Normalisation>, usize)| {
        own.as_ref().is_none_or(|own| [own.mean.len(), own.deviation.len()] == [columns; 2])
    };
    if ![&inputs, &targets].into_iter().zip(columns).all(is_whole) {
        return Err("cannot be standardised: the model's file has another number of means".into());
    }
    let columns = inputs.as_ref().map(|inputs| inputs.mean.len());
    arrays.standardise_by(inputs, targets);
    let remark = match (&record.input_type, columns) {
        (None, _) => Some(unrecorded(stored)),
        (Some(_), Some(columns)) => {
            arrays.part(part).and_then(|split| on_another_scale(&split.inputs, columns))
        }
        (Some(_), None) => None,
    };
    Ok(remark.into_iter().collect())
}

fn described(task: Task) -> String {
    match task {
        Task::Classification { classes } => format!("classification into {classes} classes"),
        Task::Regression { outputs } => format!("regression on {outputs} numbers"),
    }
}

fn unrecorded(stored: &str) -> String {
    format!(
        "the model's file does not say what its inputs were, as in version 0.1.0; these {stored} are taken as that version \
         took them"
    )
}

/// Remarks on a run's validation and test inputs that lie far from its training data. Whether they vary less is left open: a
/// small part that was drawn from the training data may.
pub(super) fn parts_on_another_scale(dataset: &Dataset) -> Vec<String> {
    let Content::Arrays(arrays) = &dataset.content else { return Vec::new() };
    let columns = arrays.normalisation.as_ref().map(|own| own.mean.len());
    let parts = [Part::Valid, Part::Test].into_iter();
    let remarks = parts.filter_map(|part| {
        let (largest, _) = scale(&arrays.part(part)?.inputs, columns?)?;
        let name = part.name();
        (largest > FAR).then(|| format!("{name} part: {}", on_scale(largest)))
    });
    remarks.collect()
}

/// A remark on inputs that differ much from the training data once they are standardised in the same way: a column whose mean
/// or deviation is far larger, or columns that are all far closer together.
fn on_another_scale(inputs: &Inputs, columns: usize) -> Option<String> {
    let (largest, is_narrow) = scale(inputs, columns)?;
    (largest > FAR || is_narrow).then(|| on_scale(largest))
}

/// The largest mean or deviation of a column, and whether the deviations of all columns are small; `None` for images in bytes.
fn scale(inputs: &Inputs, columns: usize) -> Option<(f64, bool)> {
    let Inputs::Floats(floats) = inputs else { return None };
    let Normalisation { mean, deviation } = Normalisation::of_floats(floats, columns);
    let largest = mean.iter().chain(&deviation).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    // A column of equal numbers has the deviation 1.
    let spread: Vec<f64> = deviation.into_iter().filter(|deviation| *deviation != 1.0).collect();
    Some((largest, !spread.is_empty() && spread.iter().all(|deviation| *deviation < 1.0 / FAR)))
}

fn on_scale(largest: f64) -> String {
    format!(
        "the inputs differ from the training data, by up to {largest:.0} of its standard deviations, or they vary far less; are \
         they on the same scale?"
    )
}
