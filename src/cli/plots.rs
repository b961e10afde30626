//! The run's three pictures, drawn from its metrics.

mod chart;
mod history;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::alrao::classifier_rates;
use crate::train::RunConfig;
use history::History;

/// Keeps `loss.svg`, `accuracy.svg` and `posterior.svg` of a run's directory up to date.
pub(super) struct Plots {
    directory: PathBuf,
    rates: Vec<f64>,
    steps_per_epoch: u64,
    history: History,
}

impl Plots {
    pub fn new(directory: &Path, config: &RunConfig) -> Self {
        let rates = classifier_rates(config.alrao.classifiers, &config.alrao.eta);
        Plots {
            directory: directory.to_owned(),
            rates,
            steps_per_epoch: 1,
            history: History::default(),
        }
    }

    pub fn set_steps_per_epoch(&mut self, steps: u64) {
        self.steps_per_epoch = steps.max(1);
    }

    /// Draws what the metrics say so far. A picture that nothing is known for is left out.
    ///
    /// # Errors
    /// Where the metrics cannot be read or a picture cannot be written.
    pub fn draw(&mut self) -> anyhow::Result<()> {
        self.history.read(&self.directory.join("metrics.jsonl"))?;
        let curves = self.history.curves(self.steps_per_epoch);
        let pictures = [
            ("loss.svg", chart::loss(&curves)?),
            ("accuracy.svg", chart::accuracy(&curves)?),
            ("posterior.svg", chart::posterior(&curves, &self.rates)?),
        ];
        let mut pictures = pictures.into_iter().filter_map(|(name, svg)| Some((name, svg?)));
        pictures.try_for_each(|(name, svg)| replace(&self.directory.join(name), &svg))
    }
}

/// Whoever looks at a picture sees the old one or the new one, whole.
fn replace(path: &Path, svg: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("svg.tmp");
    let written = fs::write(&temporary, svg).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The failed write is what is reported.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| path.display().to_string())
}
