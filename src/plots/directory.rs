//! Keeps the pictures of a run's directory up to date.

use std::fs;
use std::path::{Path, PathBuf};

use super::history::History;
use super::run;
use crate::alrao::classifier_rates;
use crate::error::{Error, Result};
use crate::train::{RunConfig, RunDirectory};

/// `loss.svg`, `accuracy.svg` and `posterior.svg` of a run's directory, drawn from its metrics.
pub struct RunPlots {
    directory: PathBuf,
    rates: Vec<f64>,
    steps_per_epoch: u64,
    history: History,
}

impl RunPlots {
    /// The pictures of the run in a directory.
    pub fn new(directory: &Path, config: &RunConfig) -> Self {
        let rates = classifier_rates(config.alrao.classifiers, &config.alrao.eta);
        RunPlots {
            directory: directory.to_owned(),
            rates,
            steps_per_epoch: 1,
            history: History::default(),
        }
    }

    /// How many steps an epoch has, at least 1.
    pub fn set_steps_per_epoch(&mut self, steps: u64) {
        self.steps_per_epoch = steps.max(1);
    }

    /// Draws what the metrics say so far. A picture that nothing is known for is left out.
    ///
    /// # Errors
    /// Where the metrics cannot be read or a picture cannot be written.
    pub fn draw(&mut self) -> Result<()> {
        self.history.read(&RunDirectory::metrics_file(&self.directory))?;
        let curves = self.history.curves(self.steps_per_epoch);
        let pictures = [
            ("loss.svg", run::loss(&curves)),
            ("accuracy.svg", run::accuracy(&curves)),
            ("posterior.svg", run::posterior(&curves, &self.rates)),
        ];
        let mut pictures = pictures.into_iter().filter_map(|(name, svg)| Some((name, svg?)));
        pictures.try_for_each(|(name, svg)| replace(&self.directory.join(name), &svg))
    }
}

/// Whoever looks at a picture sees the old one or the new one, whole.
fn replace(path: &Path, svg: &str) -> Result<()> {
    let temporary = path.with_extension("svg.tmp");
    let written = fs::write(&temporary, svg).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The failed write is what is reported.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| Error::write(path, error))
}
