//! Tensors and a tape, nothing else: fits a sine by a small network and gradient descent.
//!
//! `cargo run --release --example gradient_descent`

use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, Tape, Tensor};

const SAMPLES: usize = 64;
const HIDDEN: usize = 16;
const LEARNING_RATE: f64 = 0.2;

/// Maps `[N, 1]` to `[N, 1]` through a hidden layer.
fn network(x: &Tensor, [weight, bias, out_weight, out_bias]: &[Tensor; 4]) -> Tensor {
    x.matmul(weight).add(bias).tanh().matmul(out_weight).add(out_bias)
}

/// Trains, and compares the network with the sine.
pub fn main() {
    let device = Device::cpu();
    let inputs: Vec<f64> = (0..SAMPLES).map(|i| 2.0 * i as f64 / SAMPLES as f64 - 1.0).collect();
    let targets: Vec<f64> = inputs.iter().map(|x| (3.0 * x).sin()).collect();
    let x = Tensor::from_slice(&device, [SAMPLES, 1], &inputs);
    let y = Tensor::from_slice(&device, [SAMPLES, 1], &targets);

    let mut stream = Philox::new(3, Purpose::Weights).stream(0);
    let mut gaussian = |shape: [usize; 2]| {
        let values: Vec<f64> = (0..HIDDEN).map(|_| stream.normal()).collect();
        Tensor::from_slice(&device, shape, &values)
    };
    let zeros = |length: usize| Tensor::zeros(&device, [length], DType::F64);
    let mut parameters = [gaussian([1, HIDDEN]), zeros(HIDDEN), gaussian([HIDDEN, 1]), zeros(1)];

    for step in 0..=4000 {
        let tape = Tape::new();
        let watched = parameters.each_ref().map(|parameter| tape.watch(parameter));
        let loss = network(&x, &watched).sub(&y).square().mean();
        if step % 1000 == 0 {
            println!("step {step:>4}: loss {:.5}", loss.item());
        }
        tape.backward(&loss);
        parameters = watched.map(|parameter| {
            let gradient = tape.gradient(&parameter).expect("the loss depends on it");
            parameter.detach().sub(&gradient.affine(LEARNING_RATE, 0.0))
        });
    }

    let predictions = network(&x, &parameters);
    let loss = predictions.sub(&y).square().mean().item();
    assert!(loss < 0.01, "the network did not learn the sine: its loss is {loss}");
    let predictions = predictions.to_vec::<f64>();
    for i in (0..SAMPLES).step_by(SAMPLES / 8) {
        println!("x {:>5.2}: sine {:>6.3}, network {:>6.3}", inputs[i], targets[i], predictions[i]);
    }
}
