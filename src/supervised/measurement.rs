//! Evaluation of a model on one part of the data: losses, predictions, and in regression errors.

use serde::Serialize;

use super::batches::BatchSource;
use crate::data::Part;
use crate::error::Result;
use crate::learn::{Learner, StopFlag};
use crate::ops::update::step_statistics::SumValues;

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
    /// The errors whose squares and absolute values have these sums, for each output. `targets` `[n, outputs]` are in their own
    /// units, of which an error counts `scale` for each output.
    fn of([squares, absolutes]: [&[f64]; 2], targets: &[f32], scale: &[f64]) -> RegressionErrors {
        let (outputs, count) = (scale.len(), targets.len() as f64);
        let in_units = |sums: &[f64], power: i32| -> Vec<f64> {
            sums.iter().zip(scale).map(|(sum, scale)| sum * scale.powi(power)).collect()
        };
        let (squares, absolutes) = (in_units(squares, 2), in_units(absolutes, 1));
        let variation = |output: usize| {
            let column = || targets.iter().skip(output).step_by(outputs).map(|&y| f64::from(y));
            let mean = column().sum::<f64>() * outputs as f64 / count;
            column().map(|y| (y - mean).powi(2)).sum::<f64>()
        };
        let explained =
            squares.iter().enumerate().map(|(output, sum)| 1.0 - sum / variation(output));
        RegressionErrors {
            mse: squares.iter().sum::<f64>() / count,
            mae: absolutes.iter().sum::<f64>() / count,
            r2: explained.sum::<f64>() / outputs as f64,
        }
    }
}

/// A model measured on a part of the data.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Sums over the samples.
    pub(crate) sums: SumValues,
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

/// Called with the predictions of each batch.
pub(crate) type Each<'a> = dyn FnMut(&[f32]) + 'a;

/// Measures a model on a part of the data; `None` if `stop` was set. `each` is called with the predictions of each batch: log
/// probabilities, or values in the targets' own units.
pub(crate) fn measure(
    learner: &Learner,
    source: &BatchSource,
    part: Part,
    mut each: Option<&mut Each<'_>>,
    stop: &StopFlag,
) -> Result<Option<Measurement>> {
    learner.start_evaluation();
    for batch in source.batches(part) {
        if stop.is_set() {
            return Ok(None);
        }
        source.check()?;
        match &mut each {
            Some(each) => {
                let predictions = batch.evaluate_and_predict(learner).to_f64s();
                let mut own: Vec<f32> = predictions.into_iter().map(|x| x as f32).collect();
                source.undo_normalisation(&mut own);
                each(&own);
            }
            None => batch.evaluate(learner),
        }
        learner.device().check_so_far()?;
    }
    learner.device().check()?;
    let errors = learner.evaluation_errors().zip(source.values(part));
    let errors = errors.map(|([squares, absolutes], (mut values, outputs))| {
        source.undo_normalisation(&mut values);
        let scale = source.target_scale().unwrap_or_else(|| vec![1.0; outputs]);
        RegressionErrors::of([&squares, &absolutes], &values, &scale)
    });
    Ok(Some(Measurement { sums: learner.evaluation_sums().read(), errors }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_are_those_of_scikit_learn() {
        // sklearn.metrics of [[0.5, 1], [-1, 1], [7, -6]] and [[0, 2], [-1, 2], [8, -5]]: 0.70833, 0.75, 0.93680.
        let targets = [0.5, 1.0, -1.0, 1.0, 7.0, -6.0];
        let errors = RegressionErrors::of([&[1.25, 3.0], &[1.5, 3.0]], &targets, &[1.0; 2]);
        assert!((errors.mse - 0.708_333_333).abs() < 1e-8);
        assert_eq!(errors.mae, 0.75);
        assert!((errors.r2 - 0.936_800_526).abs() < 1e-8, "{errors:?}");
        // The same errors of standardised numbers.
        let halves = RegressionErrors::of([&[0.3125, 12.0], &[0.75, 6.0]], &targets, &[2.0, 0.5]);
        assert_eq!(halves, errors);
        assert!(RegressionErrors::of([&[5.0], &[3.0]], &[3.0, 3.0], &[1.0]).r2.is_infinite());
    }
}
