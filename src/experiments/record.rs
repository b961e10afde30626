//! The records of runs: how a run ended, its epochs and its test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::file;
use crate::learn::{RunDirectory, tensor_file::replace};
use crate::plots::{EpochLine, History, TestLine};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It reached its end.
    Finished,
    /// Its loss was not finite for a long time.
    Diverged,
    /// It stopped with another error; the next call tries it again.
    Failed,
}

/// One epoch; `None` if a value is missing or not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in metrics.jsonl")]
pub struct Epoch {
    pub epoch: u64,
    #[serde(rename = "return", default, skip_serializing_if = "Option::is_none")]
    pub mean_return: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    pub train_accuracy: Option<f64>,
    pub train_loss: Option<f64>,
    pub valid_accuracy: Option<f64>,
    pub valid_loss: Option<f64>,
}

/// The best epoch's model on the test data, or on the validation data if there is no test part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in metrics.jsonl")]
pub struct Test {
    pub accuracy: Option<f64>,
    pub epoch: u64,
    pub loss: Option<f64>,
    #[serde(rename = "return", default, skip_serializing_if = "Option::is_none")]
    pub mean_return: Option<f64>,
}

/// The record of a run, without times and paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// How it ended.
    pub ending: Ending,
    /// Every complete epoch.
    pub epochs: Vec<Epoch>,
    /// The test; `None` if the run did not finish.
    pub test: Option<Test>,
}

impl From<&EpochLine> for Epoch {
    fn from(line: &EpochLine) -> Epoch {
        let EpochLine { epoch, train_loss, train_accuracy, valid_loss, valid_accuracy, .. } = *line;
        let mean_return = line.mean_return;
        let step = line.step;
        Epoch { epoch, mean_return, step, train_accuracy, train_loss, valid_accuracy, valid_loss }
    }
}

impl From<&TestLine> for Test {
    fn from(line: &TestLine) -> Test {
        let TestLine { epoch, loss, accuracy, mean_return, .. } = *line;
        Test { epoch, loss, accuracy, mean_return }
    }
}

impl Test {
    /// The best epoch's validation, for data without a test part: ImageNet's test labels are not public.
    fn of_validation(best: &Epoch) -> Test {
        let (loss, accuracy) = (best.valid_loss, best.valid_accuracy);
        Test { epoch: best.epoch, loss, accuracy, mean_return: None }
    }
}

impl Record {
    /// The record of a run that has ended, from its metrics, and the seconds of its training steps.
    ///
    /// # Errors
    /// If the metrics cannot be read.
    pub fn gather(directory: &Path, ending: Ending) -> Result<(Record, f64)> {
        let mut history = History::default();
        let path = RunDirectory::metrics_file(directory);
        // A run that failed before it began has no metrics.
        if path.exists() {
            history.read(&path)?;
        }
        let seconds = history.epochs().iter().filter_map(|line| line.seconds).sum();
        let epochs = history.epochs().iter().map(Epoch::from).collect();
        let test = history.test().map(Test::from);
        let mut record = Record { ending, epochs, test };
        let is_finite = |test: &Test| test.loss.or(test.mean_return).is_some();
        if record.test.as_ref().is_some_and(|test| !is_finite(test)) {
            // It reached its last epoch, but no classifier gives a finite loss on the test data.
            (record.ending, record.test) = (Ending::Diverged, None);
        }
        if record.ending == Ending::Finished && record.test.is_none() {
            record.test = record.best().map(Test::of_validation);
        }
        Ok((record, seconds))
    }

    /// The last epoch; `None` if the run did not finish.
    pub fn last(&self) -> Option<&Epoch> {
        self.test.as_ref().and(self.epochs.last())
    }

    /// The epoch with the best validation loss.
    pub fn best(&self) -> Option<&Epoch> {
        let known = self.epochs.iter().filter(|epoch| epoch.valid_loss.is_some());
        known.min_by(|a, b| a.valid_loss.unwrap_or(0.0).total_cmp(&b.valid_loss.unwrap_or(0.0)))
    }

    /// The best validation loss, by which a learning rate is chosen; `None` if the run did not finish.
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

    /// The best mean return of an evaluation; `None` if the run did not finish.
    pub fn best_return(&self) -> Option<f64> {
        self.test.as_ref()?;
        self.epochs.iter().filter_map(|epoch| epoch.mean_return).max_by(f64::total_cmp)
    }

    /// The mean return in new episodes.
    pub fn test_return(&self) -> Option<f64> {
        self.test.as_ref()?.mean_return
    }

    /// Whether the run failed, so that it says nothing about its method.
    pub fn has_failed(&self) -> bool {
        self.ending == Ending::Failed
    }

    /// Whether the test loss is below a bound; see `Setup::learnt_below`.
    pub fn has_learnt(&self, bound: f64) -> bool {
        self.test_loss().is_some_and(|loss| loss < bound)
    }
}

/// The records of all runs, by name.
#[derive(Debug, Default, PartialEq)]
pub struct Records {
    /// The folder of the runs.
    pub(super) folder: PathBuf,
    /// By the run's name.
    pub(super) by_name: BTreeMap<String, Record>,
    /// Seconds of training, by the run's name.
    pub(super) seconds: BTreeMap<String, f64>,
    /// The reason of each failed run.
    pub(super) failures: BTreeMap<String, String>,
    /// The most broken images that a run replaced.
    pub(super) damaged: usize,
}

/// The file of a record, beside its run.
#[derive(Serialize, Deserialize)]
struct RecordFile {
    record: Record,
    seconds: f64,
    /// Images that could not be decoded, counted by the process that ended the run.
    #[serde(default)]
    damaged: usize,
}

impl Records {
    /// Reads the records that an earlier process wrote.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<Records> {
        let mut records = Records { folder: folder.to_owned(), ..Records::default() };
        for name in names {
            let path = record_file(folder, name);
            if !path.exists() {
                continue;
            }
            let read = file::read(&path).map_err(|error| error.to_string());
            let read = read.and_then(|bytes| {
                serde_json::from_slice::<RecordFile>(&bytes).map_err(|error| error.to_string())
            });
            let file = read.map_err(|error| {
                Error::file(&path, format!("is not the record of a run: {error}; remove it"))
            })?;
            records.insert(name, file);
        }
        Ok(records)
    }

    /// Removes the records of runs whose metrics cannot be read, with their files, and returns the runs' names.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn forget_those_without_metrics(&mut self) -> Result<Vec<String>> {
        let is_gone = |name: &str| {
            let path = RunDirectory::metrics_file(&self.directory(name));
            History::default().read(&path).is_err()
        };
        let gone: Vec<String> = self.by_name.keys().filter(|name| is_gone(name)).cloned().collect();
        for name in &gone {
            let path = record_file(&self.folder, name);
            fs::remove_file(&path).map_err(|error| Error::write(&path, error))?;
            self.by_name.remove(name);
            self.seconds.remove(name);
        }
        Ok(gone)
    }

    /// Adds a record. It is written to the disk too, unless the run failed, since the next call tries it again.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, name: &str, record: Record, seconds: f64, damaged: usize) -> Result<()> {
        let file = RecordFile { record, seconds, damaged };
        if !file.record.has_failed() {
            let text = serde_json::to_string(&file).expect("a record is plain data");
            replace(&record_file(&self.folder, name), text.as_bytes())?;
        }
        self.insert(name, file);
        Ok(())
    }

    fn insert(&mut self, name: &str, RecordFile { record, seconds, damaged }: RecordFile) {
        self.damaged = self.damaged.max(damaged);
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

fn record_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// A made-up record with these validation losses and this test loss.
#[cfg(test)]
pub(super) fn made_up(valid_losses: &[Option<f64>], test: Option<f64>, ending: Ending) -> Record {
    let epochs = valid_losses.iter().zip(1..).map(|(valid_loss, epoch)| Epoch {
        epoch,
        mean_return: None,
        step: None,
        train_accuracy: None,
        train_loss: *valid_loss,
        valid_accuracy: None,
        valid_loss: *valid_loss,
    });
    let test = test.filter(|_| ending == Ending::Finished).map(|loss| Test {
        accuracy: Some(0.5),
        epoch: 1,
        loss: Some(loss),
        mean_return: None,
    });
    Record { ending, epochs: epochs.collect(), test }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(lines: &str) -> Record {
        let folder = tempfile::tempdir().unwrap();
        fs::write(RunDirectory::metrics_file(folder.path()), lines).unwrap();
        Record::gather(folder.path(), Ending::Finished).unwrap().0
    }

    const EPOCH: &str = "{\"kind\":\"epoch\",\"epoch\":1,\"train_loss\":1.0,\"train_accuracy\":0.5,\"valid_loss\":2.0,\
                         \"valid_accuracy\":0.5,\"posterior\":[],\"seconds\":1.0}\n";

    #[test]
    fn a_run_without_a_finite_test_loss_has_diverged() {
        let test = |loss: &str| {
            format!("{EPOCH}{{\"kind\":\"test\",\"epoch\":1,\"loss\":{loss},\"accuracy\":0.5}}\n")
        };
        let record = gathered(&test("null"));
        assert_eq!(
            (record.ending, record.test_loss(), record.last()),
            (Ending::Diverged, None, None)
        );
        let record = gathered(&test("3.0"));
        assert_eq!((record.ending, record.test_loss()), (Ending::Finished, Some(3.0)));
        // Without a test part, the validation loss is taken.
        let record = gathered(EPOCH);
        assert_eq!((record.ending, record.test_loss()), (Ending::Finished, Some(2.0)));
    }
}
