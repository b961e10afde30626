//! Estimates of a kernel's time on a GPU that is not at hand, from counts: `docs/kernels/cost-model.md` explains method and
//! constants. Output always says "estimate".

pub mod gpus;
mod kernels;
pub mod machine_code;
mod step;

use serde::Serialize;

use crate::device::{Cost, DType, ProfiledLaunch};
use gpus::GpuModel;
pub use kernels::{KernelRow, kernels};
use machine_code::compiled;
pub use step::{KernelEstimate, StepEstimate, step};

const LANES: usize = 32;

/// The limit that binds a launch: the longest of its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Issue slots of the schedulers.
    Issue,
    /// Tensor cores.
    Tensor,
    /// Units for f64.
    Fp64,
    /// Special functions and conversions.
    Special,
    /// Wavefronts of shared memory.
    SharedMemory,
    /// A warp's own instructions, one after the other: there are too few warps.
    Latency,
    /// Bytes to and from memory.
    Memory,
    /// The node of the graph alone.
    Node,
}

impl Limit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Issue => "issue slots",
            Limit::Tensor => "tensor cores",
            Limit::Fp64 => "f64 units",
            Limit::Special => "special functions",
            Limit::SharedMemory => "shared memory",
            Limit::Latency => "latency",
            Limit::Memory => "memory",
            Limit::Node => "node",
        }
    }
}

/// The estimate of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Microseconds, with the node's own time.
    pub us: f64,
    /// What takes longest.
    pub limit: Limit,
    /// Bytes that it moves.
    pub bytes: f64,
    /// Passes of each warp through the main loop.
    pub passes: f64,
    /// Blocks of the busiest SM.
    pub blocks_of_sm: usize,
    /// Rounds of resident blocks on that SM.
    pub waves: usize,
}

/// Estimates a launch. `cost` is the least work of the op that it belongs to, whose activations are of type `dtype`.
pub fn estimate(
    gpu: &GpuModel,
    launch: &ProfiledLaunch,
    cost: Option<Cost>,
    dtype: DType,
) -> Estimate {
    let least = cost.map_or(f64::INFINITY, |cost| cost.total_bytes(dtype));
    let of_buffers = (launch.buffers as f64).min(least);
    let bytes = launch.work.bytes.map_or(of_buffers, |told| told as f64);
    let (mut passes, mut blocks_of_sm, mut waves, mut times) = (0.0, 0, 0, Vec::new());
    if let Some(kernel) = compiled(gpu.arch, &launch.kernel).filter(|_| launch.blocks > 0) {
        // What all threads move in a pass.
        let of_pass = f64::from(kernel.pass.bytes) * (launch.blocks * launch.threads) as f64;
        passes = match launch.work.passes {
            Some(told) => told as f64,
            None if of_pass > 0.0 => (bytes / of_pass).max(1.0),
            None => 1.0,
        };
        blocks_of_sm = launch.blocks.div_ceil(gpu.sm_count);
        let resident =
            gpu.resident(kernel.registers, kernel.shared + launch.shared, launch.threads);
        waves = blocks_of_sm.div_ceil(resident.max(1));
        let us = |cycles: f64| cycles * passes / gpu.hertz * 1e6;
        let warps = (blocks_of_sm * launch.threads.div_ceil(LANES)) as f64 / gpu.schedulers;
        let limits = gpu.cycles(&kernel.pass);
        times.extend(limits.into_iter().map(|(cycles, limit)| (us(cycles * warps), limit)));
        times.push((us(gpu.alone(&kernel.pass)) * waves as f64, Limit::Latency));
    }
    times.push((1e6 * bytes / gpu.bytes_per_second, Limit::Memory));
    let (longest, limit) = times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("one time");
    let limit = if longest < gpu.node_us { Limit::Node } else { limit };
    Estimate { us: gpu.node_us + longest, limit, bytes, passes, blocks_of_sm, waves }
}

#[cfg(test)]
mod tests {
    use super::gpus::named;
    use super::machine_code::compiled;
    use crate::ops::tensor::matmul::{Arithmetic, tiles};

    /// The launches choose tiles by these clocks, so they have to be those of today's machine code.
    #[test]
    fn tiles_have_the_clocks_of_their_kernels() {
        let gpu = named("h200").unwrap();
        let works = ["matmul_{}_nn", "matmul_{}_nt", "matmul_{}_tn"];
        let convolutions = ["conv2d_{}_fwd", "conv2d_{}_dx_bwd", "conv2d_{}_dw_bwd"];
        for arithmetic in [Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16] {
            for tile in tiles(arithmetic) {
                let kernels = works.iter().chain(&convolutions).map(|work| {
                    let name = format!("{}_{}", work.replace("{}", tile.name), arithmetic.suffix());
                    compiled(gpu.arch, &name).unwrap_or_else(|| panic!("{name}"))
                });
                let (mut beside, mut alone) = (0.0, 0.0);
                for kernel in kernels {
                    let limits = gpu.cycles(&kernel.pass).map(|(cycles, _)| cycles);
                    let warps = f64::from(tile.threads / 32) / gpu.schedulers;
                    beside += warps * limits.into_iter().fold(0.0, f64::max) / 6.0;
                    alone += gpu.alone(&kernel.pass).max(warps * limits[0]) / 6.0;
                }
                for (own, counted) in [(tile.clocks, beside), (tile.clocks_alone, alone)] {
                    let ratio = own as f64 / counted;
                    let (name, suffix) = (tile.name, arithmetic.suffix());
                    assert!(
                        (0.9..1.1).contains(&ratio),
                        "{name} {suffix}: {own}, counted {counted:.0}"
                    );
                }
            }
        }
    }
}
