//! The scales of axes: from values to pixels, the ticks, and the format of numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// Losses are on a logarithmic axis if the largest is more than this many times the smallest.
const DECADES: f64 = 20.0;

/// The scale of an axis: its range, and whether it is linear or logarithmic.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    is_logarithmic: bool,
    is_percent: bool,
}

impl Scale {
    /// A linear scale.
    pub fn linear(range: Range<f64>) -> Self {
        Scale { from: range.start, to: range.end, is_logarithmic: false, is_percent: false }
    }

    /// A logarithmic scale; both ends are above 0.
    pub fn logarithmic(range: Range<f64>) -> Self {
        Scale { is_logarithmic: true, ..Scale::linear(range) }
    }

    /// A scale in percent that holds these fractions of 1; it starts at 0 if they come near it.
    pub fn percent(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        let margin = 0.05 * (high - low).max(0.02);
        let bottom = if low < 0.5 { 0.0 } else { low - margin };
        Scale { is_percent: true, ..Scale::linear(bottom..(high + margin).min(1.0)) }
    }

    /// A scale that holds these losses: logarithmic if they span a large ratio; a linear one starts at 0 if they come near it.
    pub fn losses(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        if low > 0.0 && high / low > DECADES {
            return Scale::logarithmic(low / 1.2..high * 1.2);
        }
        let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
        let bottom = if low >= 0.0 && low < 0.5 * high { 0.0 } else { low - margin };
        Scale::linear(bottom..high + margin)
    }

    /// A linear scale that holds these returns.
    pub fn returns(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values).unwrap_or((0.0, 1.0));
        let margin = 0.05 * (high - low).max(1.0);
        Scale::linear(low - margin..high + margin)
    }

    /// A value's position, 0 at the start of the axis and 1 at its end. A value without a logarithm is far below the start.
    pub(super) fn place(&self, value: f64) -> f64 {
        let logarithm = |value: f64| value.max(f64::MIN_POSITIVE).ln();
        let own = |value: f64| if self.is_logarithmic { logarithm(value) } else { value };
        (own(value) - own(self.from)) / (own(self.to) - own(self.from))
    }

    /// The value at a position.
    pub(super) fn value_at(&self, place: f64) -> f64 {
        match self.is_logarithmic {
            true => self.from * (self.to / self.from).powf(place),
            false => self.from + place * (self.to - self.from),
        }
    }

    fn format(&self, value: f64) -> String {
        // Ticks that are close together need more digits than `number` gives.
        let factor = if self.is_percent { 100.0 } else { 1.0 };
        let step = factor * (self.to - self.from) / 8.0;
        let largest = factor * self.from.abs().max(self.to.abs());
        if !self.is_logarithmic && step < 0.01 * 10f64.powf(largest.log10().floor()) && step < 1.0 {
            let digits = -step.log10().floor() as usize;
            let text = format!("{:.digits$}", factor * value);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            return format!("{text}{}", if self.is_percent { "%" } else { "" });
        }
        // Counts of 100,000 and more would otherwise look unlike the smaller counts on the same axis.
        let is_count = !self.is_logarithmic && (1e5..1e6).contains(&value);
        match self.is_percent {
            true => format!("{}%", number(100.0 * value)),
            false if is_count => format!("{value:.0}"),
            false => number(value),
        }
    }

    /// Round values, `most` of them or fewer if possible.
    fn ticks(&self, most: usize) -> Vec<f64> {
        let most = most.max(2);
        if self.is_logarithmic && self.to / self.from >= 10.0 {
            return decades(self.from, self.to, most);
        }
        let raw = (self.to - self.from) / most as f64;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= raw * 0.999).unwrap_or(raw);
        let slack = 1e-9 * (self.to - self.from);
        let first = ((self.from - slack) / step).ceil() as i64;
        let last = ((self.to + slack) / step).floor() as i64;
        (first..=last).map(|count| count as f64 * step).collect()
    }
}

/// Powers of ten, with twos and fives between them if few powers fit.
fn decades(from: f64, to: f64, most: usize) -> Vec<f64> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let inside = |value: &f64| *value >= from * (1.0 - 1e-9) && *value <= to * (1.0 + 1e-9);
    let powers: Vec<f64> = (first..=last).map(|power| 10f64.powi(power)).filter(inside).collect();
    if powers.len() < 3 {
        let finer = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|f| f * 10f64.powi(power)));
        return finer.filter(inside).collect();
    }
    powers.iter().copied().step_by(powers.len().div_ceil(most)).collect()
}

/// The least and the largest finite value.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let place = self.place(*value).clamp(-0.5, 1.5);
        start + (place * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.max_num_points())
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.format(*value)
    }
}

/// A number in at most three significant digits, as short as possible.
pub fn number(number: f64) -> String {
    if number == 0.0 {
        return "0".into();
    }
    let magnitude = number.abs().log10().floor();
    if (-2.0..5.0).contains(&magnitude) {
        let digits = (2.0 - magnitude).max(0.0) as usize;
        let text = format!("{number:.digits$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').into()
        } else {
            text
        };
    }
    let text = format!("{number:.1e}");
    text.replace(".0e", "e")
}

/// A number with all its digits: `1e-5`, `0.12345`, `10`.
pub fn exact(number: f64) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1e-5, "1e-5"),
            (4.6416e-5, "4.6e-5"),
            (0.01, "0.01"),
            (4.6416e-3, "4.6e-3"),
            (10.0, "10"),
            (2.154, "2.15"),
        ];
        cases.iter().for_each(|(value, text)| assert_eq!(number(*value), *text));
        assert_eq!([100.0, 1234.5, 1e6].map(number), ["100", "1234", "1e6"]);
        assert_eq!([1e-5, 0.12345, 10.0].map(exact), ["1e-5", "0.12345", "10"]);
    }

    #[test]
    fn a_value_without_a_logarithm_is_far_below() {
        let scale = Scale::logarithmic(1.0..10.0);
        assert!([0.0, -3.0].map(|value| scale.place(value)).iter().all(|place| *place < -100.0));
        assert_eq!(Scale::linear(-4.0..0.0).place(-3.0), 0.25);
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear(0.0..12.0).ticks(8), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        let ticks = Scale::linear(0.93..1.0).ticks(8);
        assert!(ticks.len() >= 4 && ticks.iter().all(|tick| (0.93..=1.0001).contains(tick)));
        assert_eq!(Scale::logarithmic(1e-5..10.0).ticks(8).len(), 7);
        assert_eq!(Scale::logarithmic(0.9..30.0).ticks(8), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert!(Scale::logarithmic(1e-200..1.0).ticks(8).len() <= 8);
    }

    #[test]
    fn ticks_that_are_close_differ() {
        for scale in [Scale::linear(1.0655..1.0711), Scale::percent([0.9871, 0.9874].into_iter())] {
            let labels: Vec<String> =
                scale.ticks(8).iter().map(|tick| scale.format(*tick)).collect();
            assert!(labels.windows(2).all(|pair| pair[0] != pair[1]), "{labels:?}");
        }
        assert_eq!(Scale::linear(1.0655..1.0711).format(1.068), "1.068");
    }

    #[test]
    fn counts_on_an_axis_look_alike() {
        let scale = Scale::linear(0.0..2e5);
        let labels: Vec<String> = scale.ticks(4).iter().map(|tick| scale.format(*tick)).collect();
        assert_eq!(labels, ["0", "50000", "100000", "150000", "200000"]);
        assert_eq!(Scale::logarithmic(1.0..1e7).format(1e5), "1e5");
    }

    #[test]
    fn much_loss_is_shown_by_ratios() {
        let scale = Scale::losses([0.01, 5.0, f64::NAN].into_iter());
        assert!((scale.place(0.01) - 0.028).abs() < 1e-2 && scale.place(5.0) < 1.0, "{scale:?}");
        assert!((scale.value_at(scale.place(0.3)) - 0.3).abs() < 1e-12);
        assert_eq!(Scale::losses([0.5, 2.0].into_iter()).place(0.0), 0.0);
    }
}
