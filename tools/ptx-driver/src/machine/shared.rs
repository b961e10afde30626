//! A block's shared memory, and who has touched it: out of bounds, unwritten memory and races are found here.
//!
//! Two accesses to a place race if one of them writes, and neither a barrier of the block nor, within a warp, `bar.warp.sync`
//! stands between them. Lanes run in lockstep here, which a GPU does not promise, so that lockstep orders nothing. An
//! asynchronous copy writes from its start until its thread waits for it.

use super::clocks::Clocks;
use super::cluster::Others;
use super::registers::{LANES, Mask, lanes};

/// How a place is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Plain,
    Atomic,
    /// By an asynchronous copy that its thread has not waited for.
    InFlight,
}

/// The last write to a place and the last reads of it, in one half of a cache line: most accesses look at the first 16 bytes
/// alone.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Cell {
    /// The epoch of the last write; [`IN_FLIGHT`] from the start of a copy until it has been waited for.
    write_epoch: u32,
    /// The lanes that have read the place.
    read_lanes: Mask,
    /// When they did so: see [`Shared::key`].
    read_key: u64,
    write_clock: u32,
    write_pc: u32,
    read_pc: u32,
    write_thread: u16,
    write_is_atomic: bool,
    reads: Readers,
}

/// What else is known of the readers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    OneWarp,
    /// By atomic operations only.
    OneWarpAtomic,
    /// Several warps since the last barrier.
    Several,
    SeveralAtomic,
}

impl Readers {
    fn new(is_several: bool, is_atomic: bool) -> Self {
        match (is_several, is_atomic) {
            (false, false) => Readers::OneWarp,
            (false, true) => Readers::OneWarpAtomic,
            (true, false) => Readers::Several,
            (true, true) => Readers::SeveralAtomic,
        }
    }

    fn is_several(self) -> bool {
        matches!(self, Readers::Several | Readers::SeveralAtomic)
    }

    fn is_atomic(self) -> bool {
        matches!(self, Readers::OneWarpAtomic | Readers::SeveralAtomic)
    }
}

const IN_FLIGHT: u32 = u32::MAX;

const UNTOUCHED: Cell = Cell {
    write_epoch: 0,
    read_lanes: 0,
    read_key: 0,
    write_clock: 0,
    write_pc: 0,
    read_pc: 0,
    write_thread: 0,
    write_is_atomic: false,
    reads: Readers::OneWarp,
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
    Race {
        thread: usize,
        pc: u32,
        was_write: bool,
    },
    /// A copy to it is in flight.
    InFlight {
        thread: usize,
        pc: u32,
    },
}

/// Shared memory.
pub struct Shared {
    pub bytes: Vec<u8>,
    /// The memory of the other blocks of the cluster.
    pub others: Others,
    cells: Vec<Cell>,
    shift: u32,
    /// Counts the barriers, over all blocks.
    epoch: u32,
    /// The epoch in which the block began.
    first: u32,
    finds_races: bool,
}

/// The content of unwritten memory: NaN.
const POISON: u8 = 0xff;

impl Shared {
    /// Memory of some bytes, of which accesses are multiples of `granule`.
    pub fn new(bytes: usize, granule: usize, finds_races: bool) -> Self {
        Shared {
            bytes: vec![POISON; bytes],
            others: Others::default(),
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
        self.others = Others::default();
        self.epoch += 1;
        self.first = self.epoch;
    }

    /// Which bytes have been written in this block.
    pub fn written(&self) -> Vec<bool> {
        let is_written = |at: usize| self.cells[at >> self.shift].write_epoch >= self.first;
        (0..self.bytes.len()).map(is_written).collect()
    }

    /// All threads have reached a barrier.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// Checks and notes a read of bytes, of which those in `used` count.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline(always)]
    pub fn read(&mut self, who: &Who, at: u64, bytes: usize, used: u16) -> Result<(), Wrong> {
        let start = self.start(at, bytes)?;
        let (from, to) = (start >> self.shift, (start + bytes - 1) >> self.shift);
        let key = self.key(who);
        let age = self.epoch - self.first;
        for (number, cell) in self.cells[from..=to].iter_mut().enumerate() {
            // Written in this block, and in front of the last barrier; and this warp has read it since then.
            let is_settled = cell.write_epoch.wrapping_sub(self.first) < age;
            if is_settled && cell.read_key == key && cell.reads == Readers::OneWarp {
                cell.read_lanes |= who.lanes;
            } else {
                let place = number << self.shift;
                let ones = (1u32 << (1 << self.shift)) - 1;
                if u32::from(used) >> place & ones != 0 {
                    self.read_cell(who, from + number, key)?;
                    return self.read_rest(who, from + number + 1..to + 1, from, used);
                }
            }
        }
        Ok(())
    }

    /// The rest of a read, of which a cell did not have the usual state.
    fn read_rest(
        &mut self,
        who: &Who,
        cells: std::ops::Range<usize>,
        from: usize,
        used: u16,
    ) -> Result<(), Wrong> {
        let key = self.key(who);
        let ones = (1u32 << (1 << self.shift)) - 1;
        for index in cells {
            if u32::from(used) >> ((index - from) << self.shift) & ones != 0 {
                self.read_cell(who, index, key)?;
            }
        }
        Ok(())
    }

    fn read_cell(&mut self, who: &Who, index: usize, key: u64) -> Result<(), Wrong> {
        let cell = &self.cells[index];
        if cell.write_epoch < self.first {
            return Err(Wrong::Unwritten);
        }
        if !self.is_after_write(who, cell, false) {
            return Err(race_with(cell));
        }
        self.note_read(who, index, key, false);
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
        let clock = who.clocks.now(lane);
        for index in start >> self.shift..=(start + bytes - 1) >> self.shift {
            let cell = &self.cells[index];
            let is_written = cell.write_epoch >= self.first;
            if is_written && !self.is_after_write(who, cell, is_atomic) {
                return Err(race_with(cell));
            }
            self.check_reads(who, cell, is_atomic)?;
            if is_atomic {
                if !is_written {
                    return Err(Wrong::Unwritten);
                }
                self.note_read(who, index, self.key(who), true);
            }
            let cell = &mut self.cells[index];
            cell.write_epoch = if kind == Kind::InFlight { IN_FLIGHT } else { self.epoch };
            (cell.write_clock, cell.write_pc) = (clock, who.pc);
            cell.write_thread = who.warp * LANES as u16 + lane as u16;
            cell.write_is_atomic = is_atomic;
        }
        Ok(())
    }

    /// A copy's thread has waited for it: from now on it is a write of this moment.
    pub fn arrive(&mut self, who: &Who, at: u64, bytes: usize) {
        let lane = who.lanes.trailing_zeros() as usize;
        let start = at as usize;
        for index in start >> self.shift..=(start + bytes - 1) >> self.shift {
            let cell = &mut self.cells[index];
            (cell.write_epoch, cell.write_clock) = (self.epoch, who.clocks.now(lane));
        }
    }

    #[inline(always)]
    fn start(&self, at: u64, bytes: usize) -> Result<usize, Wrong> {
        let end = at.checked_add(bytes as u64).ok_or(Wrong::OutOfBounds)?;
        if end <= self.bytes.len() as u64 { Ok(at as usize) } else { Err(Wrong::OutOfBounds) }
    }

    /// When a warp reads: the epoch, the warp, and its first lane's clock.
    #[inline(always)]
    fn key(&self, who: &Who) -> u64 {
        let clock = who.clocks.now(who.lanes.trailing_zeros() as usize);
        u64::from(self.epoch) << 32 | u64::from(who.warp) << 24 | u64::from(clock & 0xff_ffff)
    }

    #[inline(always)]
    fn is_after_write(&self, who: &Who, cell: &Cell, is_atomic: bool) -> bool {
        if !self.finds_races {
            return true;
        }
        if cell.write_epoch == IN_FLIGHT {
            return false;
        }
        if cell.write_epoch < self.epoch || is_atomic && cell.write_is_atomic {
            return true;
        }
        let (warp, lane) =
            (cell.write_thread / LANES as u16, usize::from(cell.write_thread) % LANES);
        warp == who.warp && who.clocks.are_after(who.lanes, lane, cell.write_clock)
    }

    /// Checks that a write comes after the last reads of a place.
    #[inline(always)]
    fn check_reads(&self, who: &Who, cell: &Cell, is_atomic: bool) -> Result<(), Wrong> {
        let is_past = (cell.read_key >> 32) < u64::from(self.epoch);
        if is_past || !self.finds_races || is_atomic && cell.reads.is_atomic() {
            return Ok(());
        }
        let (warp, clock) =
            ((cell.read_key >> 24 & 0xff) as u16, (cell.read_key & 0xff_ffff) as u32);
        let is_ordered = |lane: usize| who.clocks.are_after(who.lanes, lane, clock);
        let other = match cell.reads.is_several() || warp != who.warp {
            true => Some(cell.read_lanes.trailing_zeros() as usize),
            false => lanes(cell.read_lanes).find(|lane| !is_ordered(*lane)),
        };
        match other {
            Some(lane) => {
                let thread = usize::from(warp) * LANES + lane;
                Err(Wrong::Race { thread, pc: cell.read_pc, was_write: false })
            }
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn note_read(&mut self, who: &Who, index: usize, key: u64, is_atomic: bool) {
        let cell = &mut self.cells[index];
        let is_current = cell.read_key >> 32 == u64::from(self.epoch);
        let is_atomic = is_atomic && (!is_current || cell.reads.is_atomic());
        if cell.read_key == key {
            cell.read_lanes |= who.lanes;
            cell.reads = Readers::new(cell.reads.is_several(), is_atomic);
            return;
        }
        let is_same_warp = cell.read_key >> 24 & 0xff == u64::from(who.warp);
        let is_several = is_current && (cell.reads.is_several() || !is_same_warp);
        cell.reads = Readers::new(is_several, is_atomic);
        (cell.read_key, cell.read_lanes, cell.read_pc) = (key, who.lanes, who.pc);
    }
}

#[cold]
fn race_with(cell: &Cell) -> Wrong {
    let (thread, pc) = (usize::from(cell.write_thread), cell.write_pc);
    match cell.write_epoch {
        IN_FLIGHT => Wrong::InFlight { thread, pc },
        _ => Wrong::Race { thread, pc, was_write: true },
    }
}
