//! The number of samples for `--quick`, so that the runs on one row take less than ten minutes on two cores.

use super::options::Size;
use crate::models::Architecture::{self, *};

/// Seconds that the runs on one row may take.
const SECONDS: f64 = 480.0;

/// The time to evaluate a sample, relative to training on it.
const EVALUATION: f64 = 0.35;

/// The least samples, which make a few batches.
const LEAST: f64 = 64.0;

/// A width, and the samples per second of training at that width on two cores with a run each: characters or words of a
/// text, or images of the architecture's default size. Rough measurements, with other work on the same cores.
fn speed(architecture: Architecture) -> (f64, f64) {
    match architecture {
        Mlp => (0.5, 10_000.0),
        Cnn => (0.5, 4_000.0),
        Vgg11 | Vgg13 => (0.125, 1_000.0),
        Vgg16 | Vgg19 => (0.125, 700.0),
        MobileNetV2 => (0.125, 160.0),
        GoogLeNet => (0.125, 90.0),
        SeNet18 => (0.125, 160.0),
        AlexNet => (0.125, 250.0),
        ResNet50 => (0.125, 30.0),
        DenseNet121 => (0.125, 22.0),
        CharLstm => (0.3, 300_000.0),
        // With 25,000 distinct words.
        WordLstm => (0.3, 4_000.0),
    }
}

/// The most samples of each part for a row of this size. It does not depend on the machine, or on the user's epochs and runs:
/// more epochs or runs than the default take longer.
pub(super) fn samples(architecture: Architecture, width: f64, size: Size) -> usize {
    let (own_width, speed) = speed(architecture);
    let speed = speed * (own_width / width).powf(1.5).min(1.0);
    let runs = size.settings * size.seeds.unwrap_or(1);
    // Each epoch trains on a part and validates on another; each run tests once.
    let passes = (runs * size.epochs) as f64 * (1.0 + EVALUATION) + runs as f64 * EVALUATION;
    let samples = (SECONDS * speed / passes).max(LEAST);
    // Rounded down to two digits.
    let unit = 10f64.powf(samples.log10().floor() - 1.0);
    ((samples / unit).floor() * unit).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_models_see_fewer_samples() {
        let size = Size { settings: 9, epochs: 12, seeds: Some(2) };
        // The generated images are all used.
        assert!(samples(Cnn, 0.5, size) >= 6_000, "{}", samples(Cnn, 0.5, size));
        let googlenet = samples(GoogLeNet, 0.125, size);
        assert!((64..300).contains(&googlenet), "{googlenet}");
        assert!(samples(GoogLeNet, 0.375, size) <= googlenet / 3 + LEAST as usize);
        assert!(samples(GoogLeNet, 0.125, Size { epochs: 1, ..size }) > 5 * googlenet);
    }
}
