//! What the host does for a device, counted.

use std::ops::Sub;

/// What the host has asked of a device since it was opened, recorded work apart. In the middle of a training a step is one
/// replay of recorded work and nothing else, or one copy and one replay where the data does not fit the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostWork {
    /// Kernels launched one by one.
    pub launches: u64,
    /// Recorded work that was done again, as one launch.
    pub replays: u64,
    /// Stretches of memory set to zero.
    pub zeroings: u64,
    /// Copies to the device out of ordinary memory, which the host waits for.
    pub uploads: u64,
    /// Copies to the device out of page-locked memory, while it works.
    pub sends: u64,
    /// Copies to the host, which waits for them and for everything before.
    pub downloads: u64,
    /// Blocks of memory that the driver was asked for.
    pub allocations: u64,
    /// Times the host waited for everything launched before.
    pub waits: u64,
}

impl Sub for HostWork {
    type Output = HostWork;

    /// What was done since `before`.
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
