//! A model measured on a part of the data: its losses, its predictions, and in regression its errors.

use serde::Serialize;

use super::batches::BatchSource;
use crate::data::Part;
use crate::error::Result;
use crate::learn::{Learner, StopFlag};
use crate::ops::step_statistics::SumValues;

/// The errors of predicted numbers, in the targets' own units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RegressionErrors {
    /// Mean squared error, over all samples and outputs.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Coefficient of determination: 1 less the share of the targets' variance that remains in the errors, averaged over
    /// the outputs. 0 is as good as predicting the targets' mean. Not finite if the targets of an output are all equal.
    pub r2: f64,
}

impl RegressionErrors {
    /// The errors of `predictions` `[n, outputs]` of the `targets`.
    ///
    /// ```
    /// use alrao::supervised::RegressionErrors;
    /// let errors = RegressionErrors::of(&[1.0, 2.0, 2.0], &[1.0, 2.0, 3.0], 1);
    /// assert_eq!((errors.mse, errors.mae, errors.r2), (1.0 / 3.0, 1.0 / 3.0, 0.5));
    /// ```
    pub fn of(predictions: &[f32], targets: &[f32], outputs: usize) -> RegressionErrors {
        let count = targets.len() as f64;
        let pairs = || predictions.iter().zip(targets);
        let sum = |term: &dyn Fn(f64) -> f64| -> f64 {
            pairs().map(|(own, target)| term(f64::from(*own) - f64::from(*target))).sum()
        };
        let of_output = |output: usize| {
            let own = || pairs().skip(output).step_by(outputs);
            let mean =
                own().map(|(_, target)| f64::from(*target)).sum::<f64>() * outputs as f64 / count;
            let squares = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
                own().map(|(own, target)| term(f64::from(*own), f64::from(*target)).powi(2)).sum()
            };
            1.0 - squares(&|own, target| own - target) / squares(&|_, target| target - mean)
        };
        RegressionErrors {
            mse: sum(&|error| error * error) / count,
            mae: sum(&f64::abs) / count,
            r2: (0..outputs).map(of_output).sum::<f64>() / outputs as f64,
        }
    }
}

/// A model measured on a part of the data.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Sums over the samples.
    pub(crate) sums: SumValues,
    /// The predictions of all samples, one after the other, in the targets' own units; empty if nothing needs them.
    pub(crate) predictions: Vec<f32>,
    /// In regression.
    pub(crate) errors: Option<RegressionErrors>,
}

impl Measurement {
    /// The mean loss.
    pub(crate) fn loss(&self) -> f64 {
        self.sums.loss / self.sums.samples
    }

    /// The share of samples whose likeliest class is right.
    pub(crate) fn accuracy(&self) -> f64 {
        self.sums.correct / self.sums.samples
    }
}

/// Measures a model on a part of the data; `None` if `stop` was set. Regression needs predictions in any case.
pub(crate) fn measure(
    learner: &Learner,
    source: &BatchSource,
    part: Part,
    with_predictions: bool,
    stop: &StopFlag,
) -> Result<Option<Measurement>> {
    learner.start_evaluation();
    let with_predictions = with_predictions || !source.is_classification();
    let mut predictions = Vec::new();
    for batch in source.batches(part) {
        if stop.is_set() {
            return Ok(None);
        }
        source.check()?;
        match with_predictions {
            true => predictions.extend(
                batch.evaluate_and_predict(learner).to_f64s().into_iter().map(|x| x as f32),
            ),
            false => batch.evaluate(learner),
        }
        learner.device().check_so_far()?;
    }
    learner.device().check()?;
    source.undo_normalisation(&mut predictions);
    let errors = source.values(part).map(|(mut values, outputs)| {
        source.undo_normalisation(&mut values);
        RegressionErrors::of(&predictions, &values, outputs)
    });
    Ok(Some(Measurement { sums: learner.evaluation_sums().read(), predictions, errors }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_are_those_of_scikit_learn() {
        // sklearn.metrics of [[0.5, 1], [-1, 1], [7, -6]] and [[0, 2], [-1, 2], [8, -5]]: 0.70833, 0.75, 0.93680.
        let targets = [0.5, 1.0, -1.0, 1.0, 7.0, -6.0];
        let errors = RegressionErrors::of(&[0.0, 2.0, -1.0, 2.0, 8.0, -5.0], &targets, 2);
        assert!((errors.mse - 0.708_333_333).abs() < 1e-8);
        assert_eq!(errors.mae, 0.75);
        assert!((errors.r2 - 0.936_800_526).abs() < 1e-8, "{errors:?}");
        assert!(RegressionErrors::of(&[1.0, 2.0], &[3.0, 3.0], 1).r2.is_infinite());
    }
}
