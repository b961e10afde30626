//! Sums on tensor cores.

use alrao::checks::matmul::positive;
use alrao::device::simulator::SimulatorOptions;
use alrao::{DType, Device};

/// Sums on tensor cores are never above the exact ones, and far enough below that a tolerance for rounded sums would not do.
#[test]
fn tensor_cores_cut_sums_off() {
    let exact = positive(&Device::cpu(), DType::F64).remove(0).1;
    let options = SimulatorOptions { races: false, ..SimulatorOptions::default() };
    let simulator = Device::simulator(Some(2), options).unwrap();
    let own = positive(&simulator, DType::F32).remove(0).1;
    simulator.check().unwrap();
    let below = own.iter().zip(&exact).map(|(own, exact)| (exact - own) / exact);
    let least = below.fold(f64::INFINITY, f64::min);
    let epsilon = f64::from(f32::EPSILON);
    assert!(least > 8.0 * epsilon, "{} eps below the exact sum", least / epsilon);
}
