//! What a user asks an experiment for.

use std::path::PathBuf;

use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::models::Architecture;

/// What goes for every experiment that trains; what is `None` is the experiment's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// A small model and few epochs, on generated data where no other is named.
    pub quick: bool,
    /// Which rows of [`super::ROWS`]; the experiment's own where empty.
    pub rows: Vec<String>,
    /// A model in place of the row's.
    pub model: Option<Architecture>,
    /// Factor on the number of every layer's features.
    pub width: Option<f64>,
    /// Where the data comes from.
    pub data: Option<String>,
    /// Passes over the training data, at most; of the convex problem, exactly.
    pub epochs: Option<u64>,
    /// The environment of Q-learning.
    pub env: Option<String>,
    /// Steps of the environment in all.
    pub steps: Option<u64>,
    /// Runs of each setting.
    pub seeds: Option<u64>,
    /// Runs at a time; results do not depend on it.
    pub jobs: Option<usize>,
    /// Where to run.
    pub device: DeviceKind,
    /// Where results and runs go; a folder in `runs` where `None`.
    pub out: Option<PathBuf>,
}

impl Options {
    /// Runs of each setting.
    ///
    /// # Errors
    /// Where none is asked for.
    pub(super) fn seeds_or(&self, usual: u64) -> Result<u64> {
        match self.seeds.unwrap_or(usual) {
            0 => Err(Error::field("seeds", "0 is not possible; give at least 1")),
            seeds => Ok(seeds),
        }
    }
}

/// How long and how often a setting is trained where the user says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Settings that each row is trained in.
    pub settings: u64,
    /// Passes over the training data, at most; of the convex problem, exactly.
    pub epochs: u64,
    /// Runs of each setting; the row's where `None`.
    pub seeds: Option<u64>,
}
