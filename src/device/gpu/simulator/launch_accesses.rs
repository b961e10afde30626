//! The memory accesses of a launch that is checked for races.

use std::collections::HashSet;

use super::abi::Site;
use super::job::{Job, PlaceTraffic};
use super::races::Races;
use super::sample::Sample;
use super::source::source_of;
use super::traffic::Traffic;

/// Checks the accesses of a launch.
#[derive(Default)]
pub(super) struct Accesses {
    pub races: Races,
    /// The addresses of the sites seen so far, since a place is either a site or an address in a kernel's code.
    pub sites: HashSet<usize>,
    /// The address that places are counted from.
    origin: usize,
    pub last_place: u32,
    /// The accesses checked so far.
    pub count: u64,
    /// The most accesses to check.
    pub most: u64,
    /// How often the launch's blocks have passed a barrier.
    pub barriers: u64,
    pub traffic: Option<Traffic>,
    /// Whether reads of unwritten memory are errors.
    pub unwritten: bool,
}

/// The error of a kernel with more accesses than the limit.
pub const TOO_MANY_ACCESSES: &str = "more accesses than the limit";

impl Accesses {
    /// Begins a launch of `blocks` blocks of `threads` threads.
    pub fn begin_launch(&mut self, blocks: u64, threads: usize, job: &Job) {
        let mode = &job.mode;
        (self.count, self.barriers) = (0, 0);
        (self.most, self.unwritten) = (mode.most_accesses, mode.unwritten);
        // Places are stored in 32 bits, as a distance from the kernel's record: its code and its sites lie in the same
        // program or library.
        self.origin = std::ptr::from_ref(job.kernel) as usize;
        self.sites.clear();
        self.traffic = mode.traffic.then(|| Traffic::new(mode.sample));
        self.races.begin_launch(blocks, threads);
    }

    /// Begins the block with this number.
    pub fn begin_block(&mut self, number: u64) {
        self.races.begin_block(number);
        if let Some(traffic) = &mut self.traffic {
            traffic.barrier();
            if let Some(sample) = &mut traffic.sample {
                sample.begin_block(number);
            }
        }
    }

    /// All threads of the block have reached its barrier.
    pub fn block_barrier(&mut self, site: &'static Site) {
        self.barriers += 1;
        self.races.block_barrier();
        if let Some(traffic) = &mut self.traffic {
            traffic.barrier();
            if let Some(sample) = &mut traffic.sample {
                sample.barrier(site);
            }
        }
    }

    /// The memory traffic of the launch; the counts start anew.
    pub fn take_traffic(&mut self) -> Vec<PlaceTraffic> {
        let Some(mut traffic) = self.traffic.take() else { return Vec::new() };
        let taken = traffic.take().into_iter();
        taken.map(|(access, count)| (self.place(access.place), access, count)).collect()
    }

    /// The sample of the launch; to be taken before its traffic.
    pub fn take_sample(&mut self) -> Option<Sample> {
        let traffic = self.traffic.as_mut()?;
        traffic.barrier();
        traffic.sample.take()
    }

    /// The number of accesses checked in this launch.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// `FILE:LINE` of the last access.
    pub fn last_place(&self) -> String {
        self.place(self.last_place)
    }

    /// `FILE:LINE` of a place.
    pub fn place(&self, place: u32) -> String {
        let address = self.origin.wrapping_add_signed(place.cast_signed() as isize);
        match self.sites.contains(&address) {
            // SAFETY: it is the address of a site, and sites are statics of the kernels.
            true => unsafe { &*(address as *const Site) }.place(),
            // The instruction before it is the call that reported the access.
            false => source_of(address - 1),
        }
    }

    /// The number that stands for an address in the running kernel's program or library.
    pub fn number_of_place(&self, address: usize) -> u32 {
        address.wrapping_sub(self.origin) as u32
    }
}
