//! Reads `metrics.jsonl` as it grows.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::file;

/// The most points of a curve over the steps: more would not be visible.
const POINTS: usize = 360;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Step(StepLine),
    Epoch(EpochLine),
    Test(TestLine),
}

/// The values of a step; `None` if a value is missing or not finite.
#[derive(Clone, Debug, Deserialize)]
pub struct StepLine {
    /// Counted from 1.
    pub step: u64,
    /// Mean over the batch, in nats.
    pub loss: Option<f64>,
    /// From 0 to 1.
    pub accuracy: Option<f64>,
    /// The weight of each classifier.
    pub posterior: Vec<Option<f64>>,
}

/// The values of an epoch; `None` if a value is missing or not finite.
#[derive(Clone, Debug, Deserialize)]
pub struct EpochLine {
    /// Counted from 1.
    pub epoch: u64,
    /// In nats.
    pub train_loss: Option<f64>,
    /// From 0 to 1.
    pub train_accuracy: Option<f64>,
    /// In nats.
    pub valid_loss: Option<f64>,
    /// From 0 to 1.
    pub valid_accuracy: Option<f64>,
    /// Regression: the mean squared error on the validation data.
    pub valid_mse: Option<f64>,
    /// Regression: the mean absolute error on the validation data.
    pub valid_mae: Option<f64>,
    /// Regression: the coefficient of determination on the validation data.
    pub valid_r2: Option<f64>,
    /// The weight of each classifier.
    pub posterior: Vec<Option<f64>>,
    /// Seconds spent on the epoch's steps by the process that ended it.
    pub seconds: Option<f64>,
    /// Q-learning: steps of the environment so far.
    pub step: Option<u64>,
    /// Q-learning: mean return of the evaluation's episodes.
    #[serde(rename = "return")]
    pub mean_return: Option<f64>,
    /// Q-learning: the standard deviation over these episodes.
    pub return_deviation: Option<f64>,
    /// Q-learning: mean return of the training episodes.
    pub training_return: Option<f64>,
}

/// The result of the best epoch's model on the test data.
#[derive(Clone, Debug, Deserialize)]
pub struct TestLine {
    /// The epoch whose model was tested.
    pub epoch: u64,
    /// In nats.
    pub loss: Option<f64>,
    /// From 0 to 1.
    pub accuracy: Option<f64>,
    /// Regression: the mean squared error.
    pub mse: Option<f64>,
    /// Regression: the mean absolute error.
    pub mae: Option<f64>,
    /// Regression: the coefficient of determination.
    pub r2: Option<f64>,
    /// Q-learning: mean return.
    #[serde(rename = "return")]
    pub mean_return: Option<f64>,
    /// Q-learning: the standard deviation over the episodes.
    pub return_deviation: Option<f64>,
}

/// The lines read so far.
#[derive(Default)]
pub struct History {
    offset: u64,
    steps: Vec<StepLine>,
    epochs: Vec<EpochLine>,
    test: Option<TestLine>,
}

impl History {
    /// Reads the lines that were added since the last call; an incomplete last line is left for the next call.
    ///
    /// # Errors
    /// If the file cannot be read, or a line holds no metrics.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        let mut text = String::new();
        let read = file::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_string(&mut text)
        });
        read.map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines() {
            let line = serde_json::from_str(line).map_err(|error| {
                Error::file(path, format!("holds no metrics of a run: {error}"))
            })?;
            match line {
                Line::Step(step) => self.steps.push(step),
                Line::Epoch(epoch) => self.epochs.push(epoch),
                Line::Test(test) => self.test = Some(test),
            }
        }
        self.offset += whole as u64;
        Ok(())
    }

    /// The steps that were logged.
    pub fn steps(&self) -> &[StepLine] {
        &self.steps
    }

    /// The epochs that have ended.
    pub fn epochs(&self) -> &[EpochLine] {
        &self.epochs
    }

    /// The test, once the run has ended.
    pub fn test(&self) -> Option<&TestLine> {
        self.test.as_ref()
    }

    /// The points of the curves, over epochs.
    pub fn curves(&self, steps_per_epoch: u64) -> Curves {
        let bins: Vec<&[StepLine]> =
            self.steps.chunks(self.steps.len().div_ceil(POINTS).max(1)).collect();
        let x = |step: u64| step as f64 / steps_per_epoch as f64;
        let over_steps = |value: fn(&StepLine) -> Option<f64>| {
            bins.iter()
                .filter_map(|bin| Some((middle(bin, x)?, mean(bin.iter().filter_map(value))?)))
                .collect()
        };
        let over_epochs = |value: fn(&EpochLine) -> Option<f64>| {
            self.epochs.iter().filter_map(|line| Some((line.epoch as f64, value(line)?))).collect()
        };
        let test = |value: fn(&TestLine) -> Option<f64>| {
            self.test.iter().filter_map(|line| Some((line.epoch as f64, value(line)?))).next()
        };
        Curves {
            loss: Curve {
                steps: over_steps(|line| line.loss),
                train: over_epochs(|line| line.train_loss),
                valid: over_epochs(|line| line.valid_loss),
                test: test(|line| line.loss),
            },
            accuracy: Curve {
                steps: over_steps(|line| line.accuracy),
                train: over_epochs(|line| line.train_accuracy),
                valid: over_epochs(|line| line.valid_accuracy),
                test: test(|line| line.accuracy),
            },
            posterior: self.posterior(&bins, x),
        }
    }

    /// The posterior over the steps, or over the epochs if no steps were logged. It starts with equal weights.
    fn posterior(
        &self,
        bins: &[&[StepLine]],
        x: impl Fn(u64) -> f64 + Copy,
    ) -> Vec<(f64, Vec<f64>)> {
        let mut points: Vec<(f64, Vec<f64>)> = match bins {
            [] => self
                .epochs
                .iter()
                .map(|line| (line.epoch as f64, weights(&line.posterior)))
                .collect(),
            _ => bins
                .iter()
                .filter_map(|bin| Some((x(bin.last()?.step), mean_weights(bin))))
                .collect(),
        };
        if let Some((_, weights)) = points.first().filter(|(first, _)| *first > 0.0) {
            let even = vec![1.0 / weights.len().max(1) as f64; weights.len()];
            points.insert(0, (0.0, even));
        }
        points
    }
}

/// Points over training, in epochs.
pub struct Curve {
    /// On training batches, averaged over some steps.
    pub steps: Vec<(f64, f64)>,
    /// On the training data, by epoch.
    pub train: Vec<(f64, f64)>,
    /// On the validation data, by epoch.
    pub valid: Vec<(f64, f64)>,
    /// On the test data, at the best epoch.
    pub test: Option<(f64, f64)>,
}

/// The curves of a run.
pub struct Curves {
    /// In nats.
    pub loss: Curve,
    /// From 0 to 1.
    pub accuracy: Curve,
    /// The weight of each classifier.
    pub posterior: Vec<(f64, Vec<f64>)>,
}

fn middle(bin: &[StepLine], x: impl Fn(u64) -> f64) -> Option<f64> {
    Some(0.5 * (x(bin.first()?.step) + x(bin.last()?.step)))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn weights(posterior: &[Option<f64>]) -> Vec<f64> {
    posterior.iter().map(|weight| weight.unwrap_or(0.0)).collect()
}

fn mean_weights(bin: &[StepLine]) -> Vec<f64> {
    let classifiers = bin.iter().map(|line| line.posterior.len()).min().unwrap_or(0);
    (0..classifiers)
        .map(|j| mean(bin.iter().filter_map(|line| line.posterior[j])).unwrap_or(0.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_file_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let step = |step: u64| {
            format!(
                "{{\"kind\":\"step\",\"step\":{step},\"epoch\":1,\"loss\":null,\"accuracy\":0.5,\"posterior\":[1.0,null]}}\n"
            )
        };
        std::fs::write(&path, step(1) + &step(2)[..20]).unwrap();
        let mut history = History::default();
        history.read(&path).unwrap();
        assert_eq!(history.steps.len(), 1);
        std::fs::write(&path, step(1) + &step(2)).unwrap();
        history.read(&path).unwrap();
        assert_eq!(history.steps.len(), 2);
        let curves = history.curves(2);
        assert!(curves.loss.steps.is_empty());
        assert_eq!(curves.accuracy.steps, [(0.5, 0.5), (1.0, 0.5)]);
        assert_eq!(curves.posterior[0], (0.0, vec![0.5, 0.5]));
        assert_eq!(curves.posterior[2], (1.0, vec![1.0, 0.0]));
    }

    #[test]
    fn many_steps_are_averaged() {
        let line = |step| StepLine {
            step,
            loss: Some(step as f64),
            accuracy: None,
            posterior: vec![Some(1.0)],
        };
        let history = History { steps: (1..=10_000).map(line).collect(), ..History::default() };
        let curves = history.curves(1000);
        assert!(curves.loss.steps.len() <= POINTS && curves.accuracy.steps.is_empty());
        let (x, loss) = curves.loss.steps[7];
        assert!((loss - 1000.0 * x).abs() < 1e-9);
    }
}
