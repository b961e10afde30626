//! Means over seeds.

use serde::Serialize;

use crate::plots::{Color, Series, Stroke, number};

/// The mean of some values and their standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of one value, from n - 1; `None` for a single value.
    pub deviation: Option<f64>,
}

impl Estimate {
    /// The estimate from some values; `None` if one is missing, or if there are none.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Estimate> {
        let values = values.into_iter().collect::<Option<Vec<f64>>>()?;
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Some(Estimate { mean, deviation })
    }

    /// The same in another unit.
    pub fn scaled(self, factor: f64) -> Estimate {
        let deviation = self.deviation.map(|deviation| factor.abs() * deviation);
        Estimate { mean: factor * self.mean, deviation }
    }

    /// The text `0.42 ± 0.02`, with this many decimals.
    pub fn text(&self, decimals: usize) -> String {
        let mean = match self.mean.abs() < 1e5 {
            true => format!("{:.decimals$}", self.mean),
            false => number(self.mean),
        };
        match self.deviation {
            Some(deviation) if deviation < 1e5 => format!("{mean} ± {deviation:.decimals$}"),
            Some(deviation) => format!("{mean} ± {}", number(deviation)),
            None => mean,
        }
    }
}

/// A curve of means with their deviations; points without a mean are left out.
pub(super) fn series(
    name: impl Into<String>,
    points: impl IntoIterator<Item = (f64, Option<Estimate>)>,
    colour: impl Color,
    stroke: Stroke,
) -> Series {
    let known: Vec<(f64, Estimate)> =
        points.into_iter().filter_map(|(x, own)| Some((x, own?))).collect();
    let deviations = known.iter().map(|(_, own)| own.deviation.unwrap_or(0.0)).collect();
    let points = known.into_iter().map(|(x, own)| (x, own.mean)).collect();
    Series::new(name, points, colour, stroke).with_deviations(deviations)
}

/// The least and the largest value; `None` if there are none.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_is_that_of_a_sample() {
        let estimate = Estimate::of([1.0, 2.0, 3.0, 6.0].map(Some)).unwrap();
        assert_eq!(estimate.mean, 3.0);
        assert!((estimate.deviation.unwrap() - (14f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(estimate.text(2), "3.00 ± 2.16");
        assert_eq!(Estimate::of([Some(0.5)]).unwrap().text(3), "0.500");
        assert_eq!(Estimate::of([Some(0.5), None]), None);
        assert_eq!(Estimate::of([]), None);
    }

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(spread([].into_iter()), None);
        assert_eq!(spread([0.5].into_iter()), Some((0.5, 0.5)));
        assert_eq!(spread([0.5, -1.0, 3.0].into_iter()), Some((-1.0, 3.0)));
    }

    #[test]
    fn a_series_leaves_out_points_without_a_mean() {
        let point = |x: f64, mean: f64, deviation| (x, Some(Estimate { mean, deviation }));
        let points = [point(1.0, 5.0, Some(0.5)), (2.0, None), point(3.0, 6.0, None)];
        let series = series("one", points, crate::plots::INK, Stroke::Line(1));
        assert_eq!(series.points, [(1.0, 5.0), (3.0, 6.0)]);
        assert_eq!(series.deviations, [0.5, 0.0]);
    }
}
