//! Images or vectors in a safetensors file.

use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Arrays, Inputs, Part, SampleShape, Split, Targets, Task, channels_last, read};
use crate::error::{Error, Result};

const NAMES: [&str; 4] = ["images", "inputs", "labels", "targets"];

/// The largest class that is believed. A model has weights for every class up to the largest label, so that one
/// damaged label would otherwise ask for all the memory there is.
const LARGEST_LABEL: i64 = (1 << 20) - 1;

/// Reads a file; see [`parse`].
///
/// # Errors
/// [`Error::Input`] where the file cannot be read, and those of [`parse`].
pub fn load(path: &Path, valid_split: f64) -> Result<Arrays> {
    parse(&read(path)?, path, valid_split)
}

/// The samples in a file's bytes; `path` is for messages.
///
/// The tensors are `images` `[N, C, H, W]` (f32 taken as they are, or u8) or `inputs` `[N, D]` f32, and `labels` `[N]`
/// i64 or `targets` `[N, M]` f32; the same under `valid_` and `test_`. There is one class more than the largest label
/// of all parts. Without `valid_` tensors the last `valid_split` of the samples are for validation. Numbers that are
/// not finite are taken as they are.
///
/// # Errors
/// [`Error::Input`] naming the file and the tensor where a name, dtype, shape or label is wrong or there are no samples.
pub fn parse(bytes: &[u8], path: &Path, valid_split: f64) -> Result<Arrays> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| Error::file(path, format!("is no safetensors file: {error}")))?;
    let reader = Reader { tensors, path };
    reader.check_names()?;
    let Some(train) = reader.part(Part::Train)? else {
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
    Ok(Arrays::assemble(train.split, valid, test, train.sample, task, valid_split))
}

/// One part, and what the other parts must agree with.
struct Samples {
    split: Split,
    sample: SampleShape,
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
    tensors: SafeTensors<'a>,
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, tensor: &str, message: impl std::fmt::Display) -> Error {
        Error::file(self.path, format!("tensor '{tensor}': {message}"))
    }

    fn wrong_names(&self, message: &str) -> Error {
        let mut names = self.tensors.names();
        names.sort_unstable();
        let message = format!(
            "{message}. It has: {}. It may have: {}, each also with valid_ and test_ before it",
            if names.is_empty() { "no tensor".into() } else { names.join(", ") },
            NAMES.join(", ")
        );
        Error::file(self.path, message)
    }

    fn check_names(&self) -> Result<()> {
        let is_known = |name: &str| {
            let own = name.strip_prefix("valid_").or_else(|| name.strip_prefix("test_"));
            NAMES.contains(&own.unwrap_or(name))
        };
        let mut unknown: Vec<&str> =
            self.tensors.names().into_iter().filter(|name| !is_known(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort_unstable();
        Err(self.wrong_names(&format!("has unknown tensors: {}", unknown.join(", "))))
    }

    /// The two tensors of a part; `None` where it has neither.
    fn part(&self, part: Part) -> Result<Option<Samples>> {
        let prefix = match part {
            Part::Train => String::new(),
            Part::Valid | Part::Test => format!("{}_", part.name()),
        };
        let inputs = self.one_of(&prefix, "images", "inputs")?;
        let targets = self.one_of(&prefix, "labels", "targets")?;
        let (inputs, targets) = match (inputs, targets) {
            (Some(inputs), Some(targets)) => (inputs, targets),
            (None, None) => return Ok(None),
            (Some(inputs), None) => {
                return Err(self
                    .error(&inputs, format!("needs {prefix}labels or {prefix}targets beside it")));
            }
            (None, Some(targets)) => {
                return Err(self
                    .error(&targets, format!("needs {prefix}images or {prefix}inputs beside it")));
            }
        };
        let (count, sample, read_inputs) = match inputs.ends_with("images") {
            true => self.images(&inputs)?,
            false => self.vectors(&inputs)?,
        };
        let read_targets = match targets.ends_with("labels") {
            true => self.labels(&targets)?,
            false => self.values(&targets)?,
        };
        let split = Split { inputs: read_inputs, targets: read_targets };
        if split.len() != count {
            let message = format!("has {} samples, {inputs} has {count}", split.len());
            return Err(self.error(&targets, message));
        }
        Ok(Some(Samples { split, sample }))
    }

    /// Which of two tensors is there, by its full name.
    fn one_of(&self, prefix: &str, first: &str, second: &str) -> Result<Option<String>> {
        let (first, second) = (format!("{prefix}{first}"), format!("{prefix}{second}"));
        let has = |name: &String| self.tensors.tensor(name).is_ok();
        match (has(&first), has(&second)) {
            (true, true) => {
                Err(self.error(&second, format!("and '{first}' exclude each other: leave one out")))
            }
            (true, false) => Ok(Some(first)),
            (false, true) => Ok(Some(second)),
            (false, false) => Ok(None),
        }
    }

    /// A tensor of the given axes, none of them empty.
    fn tensor(&self, name: &str, axes: &str) -> Result<TensorView<'_>> {
        let view = self.tensors.tensor(name).map_err(|error| self.error(name, error))?;
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
            "I64" => "x.astype(\"int64\") in NumPy and x.long() in PyTorch convert it",
            _ => "x.astype(\"float32\") in NumPy and x.float() in PyTorch convert it",
        };
        self.error(name, format!("holds {found:?}, not {expected}; {advice}"))
    }

    fn floats(&self, name: &str, axes: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.tensor(name, axes)?;
        match view.dtype() {
            Dtype::F32 => Ok((view.shape().to_vec(), f32s(view.data()).collect())),
            other => Err(self.wrong_dtype(name, other, "F32")),
        }
    }

    fn images(&self, name: &str) -> Result<(usize, SampleShape, Inputs)> {
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
                let mut images = vec![0.0; elements];
                channels_last(f32s(view.data()), channels, &mut images, plane);
                Inputs::Floats(images)
            }
            other => return Err(self.wrong_dtype(name, other, "F32 or U8")),
        };
        Ok((count, SampleShape::Image { height, width, channels }, inputs))
    }

    fn vectors(&self, name: &str) -> Result<(usize, SampleShape, Inputs)> {
        let (shape, floats) = self.floats(name, "N, D")?;
        Ok((shape[0], SampleShape::Vector { size: shape[1] }, Inputs::Floats(floats)))
    }

    fn values(&self, name: &str) -> Result<Targets> {
        let (shape, values) = self.floats(name, "N, M")?;
        Ok(Targets::Values { values, columns: shape[1] })
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

    /// Another part must have samples and targets like those of the training part.
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
        match same_targets {
            true => Ok(()),
            false => {
                let message =
                    format!("the {part} part's labels or targets are unlike the training part's");
                Err(Error::file(self.path, message))
            }
        }
    }
}

/// How a tensor gets the axes it should have, where that can be told.
fn advice_on_axes(shape: &[usize], axes: &str) -> &'static str {
    match (shape, axes) {
        ([_], "N, D" | "N, M") => "; x[:, None] is one number a sample",
        ([_, 1], "N") => "; x[:, 0] leaves the second axis out",
        ([_, _], "N") => "; x.argmax(1) gives the classes of rows with a one at the class",
        ([_, _, _], "N, C, H, W") => "; x[:, None] is one channel",
        _ => "",
    }
}

fn describe(samples: &Samples) -> String {
    let dtype = match samples.split.inputs {
        Inputs::Bytes(_) => "U8",
        Inputs::Floats(_) => "F32",
        Inputs::Files(_) => unreachable!("a tensor is no folder"),
    };
    match samples.sample {
        SampleShape::Image { height, width, channels } => {
            format!("{dtype} images of {height} x {width} x {channels}")
        }
        SampleShape::Vector { size } => format!("{dtype} vectors of {size}"),
    }
}

/// Little-endian numbers at any alignment.
fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Normalisation;

    type Entry<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

    fn file(tensors: &[Entry]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn floats<'a>(name: &'a str, shape: &[usize], values: &[f32]) -> Entry<'a> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, Dtype::F32, shape.to_vec(), bytes)
    }

    fn labels<'a>(name: &'a str, values: &[i64]) -> Entry<'a> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, Dtype::I64, vec![values.len()], bytes)
    }

    fn bytes<'a>(name: &'a str, shape: &[usize], values: &[u8]) -> Entry<'a> {
        (name, Dtype::U8, shape.to_vec(), values.to_vec())
    }

    fn read(tensors: &[Entry]) -> Result<Arrays> {
        parse(&file(tensors), Path::new("some.safetensors"), 0.25)
    }

    fn message(tensors: &[Entry]) -> String {
        let message = read(tensors).unwrap_err().to_string();
        message.strip_prefix("some.safetensors: ").unwrap().to_owned()
    }

    #[test]
    fn byte_images_are_turned_and_normalised() {
        let values: Vec<u8> = (0..24).collect();
        let arrays =
            read(&[bytes("images", &[4, 2, 1, 3], &values), labels("labels", &[0, 2, 1, 0])])
                .unwrap();
        assert_eq!(arrays.sample, SampleShape::Image { height: 1, width: 3, channels: 2 });
        let turned = vec![0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, 12, 15, 13, 16, 14, 17];
        assert_eq!(arrays.normalisation, Some(Normalisation::of(&turned, 2)));
        assert_eq!(arrays.train.inputs, Inputs::Bytes(turned));
        assert_eq!(arrays.valid.unwrap().inputs, Inputs::Bytes(vec![18, 21, 19, 22, 20, 23]));
        assert_eq!(arrays.task, Task::Classification { classes: 3 });
    }

    #[test]
    fn vectors_are_taken_as_they_are() {
        let arrays = read(&[
            floats("inputs", &[2, 2], &[1.0, f32::NAN, f32::INFINITY, -0.0]),
            floats("targets", &[2, 1], &[5.0, 6.0]),
            floats("valid_inputs", &[1, 2], &[7.0, 8.0]),
            floats("valid_targets", &[1, 1], &[9.0]),
        ])
        .unwrap();
        assert_eq!((arrays.train.len(), arrays.sample), (2, SampleShape::Vector { size: 2 }));
        let Inputs::Floats(inputs) = &arrays.train.inputs else { panic!("no floats") };
        assert!(inputs[1].is_nan() && inputs[2] == f32::INFINITY);
        assert_eq!(
            arrays.valid.unwrap().targets,
            Targets::Values { values: vec![9.0], columns: 1 }
        );
        assert_eq!(arrays.task, Task::Regression { outputs: 1 });
        assert!(arrays.normalisation.is_none() && arrays.test.is_none());
    }

    #[test]
    fn classes_are_counted_over_all_parts() {
        let image = |name| floats(name, &[1, 1, 1, 1], &[0.5]);
        let arrays = read(&[
            image("images"),
            labels("labels", &[1]),
            image("test_images"),
            labels("test_labels", &[6]),
        ]);
        assert_eq!(arrays.unwrap().task, Task::Classification { classes: 7 });
    }

    #[test]
    fn wrong_names_are_listed() {
        let inputs = || floats("inputs", &[1, 1], &[0.0]);
        let error = message(&[inputs(), labels("lables", &[0]), labels("valid_y", &[0])]);
        assert!(
            error.starts_with(
                "has unknown tensors: lables, valid_y. It has: inputs, lables, valid_y."
            )
        );
        assert!(error.contains("It may have: images, inputs, labels, targets"), "{error}");
        assert!(
            message(&[]).starts_with("has no images or inputs to train on. It has: no tensor.")
        );
        let only_test =
            message(&[floats("test_inputs", &[1, 1], &[0.0]), labels("test_labels", &[0])]);
        assert!(only_test.starts_with("has no images or inputs to train on"));
        assert!(message(&[inputs()]).contains("tensor 'inputs': needs labels or targets"));
        assert!(
            message(&[labels("labels", &[0])]).contains("tensor 'labels': needs images or inputs")
        );
        let both = [inputs(), bytes("images", &[1, 1, 1, 1], &[0]), labels("labels", &[0])];
        assert!(message(&both).contains("'images' exclude each other"));
        let half = [inputs(), labels("labels", &[0]), labels("valid_labels", &[0])];
        assert!(message(&half).contains("tensor 'valid_labels': needs valid_images"));
    }

    #[test]
    fn wrong_dtypes_shapes_and_labels_are_named() {
        let inputs = || floats("inputs", &[2, 1], &[0.0, 1.0]);
        let integers = (("labels", Dtype::I32, vec![2], vec![0; 8]), "holds I32, not I64");
        let float_labels = (floats("labels", &[2], &[0.0, 1.0]), "holds F32, not I64");
        let flat = (floats("targets", &[2], &[0.0, 1.0]), "has shape [2], not [N, M]");
        let column = (("labels", Dtype::I64, vec![2, 1], vec![0; 16]), "has shape [2, 1], not [N]");
        let count = (labels("labels", &[0, 1, 2]), "has 3 samples, inputs has 2");
        let negative = (labels("labels", &[0, -1]), "sample 1 has label -1, outside 0 to 1048575");
        let huge = (labels("labels", &[1 << 40, 0]), "sample 0 has label 1099511627776, outside");
        let none = (labels("labels", &[]), "has no samples");
        for (entry, expected) in [integers, float_labels, flat, column, count, negative, huge, none]
        {
            let name = entry.0;
            let error = message(&[inputs(), entry]);
            assert!(error.starts_with(&format!("tensor '{name}': {expected}")), "{error}");
        }
        let input_errors = [
            (("inputs", Dtype::F64, vec![1, 1], vec![0; 8]), "holds F64, not F32"),
            (("images", Dtype::F16, vec![1, 1, 1, 1], vec![0; 2]), "holds F16, not F32 or U8"),
            (bytes("images", &[1, 3, 4], &[0; 12]), "has shape [1, 3, 4], not [N, C, H, W]"),
            (bytes("images", &[0, 3, 4, 4], &[]), "has no samples"),
            (floats("inputs", &[1, 0], &[]), "has shape [1, 0]: a sample is empty"),
        ];
        for (entry, expected) in input_errors {
            let name = entry.0;
            let error = message(&[entry, labels("labels", &[0])]);
            assert!(error.starts_with(&format!("tensor '{name}': {expected}")), "{error}");
        }
    }

    #[test]
    fn what_numpy_gives_by_default_is_told_how_to_be_mended() {
        let doubles = |name, shape: &[usize]| {
            let bytes = vec![0; 8 * shape.iter().product::<usize>()];
            (name, Dtype::F64, shape.to_vec(), bytes)
        };
        let inputs = || floats("inputs", &[2, 1], &[0.0, 1.0]);
        for (tensors, advice) in [
            ([doubles("inputs", &[2, 1]), labels("labels", &[0, 1])], "x.astype(\"float32\")"),
            ([inputs(), doubles("targets", &[2, 1])], "x.float()"),
            ([inputs(), floats("targets", &[2], &[0.0, 1.0])], "x[:, None]"),
            ([floats("inputs", &[2], &[0.0, 1.0]), labels("labels", &[0, 1])], "x[:, None]"),
            ([inputs(), floats("labels", &[2], &[0.0, 1.0])], "x.astype(\"int64\")"),
            ([inputs(), doubles("labels", &[2, 1])], "x[:, 0]"),
            ([inputs(), doubles("labels", &[2, 3])], "x.argmax(1)"),
            ([bytes("images", &[2, 1, 1], &[0; 2]), labels("labels", &[0, 1])], "x[:, None]"),
        ] {
            let error = message(&tensors);
            assert!(error.contains(advice), "{error}");
        }
    }

    #[test]
    fn parts_must_be_alike() {
        let train = [floats("inputs", &[1, 2], &[0.0; 2]), labels("labels", &[0])];
        let longer = [floats("test_inputs", &[1, 3], &[0.0; 3]), labels("test_labels", &[0])];
        let error = message(&[train.clone(), longer].concat());
        assert!(
            error.contains("the test part's samples differ")
                && error.contains("F32 vectors of 3 and")
        );
        let other =
            [floats("valid_inputs", &[1, 2], &[0.0; 2]), floats("valid_targets", &[1, 1], &[0.0])];
        assert!(message(&[train, other].concat()).contains("the valid part's labels or targets"));
    }

    #[test]
    fn a_corrupt_file_is_an_error() {
        let whole = file(&[floats("inputs", &[1, 1], &[0.0]), labels("labels", &[0])]);
        let path = Path::new("some.safetensors");
        assert!(parse(&whole, path, 0.0).is_ok());
        for length in 0..whole.len() {
            let error = parse(&whole[..length], path, 0.0).unwrap_err().to_string();
            assert!(
                error.starts_with("some.safetensors: is no safetensors file: "),
                "{length}: {error}"
            );
        }
        let mut huge = whole;
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(parse(&huge, path, 0.0).is_err());
    }

    /// What the fuzz target looks for, in small: no damage makes the reader panic.
    #[test]
    fn damaged_bytes_never_panic() {
        let image = |name| bytes(name, &[2, 3, 1, 2], &[7; 12]);
        let whole = file(&[
            image("images"),
            labels("labels", &[0, 1]),
            image("test_images"),
            labels("test_labels", &[1, 0]),
        ]);
        let mut stream = crate::random::Philox::new(0, crate::random::Purpose::Data).stream(0);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..5000 {
            let mut damaged = whole.clone();
            for _ in 0..1 + stream.below(3) {
                let place = stream.below(damaged.len() as u64) as usize;
                damaged[place] = match stream.below(2) {
                    0 => stream.bits() as u8,
                    _ => b"0123456789[],:{}\""[stream.below(17) as usize],
                };
            }
            match parse(&damaged, Path::new("some.safetensors"), 0.5) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    }
}
