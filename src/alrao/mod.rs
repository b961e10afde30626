//! All learning rates at once: every feature learns with a rate of its own, the last layer exists in copies with
//! spread rates, and a Bayesian average weighs the copies (Blier, Wolinski and Ollivier, "Learning with Random Learning
//! Rates", section 4).

mod averaging;
mod classifiers;
pub(crate) mod learning_rates;
mod model;

pub use crate::task::Task;
pub use averaging::{Averaging, AveragingKind, Likelihood};
pub use classifiers::Classifiers;
pub use learning_rates::{classifier_rates, feature_rates};
pub use model::Alrao;

use std::ops::RangeInclusive;

/// The settings of the algorithm.
///
/// ```
/// use alrao::AlraoConfig;
/// let config = AlraoConfig { eta: 1e-3..=100.0, classifiers: 6, ..AlraoConfig::default() };
/// assert_eq!(config.theta, 0.999);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AlraoConfig {
    /// The learning rates, from eta_min to eta_max.
    pub eta: RangeInclusive<f64>,
    /// Copies of the last layer, N_cl.
    pub classifiers: usize,
    /// The switch's parameter: the prior on the number of switches is geometric in it.
    pub theta: f64,
    /// How the copies are averaged.
    pub averaging: AveragingKind,
    /// What a batch counts as.
    pub likelihood: Likelihood,
    /// Every so many steps, copies that have lost all weight take the average's weights; 0 for never.
    pub catch_up: u64,
    /// The part of the pre-classifier's features that learns at all (Appendix G).
    pub trained_fraction: f64,
}

impl Default for AlraoConfig {
    fn default() -> Self {
        AlraoConfig {
            eta: 1e-5..=10.0,
            classifiers: 10,
            theta: 0.999,
            averaging: AveragingKind::Switch,
            likelihood: Likelihood::Mean,
            catch_up: 0,
            trained_fraction: 1.0,
        }
    }
}
