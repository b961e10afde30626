//! What a trained model takes, and some samples of it.

use std::path::PathBuf;

use super::{Inputs, Table, Targets};
use crate::input::Input;

/// What a trained model takes: the kind, shape and type of its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleForm {
    /// One input.
    pub sample: Input,
    /// Whether the inputs are bytes; `None` if the model's file does not say.
    pub is_bytes: Option<bool>,
    /// The columns of a table, if the model was trained on one.
    pub table: Option<Table>,
    /// Whether the model was trained on a folder of images, whose middle is cut out after they are resized.
    pub is_cut_out: bool,
    /// Whether smaller images are given a black border.
    pub is_padded: bool,
    /// Threads that decode images; all cores if `None`.
    pub threads: Option<usize>,
}

/// The name of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleName {
    /// The number of a table's row, from 1; the header does not count.
    Row(usize),
    /// The number of a sample in an array, or in files read one after the other, from 0.
    Sample(usize),
    /// The file of an image, relative to the folder that was read.
    File(PathBuf),
}

impl std::fmt::Display for SampleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SampleName::Row(number) => write!(f, "row {number}"),
            SampleName::Sample(number) => write!(f, "sample {number}"),
            SampleName::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Some of the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleBatch {
    /// The samples' names.
    pub names: Vec<SampleName>,
    /// The samples, in the same order, as they were read.
    pub inputs: Inputs,
    /// The samples' true targets, if they are those of a part of a data set.
    pub targets: Option<Targets>,
    /// A line for each image that was left out since it is broken.
    pub broken: Vec<String>,
}
