//! Predictions of numbers: as good as the best classifier's, at any time and on any device.

use alrao::learn::{Learner, TrainConfig};
use alrao::nn::{ForwardContext, Init, Linear, Module, Visitor};
use alrao::ops::head::classifiers::Targets;
use alrao::random::{Philox, Purpose};
use alrao::{Alrao, AlraoConfig, DType, Device, Tensor};

use crate::devices::devices;
use crate::place::gpu;

const INPUTS: usize = 4;
const BATCH: usize = 16;
const TESTED: usize = 200;

struct Net(Linear);

impl Module for Net {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.0.forward(x, context).relu()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("hidden", &self.0);
    }
}

/// `rows` samples of a function that is not linear, with noise: `x` `[rows, 4]` and `y` `[rows, 1]`.
fn samples(rows: usize, number: u64) -> [Vec<f32>; 2] {
    let mut stream = Philox::new(5, Purpose::Data).stream(number);
    let x: Vec<f32> = (0..rows * INPUTS).map(|_| stream.normal() as f32).collect();
    let y = |x: &[f32]| x[0] - 0.5 * x[1] + (2.0 * x[2]).sin() + 0.3 * stream.normal() as f32;
    let y = x.chunks(INPUTS).map(y).collect();
    [x, y]
}

fn mean_square(predictions: impl Iterator<Item = f64>, targets: &[f32]) -> f64 {
    let squares = predictions.zip(targets).map(|(own, y)| (own - f64::from(*y)).powi(2));
    squares.sum::<f64>() / targets.len() as f64
}

/// The mean squared error of the mixture and of each classifier.
fn errors(learner: &Learner, number: u64) -> (f64, Vec<f64>) {
    let device = learner.device();
    let [x, y] = samples(TESTED, number);
    let x = Tensor::from_slice(device, [TESTED, INPUTS], &x);
    let mixture = mean_square(learner.predict(&x).to_f64s().into_iter(), &y);
    let outputs = learner.model().forward(&x, &ForwardContext::evaluation(device, DType::F32));
    let (outputs, classifiers) = (outputs.to_f64s(), outputs.shape()[1]);
    let of = |classifier| outputs.iter().skip(classifier).step_by(classifiers).copied();
    (mixture, (0..classifiers).map(|classifier| mean_square(of(classifier), &y)).collect())
}

fn learner(config: &TrainConfig, device: &Device) -> Learner {
    let alrao = AlraoConfig { classifiers: 8, ..AlraoConfig::default() };
    let net = Net(Linear::new(INPUTS, 24, &mut Init::new(0)));
    let sample = Tensor::zeros(device, [1, INPUTS], DType::F32);
    Learner::new(Alrao::regression(net, 1, alrao), &sample, config, device)
}

fn train(learner: &Learner, steps: std::ops::Range<u64>) {
    for step in steps {
        let [x, y] = samples(BATCH, 1000 + step);
        let x = Tensor::from_slice(learner.device(), [BATCH, INPUTS], &x);
        let y = Tensor::from_slice(learner.device(), [BATCH, 1], &y);
        learner.step(&x, Targets::Values(&y), BATCH);
    }
}

/// Learning rates reach 10, so some classifiers diverge while their outputs stay finite. They keep a share of the
/// posterior, which the average of outputs must not give them.
#[test]
fn predictions_are_as_good_as_the_best_classifiers_after_any_number_of_steps() {
    for device in devices().into_iter().chain(gpu()) {
        for seed in 0..3 {
            let learner = learner(&TrainConfig { seed, ..TrainConfig::default() }, &device);
            let mut done = 0;
            for (steps, factor) in [(5, 5.0), (20, 1.5), (50, 1.5), (500, 1.1)] {
                train(&learner, done..steps);
                done = steps;
                let (mixture, classifiers) = errors(&learner, 1);
                let best = classifiers.iter().copied().fold(f64::INFINITY, f64::min);
                let name = device.name();
                assert!(
                    mixture < factor * best,
                    "{name}, seed {seed}, {steps} steps: {mixture}, {classifiers:?}"
                );
            }
        }
    }
}
