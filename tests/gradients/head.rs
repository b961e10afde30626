//! The classifiers' gradients. Their objective is no plain function: `z` learns from the mixture's loss, each classifier from
//! its own. So each is compared with the differences of its loss.

use alrao::ops::head::classifiers::{Head, Targets, classifiers};
use alrao::{Device, Tape, Tensor};

use super::draw;

const STEP: f64 = 1e-5;

#[derive(Clone, Copy, Debug)]
enum Task {
    Classes,
    Values,
    Chosen,
}

struct Case {
    samples: usize,
    inputs: usize,
    copies: usize,
    outputs: usize,
    task: Task,
}

impl Case {
    /// Inputs, weights and biases, one after the other.
    fn parameters(&self) -> [Vec<f64>; 3] {
        let Case { samples, inputs, copies, outputs, .. } = *self;
        [
            draw([samples, inputs].into(), 0),
            draw([copies, outputs, inputs].into(), 1),
            draw([copies, outputs].into(), 2),
        ]
    }

    fn run(&self, device: &Device, tape: &Tape, values: &[Vec<f64>; 3]) -> ([Tensor; 3], Head) {
        let Case { samples, inputs, copies, outputs, .. } = *self;
        let leaf = |number: usize, shape: &[usize]| {
            tape.watch(&Tensor::from_slice(device, shape, &values[number]))
        };
        let leaves = [
            leaf(0, &[samples, inputs]),
            leaf(1, &[copies, outputs, inputs]),
            leaf(2, &[copies, outputs]),
        ];
        let log_posterior = posterior(device, copies);
        let classes: Vec<i32> = (0..samples).map(|sample| (sample * 7 % outputs) as i32).collect();
        let classes = Tensor::from_slice(device, [samples], &classes);
        let numbers = draw([samples, outputs].into(), 4);
        let values = Tensor::from_slice(device, [samples], &numbers[..samples]);
        let numbers = Tensor::from_slice(device, [samples, outputs], &numbers);
        let targets = match self.task {
            Task::Classes => Targets::Classes(&classes),
            Task::Values => Targets::Values(&numbers),
            Task::Chosen => {
                Targets::Chosen { outputs: &classes, values: &values, limit: f64::INFINITY }
            }
        };
        let [z, weight, bias] = &leaves;
        let head = classifiers(z, weight, bias, targets, &log_posterior);
        (leaves, head)
    }
}

/// Unequal weights that sum to 1.
fn posterior(device: &Device, copies: usize) -> Tensor {
    let shares: Vec<f64> = (1..=copies).map(|copy| copy as f64).collect();
    let total: f64 = shares.iter().sum();
    let logarithms: Vec<f64> = shares.iter().map(|share| (share / total).ln()).collect();
    Tensor::from_slice(device, [copies], &logarithms)
}

#[test]
fn each_learns_from_its_own_loss() {
    let device = Device::cpu();
    for (samples, inputs, copies, outputs, task) in [
        (1, 1, 1, 2, Task::Classes),
        (3, 2, 4, 5, Task::Classes),
        (7, 5, 3, 17, Task::Classes),
        (4, 3, 2, 1, Task::Values),
        (5, 2, 3, 4, Task::Values),
        (1, 1, 1, 2, Task::Chosen),
        (4, 3, 2, 1, Task::Chosen),
        (7, 5, 3, 4, Task::Chosen),
    ] {
        let case = Case { samples, inputs, copies, outputs, task };
        let values = case.parameters();
        let tape = Tape::new();
        let (leaves, head) = case.run(&device, &tape, &values);
        tape.backward(&head.objective);
        for (number, leaf) in leaves.iter().enumerate() {
            let gradient = tape.gradient(leaf).unwrap().to_vec::<f64>();
            for element in 0..gradient.len() {
                let copy = element * copies / gradient.len();
                let loss = |delta: f64| {
                    let mut moved = values.clone();
                    moved[number][element] += delta;
                    let (_, head) = case.run(&device, &Tape::new(), &moved);
                    match number {
                        0 => head.loss.item(),
                        _ => head.classifier_losses.to_vec::<f64>()[copy],
                    }
                };
                let difference = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
                let error = (difference - gradient[element]).abs();
                assert!(
                    error < 1e-8 * (1.0 + difference.abs()),
                    "[{samples}, {inputs}] into {copies} of {outputs} {task:?}: input {number}, element {element}: gradient {}, \
                     difference {difference}",
                    gradient[element]
                );
            }
        }
    }
}

#[test]
fn gradients_of_slices_and_of_repeated_use_add_up() {
    let device = Device::cpu();
    let case = Case { samples: 4, inputs: 3, copies: 2, outputs: 5, task: Task::Classes };
    let values = case.parameters();
    let tape = Tape::new();
    let (leaves, head) = case.run(&device, &tape, &values);
    tape.backward(&head.objective);
    let once: Vec<Vec<f64>> =
        leaves.iter().map(|leaf| tape.gradient(leaf).unwrap().to_vec()).collect();

    let tape = Tape::new();
    let wide: Vec<f64> = values[0].chunks(3).flat_map(|z| [9.0, z[0], z[1], z[2], 9.0]).collect();
    let wide = tape.watch(&Tensor::from_slice(&device, [4, 5], &wide));
    let weight = tape.watch(&Tensor::from_slice(&device, [2, 5, 3], &values[1]));
    let bias = tape.watch(&Tensor::from_slice(&device, [2, 5], &values[2]));
    let classes = Tensor::from_slice(&device, [4], &[0i32, 2, 4, 1]);
    let log_posterior = posterior(&device, 2);
    let z = wide.slice(1, 1, 3);
    let objective =
        || classifiers(&z, &weight, &bias, Targets::Classes(&classes), &log_posterior).objective;
    tape.backward(&objective().add(&objective()));
    let dz = tape.gradient(&wide).unwrap().to_vec::<f64>();
    assert!(dz.chunks(5).all(|row| row[0] == 0.0 && row[4] == 0.0), "{dz:?}");
    let dz = dz.chunks(5).flat_map(|row| row[1..4].to_vec()).collect();
    let twice =
        [dz, tape.gradient(&weight).unwrap().to_vec(), tape.gradient(&bias).unwrap().to_vec()];
    for (once, twice) in once.iter().zip(&twice) {
        assert_eq!(once.len(), twice.len());
        for (once, twice) in once.iter().zip(twice) {
            assert!((2.0 * once - twice).abs() < 1e-14, "{once} once, {twice} twice");
        }
    }
}

/// The outputs that were not chosen may be anything: losses and gradients are, to the bit, those of a head where they are
/// zero, and nothing about them is learnt.
#[test]
fn what_was_not_chosen_has_no_part() {
    let device = Device::cpu();
    let [samples, inputs, copies, outputs] = [4, 3, 2, 5];
    let z = Tensor::from_slice(&device, [samples, inputs], &draw([samples, inputs].into(), 0));
    let chosen = Tensor::from_slice(&device, [samples], &[3i32, 1, 3, 3]);
    let values = Tensor::from_slice(&device, [samples], &draw([samples].into(), 4));
    let log_posterior = posterior(&device, copies);
    let weights = draw([copies, outputs, inputs].into(), 1);
    let is_chosen = |output: usize| output == 1 || output == 3;
    let run = |others: [f64; 3]| {
        let mut weights = weights.clone();
        for (row, weights) in weights.chunks_mut(inputs).enumerate() {
            if !is_chosen(row % outputs) {
                weights.copy_from_slice(&others);
            }
        }
        let tape = Tape::new();
        let z = tape.watch(&z);
        let weight = tape.watch(&Tensor::from_slice(&device, [copies, outputs, inputs], &weights));
        let bias = tape.watch(&Tensor::from_slice(&device, [copies, outputs], &[0.25; 10]));
        let targets = Targets::Chosen { outputs: &chosen, values: &values, limit: f64::INFINITY };
        let head = classifiers(&z, &weight, &bias, targets, &log_posterior);
        tape.backward(&head.objective);
        let [dz, dweight, dbias] =
            [&z, &weight, &bias].map(|leaf| tape.gradient(leaf).unwrap().to_vec::<f64>());
        for (output, (dbias, dweight)) in dbias.iter().zip(dweight.chunks(inputs)).enumerate() {
            let is_zero = *dbias == 0.0 && dweight.iter().all(|dweight| *dweight == 0.0);
            assert_eq!(is_zero, !is_chosen(output % outputs), "output {output}: {dweight:?}");
        }
        let losses = [head.loss, head.classifier_losses, head.diverged].map(|own| own.to_f64s());
        ([dz, dweight, dbias], losses)
    };
    assert_eq!(run([0.0; 3]), run([f64::NAN, f64::INFINITY, -1e200]));
}
