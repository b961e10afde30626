//! The simulator's reports on launches.

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
