//! The methods that the experiments compare.

use crate::learn::Optimizer;
use crate::learn::settings::{LearningSettings, Settings, TaskSettings};
use crate::plots::{RGBColor, TEST, line_shade, number};

/// The learning rates of SGD in Table 1: powers of ten.
pub(super) const SGD_RATES: [f64; 7] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

const ADAM: RGBColor = RGBColor(208, 45, 60);

/// A method of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// SGD with this learning rate.
    Sgd(f64),
    /// Adam with its default learning rate.
    AdamDefault,
    /// Adam with this learning rate.
    Adam(f64),
    /// Alrao with the model's default interval of learning rates.
    AlraoDefault,
    /// Alrao with this interval.
    Alrao([f64; 2]),
    /// Alrao-Adam with this interval.
    AlraoAdam([f64; 2]),
    /// SGD on a random part of the features; the others are frozen.
    SgdOnPart {
        /// The learning rate.
        rate: f64,
        /// The fraction of trained features, from 0 to 1.
        part: f64,
    },
}

impl Method {
    /// The name in folders and JSON.
    pub fn name(self) -> String {
        match self {
            Method::Sgd(rate) => format!("sgd-{rate:e}"),
            Method::AdamDefault => "adam".into(),
            Method::Adam(rate) => format!("adam-{rate:e}"),
            Method::AlraoDefault => "alrao".into(),
            Method::Alrao([low, high]) => format!("alrao-{low:e}-{high:e}"),
            Method::AlraoAdam([low, high]) => format!("alrao-adam-{low:e}-{high:e}"),
            Method::SgdOnPart { part, .. } => format!("trained-{part}"),
        }
    }

    /// The name in tables and pictures.
    pub fn label(self) -> String {
        match self {
            Method::Sgd(rate) => format!("SGD {}", number(rate)),
            Method::AdamDefault => "Adam".into(),
            Method::Adam(rate) => format!("Adam {}", number(rate)),
            Method::AlraoDefault => "Alrao".into(),
            Method::Alrao(ends) => format!("Alrao {}", interval(ends)),
            Method::AlraoAdam(ends) => format!("Alrao-Adam {}", interval(ends)),
            Method::SgdOnPart { part, .. } => format!("{}% trained", number(100.0 * part)),
        }
    }

    /// Whether every feature has a learning rate of its own.
    pub fn is_alrao(self) -> bool {
        matches!(self, Method::AlraoDefault | Method::Alrao(_) | Method::AlraoAdam(_))
    }

    /// Its settings, on top of the ones that all methods share.
    pub fn settings<T: TaskSettings>(self, base: &Settings<T>) -> Settings<T> {
        let (alrao, sgd) = (Some(Optimizer::Alrao), Some(Optimizer::Sgd));
        let (adam, alrao_adam) = (Some(Optimizer::Adam), Some(Optimizer::AlraoAdam));
        let own = LearningSettings::default();
        let learning = match self {
            Method::Sgd(rate) => LearningSettings { optimizer: sgd, lr: Some(rate), ..own },
            Method::AdamDefault => LearningSettings { optimizer: adam, ..own },
            Method::Adam(rate) => LearningSettings { optimizer: adam, lr: Some(rate), ..own },
            Method::AlraoDefault => LearningSettings { optimizer: alrao, ..own },
            Method::Alrao(ends) => in_interval(alrao, ends),
            Method::AlraoAdam(ends) => in_interval(alrao_adam, ends),
            // One rate and one classifier: plain SGD, but for the frozen features.
            Method::SgdOnPart { rate, part } => LearningSettings {
                classifiers: Some(1),
                trained_fraction: Some(part),
                ..in_interval(alrao, [rate, rate])
            },
        };
        Settings { learning, ..Settings::default() }.over(base.clone())
    }

    /// Its colour in pictures; SGD's rates go from dark to light.
    pub fn colour(self) -> RGBColor {
        let place = |rate: f64| (rate.log10().round() + 5.0).clamp(0.0, 6.0) as usize;
        match self {
            Method::Sgd(rate) | Method::Adam(rate) => line_shade(place(rate), SGD_RATES.len()),
            Method::AdamDefault => ADAM,
            Method::AlraoDefault | Method::Alrao(_) => TEST,
            Method::AlraoAdam([_, high]) => match place(high) {
                0..=3 => RGBColor(120, 60, 20),
                4 => ADAM,
                _ => TEST,
            },
            Method::SgdOnPart { .. } => line_shade(2, SGD_RATES.len()),
        }
    }
}

fn in_interval(optimizer: Option<Optimizer>, [low, high]: [f64; 2]) -> LearningSettings {
    LearningSettings {
        optimizer,
        eta_min: Some(low),
        eta_max: Some(high),
        ..LearningSettings::default()
    }
}

fn interval([low, high]: [f64; 2]) -> String {
    format!("{} to {}", number(low), number(high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervised::settings::Settings;

    #[test]
    fn a_part_of_all_is_plain_sgd() {
        let config = Method::SgdOnPart { rate: 0.1, part: 1.0 }.settings(&Settings::default());
        let config = config.resolve().unwrap();
        assert_eq!((config.alrao.classifiers, config.alrao.eta), (1, 0.1..=0.1));
        assert_eq!(config.alrao.trained_fraction, 1.0);
    }

    #[test]
    fn names_are_those_of_folders() {
        let all = [Method::Sgd(1e-5), Method::Alrao([1e-5, 10.0]), Method::Sgd(10.0)];
        assert_eq!(all.map(Method::name), ["sgd-1e-5", "alrao-1e-5-1e1", "sgd-1e1"]);
        assert_eq!(all.map(Method::label), ["SGD 1e-5", "Alrao 1e-5 to 10", "SGD 10"]);
    }
}
