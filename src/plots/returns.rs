//! The returns of a run of Q-learning.

use plotters::style::Color;

use super::chart::{Axis, Series, Stroke, lines};
use super::colours::{TEST, TRAIN, VALID};
use super::history::{EpochLine, History};
use super::scale::{Scale, extent};

/// Mean returns over the environment's steps; `None` without data.
pub fn over_steps(history: &History) -> Option<String> {
    let epochs = history.epochs();
    let over_steps = |value: fn(&EpochLine) -> Option<f64>| -> Vec<(f64, f64)> {
        epochs.iter().filter_map(|line| Some((line.step? as f64, value(line)?))).collect()
    };
    let evaluated = over_steps(|line| line.mean_return);
    let deviations = over_steps(|line| line.mean_return.and(line.return_deviation));
    let deviations: Vec<f64> = deviations.into_iter().map(|(_, deviation)| deviation).collect();
    let reach = evaluated.iter().zip(&deviations);
    let reach = reach.flat_map(|((_, own), deviation)| [own - deviation, own + deviation]);
    let learnt_from = over_steps(|line| line.training_return);
    let test = history.test().and_then(|test| {
        let epoch = epochs.iter().find(|line| line.epoch == test.epoch)?;
        Some((epoch.step? as f64, test.mean_return?))
    });
    let points = || evaluated.iter().chain(&learnt_from).chain(&test);
    let values: Vec<f64> = points().map(|(_, y)| *y).chain(reach).collect();
    extent(values.iter().copied())?;
    let end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let series = [
        Series::new("training", learnt_from.clone(), TRAIN.mix(0.5), Stroke::Line(2)),
        Series::new("evaluation", evaluated.clone(), VALID, Stroke::Dotted(2))
            .with_deviations(deviations.clone()),
        Series::new("test", test.into_iter().collect(), TEST, Stroke::Crosses),
    ];
    let series: Vec<Series> = series.into_iter().filter(|own| !own.points.is_empty()).collect();
    let steps = Axis::new("step of the environment", Scale::linear(0.0..end));
    let returns = Axis::new("mean return", Scale::returns(values.into_iter()));
    Some(lines(&steps, &returns, "", &series))
}
