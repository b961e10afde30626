//! Single updates: on the kernels as on the CPU, and replayed as one by one.

use alrao::Device;
use alrao::random::{Philox, Purpose};
use alrao::rl::{QConfig, QNetwork, Spaces, Transition};

use super::settings;
use crate::place::gpu;

const SPACES: Spaces = Spaces { observation: 5, actions: 3 };

/// A small network whose rates do not magnify roundings.
fn config(precision: &str) -> QConfig {
    let text = format!(
        "hidden = [9, 12]\nclassifiers = 4\neta_max = 0.1\nbuffer = 50\nbatch_size = 7\nprecision = '{precision}'\n\
         device = '{}'",
        if precision == "f64" { "cpu" } else { "auto" }
    );
    settings(&text).resolve().unwrap()
}

/// A network that remembers more random transitions than it has room for, some of them the last of their episodes.
fn network(config: &QConfig, device: &Device) -> QNetwork {
    let mut network = QNetwork::new(config, SPACES, device).unwrap();
    let mut stream = Philox::new(4, Purpose::Data).stream(0);
    for number in 0..70 {
        let mut draw = || stream.uniform_in(-2.0, 2.0) as f32;
        let (observation, next) = ([0; 5].map(|_| draw()), [0; 5].map(|_| draw()));
        network.remember([Transition {
            observation: &observation,
            action: number % SPACES.actions,
            reward: f64::from(draw()),
            next_observation: &next,
            terminated: number % 6 == 0,
        }]);
    }
    assert_eq!((network.memory().len(), network.memory().seen()), (50, 70));
    network
}

/// Losses, posterior and values after each of some updates.
fn updates(network: &QNetwork, count: usize) -> Vec<Vec<f64>> {
    let observations: Vec<f32> = (0..15).map(|number| number as f32 / 8.0 - 1.0).collect();
    let update = |_| {
        let head = network.update();
        let values = network.values(&observations);
        [
            head.loss.to_f64s(),
            head.classifier_losses.to_f64s(),
            network.learner().posterior(),
            values.into_iter().map(f64::from).collect(),
        ]
        .concat()
    };
    (0..count).map(update).collect()
}

fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    for (update, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error < tolerance, "update {update}, number {place}: {found}, not {expected}");
        }
    }
}

#[test]
fn f32_is_f64_but_for_roundings() {
    let own = updates(&network(&config("f32"), &Device::cpu()), 20);
    let expected = updates(&network(&config("f64"), &Device::cpu()), 20);
    assert_near(&own, &expected, 1e-4);
}

/// What learns must not stand still for this to say anything.
#[test]
fn an_update_moves_the_network_and_drags_its_target_along() {
    let device = Device::cpu();
    let own = updates(&network(&config("f64"), &device), 20);
    assert_ne!(own[0], own[19]);
    let [mut fast, mut slow] = [config("f64"), config("f64")];
    (fast.task.tau, slow.task.tau) = (0.0, 0.999);
    let [fast, slow] = [fast, slow].map(|config| updates(&network(&config, &device), 20));
    assert_eq!(fast[0], slow[0]);
    assert_ne!(fast[19], slow[19]);
}

#[cfg(has_simulator)]
#[test]
fn the_kernels_update_as_the_cpu_does() {
    use alrao::device::simulator::SimulatorOptions;
    let simulator = Device::simulator(None, SimulatorOptions::default()).unwrap();
    let expected = updates(&network(&config("f64"), &Device::cpu()), 6);
    assert_near(&updates(&network(&config("f32"), &simulator), 6), &expected, 1e-5);
    let rounded = updates(&network(&config("bf16"), &simulator), 6);
    assert_near(&rounded, &expected, 0.05);
}

#[test]
fn a_gpu_updates_as_the_cpu_does() {
    let Some(device) = gpu() else { return };
    let expected = updates(&network(&config("f64"), &Device::cpu()), 6);
    assert_near(&updates(&network(&config("f32"), &device), 6), &expected, 1e-5);
}

/// The whole update is one captured graph: sampling, both networks, the step, the switch and the target.
#[cfg(has_simulator)]
#[test]
fn a_replayed_update_is_the_same_to_the_bit() {
    use alrao::device::simulator::SimulatorOptions;
    let device = Device::simulator(None, SimulatorOptions::default()).unwrap();
    let config = config("f32");
    let (captured, eager) = (network(&config, &device), network(&config, &device));
    eager.learner().steps().set_on(false);
    assert_eq!(updates(&captured, 6), updates(&eager, 6));
    let launches = captured.learner().steps().launches().unwrap();
    for kernel in [
        "replay_sample_f32",
        "bellman_targets_f32",
        "soft_update_f32",
        "classifiers_chosen_fwd_f32",
    ] {
        assert_eq!(launches.get(kernel), Some(&1), "{kernel} of {launches:#?}");
    }
    assert!(eager.learner().steps().launches().is_none());
}

#[test]
fn an_update_launches_as_much_as_it_did() {
    let device = Device::counter();
    let config = settings("precision = 'tf32'\nbuffer = 50\ndevice = 'cuda'").resolve().unwrap();
    let network = network(&config, &device);
    (0..2).for_each(|_| drop(network.update()));
    let launches = network.learner().steps().launches().unwrap();
    assert_eq!(launches.values().sum::<usize>(), 31, "{launches:#?}");
}
