//! All learning rates at once: every feature has a learning rate of its own, the last layer exists in N copies, the
//! classifiers, with rates spread over the same range, and a Bayesian average weighs the classifiers (Blier, Wolinski and
//! Ollivier, "Learning with Random Learning Rates", section 4).

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
    /// The range of the learning rates, from eta_min to eta_max.
    pub eta: RangeInclusive<f64>,
    /// Number of classifiers, N_cl.
    pub classifiers: usize,
    /// The switch's parameter: the prior on the number of switches is geometric in it.
    pub theta: f64,
    /// The rule that averages the classifiers.
    pub averaging: AveragingKind,
    /// How many observations a batch counts as.
    pub likelihood: Likelihood,
    /// Steps between two catch-ups, which give classifiers whose weight is below e^-20 the weighted mean of all classifiers' parameters; 0
    /// for never.
    pub catch_up: u64,
    /// The fraction of the pre-classifier's features that is trained; the others are frozen (Appendix G).
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
