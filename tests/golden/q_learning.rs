//! Whole updates of Q-learning in f64: transitions drawn, their targets, a step under a limit on errors, the target network.

use std::collections::HashMap;

use alrao::learn::{Optimizer, Precision};
use alrao::rl::settings::Settings;
use alrao::rl::{QNetwork, Spaces, Transition};
use alrao::{Device, DeviceKind, Tensor};

use super::{assert_close, load, state, write_part};

const TOLERANCE: f64 = 1e-10;
const SPACES: Spaces = Spaces { observation: 3, actions: 4 };
const UPDATES: usize = 10;

/// What every case of the file was run with.
fn settings(optimizer: Optimizer) -> Settings {
    let mut own = Settings::default();
    own.task.buffer = Some(50);
    own.task.error_clip = Some(1.0);
    own.task.tau = Some(0.9);
    own.task.discount = Some(0.99);
    own.learning.hidden = Some(vec![16, 12]);
    own.learning.batch_size = Some(8);
    own.learning.seed = Some((1 << 32) + 7);
    own.learning.precision = Some(Precision::F64);
    own.device.device = Some(DeviceKind::Cpu);
    own.learning.optimizer = Some(optimizer);
    own
}

fn network(name: &str, settings: &Settings, file: &HashMap<String, Tensor>) -> QNetwork {
    let config = settings.resolve().unwrap();
    let mut network = QNetwork::new(&config, SPACES, &Device::cpu()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.safetensors");
    write_part(file, &format!("{name}.init."), &path);
    network.load_initial(&path).unwrap();
    if config.train.optimizer.is_alrao() {
        write_part(file, &format!("{name}.rates."), &path);
        network.learner().load_rates(&path).unwrap();
    }
    let of = |key: &str| file[key].to_vec::<f32>();
    let (seen, seen_next, rewards) = (of("observations"), of("next_observations"), of("rewards"));
    let (actions, terminated) =
        (file["actions"].to_vec::<i32>(), file["terminated"].to_vec::<u8>());
    let row = |number: usize| number * SPACES.observation..(number + 1) * SPACES.observation;
    network.remember((0..actions.len()).map(|number| Transition {
        observation: &seen[row(number)],
        action: actions[number] as usize,
        reward: f64::from(rewards[number]),
        next_observation: &seen_next[row(number)],
        terminated: terminated[number] != 0,
    }));
    network
}

fn check(name: &str, settings: &Settings) {
    let file = load(&Device::cpu(), "q_learning.safetensors");
    let expected = |key: &str| file[&format!("{name}.{key}")].to_f64s();
    let network = network(name, settings, &file);
    let is_alrao = settings.learning.optimizer.is_some_and(Optimizer::is_alrao);
    for update in 0..UPDATES {
        let head = network.update();
        if is_alrao {
            let compare = |key: &str, got: &[f64]| {
                let name = format!("{name}, {key} of update {}", update + 1);
                let expected = &expected(key)[update * got.len()..][..got.len()];
                assert_close(&name, got, expected, TOLERANCE);
            };
            compare("loss", &head.loss.to_f64s());
            compare("classifier_loss", &head.classifier_losses.to_f64s());
            compare("posterior", &network.learner().posterior());
        }
    }
    let parameters = state(network.learner());
    assert_eq!(parameters.len(), 6);
    for (parameter, values) in &parameters {
        let expected = expected(&format!("final.{parameter}"));
        assert_close(&format!("{name}, {parameter}"), values, &expected, TOLERANCE);
    }
    let values = network.values(&file["observations"].to_vec::<f32>());
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    // They are told in f32.
    assert_close(&format!("{name}, values"), &values, &expected("values"), 1e-6);
}

#[test]
fn updates_of_alrao_follow_pytorch() {
    let mut own = settings(Optimizer::Alrao);
    own.task.tau = Some(0.8);
    check("alrao", &own);
    let mut own = settings(Optimizer::Alrao);
    own.task.error_clip = Some(0.0);
    own.task.discount = Some(0.9);
    own.learning.classifiers = Some(5);
    (own.learning.eta_min, own.learning.eta_max) = (Some(1e-4), Some(0.5));
    check("alrao of five", &own);
}

#[test]
fn updates_of_one_output_layer_follow_pytorch() {
    let mut own = settings(Optimizer::Sgd);
    own.task.error_clip = Some(0.5);
    own.learning.lr = Some(0.1);
    check("sgd", &own);
    let mut own = settings(Optimizer::Adam);
    own.learning.lr = Some(0.01);
    check("adam", &own);
}
