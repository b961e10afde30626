//! The posterior over the classifiers.

use crate::device::Device;
use crate::named::named;
use crate::ops::head::switch::{SwitchState, bayesian_update, switch_update};
use crate::tensor::Tensor;

named! {
    /// The rule that averages the classifiers.
    AveragingKind, "averaging" {
        /// The switch of van Erven et al. (2008).
        Switch = "switch",
        /// Plain Bayesian model averaging.
        Bayesian = "bayesian",
    }
}

/// How many observations a batch counts as in the average over the classifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likelihood {
    /// One observation, with the batch's mean loss, as in the authors' code.
    Mean,
    /// As many observations as it has samples, as in Appendix B.
    Sum,
}

/// The posterior over the classifiers, on the device.
pub struct Averaging {
    kind: AveragingKind,
    likelihood: Likelihood,
    theta: f64,
    state: SwitchState,
}

impl Averaging {
    /// Equal weights for `classifiers` classifiers. `theta` is the switch's parameter.
    pub fn new(
        kind: AveragingKind,
        likelihood: Likelihood,
        classifiers: usize,
        theta: f64,
        device: &Device,
    ) -> Self {
        let mut state = SwitchState::new(device, classifiers, theta);
        if kind == AveragingKind::Bayesian {
            // Bayes' rule moves no weight.
            state.log_filtered = state.log_posterior.clone();
        }
        Averaging { kind, likelihood, theta, state }
    }

    /// `log a_j`, F64 `[N_cl]`.
    pub fn log_posterior(&self) -> &Tensor {
        &self.state.log_posterior
    }

    /// The logarithms of the weights of the classifiers in a prediction of values, F64 `[N_cl]`.
    ///
    /// Under the switch every classifier has some posterior, also one that has diverged and whose outputs are huge. Its
    /// share hardly changes the likelihood, but it would ruin an average of outputs. So this is the posterior before
    /// the last update gave every classifier its share.
    pub fn log_value_weights(&self) -> &Tensor {
        &self.state.log_filtered
    }

    /// The state that a checkpoint keeps, by name.
    pub(crate) fn tensors(&self) -> [(&'static str, &Tensor); 4] {
        let SwitchState { weights, log_posterior, log_filtered, t } = &self.state;
        [
            ("weights", weights),
            ("log_posterior", log_posterior),
            ("log_filtered", log_filtered),
            ("t", t),
        ]
    }

    /// Updates the posterior by one batch's losses, F64 `[N_cl]`, which are infinite for diverged classifiers.
    pub fn update(&self, losses: &Tensor, samples: usize) {
        let scale = match self.likelihood {
            Likelihood::Mean => 1.0,
            Likelihood::Sum => samples as f64,
        };
        match self.kind {
            AveragingKind::Switch => switch_update(&self.state, losses, self.theta, scale),
            AveragingKind::Bayesian => bayesian_update(&self.state.log_posterior, losses, scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_bayes_rule_values_are_weighed_by_the_posterior() {
        let device = Device::cpu();
        let own = Averaging::new(AveragingKind::Bayesian, Likelihood::Mean, 3, 0.999, &device);
        own.update(&Tensor::from_slice(&device, [3], &[1.0f64, 2.0, f64::INFINITY]), 4);
        let posterior = own.log_posterior().to_vec::<f64>();
        assert_eq!(own.log_value_weights().to_vec::<f64>(), posterior);
        assert!(posterior[0] > posterior[1] && posterior[2] == f64::NEG_INFINITY);
    }
}
