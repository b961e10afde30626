//! The device of the benchmarks.

use alrao::{Device, DeviceKind};

/// Opens the device that `ALRAO_BENCH_DEVICE` names, by default the best available, and prints it once.
pub fn open() -> Device {
    let name = std::env::var("ALRAO_BENCH_DEVICE").unwrap_or_else(|_| "auto".into());
    let kind: DeviceKind =
        name.parse().expect("ALRAO_BENCH_DEVICE is auto, cpu, cuda or simulator");
    let device = Device::open(kind).unwrap_or_else(|error| panic!("{error}"));
    println!("{}", device.description());
    device
}
