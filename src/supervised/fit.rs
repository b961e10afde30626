//! Adapts a data set to a trained model: normalisation, class numbers and vocabulary.

use crate::data::{
    Arrays, Content, Dataset, Inputs, Kind, Normalisation, Part, Split, Targets, Task, Text,
    TokenKind, Vocabulary,
};
use crate::error::{Error, Result};
use crate::learn::ModelRecord;
use crate::models::Architecture;

/// Factor between standard deviations at which inputs are taken to be on another scale.
const FAR: f64 = 10.0;

/// The same for at least [`MANY`] images of at least [`PIXELS`] pixels each.
const FAR_OF_IMAGES: f64 = 1.9;
const MANY: usize = 20;
const PIXELS: usize = 64;

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
    Ok(match kind(record.architecture()?) {
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
        let advice = known.advice_on_form(unknown);
        let message = format!("has the {kind} {unknown:?}, which the model does not know{advice}");
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
    let mut remarks: Vec<String> = match_arrays(arrays, record)?.into_iter().collect();
    let (stored, input) = (arrays.train.inputs.stored_type(), record.input()?);
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
    let known = inputs.clone();
    arrays.standardise_by(inputs, targets);
    if record.input_type.is_none() {
        remarks.push(unrecorded(stored));
    } else if let Some(split) = arrays.part(part) {
        remarks.extend(scale_of_inputs(split, known.as_ref()).and_then(|own| own.remark(true)));
        remarks.extend(scale_of_targets(split).and_then(|own| own.remark(true)));
    }
    Ok(remarks)
}

/// Checks that samples and targets fit a model, and numbers their classes as the model does. Returns a remark if only one side has
/// names for its classes.
pub(super) fn match_arrays(
    arrays: &mut Arrays,
    record: &ModelRecord,
) -> std::result::Result<Option<String>, String> {
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
    let remark_on_names = on_names(arrays, record.classes.as_deref());
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
    Ok(remark_on_names)
}

/// A remark on classes that have names on one side only, and are matched by number.
fn on_names(arrays: &Arrays, known: Option<&[String]>) -> Option<String> {
    // Names that are the numbers themselves say no more.
    let are_names = |names: &&[String]| {
        names.iter().zip(0..).any(|(name, class): (_, i32)| *name != class.to_string())
    };
    let own = arrays.class_names().filter(are_names);
    let known = known.filter(are_names);
    let (sides, names) = match (own, known) {
        (None, Some(names)) => ("the model's classes have names, the data's only numbers", names),
        (Some(names), None) => ("the data's classes have names, the model's only numbers", names),
        _ => return None,
    };
    let first: Vec<String> = names
        .iter()
        .take(3)
        .enumerate()
        .map(|(class, name)| format!("{class} is '{name}'"))
        .collect();
    let more = if names.len() > 3 { ", .." } else { "" };
    Some(format!("{sides}: class {}{more} (sorted by name)", first.join(", ")))
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

/// Remarks on a run's validation and test parts that lie far from its training data. Whether they vary less is left open: a
/// small part that was drawn from the training data may.
pub(super) fn parts_on_another_scale(dataset: &Dataset) -> Vec<String> {
    let Content::Arrays(arrays) = &dataset.content else { return Vec::new() };
    let known = arrays.normalisation.as_ref();
    let mut remarks = Vec::new();
    for part in [Part::Valid, Part::Test] {
        let Some(split) = arrays.part(part) else { continue };
        let targets = arrays.target_normalisation.as_ref().and_then(|_| scale_of_targets(split));
        let scales = [scale_of_inputs(split, known), targets];
        let own = scales.into_iter().flatten().filter_map(|scale| scale.remark(false));
        remarks.extend(own.map(|remark| format!("{} part: {remark}", part.name())));
    }
    remarks
}

/// Numbers beside the training data's, in whose deviations they are counted.
struct Scale {
    what: &'static str,
    /// The largest mean or deviation of a column.
    largest: f64,
    /// The largest and the least deviation of a column that is not constant; 1 in the training data.
    spread: [f64; 2],
    /// The factor between deviations at which they are taken to be on another scale.
    far: f64,
}

impl Scale {
    fn of(
        what: &'static str,
        own: &Normalisation,
        known: Option<&Normalisation>,
        far: f64,
    ) -> Scale {
        let columns = own.mean.len();
        let identity = Normalisation::identity(columns);
        let known = known.unwrap_or(&identity);
        let pairs = (0..columns).map(|column| {
            let unit = known.deviation[column];
            let mean = (own.mean[column] - known.mean[column]) / unit;
            // A column of equal numbers has the deviation 1.
            let deviation = Some(own.deviation[column]).filter(|own| *own != 1.0);
            (mean, deviation.map(|own| own / unit))
        });
        let (mut largest, mut spread) = (0.0f64, [0.0, f64::INFINITY]);
        for (mean, deviation) in pairs {
            largest = largest.max(mean.abs()).max(deviation.unwrap_or_default());
            if let Some(own) = deviation {
                spread = [spread[0].max(own), spread[1].min(own)];
            }
        }
        Scale { what, largest, spread, far }
    }

    /// A remark on numbers that differ much: a column whose mean or deviation is far larger or, if `is_whole`, columns that
    /// all vary far less.
    fn remark(&self, is_whole: bool) -> Option<String> {
        let is_narrow = is_whole && self.spread[0] > 0.0 && self.spread[0] < 1.0 / self.far;
        let what = self.what;
        if self.largest > self.far {
            return Some(format!(
                "the {what} differ from the training data, by up to {:.1} of its standard deviations; are they on the same scale?",
                self.largest
            ));
        }
        is_narrow.then(|| {
            format!("the {what} vary far less than the training data; are they on the same scale?")
        })
    }
}

/// The scale of a part's inputs; `None` for images in files, and for data that is not standardised. Floats are standardised
/// by the training data's means and deviations already, bytes are not.
fn scale_of_inputs(split: &Split, known: Option<&Normalisation>) -> Option<Scale> {
    let known = known?;
    let identity = Normalisation::identity(known.mean.len());
    let is_standardised = matches!(split.inputs, Inputs::Floats(_));
    scale(&split.inputs, split.len(), if is_standardised { &identity } else { known })
}

/// The scale of the inputs of some samples; `None` for images in files.
fn scale(inputs: &Inputs, samples: usize, known: &Normalisation) -> Option<Scale> {
    let columns = known.mean.len();
    let own = match inputs {
        Inputs::Floats(floats) => Normalisation::of_floats(floats, columns),
        Inputs::Bytes(bytes) => Normalisation::of(bytes, columns),
        Inputs::Files(_) => return None,
    };
    Some(Scale::of("inputs", &own, Some(known), far(inputs, samples, columns)))
}

/// A remark on inputs that differ much from the training data's, before they are standardised.
pub(super) fn remark_on_scale(
    inputs: &Inputs,
    samples: usize,
    known: &Normalisation,
) -> Option<String> {
    scale(inputs, samples, known)?.remark(samples >= MANY)
}

/// The scale of a part's standardised targets; `None` for classes.
fn scale_of_targets(split: &Split) -> Option<Scale> {
    let Targets::Values { values, columns } = &split.targets else { return None };
    Some(Scale::of("targets", &Normalisation::of_floats(values, *columns), None, FAR))
}

/// The factor for the inputs of some samples: the channels of many images have much the same mean and deviation in each part, the
/// columns of vectors need not.
fn far(inputs: &Inputs, samples: usize, columns: usize) -> f64 {
    let pixels = inputs.elements() / samples.max(1) / columns.max(1);
    if samples >= MANY && pixels >= PIXELS { FAR_OF_IMAGES } else { FAR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_vectors_may_differ_more_than_the_channels_of_images() {
        let inputs = Inputs::Floats(vec![0.0; MANY * 8 * 8 * 3]);
        assert_eq!(far(&inputs, MANY, 3), FAR_OF_IMAGES);
        assert_eq!(far(&inputs, MANY, 8 * 8 * 3), FAR);
        assert_eq!(far(&inputs, MANY - 1, 3), FAR);
    }

    #[test]
    fn inputs_on_another_scale_are_remarked_on_before_they_are_standardised() {
        let training: Vec<f32> = (0..200).map(|i| (i * i % 31) as f32).collect();
        let known = Normalisation::of_floats(&training, 2);
        let remark = |factor: f32, rows: usize| {
            let own = training[..2 * rows].iter().map(|own| own * factor).collect();
            remark_on_scale(&Inputs::Floats(own), rows, &known)
        };
        assert_eq!(remark(1.0, 100), None);
        assert!(remark(100.0, 100).unwrap().contains("differ from the training data"));
        assert!(remark(0.01, 100).unwrap().contains("vary far less"));
        // One row has no spread, but may be far away.
        assert_eq!(remark(1.0, 1), None);
        assert!(remark(1e6, 2).is_some());
    }
}
