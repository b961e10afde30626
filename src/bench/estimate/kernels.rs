//! Estimates of single kernels, each on the workload that a GPU would be timed on.

use std::collections::BTreeSet;

use serde::Serialize;

use super::gpus::GpuModel;
use super::machine_code::{Pass, compiled};
use super::{Estimate, estimate};
use crate::bench::workloads::{Size, Workload};
use crate::device::{Cost, DType, Device};
use crate::error::Result;

/// A kernel's counts, and the estimate of one launch.
#[derive(Clone, Debug, Serialize)]
pub struct KernelRow {
    /// The kernel.
    pub kernel: String,
    /// The workload.
    pub workload: String,
    /// Registers per thread.
    pub registers: usize,
    /// Bytes of shared memory per block.
    pub shared: usize,
    /// Blocks of the launch.
    pub blocks: usize,
    /// Threads of a block.
    pub threads: usize,
    /// One pass through its main loop.
    pub pass: Pass,
    /// The estimate.
    pub estimate: Estimate,
}

/// The kernels with `wanted` in their names, each in the first workload that knows its cost. Nothing is computed. Those that measure
/// peaks are left out: they repeat a loop as often as an argument says, which is not counted.
///
/// # Errors
/// As [`Device::check`].
pub fn kernels(
    gpu: &GpuModel,
    workloads: &[Workload],
    dtype: DType,
    wanted: &str,
) -> Result<Vec<KernelRow>> {
    let (mut seen, mut rows) = (BTreeSet::new(), Vec::new());
    for workload in workloads {
        let device = Device::counter();
        let work = workload.prepare(&device, dtype, Size::Full);
        let profile = device.profile(|| drop(work()))?;
        let is_named = |kernel: &str| kernel.contains(wanted) && !kernel.starts_with("peak_");
        let named = profile.launches.iter().filter(|launch| is_named(&launch.kernel));
        for launch in named {
            let own = workload.cost_of(&launch.kernel).zip(compiled(gpu.arch, &launch.kernel));
            let Some((cost, kernel)) = own.filter(|_| seen.insert(launch.kernel.clone())) else {
                continue;
            };
            let launches =
                profile.launches.iter().filter(|own| own.kernel == launch.kernel).count();
            let least = Cost::bytes((cost.total_bytes(dtype) / launches as f64) as usize);
            rows.push(KernelRow {
                kernel: launch.kernel.clone(),
                workload: workload.name.clone(),
                registers: kernel.registers,
                shared: kernel.shared + launch.shared,
                blocks: launch.blocks,
                threads: launch.threads,
                pass: kernel.pass,
                estimate: estimate(gpu, launch, Some(least), dtype),
            });
        }
    }
    Ok(rows)
}
