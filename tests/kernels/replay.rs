//! Transitions drawn from the memory with a wrong number of rows.

use alrao::checks::replay::{drawn, memory, outputs};
use alrao::device::simulator::SimulatorOptions;
use alrao::{DType, Device};

#[test]
fn a_wrong_number_of_rows_reads_nothing_else() {
    let device = Device::simulator(Some(1), SimulatorOptions::default()).unwrap();
    let rows = memory(&device, DType::F32, [6, 2, 6, 0]);
    for filled in [0, -1, i32::MIN] {
        let batch = drawn(&rows, 1, 1, filled, 4);
        device.check().unwrap();
        assert_eq!(batch.actions.to_vec::<i32>(), [-1; 4]);
        assert!(batch.observations.to_f64s().into_iter().all(f64::is_nan));
    }
    let [all, more] = [6, i32::MAX].map(|filled| outputs(&drawn(&rows, 1, 1, filled, 50)));
    device.check().unwrap();
    assert_eq!(all, more);
}
