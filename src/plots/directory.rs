//! The pictures in a run directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::chart::with_heading;
use super::history::History;
use super::tensorboard::EventFile;
use super::{returns, run};
use crate::alrao::{AlraoConfig, classifier_rates};
use crate::error::{Error, Result};
use crate::learn::{Observer, RunDirectory};
use crate::supervised::{Event, Supervised};

/// The pictures in a run directory, drawn from the run's metrics: `loss.svg`, `posterior.svg`, and `accuracy.svg` or, in
/// Q-learning, `return.svg`.
pub struct RunPlots {
    directory: PathBuf,
    rates: Vec<f64>,
    kind: RunKind,
    history: History,
    events: Option<EventFile>,
    failure: Option<Error>,
}

/// The task of the run.
#[derive(Clone, Copy)]
enum RunKind {
    /// All curves are over epochs.
    Supervised { steps_per_epoch: u64 },
    /// Returns are over the environment's steps, all other curves over the updates.
    QLearning,
}

impl RunPlots {
    /// The pictures of a supervised run.
    pub fn new(directory: &Path, alrao: &AlraoConfig) -> Self {
        RunPlots {
            directory: directory.to_owned(),
            rates: classifier_rates(alrao.classifiers, &alrao.eta),
            kind: RunKind::Supervised { steps_per_epoch: 1 },
            history: History::default(),
            events: None,
            failure: None,
        }
    }

    /// The pictures of a run of Q-learning.
    pub fn of_q_learning(directory: &Path, alrao: &AlraoConfig) -> Self {
        RunPlots { kind: RunKind::QLearning, ..RunPlots::new(directory, alrao) }
    }

    /// Sets the steps of an epoch of a supervised run, at least 1.
    pub fn set_steps_per_epoch(&mut self, steps: u64) {
        self.kind = RunKind::Supervised { steps_per_epoch: steps.max(1) };
    }

    /// Also writes the metrics as an event file for TensorBoard, in the folder `tensorboard` of the run directory. In a resumed run the
    /// file begins anew, with all lines of the metrics.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_events(&mut self) -> Result<()> {
        self.events = Some(EventFile::create(&self.directory, &self.rates)?);
        Ok(())
    }

    /// Whether the run directory has an event file, which a resumed run goes on with.
    pub fn has_events(&self) -> bool {
        EventFile::is_there(&self.directory)
    }

    /// The error that ended the drawing, of pictures that observe a run.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Draws the metrics so far. A picture without data is left out.
    ///
    /// # Errors
    /// If the metrics cannot be read or a picture cannot be written.
    pub fn draw(&mut self) -> Result<()> {
        self.history.read(&RunDirectory::metrics_file(&self.directory))?;
        if let Some(events) = &mut self.events {
            events.update(&self.history)?;
        }
        let (unit, own, curves) = match self.kind {
            RunKind::Supervised { steps_per_epoch } => {
                let curves = self.history.curves(steps_per_epoch);
                ("epoch", ("accuracy.svg", run::accuracy(&curves)), curves)
            }
            RunKind::QLearning => (
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
        // A picture that is looked at on its own tells whose it is.
        let run = std::path::absolute(&self.directory).unwrap_or_default();
        let run = run.file_name().unwrap_or_default().to_string_lossy();
        for (name, svg) in pictures {
            if let Some(svg) = svg {
                replace(&self.directory.join(name), &with_heading(&svg, &run))?;
            }
        }
        Ok(())
    }
}

/// Draws the pictures after each epoch and at the end of a run. If that fails, no more are drawn, and the run goes on.
impl Observer<Supervised> for RunPlots {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { plan, .. } => self.set_steps_per_epoch(plan.steps_per_epoch),
            Event::Epoch(_) | Event::Ended { .. } if self.failure.is_none() => {
                self.failure = self.draw().err();
            }
            _ => {}
        }
    }

    fn wants_progress(&self) -> bool {
        false
    }
}

/// Writes a picture to a temporary file and renames it, so that a reader never sees half a picture.
fn replace(path: &Path, svg: &str) -> Result<()> {
    let temporary = path.with_extension("svg.tmp");
    let written = fs::write(&temporary, svg).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The error of the write is reported, not one of this removal.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| Error::write(path, error))
}
