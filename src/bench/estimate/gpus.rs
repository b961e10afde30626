//! The GPUs that times are estimated for.

use super::Limit;
use super::machine_code::Pass;
use crate::device::gpu::{MOST_WARPS, resident_blocks};

/// A GPU in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuModel {
    /// As `--estimate` takes it.
    pub name: &'static str,
    /// As people know it.
    pub title: &'static str,
    /// 90 for sm_90.
    pub arch: u32,
    /// Number of streaming multiprocessors (SMs).
    pub sm_count: usize,
    /// Schedulers of an SM; each issues an instruction of a warp in a cycle.
    pub schedulers: f64,
    /// Cycles per second under load.
    pub hertz: f64,
    /// Bytes per second of a copy, read and written.
    pub bytes_per_second: f64,
    /// Microseconds of an empty graph node.
    pub node_us: f64,
    /// Bytes of shared memory of an SM.
    pub shared: usize,
    /// Cycles of a scheduler's units for a warp's instruction.
    units: Units,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Units {
    fp32: f64,
    tensor: f64,
    fp64: f64,
    special: f64,
}

/// Cycles that a scheduler needs for an instruction on average, stalls included.
const ISSUE: f64 = 1.12;
/// Cycles per instruction of a lone warp; in f64, each waits for the one before.
const ALONE: f64 = 2.0;
const ALONE_FP64: f64 = 16.0;

const HOPPER: Units = Units { fp32: 1.0, tensor: 4.0, fp64: 2.0, special: 8.0 };
const AMPERE: Units = Units { fp32: 2.0, tensor: 8.0, fp64: 4.0, special: 8.0 };

/// All of them.
pub const GPUS: [GpuModel; 3] = [
    GpuModel {
        name: "h200",
        title: "NVIDIA H200",
        arch: 90,
        sm_count: 132,
        schedulers: 4.0,
        hertz: 1.755e9,
        bytes_per_second: 4.3e12,
        node_us: 1.0,
        shared: 228 << 10,
        units: HOPPER,
    },
    GpuModel {
        name: "h100",
        title: "NVIDIA H100 SXM",
        arch: 90,
        sm_count: 132,
        schedulers: 4.0,
        hertz: 1.755e9,
        bytes_per_second: 3.0e12,
        node_us: 1.0,
        shared: 228 << 10,
        units: HOPPER,
    },
    GpuModel {
        name: "a100",
        title: "NVIDIA A100, 40 GB",
        arch: 80,
        sm_count: 108,
        schedulers: 4.0,
        hertz: 1.41e9,
        bytes_per_second: 1.4e12,
        node_us: 1.0,
        shared: 164 << 10,
        units: AMPERE,
    },
];

/// The GPU of this name.
pub fn named(name: &str) -> Option<&'static GpuModel> {
    GPUS.iter().find(|gpu| gpu.name == name)
}

impl GpuModel {
    /// Blocks that fit on an SM.
    pub fn resident(&self, registers: usize, shared: usize, threads: usize) -> usize {
        resident_blocks(self.shared, registers, shared, threads)
    }

    /// Occupancy: the resident warps of an SM relative to the most it can have.
    pub fn occupancy(&self, registers: usize, shared: usize, threads: usize) -> f64 {
        let warps = threads.div_ceil(32).max(1);
        (self.resident(registers, shared, threads) * warps) as f64 / MOST_WARPS as f64
    }

    /// Operations per second, by type: multiply-adds of f32 on 128 lanes of an SM (an A100's has 64), and products of `mma.sync`, of 16 x 8 x 8 in tf32 and
    /// 16 x 8 x 16 in bf16.
    pub fn operations_per_second(&self) -> [(&'static str, f64); 3] {
        let cycles = self.sm_count as f64 * self.hertz;
        let products = self.schedulers / self.units.tensor;
        [
            ("f32", 2.0 * 32.0 * self.schedulers / self.units.fp32 * cycles),
            ("tf32", 2.0 * 1024.0 * products * cycles),
            ("bf16", 2.0 * 2048.0 * products * cycles),
        ]
    }

    /// Cycles in which a scheduler takes a warp through a pass, by each limit alone.
    pub(super) fn cycles(&self, pass: &Pass) -> [(f64, Limit); 5] {
        [
            (ISSUE * f64::from(pass.slots()), Limit::Issue),
            (self.units.tensor * f64::from(pass.tensor), Limit::Tensor),
            (self.units.fp64 * f64::from(pass.fp64), Limit::Fp64),
            (self.units.special * f64::from(pass.special), Limit::Special),
            // One wavefront a cycle for all schedulers.
            (self.schedulers * f64::from(pass.wavefronts), Limit::SharedMemory),
        ]
    }

    /// Cycles of a pass of a warp that has its scheduler for itself.
    pub(super) fn alone(&self, pass: &Pass) -> f64 {
        ALONE * f64::from(pass.slots() - pass.fp64) + ALONE_FP64 * f64::from(pass.fp64)
    }
}
