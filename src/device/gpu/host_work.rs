//! Counters of the host's calls to a device.

use std::ops::Sub;

/// The host's calls to a device since it was opened, without the launches inside of captured graphs. Once its graphs
/// are captured, a training step is one replay, or one copy and one replay if the data does not fit the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostWork {
    /// Kernels launched one by one.
    pub launches: u64,
    /// Replays of captured graphs.
    pub replays: u64,
    /// Settings of memory to zero.
    pub zeroings: u64,
    /// Copies to the device from ordinary memory; the host waits for them.
    pub uploads: u64,
    /// Copies to the device from pinned memory, while it works.
    pub sends: u64,
    /// Copies to the host, which waits for them and for all earlier work.
    pub downloads: u64,
    /// Blocks of memory that the driver allocated.
    pub allocations: u64,
    /// Waits of the host for all earlier launches.
    pub waits: u64,
}

impl Sub for HostWork {
    type Output = HostWork;

    /// The work since `before`.
    fn sub(self, before: HostWork) -> HostWork {
        HostWork {
            launches: self.launches - before.launches,
            replays: self.replays - before.replays,
            zeroings: self.zeroings - before.zeroings,
            uploads: self.uploads - before.uploads,
            sends: self.sends - before.sends,
            downloads: self.downloads - before.downloads,
            allocations: self.allocations - before.allocations,
            waits: self.waits - before.waits,
        }
    }
}
