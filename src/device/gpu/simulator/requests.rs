//! Accesses of warps, and what they cost.

use std::ops::AddAssign;

/// The transactions of the warps' accesses at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    pub requests: u64,
    /// Sectors, or wavefronts in shared memory.
    pub done: u64,
    /// The fewest that could move the same bytes.
    pub least: u64,
    /// Lanes that took part.
    pub lanes: u64,
    /// Bytes that they moved, each lane's own.
    pub bytes: u64,
}

impl AddAssign for Transactions {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.done += other.done;
        self.least += other.least;
        self.lanes += other.lanes;
        self.bytes += other.bytes;
    }
}

/// A place in the source and the kind of its access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Use {
    pub place: u32,
    pub is_write: bool,
    pub is_shared: bool,
}

/// The address and bytes of each lane that takes part in an access.
pub(super) type Lanes = [Option<(usize, usize)>; 32];
