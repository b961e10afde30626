//! The options of an experiment.

use std::path::PathBuf;

use crate::device::DeviceKind;
use crate::error::{Error, Result};
use crate::models::Architecture;

/// The options of an experiment; `None` stands for the experiment's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// A small model and few epochs, on generated data by default.
    pub quick: bool,
    /// Rows of [`super::ROWS`]; the experiment's default if empty.
    pub rows: Vec<String>,
    /// A model in place of the row's.
    pub model: Option<Architecture>,
    /// Factor on the number of every layer's features.
    pub width: Option<f64>,
    /// The data: a file, a folder, or `generated`.
    pub data: Option<String>,
    /// The most epochs of a run; for the convex problem, the exact number of steps.
    pub epochs: Option<u64>,
    /// The environment of Q-learning.
    pub env: Option<String>,
    /// Steps of the environment, over all its copies.
    pub steps: Option<u64>,
    /// Runs of each setting.
    pub seeds: Option<u64>,
    /// Runs at a time; results do not depend on it.
    pub jobs: Option<usize>,
    /// The device.
    pub device: DeviceKind,
    /// The folder for results and runs; by default a folder in `runs`.
    pub out: Option<PathBuf>,
}

impl Options {
    /// Runs of each setting.
    ///
    /// # Errors
    /// If the user asks for 0.
    pub(super) fn seeds_or(&self, usual: u64) -> Result<u64> {
        match self.seeds.unwrap_or(usual) {
            0 => Err(Error::field("seeds", "0 is not possible; give at least 1")),
            seeds => Ok(seeds),
        }
    }
}

/// The default size of an experiment: settings, epochs and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Settings of each row.
    pub settings: u64,
    /// The most epochs of a run.
    pub epochs: u64,
    /// Runs of each setting; by default the row's.
    pub seeds: Option<u64>,
}
