//! The ops of Q-learning with a model whose parameters lie in flat buffers.

use alrao::checks::{draw, drawn};
use alrao::device::simulator::SimulatorOptions;
use alrao::learn::{Learner, Precision, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
use alrao::nn::Init;
use alrao::ops::head::classifiers::Targets;
use alrao::ops::update::soft_update::soft_update;
use alrao::{Alrao, AlraoConfig, Device, Tensor};

const SIZE: usize = 3;
const SAMPLES: usize = 5;
const ACTIONS: usize = 4;

fn simulator() -> Device {
    Device::simulator(Some(2), SimulatorOptions::default()).unwrap()
}

fn learner(device: &Device, seed: u64, precision: Precision) -> Learner {
    let config = ModelConfig {
        architecture: Architecture::Mlp,
        width: 1.0,
        hidden: vec![16, 13],
        activation: Activation::Relu,
        dropout: 0.0,
    };
    let model = build(&config, Input::Vector { size: SIZE }, &mut Init::new(seed)).unwrap();
    let alrao = AlraoConfig { eta: 1e-5..=0.1, classifiers: 4, ..AlraoConfig::default() };
    let train = TrainConfig { precision, seed, ..TrainConfig::default() };
    let sample = drawn(device, &[1, SIZE], precision.dtype(), 0);
    Learner::new(Alrao::regression(model.module, ACTIONS, alrao), &sample, &train, device)
}

/// All parameters, without the gaps.
fn parameters(learner: &Learner) -> Vec<f64> {
    let flat = learner.flat();
    flat.entries().iter().flat_map(|entry| flat.view(flat.values(), entry).to_f64s()).collect()
}

/// Five steps, each on other outputs and values: losses and parameters.
fn train(device: &Device, precision: Precision, is_captured: bool) -> (Vec<f64>, Vec<f64>) {
    let learner = learner(device, 0, precision);
    learner.steps().set_on(is_captured);
    let losses = (0..5)
        .map(|step| {
            let dtype = precision.dtype();
            let x = drawn(device, &[SAMPLES, SIZE], dtype, 10 + step);
            let chosen: Vec<i32> =
                draw(SAMPLES, 20 + step).iter().map(|x| (4.0 * (x + 0.5)) as i32).collect();
            let chosen = Tensor::from_slice(device, [SAMPLES], &chosen);
            let values = drawn(device, &[SAMPLES], dtype.wide(), 30 + step);
            let targets =
                Targets::Chosen { outputs: &chosen, values: &values, limit: f64::INFINITY };
            learner.step(&x, targets, SAMPLES).loss.item()
        })
        .collect();
    (losses, parameters(&learner))
}

#[test]
fn steps_on_chosen_values_are_the_cpus_and_can_be_replayed() {
    let (losses, values) = train(&Device::cpu(), Precision::F64, false);
    let (own_losses, own_values) = train(&simulator(), Precision::F32, false);
    for (own, expected) in own_losses.iter().chain(&own_values).zip(losses.iter().chain(&values)) {
        assert!((own - expected).abs() < 1e-5, "{own}, not {expected}: {own_losses:?}, {losses:?}");
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let ordinary = train(&simulator(), precision, false);
        assert!(ordinary == train(&simulator(), precision, true), "{precision:?}");
    }
}

/// The simulator complains where the gaps between the parameters are touched.
#[test]
fn a_target_network_follows_the_one_that_learns() {
    let device = simulator();
    let [online, target] = [1, 2].map(|seed| learner(&device, seed, Precision::F32));
    let (own, before) = (parameters(&online), parameters(&target));
    assert_ne!(own, before);
    for _ in 0..2 {
        let table = online.optimizer().table();
        soft_update(target.flat().values(), online.flat().values(), table, 0.9);
    }
    device.check().unwrap();
    assert_eq!(parameters(&online), own);
    for ((after, before), own) in parameters(&target).iter().zip(&before).zip(&own) {
        let expected = 0.81 * before + 0.19 * own;
        assert!((after - expected).abs() < 1e-6, "{after}, not {expected}");
    }
}
