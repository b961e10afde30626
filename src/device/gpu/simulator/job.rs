//! One launch as its blocks see it, and what a worker reports of it.

use std::ffi::c_void;
use std::time::Duration;

use super::abi::{Kernel, Triple};
use super::memory;
use super::requests::{Transactions, Use};
use crate::device::gpu::launch::ArgumentKind;
use crate::device::gpu::reports::LaunchSample;

/// The order in which the threads of a block and the blocks of a grid are run. No kernel may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// By rising number.
    #[default]
    Forward,
    /// By falling number.
    Reverse,
    /// In an order drawn from this seed.
    Shuffled(u64),
}

impl Order {
    /// The number of the cluster that is run as number `turn` of `count`.
    pub(super) fn place(self, turn: u64, count: u64) -> u64 {
        match self {
            Order::Forward => turn,
            Order::Reverse => count - 1 - turn,
            Order::Shuffled(seed) => {
                // A step without a common divisor reaches every number; by the golden ratio, neighbours come far apart.
                let mut step = (count as f64 * 0.618) as u64 + 1;
                while greatest_divisor(step, count) != 1 {
                    step += 1;
                }
                (seed % count + turn % count * step) % count
            }
        }
    }
}

fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// How a launch is run.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub order: Order,
    pub late_copies: bool,
    pub time_limit: Duration,
    /// A barrier, `FILE:LINE`, at which no thread waits.
    pub without_barrier: Option<&'static str>,
    /// Whether the accesses of instrumented kernels are checked for races.
    pub races: bool,
    /// Whether reads of unwritten memory are errors.
    pub unwritten: bool,
    /// The most accesses to check.
    pub most_accesses: u64,
    /// Whether their memory traffic is counted.
    pub traffic: bool,
    /// Whether a sample of them is kept.
    pub sample: bool,
}

/// One launch, as its blocks see it.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub kernel: &'static Kernel,
    pub grid: Triple,
    pub block: Triple,
    /// Blocks of a cluster, along the grid's second axis.
    pub cluster: u32,
    pub dynamic_shared: usize,
    /// The most shared memory that a block may have, in bytes.
    pub most_shared: usize,
    pub arguments: *mut *mut c_void,
    pub mode: Mode,
}

impl Job {
    /// The number of clusters of the grid.
    pub fn clusters(&self) -> u64 {
        self.grid.count() / u64::from(self.cluster)
    }

    /// The numbers of a cluster's blocks, by rank.
    pub fn blocks_of(&self, cluster: u64) -> impl Iterator<Item = u64> + use<> {
        let (across, blocks) = (u64::from(self.grid.x), u64::from(self.cluster));
        // Along the first axis clusters are neighbours as blocks are.
        let first = cluster / across * blocks * across + cluster % across;
        (0..blocks).map(move |rank| first + rank * across)
    }

    /// The memory block and the name of each pointer argument.
    pub fn buffers(&self) -> Vec<(usize, &'static str)> {
        let names = self.kernel.parameter_names();
        let pointers = self.kernel.kinds().iter().zip(names).enumerate();
        pointers
            .filter(|(_, (kind, _))| **kind == ArgumentKind::POINTER.0)
            .filter_map(|(index, (_, name))| {
                // SAFETY: the launch has as many arguments as the kernel has kinds, and this one is a pointer.
                let address = unsafe { *(*self.arguments.add(index)).cast::<usize>() };
                memory::block_of(address).map(|block| (block, name))
            })
            .collect()
    }

    /// The name of the argument that points into a memory block.
    pub fn argument_name(&self, block: usize) -> Option<&'static str> {
        self.buffers().into_iter().find(|(address, _)| *address == block).map(|(_, name)| name)
    }
}

/// The block that failed, and why.
pub(super) struct Failure {
    pub block: u64,
    pub message: String,
}

/// A worker's report of a launch.
pub(super) struct Seen {
    /// The barriers that threads have reached, as `FILE:LINE`.
    pub barriers: Vec<String>,
    /// The number of accesses checked.
    pub accesses: u64,
    /// How often blocks have passed a barrier, in a checked launch.
    pub passed_barriers: u64,
    pub traffic: Vec<PlaceTraffic>,
    pub sample: Option<LaunchSample>,
}

/// The memory traffic at one place, `FILE:LINE`.
pub(super) type PlaceTraffic = (String, Use, Transactions);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_reaches_every_cluster() {
        for order in [Order::Forward, Order::Reverse, Order::Shuffled(1), Order::Shuffled(70)] {
            for count in [1, 2, 6, 16, 31, 60] {
                let mut places: Vec<u64> =
                    (0..count).map(|turn| order.place(turn, count)).collect();
                if count > 6 && matches!(order, Order::Shuffled(_)) {
                    assert!(!places.is_sorted(), "{order:?} {count}");
                }
                places.sort_unstable();
                assert!(places.iter().copied().eq(0..count), "{order:?} {count}");
            }
        }
    }
}
