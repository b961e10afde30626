//! A data set in host memory: its parts, their samples, and the shape of one sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::{ImageFiles, Normalisation, Task, Text, TokenKind, tail_length};

/// The model's inputs, one sample after the other; images are channels-last.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Images `[n, H, W, C]` as bytes, which are later scaled by 1/255 and normalised.
    Bytes(Vec<u8>),
    /// Images `[n, H, W, C]` or vectors `[n, D]`, used without scaling.
    Floats(Vec<f32>),
    /// Images in files, which become bytes when they are decoded.
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

/// What the model learns to predict.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class for each sample.
    Classes(Vec<i32>),
    /// One vector of `columns` numbers for each sample.
    Values {
        /// `[n, columns]`.
        values: Vec<f32>,
        /// Length of each vector.
        columns: usize,
    },
}

/// The samples of one part of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The model's inputs.
    pub inputs: Inputs,
    /// What the model learns to predict.
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
    pub(super) fn split_off(&mut self, count: usize) -> Split {
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
        /// Values in a pixel.
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
    /// The samples that the model learns from.
    Train,
    /// The samples whose loss chooses the best epoch.
    Valid,
    /// The samples that the best epoch's model is tested on.
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

/// Independent samples: images or vectors.
#[derive(Clone, Debug)]
pub struct Arrays {
    /// The training part; never empty.
    pub train: Arc<Split>,
    /// The validation part, if there is one.
    pub valid: Option<Arc<Split>>,
    /// The test part, if there is one.
    pub test: Option<Arc<Split>>,
    /// The shape of every sample.
    pub sample: SampleShape,
    /// Classification or regression.
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

    /// Puts the parts together. Without a validation part, the last `valid_split` of the training part, in file order,
    /// becomes one.
    pub(super) fn assemble(
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

    /// The images of a part, if they are in files.
    pub(crate) fn files(&self, part: Part) -> Option<&ImageFiles> {
        match &self.part(part)?.inputs {
            Inputs::Files(files) => Some(files),
            _ => None,
        }
    }

    /// Renumbers the classes of a folder of images by a model's list of classes.
    ///
    /// # Errors
    /// A message that names a class missing from the model's list.
    pub(crate) fn renumber_classes(&mut self, known: &[String]) -> std::result::Result<(), String> {
        let Some(files) = self.files(Part::Train) else { return Ok(()) };
        let mut numbers = Vec::new();
        for class in files.classes() {
            let number = known.iter().position(|name| name == class);
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

/// The kind of data that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Images or vectors.
    Arrays,
    /// A stream of characters or words.
    Text(TokenKind),
}

/// The entropy of the numbers' frequencies, in nats.
fn entropy(numbers: &[i32]) -> f64 {
    let mut counts = BTreeMap::new();
    for number in numbers {
        *counts.entry(number).or_insert(0usize) += 1;
    }
    let part = |count: &usize| *count as f64 / numbers.len() as f64;
    counts.values().map(part).map(|part| -part * part.ln()).sum()
}

/// The samples of a data set.
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
    /// A name for messages and folders: `generated`, `cifar10`, or the file's name without its extension.
    pub name: String,
    /// A hash of the content and of its split into parts, in hex; it does not depend on the machine. For images in files it
    /// hashes their names and lengths, since reading them all would take as long as an epoch.
    pub fingerprint: String,
    /// The samples.
    pub content: Content,
}

impl Dataset {
    pub(super) fn new(name: impl Into<String>, content: Content) -> Dataset {
        let fingerprint = match &content {
            Content::Arrays(arrays) => arrays.fingerprint(),
            Content::Text(text) => text.fingerprint(),
        };
        Dataset { name: name.into(), fingerprint, content }
    }

    /// Whether a text is a stream of characters or of words; `None` for arrays.
    pub fn token(&self) -> Option<TokenKind> {
        match &self.content {
            Content::Text(text) => Some(text.vocabulary.kind()),
            Content::Arrays(_) => None,
        }
    }

    /// Lines about the data: the files of a folder of images that were left out, the samples of each class, a text's line
    /// ends.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.files().map(ImageFiles::notes).unwrap_or_default();
        notes.extend(self.class_notes());
        if let Content::Text(text) = &self.content {
            notes.extend(text.note());
        }
        notes
    }

    /// How many files of a folder of images were left out; `None` if all could be read.
    pub fn left_out(&self) -> Option<String> {
        self.files().and_then(ImageFiles::left_out)
    }

    /// Number of samples in a part; for a text, of characters or words.
    pub fn size(&self, part: Part) -> Option<usize> {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).map(|split| split.len()),
            Content::Text(text) => text.part(part).map(<[i32]>::len),
        }
    }

    /// The entropy of the training classes, or of a text's characters or words, in nats: the loss of a model that knows
    /// only how frequent each is. `None` for regression.
    pub fn class_entropy(&self) -> Option<f64> {
        match &self.content {
            Content::Text(text) => Some(entropy(&text.train)),
            Content::Arrays(arrays) => match &arrays.train.targets {
                Targets::Classes(classes) => Some(entropy(classes)),
                Targets::Values { .. } => None,
            },
        }
    }

    /// The training images, if they are in files.
    pub(crate) fn files(&self) -> Option<&ImageFiles> {
        match &self.content {
            Content::Arrays(arrays) => arrays.files(Part::Train),
            Content::Text(_) => None,
        }
    }

    /// Whether the data set has this part.
    pub fn has(&self, part: Part) -> bool {
        match &self.content {
            Content::Arrays(arrays) => arrays.part(part).is_some(),
            Content::Text(text) => text.part(part).is_some(),
        }
    }

    /// One line for messages: the sizes of the parts and the kind of samples.
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
