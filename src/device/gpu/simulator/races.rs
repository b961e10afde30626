//! Race detection: finds two threads of a launch that access the same byte, at least one of them writing, without
//! synchronisation in between. The block's barrier synchronises threads of a block, `__syncwarp` also threads of a
//! warp; nothing synchronises two blocks.
//!
//! Each thread counts its warp's synchronisations in a vector clock (Mattern 1989); an access is stored with its
//! thread's clock. As in FastTrack (Flanagan and Freund 2009), the last write of a cell is enough. Two of its reads are
//! enough, since the threads of a warp, a block and a grid are ordered as a whole: if the next write races with any
//! read, it races with one of the two. (If masks split a warp, a race with a third reader may be missed; no race is
//! reported wrongly.)

use std::collections::HashMap;
use std::ops::Range;

use super::memory::{self, page};

/// A kind of memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessKind {
    Read,
    Write,
    /// An atomic operation: it races with all accesses except other atomics.
    Atomic,
    /// The write of an asynchronous copy that is still pending. It races with all accesses.
    Copy,
}

impl AccessKind {
    fn conflicts(self, other: AccessKind) -> bool {
        match (self, other) {
            (AccessKind::Read, AccessKind::Read) | (AccessKind::Atomic, AccessKind::Atomic) => {
                false
            }
            (AccessKind::Read | AccessKind::Write | AccessKind::Atomic | AccessKind::Copy, _) => {
                true
            }
        }
    }
}

/// One access of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Its block's serial number; 0 if the cell has not been accessed.
    block: u32,
    /// The number of barriers that its block had passed.
    interval: u32,
    /// Its thread's clock.
    clock: u32,
    /// Its place in the source, as the caller numbers places.
    pub place: u32,
    /// Its thread's number in the block.
    pub thread: u16,
    pub kind: AccessKind,
}

const NONE: Access =
    Access { block: 0, interval: 0, clock: 0, place: 0, thread: 0, kind: AccessKind::Read };

/// The last accesses to a few bytes.
#[derive(Clone, Copy)]
struct Cell {
    write: Access,
    /// Reads and atomic operations since that write; from different warps or blocks if there are any.
    touches: [Access; 2],
}

const UNTOUCHED: Cell = Cell { write: NONE, touches: [NONE; 2] };

/// The initial size of a cell, as a power of 2; a page with smaller accesses gets smaller cells.
const WORD: u32 = 2;

/// The kind of a page of memory.
pub(super) enum Owner {
    /// Part of a device buffer, except for these forbidden ranges.
    Device(Vec<Range<usize>>),
    /// Part of the running block's shared memory, except for these forbidden ranges.
    Shared(Vec<Range<usize>>),
}

/// A page that kernels may access.
struct Page {
    cells: Vec<Cell>,
    /// The size of a cell, as a power of 2.
    shift: u32,
    is_shared: bool,
    /// Forbidden ranges.
    forbidden: Vec<Range<usize>>,
}

impl Page {
    fn new() -> Page {
        Page {
            cells: vec![UNTOUCHED; page() >> WORD],
            shift: WORD,
            is_shared: false,
            forbidden: Vec::new(),
        }
    }

    /// The cell of an address in it.
    fn cell(&self, address: usize) -> &Cell {
        &self.cells[(address % page()) >> self.shift]
    }

    /// Makes its cells small enough that this access covers whole cells.
    fn refine(&mut self, from: usize, until: usize) {
        let needed = (from | until).trailing_zeros().min(WORD);
        if needed < self.shift {
            let copies = 1 << (self.shift - needed);
            self.cells =
                self.cells.iter().flat_map(|cell| std::iter::repeat_n(*cell, copies)).collect();
            self.shift = needed;
        }
    }
}

/// What is wrong with an access.
pub(super) enum Found {
    /// A race with another thread's access.
    Race(Access),
    /// A forbidden address.
    Forbidden(usize),
    /// An address of unwritten memory.
    Unwritten(usize),
}

/// Entries of the table of recent pages.
const RECENT: usize = 1024;

/// No page: memory of the host.
const OUTSIDE: u32 = u32::MAX;

/// The accesses of the running launch, whose blocks run one after another.
pub(super) struct Races {
    pages: Vec<Page>,
    /// The number of pages in use; the rest are spare, for later launches.
    used: usize,
    /// The page of each page number, or [`OUTSIDE`].
    by_number: HashMap<usize, u32>,
    recent: Box<[(usize, u32); RECENT]>,
    /// The serial number of the launch's first block; smaller numbers are from earlier launches.
    first_block: u32,
    blocks: u32,
    block: u32,
    interval: u32,
    /// Each thread's knowledge of the clocks of its warp's lanes.
    clocks: Vec<[u32; 32]>,
}

impl Default for Races {
    fn default() -> Self {
        Races {
            pages: Vec::new(),
            used: 0,
            by_number: HashMap::new(),
            recent: Box::new([(usize::MAX, OUTSIDE); RECENT]),
            first_block: 1,
            blocks: 0,
            block: 0,
            interval: 0,
            clocks: Vec::new(),
        }
    }
}

impl Races {
    /// Begins a launch of `blocks` blocks of `threads` threads, and forgets all accesses.
    pub fn begin_launch(&mut self, blocks: u64, threads: usize) {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX / 2);
        self.first_block = match self.first_block.checked_add(self.blocks) {
            Some(first) if first.checked_add(blocks).is_some() => first,
            _ => {
                self.pages.clear();
                1
            }
        };
        self.blocks = blocks;
        self.used = 0;
        self.by_number.clear();
        self.recent.fill((usize::MAX, OUTSIDE));
        self.clocks.clear();
        self.clocks.resize(threads.next_multiple_of(32), [0; 32]);
        for (thread, clocks) in self.clocks.iter_mut().enumerate() {
            clocks[thread % 32] = 1;
        }
    }

    /// Begins the block with this number.
    pub fn begin_block(&mut self, number: u64) {
        self.block = self.first_block.wrapping_add(number as u32);
        self.interval = 0;
    }

    /// The number of barriers that the running block has passed.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// The running block, which had been left, has passed this number of barriers.
    pub fn skip_to(&mut self, interval: u32) {
        self.interval = interval;
    }

    /// The number of the block that made an access.
    pub fn block_of(&self, access: &Access) -> u64 {
        u64::from(access.block.wrapping_sub(self.first_block))
    }

    /// All threads of the block have reached its barrier.
    pub fn block_barrier(&mut self) {
        self.interval += 1;
    }

    /// Lanes of the warp that begins with thread `first` have synchronised.
    pub fn warp_barrier(&mut self, first: usize, lanes: u32) {
        let warp = &mut self.clocks[first..first + 32];
        let mut known = [0; 32];
        let is_there = |lane: &usize| lanes >> lane & 1 == 1;
        for lane in (0..32).filter(is_there) {
            for (known, other) in known.iter_mut().zip(&warp[lane]) {
                *known = (*known).max(*other);
            }
        }
        for lane in (0..32).filter(is_there) {
            warp[lane] = known;
            warp[lane][lane] += 1;
        }
    }

    /// Checks and stores an access of a thread to some bytes.
    pub fn touch(
        &mut self,
        thread: u32,
        bytes: Range<usize>,
        kind: AccessKind,
        place: u32,
        owner: impl Fn(usize) -> Option<Owner>,
    ) -> Result<(), Found> {
        let me = self.access(thread, kind, place);
        self.for_each_page(thread, bytes, owner, |page, cells, now| {
            if let Some(range) = page.forbidden.iter().find(|range| cells.overlaps(range)) {
                return Err(Found::Forbidden(range.start.max(cells.bytes.start)));
            }
            page.refine(cells.bytes.start, cells.bytes.end);
            let cells = cells.numbers(page.shift);
            page.cells[cells].iter_mut().try_for_each(|cell| cell.touch(me, now))
        })
    }

    /// The first word in these bytes, which kernels may access, that still holds poison and that no thread of the launch has
    /// written (of the running block, in shared memory).
    pub fn unwritten(&self, bytes: Range<usize>) -> Option<usize> {
        let word = 1 << WORD;
        let words = (bytes.start..bytes.end).step_by(word);
        words.into_iter().find(|&start| {
            let own = start..bytes.end.min(start + word);
            own.clone().all(memory::is_poison) && !self.is_written(own.start)
        })
    }

    fn is_written(&self, address: usize) -> bool {
        self.page_of(address).is_none_or(|page| self.write_in(page, address).is_some())
    }

    /// The launch's last write of a byte in device memory, or an atomic operation on it; `None` if there is none.
    pub fn last_write(&self, address: usize) -> Option<Access> {
        let page = self.page_of(address)?;
        let is_own =
            |own: &&Access| own.kind == AccessKind::Atomic && own.block >= self.first_block;
        let atomic = page.cell(address).touches.iter().rfind(is_own).copied();
        atomic.or_else(|| self.write_in(page, address))
    }

    fn page_of(&self, address: usize) -> Option<&Page> {
        self.pages.get(*self.by_number.get(&(address / page()))? as usize)
    }

    fn write_in(&self, page: &Page, address: usize) -> Option<Access> {
        let cell = page.cell(address);
        let first = if page.is_shared { self.block } else { self.first_block };
        Some(cell.write).filter(|write| write.block >= first)
    }

    /// Whether an accessed address lies in shared memory; `None` if it is the host's memory.
    pub fn is_shared(&self, address: usize) -> Option<bool> {
        let index = self.by_number.get(&(address / page()))?;
        (*index != OUTSIDE).then(|| self.pages[*index as usize].is_shared)
    }

    /// Turns the pending writes of this thread's copy into ordinary writes.
    pub fn finish_copy(
        &mut self,
        thread: u32,
        bytes: Range<usize>,
        owner: impl Fn(usize) -> Option<Owner>,
    ) {
        let (block, interval) = (self.block, self.interval);
        let clock = self.clocks[thread as usize][thread as usize % 32];
        let finished = self.for_each_page(thread, bytes, owner, |page, cells, _| {
            let cells = cells.numbers(page.shift);
            for write in page.cells[cells].iter_mut().map(|cell| &mut cell.write) {
                let is_own = write.block == block && u32::from(write.thread) == thread;
                if is_own && write.kind == AccessKind::Copy {
                    *write = Access { interval, clock, kind: AccessKind::Write, ..*write };
                }
            }
            Ok(())
        });
        debug_assert!(finished.is_ok(), "finishing a copy touches nothing");
    }

    fn access(&self, thread: u32, kind: AccessKind, place: u32) -> Access {
        let clock = self.clocks[thread as usize][thread as usize % 32];
        let (block, interval) = (self.block, self.interval);
        Access { block, interval, clock, place, thread: thread as u16, kind }
    }

    fn for_each_page(
        &mut self,
        thread: u32,
        bytes: Range<usize>,
        owner: impl Fn(usize) -> Option<Owner>,
        mut each: impl FnMut(&mut Page, &Part, &Now) -> Result<(), Found>,
    ) -> Result<(), Found> {
        let mut start = bytes.start;
        while start < bytes.end {
            let number = start / page();
            let end = bytes.end.min((number + 1) * page());
            if let Some(index) = self.page(number, &owner) {
                let page = &mut self.pages[index];
                let (first_block, blocks) = match page.is_shared {
                    true => (self.block, 1),
                    false => (self.first_block, self.blocks),
                };
                let now = Now { first_block, blocks, known: &self.clocks[thread as usize] };
                each(page, &Part { bytes: start..end }, &now)?;
            }
            start = end;
        }
        Ok(())
    }

    fn page(&mut self, number: usize, owner: impl Fn(usize) -> Option<Owner>) -> Option<usize> {
        let recent = self.recent[number % RECENT];
        let index = if recent.0 == number { recent.1 } else { self.find_page(number, owner) };
        (index != OUTSIDE).then_some(index as usize)
    }

    fn find_page(&mut self, number: usize, owner: impl Fn(usize) -> Option<Owner>) -> u32 {
        let known = self.by_number.get(&number).copied();
        let index = known.unwrap_or_else(|| match owner(number * page()) {
            Some(owner) => self.new_page(owner),
            None => OUTSIDE,
        });
        self.by_number.insert(number, index);
        self.recent[number % RECENT] = (number, index);
        index
    }

    fn new_page(&mut self, owner: Owner) -> u32 {
        if self.used == self.pages.len() {
            self.pages.push(Page::new());
        }
        let page = &mut self.pages[self.used];
        (page.is_shared, page.forbidden) = match owner {
            Owner::Device(forbidden) => (false, forbidden),
            Owner::Shared(forbidden) => (true, forbidden),
        };
        self.used += 1;
        self.used as u32 - 1
    }
}

/// The part of an access in one page.
struct Part {
    bytes: Range<usize>,
}

impl Part {
    fn overlaps(&self, other: &Range<usize>) -> bool {
        self.bytes.start < other.end && other.start < self.bytes.end
    }

    /// The numbers of its cells in their page.
    fn numbers(&self, shift: u32) -> Range<usize> {
        let offset = self.bytes.start % page();
        offset >> shift..(offset + self.bytes.len()).div_ceil(1 << shift)
    }
}

/// The running thread's knowledge of the others.
struct Now<'a> {
    /// Accesses of earlier blocks to this memory no longer count.
    first_block: u32,
    blocks: u32,
    known: &'a [u32; 32],
}

impl Now<'_> {
    fn is_gone(&self, access: &Access) -> bool {
        access.block.wrapping_sub(self.first_block) >= self.blocks
    }

    /// Whether an access that still counts is ordered before `me`.
    fn is_before(&self, access: &Access, me: &Access) -> bool {
        if access.block != me.block || access.kind == AccessKind::Copy {
            return false;
        }
        access.thread == me.thread
            || access.interval < me.interval
            || (access.thread / 32 == me.thread / 32
                && access.clock <= self.known[usize::from(access.thread % 32)])
    }
}

impl Cell {
    /// Checks an access against the earlier ones and stores it.
    fn touch(&mut self, me: Access, now: &Now) -> Result<(), Found> {
        let [first, second] = &mut self.touches;
        for other in [&mut self.write, first, second] {
            if now.is_gone(other) {
                *other = NONE;
            } else if me.kind.conflicts(other.kind) && !now.is_before(other, &me) {
                return Err(Found::Race(*other));
            }
        }
        match me.kind {
            // Accesses ordered before this write are ordered before all that come after it.
            AccessKind::Write | AccessKind::Copy => *self = Cell { write: me, touches: [NONE; 2] },
            AccessKind::Read | AccessKind::Atomic => self.keep(me, now),
        }
        Ok(())
    }

    fn keep(&mut self, me: Access, now: &Now) {
        let is_over = |other: &Access| {
            other.block == 0 || (now.is_before(other, &me) && other.kind == me.kind)
        };
        let is_same_warp =
            |a: &Access, b: &Access| a.block == b.block && a.thread / 32 == b.thread / 32;
        let [first, second] = &mut self.touches;
        if is_over(first) {
            *first = me;
            if is_over(second) {
                *second = NONE;
            }
        } else if is_over(second) || (is_same_warp(first, second) && !is_same_warp(first, &me)) {
            (*second, *first) = (*first, me);
        }
    }
}
