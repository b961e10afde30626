//! Classes that no classifier has.

use alrao::checks::drawn;
use alrao::device::simulator::SimulatorOptions;
use alrao::ops::head::classifiers::{Targets, classifiers};
use alrao::{DType, Device, Tape, Tensor};

#[test]
fn a_class_that_is_none_has_no_classifier() {
    let device = Device::simulator(Some(1), SimulatorOptions::default()).unwrap();
    let shapes: [&[usize]; 3] = [&[3, 2], &[2, 4, 2], &[2, 4]];
    let [z, weight, bias] =
        std::array::from_fn(|i| drawn(&device, shapes[i], DType::F32, i as u64));
    let classes = Tensor::from_slice(&device, [3], &[4i32, 0, -1]);
    let values = Tensor::from_slice(&device, [3], &[0.5f32; 3]);
    let log_posterior = Tensor::from_slice(&device, [2], &[0.5f64.ln(); 2]);
    let chosen = Targets::Chosen { outputs: &classes, values: &values, limit: f64::INFINITY };
    for targets in [Targets::Classes(&classes), chosen] {
        let tape = Tape::new();
        let z = tape.watch(&z);
        let head = classifiers(&z, &weight, &bias, targets, &log_posterior);
        tape.backward(&head.objective);
        assert_eq!(head.samples_without_finite_classifier.item(), 2.0);
        assert_eq!(head.diverged.to_f64s(), [1.0, 1.0]);
        assert!(head.loss.item().is_infinite() && head.objective.item().is_finite());
        let dz = tape.gradient(&z).unwrap().to_f64s();
        assert!(dz[..2] == [0.0, 0.0] && dz[2] != 0.0 && dz[4..] == [0.0, 0.0], "{dz:?}");
    }
}
