//! The runs in a folder: what each one trains, how far it is, and how good its best model is.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::learn::{Checkpoint, RunDirectory};
use crate::plots::History;

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process trains it now.
    Running,
    /// It is done.
    Finished,
    /// It was stopped, or its process ended; it can be resumed.
    Stopped,
}

/// A result of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunResult {
    /// From 0 to 1.
    Accuracy(f64),
    /// The coefficient of determination.
    R2(f64),
    /// In nats.
    Loss(f64),
    /// Of Q-learning, a mean over episodes.
    Return(f64),
}

impl RunResult {
    /// Puts accuracies before R2, losses and returns, which cannot be compared, and among each kind the better first.
    pub fn best_first(self, other: RunResult) -> Ordering {
        let key = |own: RunResult| match own {
            RunResult::Accuracy(value) => (0, -value),
            RunResult::R2(value) => (1, -value),
            RunResult::Loss(value) => (2, value),
            RunResult::Return(value) => (3, -value),
        };
        let ((kind, own), (other_kind, other)) = (key(self), key(other));
        kind.cmp(&other_kind).then(own.total_cmp(&other))
    }
}

/// As in lists: `95.31%`, `R2 0.942`, `0.1634`, `-151.2`.
impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunResult::Accuracy(value) => write!(f, "{:.2}%", 100.0 * value),
            RunResult::R2(value) => write!(f, "R2 {value:.3}"),
            RunResult::Loss(value) => write!(f, "{value:.4}"),
            RunResult::Return(value) => write!(f, "{value:.1}"),
        }
    }
}

/// A run in short. Accuracies are from 0 to 1, losses in nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run's directory.
    pub path: PathBuf,
    /// The model; in Q-learning the network's type is not named.
    pub model: Option<String>,
    /// The data, or the environment.
    pub data: String,
    /// The optimizer.
    pub method: String,
    /// Epochs done.
    pub epochs: u64,
    /// Epochs planned; `None` in Q-learning, which counts steps.
    pub planned: Option<u64>,
    /// The best epoch, the one whose model is kept.
    pub best_epoch: Option<u64>,
    /// That epoch's validation loss.
    pub valid_loss: Option<f64>,
    /// That epoch's validation accuracy.
    pub valid_accuracy: Option<f64>,
    /// Regression: that epoch's coefficient of determination.
    pub valid_r2: Option<f64>,
    /// Q-learning: that epoch's mean return.
    pub valid_return: Option<f64>,
    /// Test loss.
    pub test_loss: Option<f64>,
    /// Test accuracy.
    pub test_accuracy: Option<f64>,
    /// Regression: the coefficient of determination in the test.
    pub test_r2: Option<f64>,
    /// Q-learning: mean return in the test.
    pub test_return: Option<f64>,
    /// Whether it goes on.
    pub state: RunState,
}

/// The keys of a run's `config.toml` that a summary shows.
#[derive(Deserialize)]
struct Config {
    model: Option<String>,
    data: Option<String>,
    env: Option<String>,
    optimizer: Option<String>,
    epochs: Option<u64>,
}

impl RunSummary {
    /// Reads the run in a directory.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file that is missing or damaged.
    pub fn read(path: &Path) -> Result<RunSummary> {
        RunSummary::with_history(path).map(|(summary, _)| summary)
    }

    /// The same with the metrics that it was made from.
    pub(super) fn with_history(path: &Path) -> Result<(RunSummary, History)> {
        let (text, file) = RunDirectory::config_text(path)?;
        let config: Config =
            toml::from_str(&text).map_err(|error| Error::file(&file, error.message()))?;
        let Some(data) = config.data.or(config.env) else {
            return Err(Error::file(
                &file,
                "names neither 'data' nor 'env': it is empty or damaged",
            ));
        };
        let metrics = RunDirectory::metrics_file(path);
        let mut history = History::default();
        if metrics.exists() {
            history.read(&metrics)?;
        }
        let last = RunDirectory::last(path);
        let checkpoint = match last.exists() {
            true => Some(Checkpoint::read(&last)?),
            // The best one tells its epoch, too.
            false => Checkpoint::read(&RunDirectory::best(path)).ok(),
        };
        let progress = checkpoint.map(|own| own.record.progress);
        let best_epoch = progress.as_ref().and_then(|own| own.best_epoch);
        let best = history.epochs().iter().find(|own| Some(own.epoch) == best_epoch);
        let test = history.test();
        let summary = RunSummary {
            path: path.to_owned(),
            model: config.model,
            data,
            method: config.optimizer.unwrap_or_else(|| "alrao".into()),
            epochs: history.epochs().last().map_or(0, |own| own.epoch),
            planned: config.epochs,
            best_epoch,
            valid_loss: best.and_then(|own| own.valid_loss),
            valid_accuracy: best.and_then(|own| own.valid_accuracy),
            valid_r2: best.and_then(|own| own.valid_r2),
            valid_return: best.and_then(|own| own.mean_return),
            test_loss: test.and_then(|own| own.loss),
            test_accuracy: test.and_then(|own| own.accuracy),
            test_r2: test.and_then(|own| own.r2),
            test_return: test.and_then(|own| own.mean_return),
            state: state(&metrics, progress.is_some_and(|own| own.finished)),
        };
        Ok((summary, history))
    }

    /// The best epoch's validation, or its test: a mean return, an accuracy, R2 or a loss.
    pub fn result(&self, by_test: bool) -> Option<RunResult> {
        let [mean_return, accuracy, r2, loss] = match by_test {
            true => [self.test_return, self.test_accuracy, self.test_r2, self.test_loss],
            false => [self.valid_return, self.valid_accuracy, self.valid_r2, self.valid_loss],
        };
        let of_data = accuracy.map(RunResult::Accuracy).or(r2.map(RunResult::R2));
        mean_return.map(RunResult::Return).or(of_data).or(loss.map(RunResult::Loss))
    }
}

/// A run's process holds a lock on its metrics.
fn state(metrics: &Path, is_finished: bool) -> RunState {
    let is_locked = fs::File::open(metrics)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
    match (is_locked, is_finished) {
        (true, _) => RunState::Running,
        (false, true) => RunState::Finished,
        (false, false) => RunState::Stopped,
    }
}

/// The runs in a folder, sorted by name, or the one run if the folder is a run's directory. A run that cannot be read gives its
/// error.
///
/// # Errors
/// [`Error::Input`] if the folder cannot be read.
pub fn runs(folder: &Path) -> Result<Vec<Result<RunSummary>>> {
    let is_run = |path: &Path| path.join("config.toml").is_file();
    if is_run(folder) {
        return Ok(vec![RunSummary::read(folder)]);
    }
    let entries = fs::read_dir(folder)
        .map_err(|error| Error::file(folder, format!("cannot be read: {error}")))?;
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_run(path)).collect();
    paths.sort_by_key(|path| natural(path));
    Ok(paths.iter().map(|path| RunSummary::read(path)).collect())
}

/// Splits a name into texts and numbers, so that run 10 comes after run 9.
fn natural(path: &Path) -> Vec<(String, u64)> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = vec![(String::new(), 0)];
    for run in name.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let text = String::from_utf8_lossy(run).into_owned();
        match text.parse() {
            Ok(number) => parts.push((String::new(), number)),
            Err(_) => parts.push((text, 0)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_one_kind_are_together_and_the_best_first() {
        use RunResult::{Accuracy, Loss, R2, Return};
        let mut all = [
            Return(-9.0),
            Loss(0.2),
            R2(-1.0),
            Accuracy(0.5),
            R2(0.5),
            Return(3.0),
            Accuracy(0.9),
            Loss(0.1),
        ];
        all.sort_by(|a, b| a.best_first(*b));
        assert_eq!(
            all.map(|own| own.to_string()),
            ["90.00%", "50.00%", "R2 0.500", "R2 -1.000", "0.1000", "0.2000", "3.0", "-9.0"]
        );
    }

    #[test]
    fn runs_are_in_the_order_of_their_numbers() {
        let mut names = ["cnn-10", "cnn-9", "alexnet-2", "cnn"].map(PathBuf::from);
        names.sort_by_key(|path| natural(path));
        assert_eq!(names, ["alexnet-2", "cnn", "cnn-9", "cnn-10"].map(PathBuf::from));
    }
}
