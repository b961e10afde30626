//! Averages of several classifiers by their past losses: the switch distribution and plain Bayesian averaging. Weights
//! are logarithms in f64.

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::Parameters;
use crate::device::{DType, Device, Gpu};
use crate::ops::begin;
use crate::tensor::Tensor;

/// The state of the switch distribution, all F64 on the device.
#[derive(Clone)]
pub struct SwitchState {
    /// `[2, N]`: the logarithm of each classifier's weight, for sequences that may still switch (row 0) and that have
    /// settled on it (row 1). The weights sum to 1.
    pub weights: Tensor,
    /// `[N]`: the logarithm of each classifier's posterior, `logsumexp` over the two rows.
    pub log_posterior: Tensor,
    /// `[N]`: the same after the last observation, but before the update moved weight between the classifiers. A
    /// classifier that did badly there has next to no weight here, while the posterior always gives it a share.
    pub log_filtered: Tensor,
    /// `[1]`: 1 plus the number of updates.
    pub t: Tensor,
}

impl SwitchState {
    /// The state before the first observation: `classifiers` classifiers of equal weight, a fraction `theta` of it
    /// still switching.
    ///
    /// ```
    /// use alrao::Device;
    /// use alrao::ops::head::switch::SwitchState;
    /// let state = SwitchState::new(&Device::cpu(), 4, 0.999);
    /// assert_eq!(state.log_posterior.to_vec::<f64>(), [-4f64.ln(); 4]);
    /// ```
    pub fn new(device: &Device, classifiers: usize, theta: f64) -> Self {
        let rows = [theta, 1.0 - theta].map(|share| (share / classifiers as f64).ln());
        let weights: Vec<f64> = rows.iter().flat_map(|&w| vec![w; classifiers]).collect();
        SwitchState {
            weights: Tensor::from_slice(device, [2, classifiers], &weights),
            log_posterior: uniform_log_posterior(device, classifiers),
            log_filtered: uniform_log_posterior(device, classifiers),
            t: Tensor::full(device, [1], DType::F64, 1.0),
        }
    }
}

/// `[N]` F64: the logarithm of `1 / N` for each classifier.
pub fn uniform_log_posterior(device: &Device, classifiers: usize) -> Tensor {
    Tensor::full(device, [classifiers], DType::F64, -(classifiers as f64).ln())
}

/// Updates the state by one observation (van Erven, Grünwald and de Rooij 2008, algorithm 1): `losses`, F64 `[N]`, are
/// the classifiers' losses, multiplied by `scale`. A loss that is not finite means a probability of zero. The state
/// does not change if no loss is finite, or if there is only one classifier.
pub fn switch_update(state: &SwitchState, losses: &Tensor, theta: f64, scale: f64) {
    let classifiers = state.log_posterior.shape().elements();
    assert!(
        losses.shape().elements() == classifiers && losses.dtype() == DType::F64,
        "switch_update: losses {:?} {} for {classifiers} classifiers",
        losses.dtype(),
        losses.shape()
    );
    if classifiers == 1 {
        return;
    }
    let _op = begin(
        "switch",
        &[losses, &state.weights, &state.weights, &state.log_posterior, &state.log_filtered],
        24 * classifiers,
    );
    match losses.device() {
        Device::Gpu(gpu) => launch_switch(gpu, state, losses, theta, scale),
        Device::Cpu(_) => {
            let losses = losses.read::<f64>();
            let mut weights = state.weights.write::<f64>();
            let joint = (0..2 * classifiers)
                .map(|i| weights[i] + log_likelihood(losses[i % classifiers], scale));
            let observed = relative(joint);
            let Some(filtered) = normalised(row_sums(&observed)) else { return };
            let t = state.t.read::<f64>()[0];
            weights.copy_from_slice(&switched(&observed, t, theta));
            state.log_filtered.write::<f64>().copy_from_slice(&filtered);
            state.log_posterior.write::<f64>().copy_from_slice(&row_sums(&weights));
            state.t.write::<f64>()[0] += 1.0;
        }
    }
}

/// `[N]` from `[2, N]`: `logsumexp` over the two rows.
fn row_sums(weights: &[f64]) -> Vec<f64> {
    let (switching, settled) = weights.split_at(weights.len() / 2);
    switching.iter().zip(settled).map(|(a, b)| log_add_exp(*a, *b)).collect()
}

/// The weights after the observation's weight has moved between the classifiers.
fn switched(observed: &[f64], t: f64, theta: f64) -> Vec<f64> {
    let classifiers = observed.len() / 2;
    let (switching, settled) = observed.split_at(classifiers);
    let pi = 1.0 / (t + 1.0);
    let share = log_sum_exp(switching) + pi.ln() - (classifiers as f64).ln();
    let stays = (1.0 - pi).ln();
    let switching = switching.iter().map(|w| log_add_exp(w + stays, share + theta.ln()));
    let settled = settled.iter().map(|w| log_add_exp(*w, share + (1.0 - theta).ln()));
    normalised(switching.chain(settled).collect()).expect("some classifier has weight")
}

/// Logarithms of weights that sum to 1; `None` if all are minus infinity.
fn normalised(mut weights: Vec<f64>) -> Option<Vec<f64>> {
    let total = log_sum_exp(&weights);
    weights.iter_mut().for_each(|weight| *weight -= total);
    total.is_finite().then_some(weights)
}

/// Bayes' rule on a log-posterior, F64 `[N]`, with the classifiers' `losses`, F64 `[N]`, multiplied by `scale`. A loss
/// that is not finite sets its classifier's weight to zero for good. The log-posterior does not change if that would
/// leave no weight.
pub fn bayesian_update(log_posterior: &Tensor, losses: &Tensor, scale: f64) {
    let classifiers = log_posterior.shape().elements();
    assert!(
        losses.shape().elements() == classifiers && losses.dtype() == DType::F64,
        "bayesian_update: losses {:?} {} for {classifiers} classifiers",
        losses.dtype(),
        losses.shape()
    );
    if classifiers == 1 {
        return;
    }
    let _op = begin("bayesian average", &[losses, log_posterior, log_posterior], 4 * classifiers);
    match losses.device() {
        Device::Gpu(gpu) => launch_bayesian(gpu, log_posterior, losses, scale),
        Device::Cpu(_) => {
            let losses = losses.read::<f64>();
            let mut posterior = log_posterior.write::<f64>();
            let pairs = posterior.iter().zip(losses.iter());
            let joint = pairs.map(|(a, loss)| a + log_likelihood(*loss, scale));
            if let Some(new) = normalised(relative(joint)) {
                posterior.copy_from_slice(&new);
            }
        }
    }
}

/// The terms minus their largest, which does not change normalised weights. Beside losses of 10^16 and more, the
/// logarithms of the prior would be lost in rounding.
fn relative(terms: impl Iterator<Item = f64>) -> Vec<f64> {
    let terms: Vec<f64> = terms.collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        terms
    } else {
        terms.iter().map(|term| term - largest).collect()
    }
}

fn log_likelihood(loss: f64, scale: f64) -> f64 {
    if loss.is_finite() { -scale * loss } else { f64::NEG_INFINITY }
}

/// `log(e^a + e^b)`.
fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// `log(sum_i e^x_i)`; minus infinity if every term is.
fn log_sum_exp(x: &[f64]) -> f64 {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SwitchSettings {
    theta: f64,
    scale: f64,
    classifiers: u32,
    unused: u32,
}

impl SwitchSettings {
    fn new(classifiers: &Tensor, theta: f64, scale: f64) -> Self {
        let classifiers = classifiers.shape().elements() as u32;
        SwitchSettings { theta, scale, classifiers, unused: 0 }
    }
}

/// One warp: see `kernels/switch.cu`.
const WARP: [u32; 3] = [32, 1, 1];

fn launch_switch(gpu: &Gpu, state: &SwitchState, losses: &Tensor, theta: f64, scale: f64) {
    let (weights, log_posterior) = (state.weights.pointer(), state.log_posterior.pointer());
    let (log_filtered, losses, t) =
        (state.log_filtered.pointer(), losses.pointer(), state.t.pointer());
    let settings = SwitchSettings::new(&state.log_posterior, theta, scale);
    gpu.launch(
        "switch_update_f64",
        [1; 3],
        WARP,
        &[&weights, &log_posterior, &log_filtered, &losses, &t, &Parameters(&settings)],
    );
}

fn launch_bayesian(gpu: &Gpu, log_posterior: &Tensor, losses: &Tensor, scale: f64) {
    let settings = SwitchSettings::new(log_posterior, 1.0, scale);
    let (log_posterior, losses) = (log_posterior.pointer(), losses.pointer());
    gpu.launch(
        "switch_bayesian_f64",
        [1; 3],
        WARP,
        &[&log_posterior, &losses, &Parameters(&settings)],
    );
}
