//! The samples of one part of a data set, in host memory.

use super::ImageFiles;
use crate::fingerprint::Fingerprint;

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

/// The model's inputs, one sample after the other; images are channels-last.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Images `[n, H, W, C]` as bytes, which are later scaled by 1/255 and standardised.
    Bytes(Vec<u8>),
    /// Images `[n, H, W, C]` or vectors `[n, D]`.
    Floats(Vec<f32>),
    /// Images in files, which become bytes when they are decoded.
    Files(ImageFiles),
}

impl Inputs {
    /// The type of the stored numbers in a checkpoint: `bytes` or `floats`.
    pub(crate) fn stored_type(&self) -> &'static str {
        match self {
            Inputs::Bytes(_) | Inputs::Files(_) => "bytes",
            Inputs::Floats(_) => "floats",
        }
    }

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
    /// The samples' numbers in their file, from 0; `None` if the numbers are the places, or are not known.
    pub(crate) numbers: Option<Vec<usize>>,
}

impl Split {
    /// Samples from their inputs and targets.
    pub fn new(inputs: Inputs, targets: Targets) -> Split {
        Split { inputs, targets, numbers: None }
    }

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

    pub(super) fn add_to(&self, fingerprint: &mut Fingerprint) {
        match &self.inputs {
            Inputs::Bytes(bytes) => fingerprint.bytes(bytes),
            Inputs::Floats(floats) => fingerprint.floats(floats),
            Inputs::Files(files) => files.fingerprint(fingerprint),
        }
        match &self.targets {
            Targets::Classes(classes) => fingerprint.integers(classes),
            Targets::Values { values, columns } => {
                fingerprint.numbers([*columns as u64]);
                fingerprint.floats(values);
            }
        }
    }

    /// Removes the samples with these numbers, which must be sorted, without a second copy of the others.
    pub(super) fn remove(&mut self, numbers: &[usize]) {
        let width = self.inputs.elements() / self.len().max(1);
        let count = self.len();
        remove_rows(self.numbers.get_or_insert_with(|| (0..count).collect()), 1, numbers);
        match &mut self.inputs {
            Inputs::Bytes(bytes) => remove_rows(bytes, width, numbers),
            Inputs::Floats(floats) => remove_rows(floats, width, numbers),
            Inputs::Files(files) => {
                let is_left = |number: &usize| numbers.binary_search(number).is_err();
                *files = files.subset(&(0..count).filter(is_left).collect::<Vec<_>>());
            }
        }
        match &mut self.targets {
            Targets::Classes(classes) => remove_rows(classes, 1, numbers),
            Targets::Values { values, columns } => remove_rows(values, *columns, numbers),
        }
    }

    /// The samples with these numbers, in this order. Images in files stay there.
    pub(super) fn subset(&self, numbers: &[usize]) -> Split {
        let in_file = |&number: &usize| self.numbers.as_ref().map_or(number, |own| own[number]);
        let own = numbers.iter().map(in_file).collect();
        let split = match &self.inputs {
            Inputs::Files(files) => {
                let targets = self.targets.gather(numbers.iter().copied());
                Split::new(Inputs::Files(files.subset(numbers)), targets)
            }
            Inputs::Bytes(_) | Inputs::Floats(_) => self.gather(numbers.iter().copied()),
        };
        Split { numbers: Some(own), ..split }
    }
}

/// Moves the other rows up over the removed ones.
fn remove_rows<T: Copy>(elements: &mut Vec<T>, width: usize, numbers: &[usize]) {
    let ends = numbers.iter().skip(1).map(|next| next * width).chain([elements.len()]);
    let ends: Vec<usize> = ends.collect();
    let mut to = numbers.first().map_or(elements.len(), |first| first * width);
    for (number, end) in numbers.iter().zip(ends) {
        let start = (number + 1) * width;
        elements.copy_within(start..end, to);
        to += end - start;
    }
    elements.truncate(to);
}
