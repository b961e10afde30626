//! A kernel's resources on a streaming multiprocessor (SM), and its occupancy.

use super::binaries;

/// The resources of a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the L2 cache.
    pub cache_bytes: usize,
    /// Number of streaming multiprocessors.
    pub sm_count: usize,
    /// The most resident threads of an SM.
    pub threads: usize,
}

/// The resources of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of shared memory of a block, dynamic shared memory included.
    pub shared: usize,
    /// Blocks that fit on an SM.
    pub blocks: usize,
    /// Occupancy: the resident warps of an SM relative to the most it can have.
    pub occupancy: f64,
}

/// The resources of an SM of compute capability 9.0 (CUDA C++ programming guide, technical specifications).
const REGISTERS: usize = 64 << 10;
const SHARED: usize = 228 << 10;
pub(crate) const MOST_WARPS: usize = 64;
const BLOCKS: usize = 32;
const LANES: usize = 32;

/// Bytes of shared memory that the system reserves for every block.
const RESERVED: usize = 1 << 10;

/// Allocation units: registers of a warp, warps (over four schedulers), bytes of shared memory.
const REGISTER_UNIT: usize = 256;
const WARP_UNIT: usize = 4;
const SHARED_UNIT: usize = 128;

/// The resources of a launch on the newest architecture that the program has machine code for, by the rules of compute
/// capability 9.0. `None` for a program without kernels.
pub(super) fn compiled(kernel: &str, threads: usize, dynamic: usize) -> Option<Resources> {
    let versions = binaries::compiled().iter().filter(|compiled| compiled.kernel == kernel);
    let newest = versions.max_by_key(|compiled| compiled.arch)?;
    Some(resources(newest.registers as usize, newest.shared as usize + dynamic, threads))
}

fn resources(registers: usize, shared: usize, threads: usize) -> Resources {
    let blocks = resident_blocks(SHARED, registers, shared, threads);
    let warps = threads.div_ceil(LANES).max(1);
    Resources { registers, shared, blocks, occupancy: (blocks * warps) as f64 / MOST_WARPS as f64 }
}

/// The blocks that fit on an SM with `shared_of_sm` bytes of shared memory, by the rules of compute capability 8.0 and 9.0.
pub(crate) fn resident_blocks(
    shared_of_sm: usize,
    registers: usize,
    shared: usize,
    threads: usize,
) -> usize {
    let warps = threads.div_ceil(LANES).max(1);
    let of_warp = (registers * LANES).next_multiple_of(REGISTER_UNIT).max(REGISTER_UNIT);
    let by_registers = REGISTERS / of_warp / WARP_UNIT * WARP_UNIT / warps;
    let by_shared = shared_of_sm / (shared + RESERVED).next_multiple_of(SHARED_UNIT);
    BLOCKS.min(MOST_WARPS / warps).min(by_registers).min(by_shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers, shared bytes and threads of a block, and the blocks that NVIDIA's occupancy calculator gives for 9.0.
    #[test]
    fn blocks_are_bounded_by_registers_shared_memory_threads_and_their_number() {
        let cases = [
            ((128, 40_960, 256), 2),
            ((96, 30_720, 128), 5),
            ((106, 27_648, 128), 4),
            ((96, 27_648, 64), 8),
            ((92, 24_576, 64), 9),
            ((32, 0, 256), 8),
            ((16, 0, 1024), 2),
            ((8, 0, 1), 32),
            ((124, 98_304, 256), 2),
        ];
        for ((registers, shared, threads), blocks) in cases {
            let found = resources(registers, shared, threads);
            assert_eq!(found.blocks, blocks, "{found:?}");
        }
        assert_eq!(resources(32, 0, 256).occupancy, 1.0);
        assert_eq!(resources(128, 40_960, 256).occupancy, 0.25);
    }
}
