//! What a warp's accesses come to on a GPU: 32-byte sectors of device memory, passes over the banks of shared memory. For
//! each place in the source, against the least that could do.
//!
//! The lanes of a warp run one after the other, so that what would be one access of the warp is the n-th time that each of
//! its lanes comes to a place between two barriers of the block.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::AddAssign;

/// Bytes that device memory gives at least.
const SECTOR: usize = 32;

/// Banks of shared memory, each of 4 bytes.
const BANKS: usize = 32;

/// Bytes that shared memory gives a warp in one pass.
const PASS: usize = 4 * BANKS;

/// What the warps' accesses at one place came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    pub requests: u64,
    /// Sectors, or passes over the banks.
    pub done: u64,
    /// The fewest for so many bytes.
    pub least: u64,
}

impl AddAssign for Transactions {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.done += other.done;
        self.least += other.least;
    }
}

/// A place in the source and what is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Use {
    pub place: u32,
    pub is_write: bool,
    pub is_shared: bool,
}

/// One access of a warp, as far as its lanes have come.
struct Request {
    /// Address and bytes of each lane that has come.
    lanes: [Option<(usize, usize)>; 32],
}

/// The accesses of one warp at one place since the last barrier.
#[derive(Default)]
struct Open {
    /// How often each lane has come.
    times: [usize; 32],
    /// How many requests are complete and counted.
    counted: usize,
    requests: VecDeque<Request>,
}

/// The accesses of the running launch.
#[derive(Default)]
pub(super) struct Traffic {
    open: HashMap<(u32, Use), Open>,
    by_use: HashMap<Use, Transactions>,
}

impl Traffic {
    /// A thread touches so many bytes at an address.
    pub fn touch(&mut self, thread: u32, access: Use, address: usize, bytes: usize) {
        let open = self.open.entry((thread / 32, access)).or_default();
        let lane = thread as usize % 32;
        let number = open.times[lane] - open.counted;
        open.times[lane] += 1;
        if number == open.requests.len() {
            open.requests.push_back(Request { lanes: [None; 32] });
        }
        open.requests[number].lanes[lane] = Some((address, bytes));
        // Whole warps need not wait for the barrier.
        let is_whole = |request: &Request| request.lanes.iter().all(Option::is_some);
        while open.requests.front().is_some_and(is_whole) {
            let request = open.requests.pop_front().expect("there is a first");
            open.counted += 1;
            *self.by_use.entry(access).or_default() += request.transactions(access.is_shared);
        }
    }

    /// The block's threads have met, or have left: what is open now is complete.
    pub fn barrier(&mut self) {
        for ((_, access), open) in self.open.drain() {
            for request in open.requests {
                *self.by_use.entry(access).or_default() += request.transactions(access.is_shared);
            }
        }
    }

    /// Everything so far, which is forgotten.
    pub fn take(&mut self) -> Vec<(Use, Transactions)> {
        self.barrier();
        self.by_use.drain().collect()
    }
}

impl Request {
    fn transactions(&self, is_shared: bool) -> Transactions {
        let (done, least) = if is_shared { self.passes() } else { self.sectors() };
        Transactions { requests: 1, done: done as u64, least: least as u64 }
    }

    /// Sectors that are touched, and how many its different bytes could lie in.
    fn sectors(&self) -> (usize, usize) {
        let (mut sectors, mut words) = (BTreeSet::new(), BTreeSet::new());
        for (address, bytes) in self.lanes.iter().flatten() {
            let end = address + bytes;
            sectors.extend(address / SECTOR..end.div_ceil(SECTOR));
            words.extend(*address..end);
        }
        (sectors.len(), words.len().div_ceil(SECTOR))
    }

    /// Passes over the banks, and how few would do. A pass serves as many lanes as can have 128 bytes: all, or halves or
    /// quarters of the warp where a lane has 8 or 16; it takes one turn for each further word that a bank has to give.
    fn passes(&self) -> (usize, usize) {
        let widest = self.lanes.iter().flatten().map(|(_, bytes)| *bytes).max().unwrap_or(4);
        let lanes = (PASS / widest.max(4)).clamp(1, 32);
        let turns = self.lanes.chunks(lanes).map(|part| {
            let mut words: [BTreeSet<usize>; BANKS] = Default::default();
            for (address, bytes) in part.iter().flatten() {
                (address / 4..(address + bytes).div_ceil(4)).for_each(|word| {
                    words[word % BANKS].insert(word);
                });
            }
            words.iter().map(BTreeSet::len).max().unwrap_or(0)
        });
        let turns: Vec<usize> = turns.filter(|turns| *turns > 0).collect();
        (turns.iter().sum(), turns.len())
    }
}
