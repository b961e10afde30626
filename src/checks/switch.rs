//! The switch and Bayes' rule over some observations.

use crate::ops::head::switch::{
    SwitchState, bayesian_update, switch_update, uniform_log_posterior,
};
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw};

/// Losses for each of `steps` observations: ordinary ones, and some that are not, depending on `kind`.
fn losses(classifiers: usize, steps: usize, kind: Losses) -> Vec<Vec<f64>> {
    let drawn = draw(classifiers * steps, 3);
    let mut losses: Vec<Vec<f64>> =
        drawn.chunks(classifiers).map(|row| row.iter().map(|x| 2.0 + 4.0 * x).collect()).collect();
    match kind {
        Losses::Usual => {}
        Losses::NotFinite => {
            losses[1][0] = f64::INFINITY;
            losses[2][classifiers - 1] = f64::NAN;
            losses[3].fill(f64::INFINITY);
            losses[4].fill(f64::NEG_INFINITY);
            losses[5][classifiers / 2] = f64::NEG_INFINITY;
        }
        Losses::FarApart => losses.iter_mut().for_each(|row| {
            row.iter_mut()
                .enumerate()
                .for_each(|(classifier, loss)| *loss += 725.0 * classifier as f64);
        }),
        Losses::Large => losses.iter_mut().flatten().for_each(|loss| *loss *= 1e20),
    }
    losses
}

#[derive(Clone, Copy)]
enum Losses {
    Usual,
    NotFinite,
    Large,
    /// One classifier's likelihood is so much below the first one's that the ratio is no normal number, that of others 0.
    FarApart,
}

/// `exp` of the weights, which is comparable with 1, and their logarithms.
fn both(outputs: &mut Outputs, [log_name, name]: [&'static str; 2], logarithms: Vec<f64>) {
    outputs.push((name, logarithms.iter().map(|x| x.exp()).collect()));
    outputs.push((log_name, logarithms));
}

fn switch(device: &Device, classifiers: usize, kind: Losses, theta: f64, scale: f64) -> Outputs {
    let state = SwitchState::new(device, classifiers, theta);
    let mut outputs = Vec::new();
    for losses in losses(classifiers, 8, kind) {
        let losses = Tensor::from_slice(device, [classifiers], &losses);
        switch_update(&state, &losses, theta, scale);
        both(&mut outputs, ["log weights", "weights"], state.weights.to_f64s());
        both(&mut outputs, ["log posterior", "posterior"], state.log_posterior.to_f64s());
        both(&mut outputs, ["log filtered", "filtered"], state.log_filtered.to_f64s());
        outputs.push(("t", state.t.to_f64s()));
    }
    outputs
}

fn bayesian(device: &Device, classifiers: usize, kind: Losses, scale: f64) -> Outputs {
    let log_posterior = uniform_log_posterior(device, classifiers);
    let mut outputs = Vec::new();
    for losses in losses(classifiers, 8, kind) {
        let losses = Tensor::from_slice(device, [classifiers], &losses);
        bayesian_update(&log_posterior, &losses, scale);
        both(&mut outputs, ["log posterior", "posterior"], log_posterior.to_f64s());
    }
    outputs
}

/// Bayes' rule removes a classifier for good, but changes nothing if it would remove all.
fn bayesian_end(device: &Device) -> Outputs {
    let log_posterior = uniform_log_posterior(device, 3);
    let mut outputs = Vec::new();
    for losses in [[1.0, f64::INFINITY, 2.0], [f64::NAN, 0.5, f64::NAN], [1.0, 0.0, 1.0]] {
        let losses = Tensor::from_slice(device, [3], &losses);
        bayesian_update(&log_posterior, &losses, 1.0);
        outputs.push(("log posterior", log_posterior.to_f64s()));
    }
    outputs
}

/// A state in which no classifier may switch any more, and one in which some classifiers have no weight.
fn edges(device: &Device) -> Outputs {
    let mut outputs = Vec::new();
    let nothing = f64::NEG_INFINITY;
    for weights in [
        [nothing, nothing, nothing, 0.2f64.ln(), 0.3f64.ln(), 0.5f64.ln()],
        [nothing, 0.5f64.ln(), 0.25f64.ln(), nothing, 0.25f64.ln(), nothing],
    ] {
        let state = SwitchState {
            weights: Tensor::from_slice(device, [2, 3], &weights),
            log_posterior: Tensor::from_slice(device, [3], &[0.0; 3]),
            log_filtered: Tensor::from_slice(device, [3], &[0.0; 3]),
            t: Tensor::full(device, [1], DType::F64, 5.0),
        };
        for theta in [0.9, 1.0] {
            let losses = Tensor::from_slice(device, [3], &[1.0, f64::NAN, 3.0]);
            switch_update(&state, &losses, theta, 1.0);
            outputs.push(("log weights", state.weights.to_f64s()));
            outputs.push(("log posterior", state.log_posterior.to_f64s()));
            outputs.push(("log filtered", state.log_filtered.to_f64s()));
        }
    }
    outputs
}

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("switch, edges", 6, |device, _| edges(device)),
        Case::new("switch, a classifier removed by Bayes' rule", 3, |device, _| {
            bayesian_end(device)
        }),
    ];
    for classifiers in [1, 2, 10, 33, 70] {
        for (name, kind) in [
            ("", Losses::Usual),
            (", not finite", Losses::NotFinite),
            (", large", Losses::Large),
            (", far apart", Losses::FarApart),
        ] {
            for (theta, scale) in [(0.999, 1.0), (0.9, 32.0)] {
                let name = format!("switch of {classifiers}, theta {theta}, scale {scale}{name}");
                cases.push(Case::new(name, 2 * classifiers, move |device, _| {
                    switch(device, classifiers, kind, theta, scale)
                }));
            }
            let name = format!("switch of {classifiers}, by Bayes' rule{name}");
            cases.push(Case::new(name, classifiers, move |device, _| {
                bayesian(device, classifiers, kind, 1.0)
            }));
        }
    }
    cases
}
