//! Checks each memory access that an instrumented kernel reports. Only the checked build's kernels are instrumented.

use std::collections::HashSet;
use std::ffi::c_void;
use std::ops::Range;

use super::abi::{Context, Site};
use super::fault::{describe_address, source_of};
use super::hooks::{fail, worker_of};
use super::job::{Mode, PlaceTraffic};
use super::memory;
use super::races::{Access, Found, Kind, Races};
use super::traffic::{Traffic, Use};
use super::worker::Worker;

/// Checks the accesses of a launch.
#[derive(Default)]
pub(super) struct Accesses {
    pub races: Races,
    /// The addresses of the sites seen so far, since a place is either a site or an address in a kernel's code.
    sites: HashSet<usize>,
    last_place: u32,
    /// The accesses checked so far.
    count: u64,
    /// The most accesses to check.
    most: u64,
    traffic: Option<Traffic>,
}

/// Places are stored in 32 bits, as a distance from this address, which lies in the program as the kernels do.
fn origin() -> usize {
    simulator_access as *const () as usize
}

/// The error of a kernel with more accesses than the limit.
pub const TOO_MANY_ACCESSES: &str = "more accesses than the limit";

impl Accesses {
    /// Begins a launch of `blocks` blocks of `threads` threads.
    pub fn begin_launch(&mut self, blocks: u64, threads: usize, mode: &Mode) {
        (self.count, self.most) = (0, mode.most_accesses);
        self.traffic = mode.traffic.then(Traffic::default);
        self.races.begin_launch(blocks, threads);
    }

    /// Begins the block with this number.
    pub fn begin_block(&mut self, number: u64) {
        self.races.begin_block(number);
        if let Some(traffic) = &mut self.traffic {
            traffic.barrier();
        }
    }

    /// All threads of the block have reached its barrier.
    pub fn block_barrier(&mut self) {
        self.races.block_barrier();
        if let Some(traffic) = &mut self.traffic {
            traffic.barrier();
        }
    }

    /// The memory traffic of the launch; the counts start anew.
    pub fn take_traffic(&mut self) -> Vec<PlaceTraffic> {
        let Some(mut traffic) = self.traffic.take() else { return Vec::new() };
        let taken = traffic.take().into_iter();
        taken.map(|(access, count)| (self.place(access.place), access, count)).collect()
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
    fn place(&self, place: u32) -> String {
        let address = origin().wrapping_add_signed(place.cast_signed() as isize);
        match self.sites.contains(&address) {
            // SAFETY: it is the address of a site, and sites are statics of the kernels.
            true => unsafe { &*(address as *const Site) }.place(),
            // The instruction before it is the call that reported the access.
            false => source_of(address - 1),
        }
    }
}

fn number_of_place(address: usize) -> u32 {
    address.wrapping_sub(origin()) as u32
}

impl Worker {
    /// Checks an access of the running thread; the error says what is wrong with it.
    fn touch(&mut self, bytes: Range<usize>, kind: Kind, place: u32) -> Result<(), String> {
        let (thread, reads_gaps) = (self.context().current, self.context().reads_gaps != 0);
        let Worker { accesses, shared, .. } = self;
        let Some(accesses) = accesses else { return Ok(()) };
        accesses.last_place = place;
        accesses.count += 1;
        if accesses.count > accesses.most {
            return Err(TOO_MANY_ACCESSES.into());
        }
        let may_pass = kind == Kind::Read && reads_gaps;
        let found = accesses
            .races
            .touch(thread, bytes.clone(), kind, place, |page| shared.owner_of_page(page));
        if let (Ok(()), Some(traffic)) = (&found, &mut accesses.traffic)
            && let Some(is_shared) = accesses.races.is_shared(bytes.start)
        {
            let access = Use { place, is_write: kind != Kind::Read, is_shared };
            traffic.touch(thread, access, bytes.start, bytes.len());
        }
        match found {
            Err(Found::Forbidden(address)) if may_pass && memory::is_inside(address, 1) => Ok(()),
            found => found.map_err(|found| self.describe_found(bytes, kind, place, &found)),
        }
    }

    /// [`Worker::touch`] for a call in the source instead of an instruction.
    pub fn touch_at(
        &mut self,
        bytes: Range<usize>,
        kind: Kind,
        site: &'static Site,
    ) -> Result<(), String> {
        let site = std::ptr::from_ref(site) as usize;
        if let Some(accesses) = &mut self.accesses {
            accesses.sites.insert(site);
        }
        self.touch(bytes, kind, number_of_place(site))
    }

    /// Checks an asynchronous copy of the running thread that has completed: it may have read and written at any time
    /// until now.
    pub fn finish_copy(
        &mut self,
        read: Range<usize>,
        written: Range<usize>,
        site: &'static Site,
    ) -> Result<(), String> {
        // Its traffic was counted when it was issued.
        let traffic = self.accesses.as_mut().and_then(|accesses| accesses.traffic.take());
        let outcome = self.touch_at(read, Kind::Read, site);
        let thread = self.context().current;
        let Worker { accesses, shared, .. } = self;
        if let Some(accesses) = accesses {
            accesses.races.finish_copy(thread, written, |page| shared.owner_of_page(page));
            accesses.traffic = traffic;
        }
        outcome
    }

    fn describe_found(&self, bytes: Range<usize>, kind: Kind, place: u32, found: &Found) -> String {
        let Some(accesses) = &self.accesses else { return String::new() };
        let here = accesses.place(place);
        let verb = match kind {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Atomic => "atomically updates",
            Kind::Copy => "copies to",
        };
        let describe = |address| describe_address(self, address).unwrap_or_default();
        match found {
            Found::Forbidden(address) => format!("{here}: {verb} {}", describe(*address)),
            Found::Race(other) => {
                let what = self.describe_other(other);
                let place = accesses.place(other.place);
                format!("{here}: race: {verb} what {what} at {place}, {}", describe(bytes.start))
            }
        }
    }

    /// `thread (3, 0, 0) of block (0, 0, 0) has read`
    fn describe_other(&self, other: &Access) -> String {
        let (job, races) = (self.job(), self.accesses.as_ref().map(|accesses| &accesses.races));
        let block = job.grid.at(races.map_or(0, |races| races.block_of(other)));
        let thread = job.block.at(u64::from(other.thread));
        let verb = match other.kind {
            Kind::Read => "has read",
            Kind::Write => "has written",
            Kind::Atomic => "has updated",
            Kind::Copy => "is still copying to",
        };
        format!("thread {thread} of block {block} {verb}")
    }
}

/// An instrumented kernel is about to touch memory; `place` is the address of the instruction behind the call.
// SAFETY: no other symbol of the program has this name; instrumented.cpp declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_access(
    context: *mut Context,
    address: *const c_void,
    bytes: usize,
    kind: u32,
    place: *const c_void,
) {
    let kind = match kind {
        0 => Kind::Read,
        1 => Kind::Write,
        _ => Kind::Atomic,
    };
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        // A collective runs inside a hook, for all its threads: they have reported their accesses before.
        let worker = (*context).worker.cast::<Worker>();
        if (*worker).is_in_hook.replace(true) {
            return;
        }
        let (start, place) = (address as usize, number_of_place(place as usize));
        match (*worker).touch(start..start + bytes, kind, place) {
            Ok(()) => (*worker).is_in_hook.set(false),
            Err(message) => fail(worker, message),
        }
    }
}

/// A collective of the warp is about to read memory for the running thread.
// SAFETY: no other symbol of the program has this name; cuda_on_host.h declares it as it is here.
#[unsafe(no_mangle)]
// SAFETY: only kernels call it, each on its own thread and with its own context.
unsafe extern "C" fn simulator_read(
    context: *mut Context,
    site: &'static Site,
    address: *const c_void,
    bytes: u32,
) {
    // SAFETY: as for `simulator_access`.
    unsafe {
        let worker = worker_of(context);
        let start = address as usize;
        match (*worker).touch_at(start..start + bytes as usize, Kind::Read, site) {
            Ok(()) => (*worker).is_in_hook.set(false),
            Err(message) => fail(worker, message),
        }
    }
}
