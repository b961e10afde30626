//! The switch and Bayesian averaging over forty observations.

use alrao::Device;
use alrao::ops::head::switch::{
    SwitchState, bayesian_update, switch_update, uniform_log_posterior,
};

use super::{assert_close, load};

const TOLERANCE: f64 = 1e-12;

#[test]
fn the_switch_agrees_with_pytorch() {
    let device = Device::cpu();
    let file = load(&device, "switch.safetensors");
    let losses = &file["losses"];
    let (steps, copies) = (losses.shape()[0], losses.shape()[1]);
    for theta in [0.999, 0.9] {
        let state = SwitchState::new(&device, copies, theta);
        let (mut weights, mut posterior, mut filtered) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..steps {
            let observed = losses.slice(0, step, 1).reshape([copies]);
            switch_update(&state, &observed, theta, 1.0);
            weights.extend(state.weights.to_f64s());
            posterior.extend(state.log_posterior.to_f64s());
            filtered.extend(state.log_filtered.to_f64s());
        }
        assert_close("weights", &weights, &file[&format!("weights {theta}")].to_f64s(), TOLERANCE);
        let expected = file[&format!("posterior {theta}")].to_f64s();
        assert_close("posterior", &posterior, &expected, TOLERANCE);
        let expected = file[&format!("filtered {theta}")].to_f64s();
        assert_close("filtered", &filtered, &expected, TOLERANCE);
        // One observation had no finite loss.
        assert_eq!(state.t.item(), steps as f64);
    }
}

#[test]
fn bayesian_averaging_agrees_with_pytorch() {
    let device = Device::cpu();
    let file = load(&device, "switch.safetensors");
    let losses = &file["losses"];
    let (steps, copies) = (losses.shape()[0], losses.shape()[1]);
    let log_posterior = uniform_log_posterior(&device, copies);
    let mut got = Vec::new();
    for step in 0..steps {
        let observed = losses.slice(0, step, 1).reshape([copies]);
        bayesian_update(&log_posterior, &observed, 1.0);
        got.extend(log_posterior.to_f64s());
    }
    assert_close("posterior", &got, &file["bayesian"].to_f64s(), TOLERANCE);
}
