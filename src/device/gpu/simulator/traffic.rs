//! The memory traffic of a warp's accesses on a GPU: 32-byte sectors of device memory, and wavefronts of shared memory,
//! of which bank conflicts cost more. Counted for each place in the source, beside the least possible.
//!
//! The simulator runs the lanes of a warp one after another. One access of the warp is therefore the n-th time that
//! each lane reaches a place between two barriers of the block.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::requests::{Lanes, Transactions, Use};
use super::sample::Sample;

/// Bytes of a sector, the smallest transfer of device memory.
pub(super) const SECTOR: usize = 32;

/// Banks of shared memory, each of 4 bytes.
const BANKS: usize = 32;

/// The most requests of a warp at one place that wait for other lanes.
const MOST_OPEN: usize = 1 << 18;

/// Bytes that shared memory moves in one wavefront.
const WAVEFRONT: usize = 4 * BANKS;

/// One access of a warp, possibly still without some lanes.
struct Request {
    lanes: Lanes,
}

/// The accesses of one warp at one place since the last barrier.
#[derive(Default)]
struct Open {
    /// The number of accesses of each lane.
    times: [usize; 32],
    /// The number of requests that are complete and counted.
    counted: usize,
    requests: VecDeque<Request>,
}

/// The accesses of the running launch.
#[derive(Default)]
pub(super) struct Traffic {
    open: HashMap<(u32, Use), Open>,
    by_use: HashMap<Use, Transactions>,
    /// Some of the requests, if they are asked for.
    pub sample: Option<Sample>,
}

impl Traffic {
    /// No accesses so far. `is_sampled`: whether some are to be kept.
    pub fn new(is_sampled: bool) -> Traffic {
        Traffic { sample: is_sampled.then(Sample::default), ..Traffic::default() }
    }

    /// Adds a thread's access to `bytes` bytes at an address.
    pub fn touch(&mut self, thread: u32, access: Use, address: usize, bytes: usize) {
        let open = self.open.entry((thread / 32, access)).or_default();
        let lane = thread as usize % 32;
        let number = open.times[lane] - open.counted;
        open.times[lane] += 1;
        if number == open.requests.len() {
            open.requests.push_back(Request { lanes: [None; 32] });
        }
        open.requests[number].lanes[lane] = Some((address, bytes));
        // A request of a whole warp is complete before the barrier. In an endless loop the other lanes never come.
        let is_whole = |request: &Request| request.lanes.iter().all(Option::is_some);
        while open.requests.len() > MOST_OPEN || open.requests.front().is_some_and(is_whole) {
            let request = open.requests.pop_front().expect("there is a first");
            open.counted += 1;
            let transactions = request.transactions(access.is_shared);
            *self.by_use.entry(access).or_default() += transactions;
            if let Some(sample) = &mut self.sample {
                sample.add(thread / 32, access, &request.lanes, transactions);
            }
        }
    }

    /// The block's threads have reached a barrier or its end: all open requests are complete.
    pub fn barrier(&mut self) {
        for ((warp, access), open) in self.open.drain() {
            for request in open.requests {
                let transactions = request.transactions(access.is_shared);
                *self.by_use.entry(access).or_default() += transactions;
                if let Some(sample) = &mut self.sample {
                    sample.add(warp, access, &request.lanes, transactions);
                }
            }
        }
    }

    /// Returns all counts and starts anew.
    pub fn take(&mut self) -> Vec<(Use, Transactions)> {
        self.barrier();
        self.by_use.drain().collect()
    }
}

impl Request {
    fn transactions(&self, is_shared: bool) -> Transactions {
        let (done, least) = if is_shared { self.wavefronts() } else { self.sectors() };
        let own = || self.lanes.iter().flatten();
        let (lanes, bytes) = (own().count() as u64, own().map(|(_, bytes)| *bytes as u64).sum());
        Transactions { requests: 1, done: done as u64, least: least as u64, lanes, bytes }
    }

    /// The sectors it touches, and the fewest that could hold its distinct bytes.
    fn sectors(&self) -> (usize, usize) {
        let (mut sectors, mut words) = (BTreeSet::new(), BTreeSet::new());
        for (address, bytes) in self.lanes.iter().flatten() {
            let end = address + bytes;
            sectors.extend(address / SECTOR..end.div_ceil(SECTOR));
            words.extend(*address..end);
        }
        (sectors.len(), words.len().div_ceil(SECTOR))
    }

    /// The wavefronts it takes, and the fewest that could do. Shared memory serves groups of lanes with 128 bytes
    /// together: the whole warp, or halves or quarters of it if a lane has 8 or 16 bytes. A group takes one wavefront
    /// for each distinct word that its busiest bank has to give.
    fn wavefronts(&self) -> (usize, usize) {
        let widest = self.lanes.iter().flatten().map(|(_, bytes)| *bytes).max().unwrap_or(4);
        let lanes = (WAVEFRONT / widest.max(4)).clamp(1, 32);
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
