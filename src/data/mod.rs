//! Data sets in host memory, and the loader that brings their batches.

pub mod arrays;
pub mod cifar;
mod fingerprint;
pub mod generated;
pub mod generated_text;
mod images;
pub mod loader;
pub mod normalisation;
mod subset;
pub mod text;
mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
pub use crate::task::Task;
pub use images::ImageFiles;
pub use loader::{HostBatch, Loader};
pub use normalisation::Normalisation;
pub use text::{Columns, Text, Window};
pub use vocabulary::{TokenKind, Vocabulary};

use fingerprint::Fingerprint;

/// What goes into the model: one sample after the other, images channels-last.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Images `[n, H, W, C]` as bytes, to be scaled by 1/255 and normalised.
    Bytes(Vec<u8>),
    /// Images `[n, H, W, C]` or vectors `[n, D]`, taken as they are.
    Floats(Vec<f32>),
    /// Images in files: bytes once they are decoded.
    Files(ImageFiles),
}

impl Inputs {
    /// Number of elements over all samples.
    pub fn elements(&self) -> usize {
        match self {
            Inputs::Bytes(bytes) => bytes.len(),
            Inputs::Floats(floats) => floats.len(),
            Inputs::Files(files) => files.len() * files.elements_of_one(),
        }
    }
}

/// What the model is to give.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class per sample.
    Classes(Vec<i32>),
    /// A vector of `columns` numbers per sample.
    Values {
        /// `[n, columns]`.
        values: Vec<f32>,
        /// Length of one sample's vector.
        columns: usize,
    },
}

/// The samples of one part of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What goes into the model.
    pub inputs: Inputs,
    /// What the model is to give.
    pub targets: Targets,
}

impl Split {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match &self.targets {
            Targets::Classes(classes) => classes.len(),
            Targets::Values { values, columns } => values.len() / columns,
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts off the last `count` samples.
    fn split_off(&mut self, count: usize) -> Split {
        let kept = self.len() - count;
        let elements = self.inputs.elements() / self.len().max(1) * kept;
        let inputs = match &mut self.inputs {
            Inputs::Bytes(bytes) => Inputs::Bytes(bytes.split_off(elements)),
            Inputs::Floats(floats) => Inputs::Floats(floats.split_off(elements)),
            Inputs::Files(_) => unreachable!("a folder of images is split class by class"),
        };
        let targets = match &mut self.targets {
            Targets::Classes(classes) => Targets::Classes(classes.split_off(kept)),
            Targets::Values { values, columns } => {
                let (values, columns) = (values.split_off(kept * *columns), *columns);
                Targets::Values { values, columns }
            }
        };
        Split { inputs, targets }
    }
}

/// The shape of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleShape {
    /// An image, channels-last.
    Image {
        /// Rows.
        height: usize,
        /// Pixels in a row.
        width: usize,
        /// Numbers in a pixel.
        channels: usize,
    },
    /// A vector.
    Vector {
        /// Its length.
        size: usize,
    },
}

impl SampleShape {
    /// Number of elements of one sample.
    pub fn elements(&self) -> usize {
        match *self {
            SampleShape::Image { height, width, channels } => height * width * channels,
            SampleShape::Vector { size } => size,
        }
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the model learns from.
    Train,
    /// What the best epoch is chosen by.
    Valid,
    /// What the chosen model is judged by.
    Test,
}

impl Part {
    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Valid => "valid",
            Part::Test => "test",
        }
    }
}

/// Samples that do not depend on each other: images or vectors.
#[derive(Clone, Debug)]
pub struct Arrays {
    /// What the model learns from; never empty.
    pub train: Arc<Split>,
    /// What the best epoch is chosen by.
    pub valid: Option<Arc<Split>>,
    /// What the chosen model is judged by.
    pub test: Option<Arc<Split>>,
    /// The shape of every sample.
    pub sample: SampleShape,
    /// What is to be learnt.
    pub task: Task,
    /// How bytes become numbers; `None` for floats.
    pub normalisation: Option<Normalisation>,
}

impl Arrays {
    /// The samples of one part.
    pub fn part(&self, part: Part) -> Option<&Arc<Split>> {
        match part {
            Part::Train => Some(&self.train),
            Part::Valid => self.valid.as_ref(),
            Part::Test => self.test.as_ref(),
        }
    }

    /// Puts the parts together. The last `valid_split` of the training part, in file order, becomes the validation
    /// part where there is none.
    fn assemble(
        mut train: Split,
        valid: Option<Split>,
        test: Option<Split>,
        sample: SampleShape,
        task: Task,
        valid_split: f64,
    ) -> Arrays {
        let valid = valid.or_else(|| {
            let count = tail_length(train.len(), valid_split);
            (count > 0).then(|| train.split_off(count))
        });
        let normalisation = match (&train.inputs, sample) {
            (Inputs::Bytes(bytes), SampleShape::Image { channels, .. }) => {
                Some(Normalisation::of(bytes, channels))
            }
            _ => None,
        };
        let (valid, test) = (valid.map(Arc::new), test.map(Arc::new));
        Arrays { train: Arc::new(train), valid, test, sample, task, normalisation }
    }

    /// The images of a part that lie in files.
    pub(crate) fn files(&self, part: Part) -> Option<&ImageFiles> {
        match &self.part(part)?.inputs {
            Inputs::Files(files) => Some(files),
            _ => None,
        }
    }

    /// Gives the classes of a folder of images the numbers that a model knows them by.
    ///
    /// # Errors
    /// A message that names a class which the model does not know.
    pub(crate) fn renumber_classes(&mut self, known: &[String]) -> std::result::Result<(), String> {
        let Some(files) = self.files(Part::Train) else { return Ok(()) };
        let mut numbers = Vec::new();
        for class in files.classes() {
            let number = known.iter().position(|own| own == class);
            let number = number.ok_or_else(|| {
                format!("has the class {class}, the model knows {}", known.join(", "))
            })?;
            numbers.push(number as i32);
        }
        let renumber = |split: &mut Arc<Split>| {
            if let Targets::Classes(classes) = &mut Arc::make_mut(split).targets {
                classes.iter_mut().for_each(|class| *class = numbers[*class as usize]);
            }
        };
        [Some(&mut self.train), self.valid.as_mut(), self.test.as_mut()]
            .into_iter()
            .flatten()
            .for_each(renumber);
        self.task = Task::Classification { classes: known.len() };
        Ok(())
    }

    fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::default();
        let shape = match self.sample {
            SampleShape::Image { height, width, channels } => [height, width, channels],
            SampleShape::Vector { size } => [size, 0, 0],
        };
        fingerprint.numbers(shape.iter().map(|&extent| extent as u64));
        for part in [Part::Train, Part::Valid, Part::Test] {
            match self.part(part) {
                Some(split) => fingerprint.split(split),
                None => fingerprint.numbers([u64::MAX]),
            }
        }
        fingerprint.hex()
    }
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Images or vectors.
    Arrays,
    /// A stream of characters or words.
    Text(TokenKind),
}

/// The entropy of what is counted, in nats.
fn entropy(numbers: &[i32]) -> f64 {
    let mut counts = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_insert(0usize) += 1;
    }
    let part = |count: &usize| *count as f64 / numbers.len() as f64;
    counts.values().map(part).map(|part| -part * part.ln()).sum()
}

/// Samples of either kind.
#[derive(Clone, Debug)]
pub enum Content {
    /// Images or vectors.
    Arrays(Arrays),
    /// A stream of characters or words.
    Text(Text),
}

/// A data set in host memory.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// For people and folder names: `generated`, `cifar10`, or the file's name without its ending.
    pub name: String,
    /// A hash of the content and of how it is split, in hex: the same on every machine. Of images in files it is a hash
    /// of their names and lengths, since reading them all would take as long as an epoch.
    pub fingerprint: String,
    /// The samples.
    pub content: Content,
}

impl Dataset {
    fn new(name: impl Into<String>, content: Content) -> Dataset {
        let fingerprint = match &content {
            Content::Arrays(arrays) => arrays.fingerprint(),
            Content::Text(text) => text.fingerprint(),
        };
        Dataset { name: name.into(), fingerprint, content }
    }

    /// What a text is a stream of; `None` for arrays.
    pub fn token(&self) -> Option<TokenKind> {
        match &self.content {
            Content::Text(text) => Some(text.vocabulary.kind()),
            Content::Arrays(_) => None,
        }
    }

    /// What somebody who uses it should know: the files of a folder of images that were left out. In lines.
    pub fn notes(&self) -> Vec<String> {
        self.files().map(ImageFiles::notes).unwrap_or_default()
    }

    /// How many files of a folder of images were left out, if some were.
    pub fn left_out(&self) -> Option<String> {
        self.files().and_then(ImageFiles::left_out)
    }

    /// Samples of a part; characters or words of a text.
    pub fn size(&self, part: Part) -> Option<usize> {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).map(|split| split.len()),
            Content::Text(text) => text.part(part).map(<[i32]>::len),
        }
    }

    /// What it costs, in nats, to say of each training sample how frequent its class is among them: the entropy of the
    /// classes, or of a text's characters or words. `None` where there are no classes.
    pub fn class_entropy(&self) -> Option<f64> {
        match &self.content {
            Content::Text(text) => Some(entropy(&text.train)),
            Content::Arrays(arrays) => match &arrays.train.targets {
                Targets::Classes(classes) => Some(entropy(classes)),
                Targets::Values { .. } => None,
            },
        }
    }

    /// The training images, where they lie in files.
    pub(crate) fn files(&self) -> Option<&ImageFiles> {
        match &self.content {
            Content::Arrays(arrays) => arrays.files(Part::Train),
            Content::Text(_) => None,
        }
    }

    /// Whether there is such a part.
    pub fn has(&self, part: Part) -> bool {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).is_some(),
            Content::Text(text) => text.part(part).is_some(),
        }
    }

    /// One line on its size and what it holds, for people.
    pub fn description(&self) -> String {
        let parts = [Part::Train, Part::Valid, Part::Test].into_iter();
        let sizes: Vec<String> = parts
            .filter_map(|part| Some(format!("{} {}", self.size(part)?, part.name())))
            .collect();
        let what = match &self.content {
            Content::Arrays(arrays) => match arrays.sample {
                SampleShape::Image { height, width, channels } => {
                    format!("images of {height}x{width}x{channels}")
                }
                SampleShape::Vector { size } => format!("vectors of {size}"),
            },
            Content::Text(text) => {
                let kind = text.vocabulary.kind().name();
                let rate =
                    text.entropy_rate.map(|rate| format!(", entropy rate {rate:.4} nats a {kind}"));
                let distinct = text.vocabulary.len();
                format!("{kind}s, {distinct} distinct{}", rate.unwrap_or_default())
            }
        };
        format!("{}: {} {what}", self.name, sizes.join(", "))
    }
}

/// How data is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadOptions {
    /// At most so many samples of each part, drawn once and for all: the same ones whatever else is asked for. Of a text,
    /// so many characters or words from its start. All where `None`.
    pub samples: Option<usize>,
    /// The share of the training data that is kept for validation: its last samples in file order, or the last of each
    /// class of a folder of images. Generated data, and data with a validation part of its own, are split already.
    pub valid_split: f64,
    /// Rows and columns that the images of a folder are brought to.
    pub image_size: usize,
    /// Threads that images are decoded on; all cores where `None`. What comes out does not depend on them.
    pub threads: Option<usize>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { samples: None, valid_split: 0.2, image_size: 32, threads: None }
    }
}

/// Reads or generates a data set, images of a folder as 32 by 32; see [`load_with`].
///
/// # Errors
/// As [`load_with`].
pub fn load(source: &str, kind: Kind, valid_split: f64) -> Result<Dataset> {
    load_with(source, kind, &LoadOptions { valid_split, ..LoadOptions::default() })
}

/// Reads or generates a data set. `source` is what follows `--data`: `generated`, a file, or a folder, which is known by
/// what is in it: CIFAR-10's `*.bin` files, or images in `train/CLASS/`.
///
/// # Errors
/// [`Error::Input`] naming the file, and the record, tensor or byte where it is at fault, or each layout of a folder that
/// was looked for.
pub fn load_with(source: &str, kind: Kind, options: &LoadOptions) -> Result<Dataset> {
    let whole = load_whole(source, kind, options)?;
    Ok(match options.samples {
        Some(samples) => whole.cut_to(samples),
        None => whole,
    })
}

fn load_whole(source: &str, kind: Kind, options: &LoadOptions) -> Result<Dataset> {
    let valid_split = options.valid_split;
    if !(0.0..1.0).contains(&valid_split) {
        let message = format!("{valid_split} is no share of the data: give 0 (none) to below 1");
        return Err(Error::field("valid_split", message));
    }
    if let Some(seed) = generated_seed(source)? {
        return Ok(match kind {
            Kind::Arrays => Dataset::new("generated", Content::Arrays(generated::images(seed))),
            Kind::Text(kind) => {
                Dataset::new("generated", Content::Text(generated_text::text(seed, kind)))
            }
        });
    }
    let path = Path::new(source);
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    match (kind, metadata.is_dir()) {
        (Kind::Text(kind), _) => {
            Ok(Dataset::new(stem(path), Content::Text(text::load(path, kind, valid_split)?)))
        }
        (Kind::Arrays, true) if cifar::is_in(path)? => {
            Ok(Dataset::new("cifar10", Content::Arrays(cifar::load(path, valid_split)?)))
        }
        (Kind::Arrays, true) if images::is_in(path) => {
            Ok(Dataset::new(stem(path), Content::Arrays(images::load(path, options)?)))
        }
        (Kind::Arrays, true) => Err(nothing_in(path)),
        (Kind::Arrays, false) if path.extension().is_some_and(|ending| ending == "safetensors") => {
            Ok(Dataset::new(stem(path), Content::Arrays(arrays::load(path, valid_split)?)))
        }
        (Kind::Arrays, false) => {
            let message = "is no .safetensors file; this model takes images or vectors: such a file, a folder with \
                           CIFAR-10's binary files or images, or generated (text is for char-lstm and word-lstm)";
            Err(Error::file(path, message))
        }
    }
}

/// What a folder could have held.
fn nothing_in(folder: &Path) -> Error {
    let text = match folder.join("train.txt").is_file() {
        true => "; its train.txt is a text, for char-lstm and word-lstm",
        false => "",
    };
    let message = format!(
        "no images here. Looked for CIFAR-10: {}; and for a folder a class: {}{text}",
        cifar::layout(folder),
        folder.join(images::LAYOUT).display()
    );
    Error::file(folder, message)
}

/// The seed in `generated` (0) or `generated:SEED`; `None` for a path.
fn generated_seed(source: &str) -> Result<Option<u64>> {
    match source.strip_prefix("generated") {
        Some("") => Ok(Some(0)),
        Some(rest) if rest.starts_with(':') => match rest[1..].parse() {
            Ok(seed) => Ok(Some(seed)),
            Err(_) => {
                let message =
                    format!("'{}' is no seed: give a whole number, 0 or more", &rest[1..]);
                Err(Error::input(format!("`data` {source}"), message))
            }
        },
        _ => Ok(None),
    }
}

/// The last part of a path without its ending.
fn stem(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.file_stem().map_or_else(|| "data".into(), |stem| stem.to_string_lossy().into_owned())
}

/// How many of `length` samples are the last `share`, rounded down.
fn tail_length(length: usize, share: f64) -> usize {
    (length as f64 * share) as usize
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::file(path, format!("could not be read: {error}"))
}

/// Copies images from `[n, C, plane]` to `[n, plane, C]`.
fn channels_last<T: Copy>(
    images: impl Iterator<Item = T>,
    channels: usize,
    out: &mut [T],
    plane: usize,
) {
    let mut images = images;
    for image in out.chunks_exact_mut(channels * plane) {
        for channel in 0..channels {
            let own = image[channel..].iter_mut().step_by(channels);
            own.zip(&mut images).for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_whole_number() {
        assert_eq!(generated_seed("generated").unwrap(), Some(0));
        assert_eq!(generated_seed("generated:7").unwrap(), Some(7));
        assert_eq!(generated_seed("generated.txt").unwrap(), None);
        for wrong in ["generated:", "generated:-1", "generated:x", "generated:1.5"] {
            assert!(generated_seed(wrong).unwrap_err().to_string().contains("no seed"), "{wrong}");
        }
    }

    #[test]
    fn a_split_must_be_a_share() {
        for wrong in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            let error = load("generated", Kind::Text(TokenKind::Word), wrong).unwrap_err();
            assert!(error.to_string().starts_with("`valid_split`: "), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_or_not_arrays_is_named() {
        let error = load("/nowhere/at-all", Kind::Arrays, 0.2).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at-all") && error.contains("could not be read"),
            "{error}"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.txt");
        std::fs::write(&path, "some text").unwrap();
        let error = load(path.to_str().unwrap(), Kind::Arrays, 0.2).unwrap_err().to_string();
        assert!(error.contains("text.txt: is no .safetensors file"), "{error}");
    }

    #[test]
    fn channels_go_last() {
        let mut out = [0; 12];
        channels_last([1, 2, 3, 10, 20, 30, 4, 5, 6, 40, 50, 60].into_iter(), 2, &mut out, 3);
        assert_eq!(out, [1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60]);
    }
}
