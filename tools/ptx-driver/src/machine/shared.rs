//! A block's shared memory, and who has touched it: out of bounds, unwritten memory and races are found here.
//!
//! Two accesses to a place race if one of them writes, and neither a barrier of the block nor, within a warp, `bar.warp.sync`
//! stands between them. Lanes run in lockstep here, which a GPU does not promise, so that lockstep orders nothing. An
//! asynchronous copy writes from its start until its thread waits for it.

use super::clocks::Clocks;
use super::registers::{LANES, Mask, lanes};

/// How a place is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Plain,
    Atomic,
    /// By an asynchronous copy that nobody has waited for.
    InFlight,
}

/// The last write to a place.
#[derive(Clone, Copy)]
struct Write {
    epoch: u32,
    clock: u32,
    pc: u32,
    thread: u16,
    kind: Kind,
}

/// The last reads of a place.
#[derive(Clone, Copy)]
struct Reads {
    epoch: u32,
    clock: u32,
    pc: u32,
    lanes: Mask,
    warp: u16,
    /// Other warps read it too since the last barrier.
    is_several: bool,
    is_atomic: bool,
}

#[derive(Clone, Copy)]
struct Cell {
    write: Write,
    reads: Reads,
}

const UNTOUCHED: Cell = Cell {
    write: Write { epoch: 0, clock: 0, pc: 0, thread: 0, kind: Kind::Plain },
    reads: Reads { epoch: 0, clock: 0, pc: 0, lanes: 0, warp: 0, is_several: false, is_atomic: false },
};

/// Who touches shared memory.
pub struct Who<'a> {
    pub warp: u16,
    /// The lanes that take part; more than one only for `ldmatrix`, whose rows go to several lanes.
    pub lanes: Mask,
    pub clocks: &'a Clocks,
    pub pc: u32,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    OutOfBounds,
    Unwritten,
    /// Another thread's access is not ordered before it.
    Race { thread: usize, pc: u32, was_write: bool },
    /// A copy to it is in flight.
    InFlight { thread: usize, pc: u32 },
}

/// Shared memory.
pub struct Shared {
    pub bytes: Vec<u8>,
    cells: Vec<Cell>,
    shift: u32,
    /// Counts the barriers, over all blocks.
    epoch: u32,
    /// The epoch in which the block began.
    first: u32,
    finds_races: bool,
}

/// The content of memory that nobody has written: NaN.
const POISON: u8 = 0xff;

impl Shared {
    /// Memory of some bytes, of which accesses are multiples of `granule`.
    pub fn new(bytes: usize, granule: usize, finds_races: bool) -> Self {
        Shared {
            bytes: vec![POISON; bytes],
            cells: vec![UNTOUCHED; bytes.div_ceil(granule)],
            shift: granule.trailing_zeros(),
            epoch: 0,
            first: 0,
            finds_races,
        }
    }

    /// Begins a block.
    pub fn begin(&mut self) {
        self.bytes.fill(POISON);
        self.epoch += 1;
        self.first = self.epoch;
    }

    /// All threads have reached a barrier.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// Checks and notes a read of bytes, of which those in `used` count.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn read(&mut self, who: &Who, at: u64, bytes: usize, used: u16) -> Result<(), Wrong> {
        let start = self.start(at, bytes)?;
        let (from, to) = (start >> self.shift, (start + bytes - 1) >> self.shift);
        let granule = 1 << self.shift;
        for index in from..=to {
            let place = (index - from) * granule;
            if place < 16 && used >> place & ((1u32 << granule) - 1) as u16 == 0 {
                continue;
            }
            let cell = &self.cells[index];
            if cell.write.epoch < self.first {
                return Err(Wrong::Unwritten);
            }
            if !self.is_after_write(who, &cell.write, false) {
                return Err(race_with(&cell.write));
            }
            self.note_read(who, index, false);
        }
        Ok(())
    }

    /// Checks and notes a write.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn write(&mut self, who: &Who, at: u64, bytes: usize, kind: Kind) -> Result<(), Wrong> {
        let start = self.start(at, bytes)?;
        let is_atomic = kind == Kind::Atomic;
        let lane = who.lanes.trailing_zeros() as usize;
        let stamp = Write {
            epoch: self.epoch,
            clock: who.clocks.now(lane),
            pc: who.pc,
            thread: who.warp * LANES as u16 + lane as u16,
            kind,
        };
        for index in start >> self.shift..=(start + bytes - 1) >> self.shift {
            let cell = &self.cells[index];
            if cell.write.epoch >= self.first && !self.is_after_write(who, &cell.write, is_atomic) {
                return Err(race_with(&cell.write));
            }
            self.after_reads(who, &cell.reads, is_atomic)?;
            if is_atomic {
                if cell.write.epoch < self.first {
                    return Err(Wrong::Unwritten);
                }
                self.note_read(who, index, true);
            }
            self.cells[index].write = stamp;
        }
        Ok(())
    }

    /// A copy's thread has waited for it: from now on it is a write of this moment.
    pub fn arrive(&mut self, who: &Who, at: u64, bytes: usize) {
        let lane = who.lanes.trailing_zeros() as usize;
        let start = at as usize;
        for index in start >> self.shift..=(start + bytes - 1) >> self.shift {
            let write = &mut self.cells[index].write;
            write.kind = Kind::Plain;
            (write.epoch, write.clock) = (self.epoch, who.clocks.now(lane));
        }
    }

    #[inline(always)]
    fn start(&self, at: u64, bytes: usize) -> Result<usize, Wrong> {
        let end = at.checked_add(bytes as u64).ok_or(Wrong::OutOfBounds)?;
        if end <= self.bytes.len() as u64 { Ok(at as usize) } else { Err(Wrong::OutOfBounds) }
    }

    #[inline(always)]
    fn is_after_write(&self, who: &Who, write: &Write, is_atomic: bool) -> bool {
        if !self.finds_races {
            return true;
        }
        if write.kind == Kind::InFlight {
            return false;
        }
        if write.epoch < self.epoch || is_atomic && write.kind == Kind::Atomic {
            return true;
        }
        let (warp, lane) = (write.thread / LANES as u16, usize::from(write.thread) % LANES);
        warp == who.warp && who.clocks.are_after(who.lanes, lane, write.clock)
    }

    #[inline(always)]
    fn after_reads(&self, who: &Who, reads: &Reads, is_atomic: bool) -> Result<(), Wrong> {
        if reads.epoch < self.epoch || !self.finds_races || is_atomic && reads.is_atomic {
            return Ok(());
        }
        let is_ordered = |lane: usize| who.clocks.are_after(who.lanes, lane, reads.clock);
        let other = match reads.is_several || reads.warp != who.warp {
            true => Some(reads.lanes.trailing_zeros() as usize),
            false => lanes(reads.lanes).find(|lane| !is_ordered(*lane)),
        };
        match other {
            Some(lane) => {
                let thread = usize::from(reads.warp) * LANES + lane;
                Err(Wrong::Race { thread, pc: reads.pc, was_write: false })
            }
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn note_read(&mut self, who: &Who, index: usize, is_atomic: bool) {
        let clock = who.clocks.now(who.lanes.trailing_zeros() as usize);
        let reads = &mut self.cells[index].reads;
        let is_current = reads.epoch == self.epoch;
        if is_current && reads.warp == who.warp && reads.clock == clock {
            reads.lanes |= who.lanes;
            reads.is_atomic &= is_atomic;
        } else {
            let is_several = is_current && (reads.is_several || reads.warp != who.warp);
            let is_atomic = is_atomic && (!is_current || reads.is_atomic);
            *reads = Reads {
                epoch: self.epoch,
                clock,
                pc: who.pc,
                lanes: who.lanes,
                warp: who.warp,
                is_several,
                is_atomic,
            };
        }
    }
}

#[cold]
fn race_with(write: &Write) -> Wrong {
    let (thread, pc) = (usize::from(write.thread), write.pc);
    match write.kind {
        Kind::InFlight => Wrong::InFlight { thread, pc },
        _ => Wrong::Race { thread, pc, was_write: true },
    }
}
