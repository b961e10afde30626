//! In place of what needs the simulator, in a program that was built without it.

use std::path::Path;

use super::report::{Measured, Report};
use super::source::KernelFile;
use crate::device::{Device, DeviceKind};
use crate::error::Result;

/// Fails.
///
/// # Errors
/// The reason why there is no simulator.
pub fn run(_: &KernelFile, _: &Path) -> Result<Report> {
    Device::open(DeviceKind::Simulator).map(|_| Report::default())
}

/// Fails, as [`run`] does.
///
/// # Errors
/// The reason why there is no simulator.
pub fn try_out(file: &KernelFile, library: &Path) -> Result<Report> {
    run(file, library)
}

/// Fails, as [`run`] does: the simulator's compiler tells the kernels' parameters.
///
/// # Errors
/// The reason why there is no simulator.
pub fn measure(_: &KernelFile, _: &[usize], _: &Device) -> Result<Measured> {
    Device::open(DeviceKind::Simulator).map(|_| Measured::default())
}

/// Fails, as [`run`] does.
///
/// # Errors
/// The reason why there is no simulator.
pub fn check_measured(_: &KernelFile, _: &[usize]) -> Result<()> {
    open_gpu().map(drop)
}

/// Fails, as [`run`] does.
///
/// # Errors
/// The reason why there is no simulator.
pub fn open_gpu() -> Result<Device> {
    Device::open(DeviceKind::Simulator)
}

/// Does nothing.
pub fn limit_resources() {}
