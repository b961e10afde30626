//! What holds for any model average, and catching up.

use alrao::ops::head::switch::{
    SwitchState, bayesian_update, switch_update, uniform_log_posterior,
};
use alrao::ops::update::catch_up::catch_up;
use alrao::{Device, Tensor};
use proptest::prelude::*;

const COPIES: usize = 6;

/// Losses of some steps; one in eight is of a copy that diverged.
fn losses() -> impl Strategy<Value = Vec<Vec<f64>>> {
    let loss = prop_oneof![7 => -5.0..20.0, 1 => Just(f64::INFINITY)];
    prop::collection::vec(prop::collection::vec(loss, COPIES), 1..30)
}

/// The log-posteriors after the steps: by the switch, and by Bayes' rule.
fn posteriors(steps: &[Vec<f64>], theta: f64, scale: f64) -> [Vec<f64>; 2] {
    let device = Device::open_with_threads(alrao::DeviceKind::Cpu, Some(1)).unwrap();
    let state = SwitchState::new(&device, COPIES, theta);
    let bayesian = uniform_log_posterior(&device, COPIES);
    for losses in steps {
        let losses = Tensor::from_slice(&device, [COPIES], losses);
        switch_update(&state, &losses, theta, scale);
        bayesian_update(&bayesian, &losses, scale);
    }
    [state.log_posterior.to_vec(), bayesian.to_vec()]
}

fn agree(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b || (a - b).abs() < 1e-10 * (1.0 + a.abs()))
}

proptest! {
    #[test]
    fn a_posterior_sums_to_one(
        steps in losses(),
        theta in 0.5..0.9999,
        scale in prop_oneof![Just(1.0), Just(1e20), Just(1e200)],
    ) {
        for posterior in posteriors(&steps, theta, scale) {
            let total: f64 = posterior.iter().map(|log_a| log_a.exp()).sum();
            prop_assert!((total - 1.0).abs() < 1e-12, "{posterior:?}");
        }
    }

    #[test]
    fn a_shift_of_all_losses_shifts_nothing(steps in losses(), shift in -50.0..50.0) {
        let shifted: Vec<Vec<f64>> =
            steps.iter().map(|losses| losses.iter().map(|loss| loss + shift).collect()).collect();
        let (plain, shifted) = (posteriors(&steps, 0.999, 1.0), posteriors(&shifted, 0.999, 1.0));
        prop_assert!(agree(&plain[0], &shifted[0]), "{plain:?} {shifted:?}");
        prop_assert!(agree(&plain[1], &shifted[1]), "{plain:?} {shifted:?}");
    }

    #[test]
    fn copies_in_another_order_have_their_posterior_in_that_order(
        steps in losses(),
        order in Just((0..COPIES).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let reorder = |row: &[f64]| order.iter().map(|&copy| row[copy]).collect::<Vec<_>>();
        let moved: Vec<Vec<f64>> = steps.iter().map(|losses| reorder(losses)).collect();
        let (plain, moved) = (posteriors(&steps, 0.999, 1.0), posteriors(&moved, 0.999, 1.0));
        prop_assert!(agree(&reorder(&plain[0]), &moved[0]));
        prop_assert!(agree(&reorder(&plain[1]), &moved[1]));
    }

    #[test]
    fn a_scale_is_a_factor_on_the_losses(steps in losses(), scale in 1.0..64.0) {
        let scaled: Vec<Vec<f64>> =
            steps.iter().map(|losses| losses.iter().map(|loss| loss * scale).collect()).collect();
        let (by_scale, by_loss) = (posteriors(&steps, 0.99, scale), posteriors(&scaled, 0.99, 1.0));
        prop_assert!(agree(&by_scale[0], &by_loss[0]) && agree(&by_scale[1], &by_loss[1]));
    }
}

#[test]
fn nothing_moves_without_a_finite_loss() {
    let device = Device::cpu();
    let state = SwitchState::new(&device, 3, 0.9);
    let bayesian = uniform_log_posterior(&device, 3);
    let observe = |losses: [f64; 3]| {
        let losses = Tensor::from_slice(&device, [3], &losses);
        switch_update(&state, &losses, 0.9, 1.0);
        bayesian_update(&bayesian, &losses, 1.0);
    };
    observe([1.0, 2.0, f64::INFINITY]);
    let seen = || {
        let tensors = [&state.weights, &state.log_posterior, &state.t, &bayesian];
        tensors.map(|tensor| tensor.to_vec::<f64>())
    };
    let before = seen();
    observe([f64::INFINITY, f64::NAN, f64::INFINITY]);
    assert_eq!(seen(), before);
    // The switch takes a copy up again that Bayes' rule has ended.
    observe([5.0, 5.0, 0.0]);
    assert!(state.log_posterior.to_vec::<f64>()[2] > -5.0);
    assert_eq!(bayesian.to_vec::<f64>()[2], f64::NEG_INFINITY);
    // Of those that still have weight none is finite.
    let before = bayesian.to_vec::<f64>();
    observe([f64::INFINITY, f64::INFINITY, 0.0]);
    assert_eq!(bayesian.to_vec::<f64>(), before);
}

#[test]
fn one_copy_has_all_weight_for_ever() {
    let device = Device::cpu();
    let state = SwitchState::new(&device, 1, 0.999);
    switch_update(&state, &Tensor::from_slice(&device, [1], &[3f64]), 0.999, 1.0);
    assert_eq!(state.log_posterior.item(), 0.0);
    assert_eq!(state.t.item(), 1.0);
}

#[test]
fn weak_copies_take_the_mean() {
    let device = Device::cpu();
    let weight = Tensor::from_slice(
        &device,
        [4, 1, 2],
        &[1f64, 2.0, 3.0, 6.0, f64::NAN, 100.0, f64::NAN, f64::INFINITY],
    );
    let bias = Tensor::from_slice(&device, [4, 1], &[1f64, 5.0, 9.0, 9.0]);
    let log_posterior =
        Tensor::from_slice(&device, [4], &[0.75f64.ln(), 0.25f64.ln(), f64::NEG_INFINITY, -19.0]);
    catch_up(&weight, &bias, &log_posterior, -20.0);
    let (weight, bias) = (weight.to_vec::<f64>(), bias.to_vec::<f64>());
    assert_eq!(weight[..4], [1.0, 2.0, 3.0, 6.0]);
    assert!((weight[4] - 1.5).abs() < 1e-12 && (weight[5] - 3.0).abs() < 1e-12, "{weight:?}");
    assert!(weight[6].is_nan() && weight[7] == f64::INFINITY);
    let mean = (0.75 + 1.25 + 9.0 * (-19f64).exp()) / (1.0 + (-19f64).exp());
    assert!(bias[2] == mean || (bias[2] - mean).abs() < 1e-15, "{bias:?}");
    assert_eq!([bias[0], bias[1], bias[3]], [1.0, 5.0, 9.0]);
}
