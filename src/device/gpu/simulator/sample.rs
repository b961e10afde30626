//! A sample of a launch's memory accesses, from which pictures are drawn: who touched which address, and between which barriers.

use std::collections::BTreeMap;

use super::abi::Site;
use super::requests::{Lanes, Transactions, Use};

/// The requests that are kept at each place whatever they look like.
const FIRST: usize = 2;

/// The most requests at each place. Those after the first ones are kept if they differ in more than the address that they begin at.
const MOST_REQUESTS: usize = 6;

/// The most places.
const MOST_PLACES: usize = 256;

/// The most phases of a block, which barriers divide.
const MOST_PHASES: u32 = 64;

/// The most sums of a warp's requests at one place in one phase.
const MOST_SUMS: usize = 1 << 13;

/// The sample of the running launch.
#[derive(Default)]
pub(super) struct Sample {
    pub by_use: BTreeMap<Use, Taken>,
    /// The requests, and their transactions, of each warp of the first block in each of its phases.
    pub sums: BTreeMap<(u32, u32, Use), (u64, u64)>,
    /// The barriers that the first block has passed.
    pub barriers: Vec<&'static Site>,
    block: u64,
    /// How often the running block has passed a barrier.
    phase: u32,
    pub is_cut: bool,
}

/// Requests of one warp at one place.
pub(super) struct Taken {
    pub block: u64,
    pub warp: u32,
    /// The requests seen so far.
    count: u64,
    pub requests: Vec<Request>,
}

/// A request with the number of those before it.
pub(super) struct Request {
    pub number: u64,
    pub phase: u32,
    pub lanes: Lanes,
    pub transactions: Transactions,
}

impl Sample {
    /// Begins the block with this number.
    pub fn begin_block(&mut self, number: u64) {
        (self.block, self.phase) = (number, 0);
    }

    /// All threads of the block have reached its barrier, and all requests before it have been added.
    pub fn barrier(&mut self, site: &'static Site) {
        self.phase += 1;
        if self.block == 0 && self.phase < MOST_PHASES {
            self.barriers.push(site);
        }
    }

    /// Adds a request of a warp of the running block.
    pub fn add(&mut self, warp: u32, access: Use, lanes: &Lanes, transactions: Transactions) {
        if self.block == 0 {
            self.add_to_phase(warp, access, transactions);
        }
        if self.by_use.len() >= MOST_PLACES && !self.by_use.contains_key(&access) {
            self.is_cut = true;
            return;
        }
        let (block, phase) = (self.block, self.phase);
        let fresh = || Taken { block, warp, count: 0, requests: Vec::new() };
        let taken = self.by_use.entry(access).or_insert_with(fresh);
        // A full request of a later warp may be complete before a partial one of an earlier warp.
        if block == taken.block && warp < taken.warp {
            *taken = fresh();
        }
        if (block, warp) != (taken.block, taken.warp) {
            return;
        }
        let number = taken.count;
        taken.count += 1;
        let is_new = || !taken.requests.iter().any(|own| has_pattern(&own.lanes, lanes));
        if taken.requests.len() < FIRST || (taken.requests.len() < MOST_REQUESTS && is_new()) {
            taken.requests.push(Request { number, phase, lanes: *lanes, transactions });
        }
    }

    fn add_to_phase(&mut self, warp: u32, access: Use, transactions: Transactions) {
        let key = (warp, self.phase, access);
        let has_room = self.phase < MOST_PHASES
            && (self.sums.len() < MOST_SUMS || self.sums.contains_key(&key));
        if !has_room {
            self.is_cut = true;
            return;
        }
        let sum = self.sums.entry(key).or_default();
        sum.0 += transactions.requests;
        sum.1 += transactions.done;
    }
}

/// Whether two requests differ at most in the address that they begin at.
fn has_pattern(own: &Lanes, other: &Lanes) -> bool {
    let first = |lanes: &Lanes| lanes.iter().flatten().map(|(address, _)| *address).min();
    let (own_first, other_first) = (first(own).unwrap_or(0), first(other).unwrap_or(0));
    own.iter().zip(other).all(|pair| match pair {
        (Some((a, bytes)), Some((b, other_bytes))) => {
            bytes == other_bytes && a - own_first == b - other_first
        }
        (None, None) => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Use = Use { place: 0, is_write: false, is_shared: false };

    /// A request of all lanes, `stride` bytes apart.
    fn lanes(start: usize, stride: usize) -> Lanes {
        std::array::from_fn(|lane| Some((start + lane * stride, 4)))
    }

    fn add(sample: &mut Sample, warp: u32, access: Use, lanes: Lanes) {
        let transactions = Transactions { requests: 1, done: 4, least: 4, lanes: 32, bytes: 128 };
        sample.add(warp, access, &lanes, transactions);
    }

    #[test]
    fn other_patterns_are_kept_and_repetitions_are_not() {
        let mut sample = Sample::default();
        for step in 0..1000 {
            add(&mut sample, 0, READ, lanes(128 * step, 4));
        }
        add(&mut sample, 0, READ, lanes(0, 8));
        let numbers = |sample: &Sample| -> Vec<u64> {
            sample.by_use[&READ].requests.iter().map(|own| own.number).collect()
        };
        assert_eq!(numbers(&sample), [0, 1, 1000]);
        // Another warp, and another block, are left out; an earlier warp comes in place of this one.
        add(&mut sample, 1, READ, lanes(0, 12));
        sample.begin_block(1);
        add(&mut sample, 0, READ, lanes(0, 12));
        assert_eq!(numbers(&sample), [0, 1, 1000]);
        let mut late = Sample::default();
        add(&mut late, 3, READ, lanes(0, 4));
        add(&mut late, 2, READ, lanes(64, 4));
        assert_eq!((late.by_use[&READ].warp, numbers(&late)), (2, vec![0]));
    }

    #[test]
    fn a_sample_is_bounded() {
        let mut sample = Sample::default();
        for phase in 0..2 * MOST_PHASES {
            sample.phase = phase;
            for place in 0..2 * MOST_PLACES as u32 {
                let access = Use { place, ..READ };
                add(&mut sample, 0, access, lanes(0, 4 + 4 * phase as usize));
            }
        }
        assert!(sample.is_cut);
        assert_eq!(sample.by_use.len(), MOST_PLACES);
        let most = sample.by_use.values().map(|taken| taken.requests.len()).max();
        assert_eq!((most, sample.sums.len()), (Some(MOST_REQUESTS), MOST_SUMS));
        assert!(sample.sums.keys().all(|(_, phase, _)| *phase < MOST_PHASES));
    }
}
