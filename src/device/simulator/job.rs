//! One launch as its blocks see it, and what a worker reports of it.

use std::ffi::c_void;
use std::time::Duration;

use super::abi::{Kernel, Triple};
use super::traffic::{Transactions, Use};

/// In which order the threads of a block, and the blocks of a grid, are run. No kernel may depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// By rising number.
    #[default]
    Forward,
    /// By falling number.
    Reverse,
    /// As this seed has it.
    Shuffled(u64),
}

/// How a launch is run.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    pub order: Order,
    pub late_copies: bool,
    pub time_limit: Duration,
    /// A barrier, `FILE:LINE`, at which nobody waits: for the proof that somebody notices.
    pub without_barrier: Option<&'static str>,
    /// Whether the accesses of instrumented kernels are looked at.
    pub races: bool,
    /// How many of them may be.
    pub most_accesses: u64,
    /// Whether their transactions are counted.
    pub traffic: bool,
}

/// One launch, as its blocks see it.
#[derive(Clone, Copy)]
pub(super) struct Job {
    pub kernel: &'static Kernel,
    pub grid: Triple,
    pub block: Triple,
    pub dynamic_shared: usize,
    /// The most shared memory that a block may have, in bytes.
    pub most_shared: usize,
    pub arguments: *mut *mut c_void,
    pub mode: Mode,
}

/// What went wrong, and where.
pub(super) struct Failure {
    pub block: u64,
    pub message: String,
}

/// What was seen of a launch.
pub(super) struct Seen {
    /// The barriers that anybody came to, as `FILE:LINE`.
    pub barriers: Vec<String>,
    /// How many accesses were looked at.
    pub accesses: u64,
    pub traffic: Vec<PlaceTraffic>,
}

/// What the warps' accesses at one place, `FILE:LINE`, came to.
pub(super) type PlaceTraffic = (String, Use, Transactions);
