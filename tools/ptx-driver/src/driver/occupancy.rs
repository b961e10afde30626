//! How many blocks fit on an SM, by the rules of compute capability 8.0 and 9.0 (CUDA C++ programming guide).

use crate::options::Gpu;

/// What is assumed of a kernel that ptxas has not reported on.
pub const UNKNOWN_REGISTERS: usize = 32;

const REGISTERS: usize = 64 << 10;
const WARPS: usize = 64;
const BLOCKS: usize = 32;
const LANES: usize = 32;

/// Units of allocation: registers of a warp, warps of the four schedulers, bytes of shared memory; and the bytes of every block
/// that the system takes.
const REGISTER_UNIT: usize = 256;
const WARP_UNIT: usize = 4;
const SHARED_UNIT: usize = 128;
const RESERVED: usize = 1 << 10;

/// The number of blocks; 0 if not even one fits.
pub fn blocks(gpu: &Gpu, registers: Option<usize>, threads: usize, shared: usize) -> usize {
    let warps = threads.div_ceil(LANES);
    let of_warp = registers.unwrap_or(UNKNOWN_REGISTERS) * LANES;
    let of_warp = of_warp.next_multiple_of(REGISTER_UNIT).max(REGISTER_UNIT);
    let by_registers = REGISTERS / of_warp / WARP_UNIT * WARP_UNIT / warps;
    let by_shared = gpu.shared_of_sm / (shared + RESERVED).next_multiple_of(SHARED_UNIT);
    BLOCKS.min(WARPS / warps).min(by_registers).min(by_shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{A100, H200};

    #[test]
    fn blocks_are_limited_by_registers_and_shared_memory() {
        assert_eq!(blocks(&H200, Some(128), 256, 40 << 10), 2);
        assert_eq!(blocks(&H200, Some(32), 256, 0), 8);
        assert_eq!(blocks(&A100, Some(32), 128, 80 << 10), 2);
        assert_eq!(blocks(&H200, Some(255), 512, 0), 0);
    }
}
