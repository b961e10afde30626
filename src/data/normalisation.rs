//! The normalisation of bytes to numbers of mean 0 and variance 1.

/// Each channel's mean and deviation; a byte becomes `(byte / 255 - mean) / deviation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Each channel's mean, of bytes scaled to 0..1.
    pub mean: Vec<f64>,
    /// Each channel's population standard deviation; 1 if all its bytes are equal.
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
        let normalisation = Normalisation::of(&bytes, 3);
        for channel in 0..3 {
            let values: Vec<f64> =
                bytes[channel..].iter().step_by(3).map(|&byte| f64::from(byte) / 255.0).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance =
                values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
            assert!((normalisation.mean[channel] - mean).abs() < 1e-14);
            assert!((normalisation.deviation[channel] - variance.sqrt()).abs() < 1e-14);
        }
    }
}
