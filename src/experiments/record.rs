//! What a run came to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plots::{EpochLine, History, TestLine};
use crate::train::{RunDirectory, replace};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All of it was done.
    Finished,
    /// A long time without a finite loss.
    Diverged,
    /// Something else went wrong: it is tried again next time.
    Failed,
}

/// One epoch; `None` where a value is not finite, or there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in metrics.jsonl")]
pub struct Epoch {
    pub epoch: u64,
    #[serde(rename = "return", default, skip_serializing_if = "Option::is_none")]
    pub mean_return: Option<f64>,
    pub train_accuracy: Option<f64>,
    pub train_loss: Option<f64>,
    pub valid_accuracy: Option<f64>,
    pub valid_loss: Option<f64>,
}

/// The model of the best epoch on the test data, or on the validation data where there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in metrics.jsonl")]
pub struct Test {
    pub accuracy: Option<f64>,
    pub epoch: u64,
    pub loss: Option<f64>,
    #[serde(rename = "return", default, skip_serializing_if = "Option::is_none")]
    pub mean_return: Option<f64>,
}

/// What a run came to, without times and paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How it ended.
    pub ending: Ending,
    /// Every whole epoch.
    pub epochs: Vec<Epoch>,
    /// `None` where the run did not finish.
    pub test: Option<Test>,
}

impl From<&EpochLine> for Epoch {
    fn from(line: &EpochLine) -> Epoch {
        let EpochLine { epoch, train_loss, train_accuracy, valid_loss, valid_accuracy, .. } = *line;
        let mean_return = line.mean_return;
        Epoch { epoch, mean_return, train_accuracy, train_loss, valid_accuracy, valid_loss }
    }
}

impl From<&TestLine> for Test {
    fn from(line: &TestLine) -> Test {
        let TestLine { epoch, loss, accuracy, mean_return, .. } = *line;
        Test { epoch, loss, accuracy, mean_return }
    }
}

impl Test {
    /// What stands in where the data has no test part, as ImageNet for those who are not its authors.
    fn of_validation(best: &Epoch) -> Test {
        let (loss, accuracy) = (best.valid_loss, best.valid_accuracy);
        Test { epoch: best.epoch, loss, accuracy, mean_return: None }
    }
}

impl Record {
    /// What a run that has ended wrote down, and the seconds it spent on training steps.
    ///
    /// # Errors
    /// Where its metrics cannot be read.
    pub fn gather(directory: &Path, ending: Ending) -> Result<(Record, f64)> {
        let mut history = History::default();
        let path = RunDirectory::metrics_file(directory);
        // A run that failed before it began has none.
        if path.exists() {
            history.read(&path)?;
        }
        let seconds = history.epochs().iter().filter_map(|line| line.seconds).sum();
        let epochs = history.epochs().iter().map(Epoch::from).collect();
        let test = history.test().map(Test::from);
        let mut record = Record { ending, epochs, test };
        if ending == Ending::Finished && record.test.is_none() {
            record.test = record.best().map(Test::of_validation);
        }
        Ok((record, seconds))
    }

    /// The epoch with the best validation loss.
    pub fn best(&self) -> Option<&Epoch> {
        let known = self.epochs.iter().filter(|epoch| epoch.valid_loss.is_some());
        known.min_by(|a, b| a.valid_loss.unwrap_or(0.0).total_cmp(&b.valid_loss.unwrap_or(0.0)))
    }

    /// The validation loss that a rate is chosen by; `None` where the run did not finish.
    pub fn valid_loss(&self) -> Option<f64> {
        self.test.as_ref()?;
        self.best()?.valid_loss
    }

    /// The loss on the test data.
    pub fn test_loss(&self) -> Option<f64> {
        self.test.as_ref()?.loss
    }

    /// The accuracy on the test data, from 0 to 1.
    pub fn test_accuracy(&self) -> Option<f64> {
        self.test.as_ref()?.accuracy
    }

    /// The best mean return of an evaluation; `None` where the run did not finish.
    pub fn best_return(&self) -> Option<f64> {
        self.test.as_ref()?;
        self.epochs.iter().filter_map(|epoch| epoch.mean_return).max_by(f64::total_cmp)
    }

    /// The mean return in new episodes.
    pub fn test_return(&self) -> Option<f64> {
        self.test.as_ref()?.mean_return
    }

    /// Whether it predicts the test data better than equal probabilities of all classes do.
    pub fn has_learnt(&self, classes: usize) -> bool {
        self.test_loss().is_some_and(|loss| loss < (classes as f64).ln())
    }
}

/// The records of all runs, by name.
#[derive(Debug, Default, PartialEq)]
pub struct Records {
    /// Where the runs are.
    pub(super) folder: PathBuf,
    /// By the run's name.
    pub(super) by_name: BTreeMap<String, Record>,
    /// Seconds of training, by the run's name.
    pub(super) seconds: BTreeMap<String, f64>,
    /// The runs that failed, and why.
    pub(super) failures: BTreeMap<String, String>,
}

/// A record as it is kept beside its run.
#[derive(Serialize, Deserialize)]
struct Kept {
    record: Record,
    seconds: f64,
}

impl Records {
    /// Reads those that an earlier process kept.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<Records> {
        let mut records = Records { folder: folder.to_owned(), ..Records::default() };
        for name in names {
            let path = kept(folder, name);
            if !path.exists() {
                continue;
            }
            let read = fs::read(&path).map_err(|error| error.to_string());
            let read = read.and_then(|bytes| {
                serde_json::from_slice::<Kept>(&bytes).map_err(|error| error.to_string())
            });
            let kept = read.map_err(|error| {
                Error::file(&path, format!("is no record of a run: {error}; remove it"))
            })?;
            records.insert(name, kept.record, kept.seconds);
        }
        Ok(records)
    }

    /// Keeps a record, in memory, and on the disk if the run will not be tried again.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep(&mut self, name: &str, record: Record, seconds: f64) -> Result<()> {
        if record.ending != Ending::Failed {
            let kept_record = Kept { record: record.clone(), seconds };
            let text = serde_json::to_string(&kept_record).expect("a record is plain data");
            replace(&kept(&self.folder, name), text.as_bytes())?;
        }
        self.insert(name, record, seconds);
        Ok(())
    }

    fn insert(&mut self, name: &str, record: Record, seconds: f64) {
        self.by_name.insert(name.to_owned(), record);
        self.seconds.insert(name.to_owned(), seconds);
    }

    /// The record of a run that has ended.
    pub fn get(&self, name: &str) -> &Record {
        &self.by_name[name]
    }

    /// The directory of a run.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn kept(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}
