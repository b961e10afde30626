//! The limits of a GPU on a launch.

use super::abi::{Kernel, Triple};
use crate::device::gpu::driver::Outcome;
use crate::device::gpu::launch::{ArgumentKind, Launch};

/// The most blocks of a grid along its second and third axis.
const MOST_BLOCKS_ACROSS: u32 = 65_535;

/// The most blocks of a cluster on every GPU that has clusters.
const MOST_BLOCKS_OF_CLUSTER: u32 = 8;

/// A kind of GPU, for its limits on a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Compute capability 8.0, an A100.
    Sm80,
    /// Compute capability 9.0, an H100 or H200.
    Sm90,
}

impl Limits {
    /// The most shared memory of a block, in bytes (CUDA C++ programming guide, technical specifications).
    pub(super) fn shared_bytes(self) -> usize {
        match self {
            Limits::Sm80 => 163 << 10,
            Limits::Sm90 => 227 << 10,
        }
    }
}

/// Fails for a launch that a GPU would refuse, or would run with misread arguments.
pub(super) fn check_launch(kernel: &Kernel, launch: &Launch) -> Outcome<()> {
    let (grid, block) = (Triple::from(launch.grid), Triple::from(launch.block));
    let kinds: Vec<u32> = launch.arguments.iter().map(|argument| argument.kind().0).collect();
    if kinds != kernel.kinds() {
        let show = |kinds: &[u32]| -> String {
            kinds.iter().map(|kind| ArgumentKind(*kind).to_string()).collect::<Vec<_>>().join(", ")
        };
        return Err(format!(
            "launched with ({}), declared at {} with ({})",
            show(&kinds),
            kernel.place(),
            show(kernel.kinds())
        ));
    }
    let threads = block.count();
    if threads == 0 || threads > u64::from(kernel.max_threads) {
        return Err(format!(
            "launched with {threads} threads a block, declared for at most {}",
            kernel.max_threads
        ));
    }
    if grid.count() == 0
        || grid.y > MOST_BLOCKS_ACROSS
        || grid.z > MOST_BLOCKS_ACROSS
        || grid.x > i32::MAX as u32
    {
        return Err(format!("launched with a grid of {grid} blocks, which no GPU accepts"));
    }
    if !(1..=MOST_BLOCKS_OF_CLUSTER).contains(&launch.cluster)
        || !grid.y.is_multiple_of(launch.cluster)
    {
        return Err(format!(
            "launched with clusters of {} blocks along the second axis of a grid of {grid} blocks",
            launch.cluster
        ));
    }
    Ok(())
}
