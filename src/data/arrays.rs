//! Images or vectors in named arrays: a safetensors file, or NumPy's.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};

use super::validation::ValidationRule;
use super::{Arrays, Input, Inputs, LoadOptions, Part, Split, Targets, Task, channels_last, read};
use crate::error::{Error, Result, quoted};
use crate::file::tensors;

const NAMES: [&str; 4] = ["images", "inputs", "labels", "targets"];

/// The largest label that is accepted. A model has weights for every class up to the largest label, so one damaged label
/// could otherwise use up all memory.
const LARGEST_LABEL: i64 = (1 << 20) - 1;

/// Reads a file; see [`parse`].
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, and those of [`parse`].
pub fn load(path: &Path, options: &LoadOptions) -> Result<Arrays> {
    parse(&read(path)?, path, options)
}

/// The samples in a file's bytes; `path` is for messages.
///
/// The tensors are `images` `[N, C, H, W]` (u8 or f32) or `inputs` `[N, D]` (f32), and `labels` `[N]`
/// (i64) or `targets` `[N, M]` or `[N]` (f32); the same names with `valid_` and `test_` in front hold the other parts. The number of
/// classes is one more than the largest label of all parts. Without `valid_` tensors, a share of the samples
/// becomes the validation part; see [`LoadOptions`].
///
/// # Errors
/// [`Error::Input`] naming the file and the tensor if a name, dtype, shape or label is wrong, if there are no samples, or if a
/// number is not finite.
pub fn parse(bytes: &[u8], path: &Path, options: &LoadOptions) -> Result<Arrays> {
    let (_, tensors) = tensors::parse(bytes, path)?;
    from_tensors(tensors.tensors().into_iter().collect(), path, options)
}

/// The samples in tensors with the names that [`parse`] describes.
pub(super) fn from_tensors(
    tensors: BTreeMap<String, TensorView>,
    path: &Path,
    options: &LoadOptions,
) -> Result<Arrays> {
    let reader = Reader { tensors, path, takes_any_number: options.first_rules };
    reader.check_names()?;
    let train_at = reader.part(Part::Train)?;
    let train = match options.test_alone && train_at.is_none() {
        true => reader.part(Part::Test)?,
        false => train_at,
    };
    let Some(train) = train else {
        return Err(reader.wrong_names("has no images or inputs to train on"));
    };
    let (valid, test) = (reader.part(Part::Valid)?, reader.part(Part::Test)?);
    for (part, other) in [(Part::Valid, &valid), (Part::Test, &test)] {
        if let Some(other) = other {
            reader.check_alike(&train, other, part)?;
        }
    }
    let task = task([Some(&train), valid.as_ref(), test.as_ref()].into_iter().flatten());
    let (valid, test) = (valid.map(|part| part.split), test.map(|part| part.split));
    let last = ValidationRule::Last { share: options.valid_split };
    let rule = ValidationRule::of(options, last);
    Ok(Arrays::assemble(train.split, valid, test, train.sample, task, rule))
}

/// Inputs for a trained model.
pub(super) struct FoundInputs {
    /// The shape of one.
    pub sample: Input,
    pub inputs: Inputs,
    /// A remark on tensors that were not taken.
    pub note: Option<String>,
}

/// The inputs in a file's bytes for a model that takes `sample`; see [`inputs_of`]. `path` is for messages.
pub(super) fn inputs(bytes: &[u8], path: &Path, sample: Input) -> Result<FoundInputs> {
    let (_, tensors) = tensors::parse(bytes, path)?;
    inputs_of(tensors.tensors().into_iter().collect(), path, sample)
}

/// The inputs among tensors with or without targets, for a model that takes `sample`: those of the test part if there are
/// any, or the only tensor, whatever its name.
///
/// # Errors
/// [`Error::Input`] naming the file and the tensor if a dtype or shape is wrong, or a number is not finite.
pub(super) fn inputs_of(
    tensors: BTreeMap<String, TensorView>,
    path: &Path,
    sample: Input,
) -> Result<FoundInputs> {
    let reader = Reader { tensors, path, takes_any_number: false };
    let names = ["test_images", "test_inputs", "images", "inputs"];
    let known = names.iter().find(|name| reader.tensors.contains_key(**name));
    let only = reader.tensors.keys().next().filter(|_| reader.tensors.len() == 1);
    let Some(name) = known.map(|name| (*name).to_owned()).or_else(|| only.cloned()) else {
        return Err(reader.wrong_names("has no images or inputs"));
    };
    let shape = reader.tensors[&name].shape();
    let is_one = match sample {
        Input::Image { height, width, channels } => *shape == [channels, height, width],
        _ => *shape == *sample.extents(),
    };
    if is_one {
        return Err(reader.error(&name, "is a single sample; x[None] is an array of one sample"));
    }
    let (_, found, inputs) = match sample {
        Input::Image { .. } => reader.images(&name)?,
        _ => reader.vectors(&name)?,
    };
    Ok(FoundInputs { sample: found, inputs, note: reader.note_on_others(&name) })
}

/// Whether a tensor has one of the names that are read.
pub(super) fn is_known(name: &str) -> bool {
    let own = name.strip_prefix("valid_").or_else(|| name.strip_prefix("test_"));
    NAMES.contains(&own.unwrap_or(name))
}

/// One part, with the shape that the other parts must have too.
struct Samples {
    split: Split,
    sample: Input,
}

fn task<'a>(parts: impl Iterator<Item = &'a Samples>) -> Task {
    let mut task = Task::Classification { classes: 0 };
    for part in parts {
        task = match (&part.split.targets, task) {
            (Targets::Classes(labels), Task::Classification { classes }) => {
                let own = labels.iter().max().map_or(0, |&label| label as usize + 1);
                Task::Classification { classes: classes.max(own) }
            }
            (Targets::Values { columns, .. }, _) => Task::Regression { outputs: *columns },
            (_, task) => task,
        };
    }
    task
}

struct Reader<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    path: &'a Path,
    takes_any_number: bool,
}

impl Reader<'_> {
    fn error(&self, tensor: &str, message: impl std::fmt::Display) -> Error {
        Error::file(self.path, format!("tensor '{tensor}': {message}"))
    }

    fn wrong_names(&self, message: &str) -> Error {
        let names = quoted(self.tensors.keys());
        let message = format!(
            "{message}. It has: {}. It may have: {}, each also with valid_ and test_ before it",
            if names.is_empty() { "no tensor".into() } else { names },
            NAMES.join(", ")
        );
        Error::file(self.path, message)
    }

    /// A remark on tensors besides the predicted one and targets.
    fn note_on_others(&self, taken: &str) -> Option<String> {
        let is_target = |name: &str| name.ends_with("labels") || name.ends_with("targets");
        let others = || self.tensors.keys().filter(|name| *name != taken && !is_target(name));
        others().next().is_some().then(|| {
            format!(
                "predicts '{taken}' and passes over {}; `split` predicts a part with its labels or targets. If a file has one array, \
                 that one is predicted, whatever its name",
                quoted(others())
            )
        })
    }

    fn check_names(&self) -> Result<()> {
        let names = self.tensors.keys().map(String::as_str);
        let unknown: Vec<&str> = names.filter(|name| !is_known(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let all = if unknown.len() == self.tensors.len() { " only" } else { "" };
        Err(self.wrong_names(&format!("has{all} unknown tensors: {}", quoted(unknown))))
    }

    /// A part from its two tensors; `None` if both are missing.
    fn part(&self, part: Part) -> Result<Option<Samples>> {
        let prefix = match part {
            Part::Train => String::new(),
            Part::Valid | Part::Test => format!("{}_", part.name()),
        };
        let inputs = self.one_of(&prefix, "images", "inputs")?;
        let targets = self.one_of(&prefix, "labels", "targets")?;
        let needs = |tensor: &str, [first, second]: [&str; 2]| {
            Err(self.error(tensor, format!("needs {prefix}{first} or {prefix}{second} beside it")))
        };
        let (inputs, targets) = match (inputs, targets) {
            (Some(inputs), Some(targets)) => (inputs, targets),
            (None, None) => return Ok(None),
            (Some(inputs), None) => return needs(&inputs, ["labels", "targets"]),
            (None, Some(targets)) => return needs(&targets, ["images", "inputs"]),
        };
        let (count, sample, read_inputs) = match inputs.ends_with("images") {
            true => self.images(&inputs)?,
            false => self.vectors(&inputs)?,
        };
        let read_targets = match targets.ends_with("labels") {
            true => self.labels(&targets)?,
            false => self.values(&targets)?,
        };
        let split = Split::new(read_inputs, read_targets);
        if split.len() != count {
            let message = format!("has {} samples, {inputs} has {count}", split.len());
            return Err(self.error(&targets, message));
        }
        Ok(Some(Samples { split, sample }))
    }

    /// The full name of the one of two tensors that the file holds.
    fn one_of(&self, prefix: &str, first: &str, second: &str) -> Result<Option<String>> {
        let (first, second) = (format!("{prefix}{first}"), format!("{prefix}{second}"));
        let has = |name: &String| self.tensors.contains_key(name);
        match (has(&first), has(&second)) {
            (true, true) => {
                Err(self.error(&second, format!("and '{first}' exclude each other: leave one out")))
            }
            (true, false) => Ok(Some(first)),
            (false, true) => Ok(Some(second)),
            (false, false) => Ok(None),
        }
    }

    /// A tensor with the given axes, none of extent 0.
    fn tensor(&self, name: &str, axes: &str) -> Result<&TensorView<'_>> {
        let view = self.tensors.get(name).ok_or_else(|| self.error(name, "is missing"))?;
        let shape = view.shape();
        if shape.len() != axes.split(", ").count() {
            let advice = advice_on_axes(shape, axes);
            return Err(self.error(name, format!("has shape {shape:?}, not [{axes}]{advice}")));
        }
        if shape[0] == 0 {
            return Err(self.error(name, "has no samples"));
        }
        if shape.contains(&0) {
            return Err(self.error(name, format!("has shape {shape:?}: a sample is empty")));
        }
        Ok(view)
    }

    fn wrong_dtype(&self, name: &str, found: Dtype, expected: &str) -> Error {
        let advice = match expected {
            "I64" => {
                "np.ascontiguousarray(x, \"int64\") in NumPy and x.long() in PyTorch convert it"
            }
            _ => {
                "np.ascontiguousarray(x, \"float32\") in NumPy and x.float() in PyTorch convert it"
            }
        };
        self.error(name, format!("holds {found:?}, not {expected}; {advice}"))
    }

    fn floats(&self, name: &str, axes: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.tensor(name, axes)?;
        match view.dtype() {
            Dtype::F32 => {
                self.check_finite(name, view)?;
                Ok((view.shape().to_vec(), f32s(view.data()).collect()))
            }
            other => Err(self.wrong_dtype(name, other, "F32")),
        }
    }

    /// One NaN among the samples of validation makes every loss there NaN.
    fn check_finite(&self, name: &str, view: &TensorView) -> Result<()> {
        let wrong = || f32s(view.data()).enumerate().filter(|(_, value)| !value.is_finite());
        let Some((first, value)) = wrong().next().filter(|_| !self.takes_any_number) else {
            return Ok(());
        };
        let count = match wrong().count() {
            1 => "1 number that is not finite:".into(),
            count => format!("{count} numbers that are not finite; the first:"),
        };
        let place = place(first, view.shape());
        let advice = "leave such samples out, or replace the numbers";
        Err(self.error(name, format!("has {count} {value} at {place}; {advice}")))
    }

    fn images(&self, name: &str) -> Result<(usize, Input, Inputs)> {
        let view = self.tensor(name, "N, C, H, W")?;
        let &[count, channels, height, width] = view.shape() else {
            return Err(self.error(name, "does not have four axes"));
        };
        let (elements, plane) = (count * channels * height * width, height * width);
        let inputs = match view.dtype() {
            Dtype::U8 => {
                let mut images = vec![0; elements];
                channels_last(view.data().iter().copied(), channels, &mut images, plane);
                Inputs::Bytes(images)
            }
            Dtype::F32 => {
                self.check_finite(name, view)?;
                let mut images = vec![0.0; elements];
                channels_last(f32s(view.data()), channels, &mut images, plane);
                Inputs::Floats(images)
            }
            other => return Err(self.wrong_dtype(name, other, "F32 or U8")),
        };
        Ok((count, Input::Image { height, width, channels }, inputs))
    }

    fn vectors(&self, name: &str) -> Result<(usize, Input, Inputs)> {
        let (shape, floats) = self.floats(name, "N, D")?;
        Ok((shape[0], Input::Vector { size: shape[1] }, Inputs::Floats(floats)))
    }

    fn values(&self, name: &str) -> Result<Targets> {
        let is_flat = self.tensors.get(name).is_some_and(|view| view.shape().len() == 1);
        let (shape, values) = self.floats(name, if is_flat { "N" } else { "N, M" })?;
        Ok(Targets::Values { values, columns: shape.get(1).copied().unwrap_or(1) })
    }

    fn labels(&self, name: &str) -> Result<Targets> {
        let view = self.tensor(name, "N")?;
        if view.dtype() != Dtype::I64 {
            return Err(self.wrong_dtype(name, view.dtype(), "I64"));
        }
        let mut labels = Vec::with_capacity(view.shape()[0]);
        for (index, bytes) in view.data().as_chunks().0.iter().enumerate() {
            match i64::from_le_bytes(*bytes) {
                label @ 0..=LARGEST_LABEL => labels.push(label as i32),
                label => {
                    let message =
                        format!("sample {index} has label {label}, outside 0 to {LARGEST_LABEL}");
                    return Err(self.error(name, message));
                }
            }
        }
        Ok(Targets::Classes(labels))
    }

    /// Checks that another part has samples and targets of the training part's shape and dtype.
    fn check_alike(&self, train: &Samples, other: &Samples, part: Part) -> Result<()> {
        let part = part.name();
        let same_inputs = match (&train.split.inputs, &other.split.inputs) {
            (Inputs::Bytes(_), Inputs::Bytes(_)) | (Inputs::Floats(_), Inputs::Floats(_)) => {
                train.sample == other.sample
            }
            _ => false,
        };
        if !same_inputs {
            let message = format!(
                "the {part} part's samples differ in shape or dtype from the training part's: {} and {}",
                describe(other),
                describe(train)
            );
            return Err(Error::file(self.path, message));
        }
        let same_targets = match (&train.split.targets, &other.split.targets) {
            (Targets::Classes(_), Targets::Classes(_)) => true,
            (Targets::Values { columns: a, .. }, Targets::Values { columns: b, .. }) => a == b,
            _ => false,
        };
        if same_targets {
            return Ok(());
        }
        let message = format!("the {part} part's labels or targets are unlike the training part's");
        Err(Error::file(self.path, message))
    }
}

/// How to give a tensor the axes it should have, for the usual mistakes.
fn advice_on_axes(shape: &[usize], axes: &str) -> &'static str {
    match (shape, axes) {
        ([_], "N, D") => "; x[:, None] is one number a sample",
        ([_, 1], "N") => "; x[:, 0] leaves the second axis out",
        ([_, _], "N") => "; x.argmax(1) gives the classes of rows with a one at the class",
        ([_, _, _], "N, C, H, W") => "; x[:, None] is one channel",
        _ => "",
    }
}

fn describe(samples: &Samples) -> String {
    let dtype = match samples.split.inputs {
        Inputs::Bytes(_) | Inputs::Files(_) => "U8",
        Inputs::Floats(_) => "F32",
    };
    format!("{dtype} {}", samples.sample)
}

/// Where an element is in a tensor, counted from 0.
pub(super) fn place(element: usize, shape: &[usize]) -> String {
    let names: &[&str] = match shape.len() {
        1 | 2 => &["row", "column"],
        _ => &["image", "channel", "row", "column"],
    };
    let mut rest = element;
    let mut indices: Vec<usize> = Vec::new();
    for extent in shape.iter().rev() {
        indices.push(rest % extent);
        rest /= extent;
    }
    let axes = names.iter().zip(indices.iter().rev());
    axes.map(|(name, index)| format!("{name} {index}")).collect::<Vec<_>>().join(", ")
}

/// Reads little-endian numbers at any alignment.
fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}
#[cfg(test)]
mod tests;
