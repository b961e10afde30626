//! Checks each memory access that an instrumented kernel reports.

use std::ffi::c_void;
use std::ops::Range;

use super::abi::{Context, Site};
use super::launch_accesses::TOO_MANY_ACCESSES;
use super::memory;
use super::races::{Access, AccessKind, Found};
use super::requests::Use;
use super::waiting::AsyncCopy;
use super::worker::Worker;

impl Worker {
    /// Checks an access of the running thread; the error says what is wrong with it.
    fn touch(&mut self, bytes: Range<usize>, kind: AccessKind, place: usize) -> Result<(), String> {
        let (thread, reads_gaps) = (self.context().current, self.context().reads_gaps != 0);
        let Worker { accesses, shared, .. } = self;
        let Some(accesses) = accesses else { return Ok(()) };
        let place = accesses.number_of_place(place);
        accesses.last_place = place;
        accesses.count += 1;
        if accesses.count > accesses.most {
            return Err(TOO_MANY_ACCESSES.into());
        }
        let may_pass = kind == AccessKind::Read && reads_gaps;
        let found = accesses
            .races
            .touch(thread, bytes.clone(), kind, place, |page| shared.owner_of_page(page));
        let is_read = matches!(kind, AccessKind::Read | AccessKind::Atomic);
        let is_read = is_read && accesses.unwritten && found.is_ok();
        let unwritten = if is_read { accesses.races.unwritten(bytes.clone()) } else { None };
        let found = unwritten.map_or(found, |address| Err(Found::Unwritten(address)));
        if let (Ok(()), Some(traffic)) = (&found, &mut accesses.traffic)
            && let Some(is_shared) = accesses.races.is_shared(bytes.start)
        {
            let access = Use { place, is_write: kind != AccessKind::Read, is_shared };
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
        kind: AccessKind,
        site: &'static Site,
    ) -> Result<(), String> {
        let site = std::ptr::from_ref(site) as usize;
        if let Some(accesses) = &mut self.accesses {
            accesses.sites.insert(site);
        }
        self.touch(bytes, kind, site)
    }

    /// Checks an asynchronous copy of the running thread that has completed: it may have read and written at any time
    /// until now.
    pub fn finish_copy(&mut self, copy: &AsyncCopy) -> Result<(), String> {
        // Its traffic was counted when it was issued.
        let traffic = self.accesses.as_mut().and_then(|accesses| accesses.traffic.take());
        let outcome = match copy.read() {
            Some(read) => self.touch_at(read, AccessKind::Read, copy.site),
            None => Ok(()),
        };
        let thread = self.context().current;
        let Worker { accesses, shared, .. } = self;
        if let Some(accesses) = accesses {
            accesses.races.finish_copy(thread, copy.written(), |page| shared.owner_of_page(page));
            accesses.traffic = traffic;
        }
        outcome
    }

    /// The last write of a byte by the launch that has just ended: thread, block and line; `None` if there is none, or accesses
    /// were not checked.
    pub fn describe_write(&self, address: usize) -> Option<String> {
        let accesses = self.accesses.as_ref()?;
        let write = accesses.races.last_write(address)?;
        let (grid, size) = (self.context().grid_size, self.context().block_size);
        let block = grid.at(accesses.races.block_of(&write));
        let thread = size.at(u64::from(write.thread));
        Some(format!("{}: thread {thread} of block {block}", accesses.place(write.place)))
    }

    fn describe_misaligned(&self, bytes: Range<usize>, place: usize) -> String {
        let Some(accesses) = &self.accesses else { return String::new() };
        let here = accesses.place(accesses.number_of_place(place));
        let address = self.describe_address(bytes.start).unwrap_or_default();
        let count = bytes.len();
        format!(
            "{here}: misaligned: {count} bytes at an address that is no multiple of {count}, {address}"
        )
    }

    fn describe_found(
        &self,
        bytes: Range<usize>,
        kind: AccessKind,
        place: u32,
        found: &Found,
    ) -> String {
        let Some(accesses) = &self.accesses else { return String::new() };
        let here = accesses.place(place);
        let verb = match kind {
            AccessKind::Read => "reads",
            AccessKind::Write => "writes",
            AccessKind::Atomic => "atomically updates",
            AccessKind::Copy => "copies to",
        };
        let describe = |address| self.describe_address(address).unwrap_or_default();
        match found {
            Found::Forbidden(address) => format!("{here}: {verb} {}", describe(*address)),
            Found::Unwritten(address) => {
                format!("{here}: reads unwritten memory, {}", describe(*address))
            }
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
            AccessKind::Read => "has read",
            AccessKind::Write => "has written",
            AccessKind::Atomic => "has updated",
            AccessKind::Copy => "is still copying to",
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
    /// Added to the kind of an access whose address is no multiple of its size.
    const MISALIGNED: u32 = 4;
    let is_misaligned = kind & MISALIGNED != 0;
    let kind = match kind & !MISALIGNED {
        0 => AccessKind::Read,
        1 => AccessKind::Write,
        _ => AccessKind::Atomic,
    };
    // SAFETY: kernels pass their own context, and each reference into the worker ends before it is parked.
    unsafe {
        // A collective runs inside a hook, for all its threads: they have reported their accesses before.
        let worker = (*context).worker.cast::<Worker>();
        if (*worker).is_in_hook.replace(true) {
            return;
        }
        let start = address as usize;
        let touched = match is_misaligned {
            true => Err((*worker).describe_misaligned(start..start + bytes, place as usize)),
            false => (*worker).touch(start..start + bytes, kind, place as usize),
        };
        match touched {
            Ok(()) => (*worker).is_in_hook.set(false),
            Err(message) => Worker::fail_here(worker, message),
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
        let worker = Worker::enter_hook(context);
        let start = address as usize;
        match (*worker).touch_at(start..start + bytes as usize, AccessKind::Read, site) {
            Ok(()) => (*worker).is_in_hook.set(false),
            Err(message) => Worker::fail_here(worker, message),
        }
    }
}
