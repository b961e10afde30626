//! One sample under a mixture: the classifiers' likelihoods and responsibilities, and the mixture's likelihood.

use crate::device::cpu::Float;

/// The weights of the mixture.
pub(super) struct Posterior {
    logarithms: Vec<f64>,
    /// Proportional to the weights, the largest 1, so that they cannot all underflow.
    shares: Vec<f64>,
}

impl Posterior {
    pub fn new(logarithms: &[f64]) -> Self {
        let mut shares = vec![0.0; logarithms.len()];
        shares_of(logarithms.iter().copied(), &mut shares);
        Posterior { logarithms: logarithms.to_vec(), shares }
    }
}

/// `e^x_j` up to a common factor that makes the largest 1; zeros if every `x_j` is minus infinity.
fn shares_of(logarithms: impl Iterator<Item = f64> + Clone, shares: &mut [f64]) {
    let largest = logarithms.clone().fold(f64::NEG_INFINITY, f64::max);
    let shifted =
        logarithms.map(|x| if x == f64::NEG_INFINITY { 0.0 } else { (x - largest).exp() });
    shares.iter_mut().zip(shifted).for_each(|(share, shifted)| *share = shifted);
}

/// The statistics of one sample: a row of 2 N + 2 numbers.
pub(super) struct Sample<'a> {
    /// `log p_ij(y_i)`; minus infinity if it is not finite.
    pub log_likelihoods: &'a mut [f64],
    /// `r_ij`.
    pub responsibilities: &'a mut [f64],
    /// `log p_i(y_i)`; minus infinity for a sample without a finite classifier.
    pub log_mixture: &'a mut f64,
    /// 1 if the mixture's likeliest class is right, else 0.
    pub correct: &'a mut f64,
}

impl<'a> Sample<'a> {
    pub fn of(row: &'a mut [f64], classifiers: usize) -> Self {
        let (log_likelihoods, rest) = row.split_at_mut(classifiers);
        let (responsibilities, rest) = rest.split_at_mut(classifiers);
        let [log_mixture, correct] = rest else { unreachable!("a row has 2 N + 2 numbers") };
        Sample { log_likelihoods, responsibilities, log_mixture, correct }
    }

    /// Computes the mixture and the responsibilities from the likelihoods.
    pub fn mix(&mut self, posterior: &Posterior) {
        let mut largest = f64::NEG_INFINITY;
        let likelihoods = self.log_likelihoods.iter_mut().zip(&posterior.logarithms);
        for (joint, (likelihood, log_a)) in self.responsibilities.iter_mut().zip(likelihoods) {
            if !likelihood.is_finite() {
                *likelihood = f64::NEG_INFINITY;
            }
            *joint = *likelihood + log_a;
            largest = largest.max(*joint);
        }
        *self.correct = 0.0;
        *self.log_mixture = f64::NEG_INFINITY;
        if largest == f64::NEG_INFINITY {
            self.responsibilities.fill(0.0);
            return;
        }
        self.responsibilities.iter_mut().for_each(|joint| *joint = (*joint - largest).exp());
        let total: f64 = self.responsibilities.iter().sum();
        self.responsibilities.iter_mut().for_each(|share| *share /= total);
        *self.log_mixture = largest + total.ln();
    }

    pub fn has_no_finite_classifier(&self) -> bool {
        *self.log_mixture == f64::NEG_INFINITY
    }

    /// The mixture's probability of each class, over the classifiers with a finite likelihood, up to a common factor.
    pub fn mixture_of_classes<T: Float>(
        &self,
        probabilities: &[T],
        posterior: &Posterior,
        mixture: &mut [T],
    ) {
        let usable = |likelihood: &f64| *likelihood != f64::NEG_INFINITY;
        let all_usable = self.log_likelihoods.iter().all(usable);
        let mut usable_shares = Vec::new();
        if !all_usable {
            usable_shares.resize(posterior.shares.len(), 0.0);
            let pairs = self.log_likelihoods.iter().zip(&posterior.logarithms);
            let logarithms =
                pairs.map(|(l, log_a)| if usable(l) { *log_a } else { f64::NEG_INFINITY });
            shares_of(logarithms, &mut usable_shares);
        }
        let shares = if all_usable { &posterior.shares } else { &usable_shares };
        mixture.fill(T::ZERO);
        for (share, probabilities) in shares.iter().zip(probabilities.chunks(mixture.len())) {
            let share = T::from_f64(*share);
            if share != T::ZERO {
                let terms = mixture.iter_mut().zip(probabilities);
                terms.for_each(|(mixture, p)| *mixture += share * *p);
            }
        }
    }
}
