//! Peak throughput of a device, measured: the bandwidth of a copy, and operations per second.

use serde::Serialize;

use super::turns::repeated;
use super::workloads::Cost;
use crate::device::{DType, Device, Gpu};
use crate::error::Result;
use crate::ops::peak::{Unit, keep_busy};
use crate::ops::tensor::elementwise::copy_into;
use crate::tensor::Tensor;

/// Bytes of a copy: far more than any cache.
const COPIED: usize = 512 << 20;

/// Rounds of arithmetic in a launch: takes milliseconds.
const ROUNDS: u32 = 2048;

/// On the cpu, elements of arithmetic per thread.
const ELEMENTS: usize = 1024;

/// Peak throughput of a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Peaks {
    /// Bytes per second, read and written: the faster of the driver's copy and a copy kernel.
    pub bytes: f64,
    /// Operations per second in f32.
    pub f32: f64,
    /// In tf32 on tensor cores, by `mma.sync`, as all kernels here use them; `wgmma` reaches more on an H100. The cpu
    /// has no tensor cores; there it is that of f32.
    pub tf32: f64,
    /// In bf16 on tensor cores, by `mma.sync`; on the cpu that of f32.
    pub bf16: f64,
}

impl Peaks {
    /// Measures them, which takes a second and a gigabyte; on the cpu with all threads of the device. `None` in the
    /// simulator.
    ///
    /// # Errors
    /// As [`Device::check`].
    pub fn measure(device: &Device) -> Result<Option<Peaks>> {
        let gpu = match device {
            Device::Cpu(cpu) => {
                let f32 = operations(device, Unit::F32, ELEMENTS * cpu.threads())?;
                let bytes = bytes(device, None)?;
                return Ok(Some(Peaks { bytes, f32, tf32: f32, bf16: f32 }));
            }
            Device::Gpu(gpu) => gpu,
        };
        let Some(limits) = gpu.limits() else { return Ok(None) };
        let threads = limits.sm_count * limits.threads;
        Ok(Some(Peaks {
            bytes: bytes(device, Some(gpu))?,
            f32: operations(device, Unit::F32, threads)?,
            tf32: operations(device, Unit::Tf32, threads)?,
            bf16: operations(device, Unit::Bf16, threads)?,
        }))
    }

    /// A kernel's floor in seconds, from its cost.
    pub fn floor(&self, kernel: &str, cost: &Cost, dtype: DType) -> f64 {
        let by_bytes = cost.total_bytes(dtype) / self.bytes;
        by_bytes.max(cost.operations / self.operations_of(kernel))
    }

    /// Operations per second of the units that a kernel uses, judged by its name.
    pub fn operations_of(&self, kernel: &str) -> f64 {
        let is_product =
            ["matmul", "conv2d", "many_classes", "peak"].iter().any(|own| kernel.starts_with(own));
        match is_product {
            true if kernel.contains("tf32") => self.tf32,
            true if kernel.contains("bf16") => self.bf16,
            _ => self.f32,
        }
    }
}

fn bytes(device: &Device, gpu: Option<&Gpu>) -> Result<f64> {
    let [from, to] = [(); 2].map(|()| Tensor::zeros(device, [COPIED / 4], DType::F32));
    let by_driver = |gpu: &Gpu| repeated(device, || gpu.copy(to.pointer(), from.pointer(), COPIED));
    let by_driver = gpu.map_or(Ok(f64::INFINITY), by_driver)?;
    let by_kernel = repeated(device, || copy_into(&from, &to))?;
    Ok(2.0 * COPIED as f64 / by_driver.min(by_kernel))
}

fn operations(device: &Device, unit: Unit, threads: usize) -> Result<f64> {
    let out = Tensor::zeros(device, [threads], DType::F32);
    let seconds = repeated(device, || keep_busy(&out, unit, ROUNDS))?;
    Ok((threads * unit.operations()) as f64 * f64::from(ROUNDS) / seconds)
}
