//! The devices that every machine has.

use alrao::Device;

/// The CPU, and the simulator if it was built.
pub(crate) fn devices() -> Vec<Device> {
    #[cfg(not(has_simulator))]
    let devices = vec![Device::cpu()];
    #[cfg(has_simulator)]
    let devices = vec![
        Device::cpu(),
        Device::simulator(None, alrao::device::simulator::SimulatorOptions::default()).unwrap(),
    ];
    devices
}
