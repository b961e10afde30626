//! The simulator's reports on launches.

use serde::{Deserialize, Serialize};

/// What one launch left in the memory of its buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTrace {
    /// The kernel's name.
    pub kernel: String,
    /// The kernel's place in the source, `FILE:LINE`.
    pub place: String,
    /// Each buffer's name among the kernel's parameters, and a hash of its bytes.
    pub buffers: Vec<(String, u64)>,
}

/// The memory traffic that one line of a kernel's source would cause on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTraffic {
    /// The kernel's name.
    pub kernel: String,
    /// `FILE:LINE`, followed by the places it was inlined into.
    pub place: String,
    /// Whether the memory is the block's shared memory, not the device's.
    pub is_shared: bool,
    /// Whether the access is a write, not a read.
    pub is_write: bool,
    /// The number of warp-wide accesses.
    pub requests: u64,
    /// Their transactions: 32-byte sectors in device memory; in shared memory wavefronts, more than one where there are
    /// bank conflicts.
    pub transactions: u64,
    /// The fewest transactions that could move the same bytes.
    pub least: u64,
    /// The lanes that took part in them.
    pub lanes: u64,
    /// The bytes that these lanes moved.
    pub bytes: u64,
}

/// A sample of the memory accesses of one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSample {
    /// The kernel's name.
    pub kernel: String,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// The first requests at each place, of the first warp that came there.
    pub requests: Vec<SampledRequest>,
    /// The accesses of the first block's warps between its barriers.
    pub phases: Vec<PhaseTraffic>,
    /// The places, `FILE:LINE`, of the barriers that the first block passed, in order.
    pub barriers: Vec<String>,
    /// Whether there was more than the sample has room for.
    pub is_cut: bool,
}

/// One access of a warp, with the address of each lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledRequest {
    /// `FILE:LINE`, followed by the places it was inlined into.
    pub place: String,
    /// Whether the memory is the block's shared memory, not the device's.
    pub is_shared: bool,
    /// Whether the access is a write, not a read.
    pub is_write: bool,
    /// The block's place in the grid.
    pub block: [u32; 3],
    /// The warp's number in its block.
    pub warp: u32,
    /// The barriers that the block had passed before.
    pub phase: u32,
    /// How often the warp had made an access at this place before.
    pub number: u64,
    /// The parameter that points to the memory, or the name of the shared array; empty if neither is known.
    pub array: String,
    /// The byte of a 32-byte sector at which the array begins.
    pub start: usize,
    /// For each lane that takes part the first byte, counted from the array's beginning, and the number of bytes.
    pub lanes: Vec<Option<(u64, u32)>>,
    /// Sectors, or wavefronts in shared memory.
    pub transactions: u64,
    /// The fewest that could move the same bytes.
    pub least: u64,
}

/// The accesses of a warp at one place between two barriers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTraffic {
    /// The warp's number in its block.
    pub warp: u32,
    /// The barriers that the block had passed before.
    pub phase: u32,
    /// `FILE:LINE`, followed by the places it was inlined into.
    pub place: String,
    /// Whether the memory is the block's shared memory, not the device's.
    pub is_shared: bool,
    /// Whether the accesses are writes, not reads.
    pub is_write: bool,
    /// The number of warp-wide accesses.
    pub requests: u64,
    /// Their sectors, or wavefronts in shared memory.
    pub transactions: u64,
}
