//! Keeps the pictures of a run's directory up to date.

use std::fs;
use std::path::{Path, PathBuf};

use super::history::History;
use super::{returns, run};
use crate::alrao::{AlraoConfig, classifier_rates};
use crate::error::{Error, Result};
use crate::learn::RunDirectory;

/// The pictures of a run's directory, drawn from its metrics: `loss.svg`, `posterior.svg`, and `accuracy.svg` or, in
/// Q-learning, `return.svg`.
pub struct RunPlots {
    directory: PathBuf,
    rates: Vec<f64>,
    kind: Kind,
    history: History,
}

/// What the pictures show.
#[derive(Clone, Copy)]
enum Kind {
    /// Everything over epochs of so many steps.
    Supervised { steps_per_epoch: u64 },
    /// Returns over the environment's steps, everything else over the updates.
    QLearning,
}

impl RunPlots {
    /// The pictures of the run in a directory. Removes temporary files of interrupted writes.
    pub fn new(directory: &Path, alrao: &AlraoConfig) -> Self {
        for name in ["loss", "accuracy", "posterior", "return"] {
            // Mostly there is none; the next picture replaces one that stays.
            let _ = fs::remove_file(directory.join(name).with_extension("svg.tmp"));
        }
        RunPlots {
            directory: directory.to_owned(),
            rates: classifier_rates(alrao.classifiers, &alrao.eta),
            kind: Kind::Supervised { steps_per_epoch: 1 },
            history: History::default(),
        }
    }

    /// The pictures of the run of Q-learning in a directory.
    pub fn of_q_learning(directory: &Path, alrao: &AlraoConfig) -> Self {
        RunPlots { kind: Kind::QLearning, ..RunPlots::new(directory, alrao) }
    }

    /// How many steps an epoch of a supervised run has, at least 1.
    pub fn set_steps_per_epoch(&mut self, steps: u64) {
        self.kind = Kind::Supervised { steps_per_epoch: steps.max(1) };
    }

    /// Draws what the metrics say so far. A picture that nothing is known for is left out.
    ///
    /// # Errors
    /// Where the metrics cannot be read or a picture cannot be written.
    pub fn draw(&mut self) -> Result<()> {
        self.history.read(&RunDirectory::metrics_file(&self.directory))?;
        let (unit, own, curves) = match self.kind {
            Kind::Supervised { steps_per_epoch } => {
                let curves = self.history.curves(steps_per_epoch);
                ("epoch", ("accuracy.svg", run::accuracy(&curves)), curves)
            }
            Kind::QLearning => (
                "update",
                ("return.svg", returns::over_steps(&self.history)),
                self.history.curves(1),
            ),
        };
        let pictures = [
            ("loss.svg", run::loss(&curves, unit)),
            own,
            ("posterior.svg", run::posterior(&curves, unit, &self.rates)),
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
