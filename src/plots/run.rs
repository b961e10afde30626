//! The pictures of one run.

use plotters::style::{Color, RGBColor};

use super::chart::{Axis, Series, Stroke, lines, stack};
use super::colours::{TEST, TRAIN, VALID, shade};
use super::history::{Curve, Curves};
use super::scale::{Scale, extent, number};

/// Loss over training, counted in `unit`; `None` without data.
pub fn loss(curves: &Curves, unit: &str) -> Option<String> {
    let scale = Scale::losses(values(&curves.loss));
    of_curve(&curves.loss, unit, ("loss (nats)", scale), number)
}

/// Accuracy over training; `None` for regression.
pub fn accuracy(curves: &Curves) -> Option<String> {
    let scale = Scale::percent(values(&curves.accuracy));
    of_curve(&curves.accuracy, "epoch", ("accuracy", scale), |own| format!("{:.2}%", 100.0 * own))
}

/// The classifiers' weights over training, counted in `unit`, stacked from the smallest learning rate to the largest.
pub fn posterior(curves: &Curves, unit: &str, rates: &[f64]) -> Option<String> {
    let points = &curves.posterior;
    let (end, _) = points.last().filter(|(end, _)| *end > 0.0)?;
    let entries = rates.iter().enumerate();
    let entries: Vec<_> = entries.map(|(j, rate)| (number(*rate), shade(j, rates.len()))).collect();
    let axis = Axis::new(unit, Scale::linear(0.0..*end));
    Some(stack(&axis, "posterior", "learning rate", points, &entries))
}

/// `show` writes a value; the legend has the last one of each series but the steps', which is noisy.
fn of_curve(
    curve: &Curve,
    unit: &str,
    (label, scale): (&str, Scale),
    show: fn(f64) -> String,
) -> Option<String> {
    extent(values(curve))?;
    let end = points(curve).map(|(x, _)| x).fold(0.01, f64::max);
    let named = |name: &str, points: Vec<(f64, f64)>, colour: RGBColor, stroke| {
        let last = points.last().map(|(_, value)| format!(" {}", show(*value)));
        Series::new(format!("{name}{}", last.unwrap_or_default()), points, colour, stroke)
    };
    let steps = Series::new("train, steps", curve.steps.clone(), TRAIN.mix(0.35), Stroke::Line(1));
    let train = named("train, epochs", curve.train.clone(), TRAIN, Stroke::Dotted(2));
    let valid = named("validation", curve.valid.clone(), VALID, Stroke::Dotted(2));
    let test = named("test", curve.test.into_iter().collect(), TEST, Stroke::Crosses);
    let series = [steps, train, valid, test].into_iter();
    let series: Vec<Series> = series.filter(|own| !own.points.is_empty()).collect();
    let axis = Axis::new(unit, Scale::linear(0.0..end));
    Some(lines(&axis, &Axis::new(label, scale), "", &series))
}

fn points(curve: &Curve) -> impl Iterator<Item = (f64, f64)> {
    curve.steps.iter().chain(&curve.train).chain(&curve.valid).chain(&curve.test).copied()
}

fn values(curve: &Curve) -> impl Iterator<Item = f64> {
    points(curve).map(|(_, y)| y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let nothing = || Curve { steps: vec![], train: vec![], valid: vec![], test: None };
        let curves = Curves { loss: nothing(), accuracy: nothing(), posterior: vec![] };
        assert!(loss(&curves, "epoch").is_none() && accuracy(&curves).is_none());
        assert!(posterior(&curves, "epoch", &[0.1]).is_none());
    }
}
