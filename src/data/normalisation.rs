//! Standardisation of inputs and targets to mean 0 and variance 1.

use crate::named::named;

named! {
    /// Which numbers are standardised by the training part's mean and deviation.
    Normalize, "normalize" {
        /// All: images per channel, vectors per column, and the numbers to predict per output.
        Standard = "standard",
        /// None. Bytes are scaled to 0..1.
        None = "none",
    }
}

/// With fewer rows, one number may well be far from the others.
const FEWEST_ROWS: f64 = 20.0;

/// A column that varies less than this, relative to its mean, varies by the rounding of its numbers only.
const ROUNDING: f64 = 1e-7;

/// Mean and deviation of each column: an image's channel, a number of a vector, or one of several targets. A number `x`
/// becomes `(x - mean) / deviation`; a byte counts as `byte / 255`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Each column's mean.
    pub mean: Vec<f64>,
    /// Each column's population standard deviation; 1 if all its numbers are equal, but for rounding.
    pub deviation: Vec<f64>,
}

impl Normalisation {
    /// Mean and deviation of channels-last bytes. The sums are integers, so they are exact in any order.
    ///
    /// ```
    /// use alrao::data::Normalisation;
    /// let constant_and_two_values = Normalisation::of(&[255, 0, 255, 255], 2);
    /// assert_eq!(constant_and_two_values.mean, [1.0, 0.5]);
    /// assert_eq!(constant_and_two_values.deviation, [1.0, 0.5]);
    /// ```
    pub fn of(bytes: &[u8], channels: usize) -> Normalisation {
        let mut histograms = vec![[0u64; 256]; channels];
        for pixel in bytes.chunks_exact(channels) {
            for (histogram, &byte) in histograms.iter_mut().zip(pixel) {
                histogram[usize::from(byte)] += 1;
            }
        }
        let (mean, deviation) = histograms.iter().map(moments).unzip();
        Normalisation { mean, deviation }
    }

    /// Leaves every number as it is.
    pub fn identity(columns: usize) -> Normalisation {
        Normalisation { mean: vec![0.0; columns], deviation: vec![1.0; columns] }
    }

    /// Mean and deviation of the columns of rows of floats.
    ///
    /// ```
    /// use alrao::data::Normalisation;
    /// let constant_and_two_values = Normalisation::of_floats(&[0.1, 2.0, 0.1, 4.0], 2);
    /// assert_eq!(constant_and_two_values.mean, [f64::from(0.1f32), 3.0]);
    /// assert_eq!(constant_and_two_values.deviation, [1.0, 1.0]);
    /// ```
    pub fn of_floats(floats: &[f32], columns: usize) -> Normalisation {
        let rows = (floats.len() / columns.max(1)) as f64;
        // Beside a large first number, the differences from it are exact enough, and those of a constant column are 0.
        let first: Vec<f64> = floats.iter().take(columns).map(|&x| f64::from(x)).collect();
        let sum = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; columns];
            for row in floats.chunks_exact(columns.max(1)) {
                for (column, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(column, f64::from(x) - first[column]);
                }
            }
            sums
        };
        let shifts: Vec<f64> = sum(&|_, x| x).into_iter().map(|total| total / rows).collect();
        let squares = sum(&|column, x| (x - shifts[column]).powi(2));
        let mean: Vec<f64> =
            first.iter().zip(&shifts).map(|(first, shift)| first + shift).collect();
        let deviation = |(square, mean): (f64, &f64)| {
            let deviation = (square / rows).sqrt();
            if deviation <= ROUNDING * mean.abs() { 1.0 } else { deviation }
        };
        let deviation = squares.into_iter().zip(&mean).map(deviation).collect();
        Normalisation { mean, deviation }
    }

    /// A number so large that its column's other numbers hardly differ beside it: its first row, its column, and how often
    /// the column has it. `floats` are standardised by these means and deviations.
    pub(crate) fn outlier(&self, floats: &[f32]) -> Option<[usize; 3]> {
        let columns = self.mean.len().max(1);
        let rows = floats.len() / columns;
        (0..columns).filter(|_| rows as f64 > FEWEST_ROWS).find_map(|column| {
            let values = || floats.iter().skip(column).step_by(columns).copied();
            let largest = values().fold(0.0f32, |a, b| if b.abs() > a.abs() { b } else { a });
            let count = values().filter(|x| *x == largest).count();
            // A standardised column has the mean 0, and its squares add up to its number of rows.
            let (largest, count) = (f64::from(largest), count as f64);
            let others = rows as f64 - count;
            let mean = -count * largest / others;
            let squares = rows as f64 - count * largest.powi(2) - others * mean.powi(2);
            let mut rest = values().filter(|x| f64::from(*x) != largest);
            let first = rest.next()?;
            // Of two values, neither marks the other's lack.
            let is_hidden = squares < 0.05 * rows as f64 && rest.any(|x| x != first);
            let row = values().position(|x| f64::from(x) == largest)?;
            is_hidden.then_some([row, column, count as usize])
        })
    }

    /// Mean and deviation as a checkpoint holds them.
    pub(crate) fn to_pair(&self) -> (Vec<f64>, Vec<f64>) {
        (self.mean.clone(), self.deviation.clone())
    }

    /// The normalisation that a checkpoint holds.
    pub(crate) fn of_pair((mean, deviation): &(Vec<f64>, Vec<f64>)) -> Normalisation {
        Normalisation { mean: mean.clone(), deviation: deviation.clone() }
    }

    /// Standardises rows of floats in place.
    pub fn apply(&self, floats: &mut [f32]) {
        self.each(floats, |x, mean, deviation| (x - mean) / deviation);
    }

    /// Gives rows of standardised floats their own units back, in place.
    pub fn undo(&self, floats: &mut [f32]) {
        self.each(floats, |x, mean, deviation| x * deviation + mean);
    }

    fn each(&self, floats: &mut [f32], new: impl Fn(f64, f64, f64) -> f64) {
        for row in floats.chunks_exact_mut(self.mean.len().max(1)) {
            for (x, (mean, deviation)) in row.iter_mut().zip(self.mean.iter().zip(&self.deviation))
            {
                let new = new(f64::from(*x), *mean, *deviation);
                // An outlier among the validation data must not become infinite.
                *x = new.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
            }
        }
    }
}

/// Mean and deviation of `byte / 255` over a histogram of bytes.
fn moments(histogram: &[u64; 256]) -> (f64, f64) {
    let power_sum = |power: u32| -> u128 {
        histogram
            .iter()
            .zip(0u128..)
            .map(|(&count, byte)| u128::from(count) * byte.pow(power))
            .sum()
    };
    let (count, sum, squares) = (power_sum(0), power_sum(1), power_sum(2));
    let scale = 255.0 * count as f64;
    let deviation = ((count * squares - sum * sum) as f64).sqrt() / scale;
    (sum as f64 / scale, if deviation == 0.0 { 1.0 } else { deviation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_definition() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| (i * i % 251) as u8).collect();
        let scaled: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let (of_bytes, of_floats) =
            (Normalisation::of(&bytes, 3), Normalisation::of_floats(&scaled, 3));
        for channel in 0..3 {
            let values: Vec<f64> =
                bytes[channel..].iter().step_by(3).map(|&byte| f64::from(byte) / 255.0).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance =
                values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
            for (own, tolerance) in [(&of_bytes, 1e-14), (&of_floats, 1e-7)] {
                assert!((own.mean[channel] - mean).abs() < tolerance);
                assert!((own.deviation[channel] - variance.sqrt()).abs() < tolerance);
            }
        }
    }

    #[test]
    fn a_number_that_hides_its_column_is_found() {
        let mut values: Vec<f32> = (0..300).map(|i| (i * i % 31) as f32).collect();
        let of = |values: &[f32]| {
            let normalisation = Normalisation::of_floats(values, 3);
            let mut values = values.to_vec();
            normalisation.apply(&mut values);
            normalisation.outlier(&values)
        };
        assert_eq!(of(&values), None);
        values[3 * 41 + 2] = 999_999.0;
        assert_eq!(of(&values), Some([41, 2, 1]));
        for row in [50, 60, 99] {
            values[3 * row + 2] = 999_999.0;
        }
        assert_eq!(of(&values), Some([41, 2, 4]));
        // Two values only, as of a mark that tells classes apart.
        let mut marks = vec![0.0; 300];
        marks[3 * 7] = 1.0;
        assert_eq!(of(&marks), None);
    }

    #[test]
    fn what_is_standardised_has_mean_0_and_deviation_1_whatever_its_scale() {
        for (scale, offset) in
            [(1.0f32, 0.0f32), (1e-30, 0.0), (1e30, 0.0), (1.0, 1e6), (1e36, 1e38)]
        {
            let own: Vec<f32> =
                (0..200).flat_map(|i| [scale * (i * i % 37) as f32 + offset, offset]).collect();
            let normalisation = Normalisation::of_floats(&own, 2);
            let mut new = own.clone();
            normalisation.apply(&mut new);
            let again = Normalisation::of_floats(&new, 2);
            assert!(again.mean[0].abs() < 1e-6 && (again.deviation[0] - 1.0).abs() < 1e-6);
            assert_eq!((again.mean[1], again.deviation[1]), (0.0, 1.0));
            normalisation.undo(&mut new);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * (scale * 37.0 + offset);
            assert!(new.iter().zip(&own).all(close), "{scale} {offset}");
        }
    }
}
