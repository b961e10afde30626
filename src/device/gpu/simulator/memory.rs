//! Simulated device memory: every block lies against inaccessible memory and starts out as NaN.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The byte that fills new memory: NaN as f32, f64 and bf16, -1 as an integer.
pub(super) const POISON: u8 = 0xff;

/// The usual alignment of a block. CUDA's blocks are aligned to 256; a smaller one leaves fewer bytes before the guard page.
pub(super) const ALIGNMENT: usize = 16;

/// Bytes of inaccessible memory on each side of the usable pages. They take addresses and no memory; an index that is wrong by a
/// factor or a stride stays within them, and does not reach another block.
const GUARD: usize = 64 << 20;

/// The side of a block on which it lies against inaccessible memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guard {
    /// Behind the block, for the usual overrun.
    #[default]
    Behind,
    /// In front of the block.
    InFront,
}

/// The size of a page in bytes.
pub(super) fn page() -> usize {
    static PAGE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    // SAFETY: it only reads a constant of the system.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}

/// Usable pages between two guards.
#[derive(Debug)]
pub(super) struct GuardedPages {
    start: usize,
    length: usize,
}

impl GuardedPages {
    /// Maps at least `bytes` usable bytes of zeros; `None` if there is no memory left.
    pub fn new(bytes: usize) -> Option<GuardedPages> {
        let length = bytes.max(1).next_multiple_of(page()) + 2 * GUARD;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice overlaps no other memory.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let pages = GuardedPages { start: start as usize, length };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range lies inside the mapping made above.
        let failed =
            unsafe { libc::mprotect(pages.usable() as *mut _, pages.usable_bytes(), access) };
        (failed == 0).then_some(pages)
    }

    /// Address of the first usable byte.
    pub fn usable(&self) -> usize {
        self.start + GUARD
    }

    pub fn usable_bytes(&self) -> usize {
        self.length - 2 * GUARD
    }

    /// Address after the last usable byte.
    pub fn end(&self) -> usize {
        self.usable() + self.usable_bytes()
    }

    /// Whether an address lies in these pages, guards included.
    pub fn holds(&self, address: usize) -> bool {
        (self.start..self.start + self.length).contains(&address)
    }

    /// Fills all usable bytes with poison.
    pub fn poison(&self) {
        fill(self.usable(), self.usable_bytes());
    }
}

impl Drop for GuardedPages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and this is its only owner.
        unsafe { libc::munmap(self.start as *mut _, self.length) };
    }
}

/// Whether a byte that may be read still holds poison.
pub(super) fn is_poison(address: usize) -> bool {
    // SAFETY: callers give addresses that the running kernel may read.
    unsafe { *(address as *const u8) == POISON }
}

fn fill(start: usize, length: usize) {
    // SAFETY: callers give ranges inside of their usable pages.
    unsafe { std::ptr::write_bytes(start as *mut u8, POISON, length) };
}

/// One block of device memory.
struct Allocation {
    pages: GuardedPages,
    address: usize,
    bytes: usize,
    /// Forbidden ranges in it.
    gaps: Vec<Range<usize>>,
}

impl Allocation {
    fn new(bytes: usize, guard: Guard, alignment: usize) -> Option<Self> {
        let rounded = bytes.next_multiple_of(alignment);
        let pages = GuardedPages::new(rounded)?;
        let address = match guard {
            Guard::Behind => pages.end() - rounded,
            Guard::InFront => pages.usable(),
        };
        pages.poison();
        Some(Allocation { pages, address, bytes, gaps: Vec::new() })
    }

    /// The ranges that hold poison unless a kernel is wrong: both sides of the block, and its gaps.
    fn surroundings(&self) -> impl Iterator<Item = Range<usize>> {
        let before = self.pages.usable()..self.address;
        let behind = self.address + self.bytes..self.pages.end();
        [before, behind].into_iter().chain(self.gaps.iter().cloned())
    }

    /// The first byte in the block's surroundings that no longer holds poison.
    fn first_overwritten(&self) -> Option<usize> {
        self.surroundings().find_map(|range| {
            // SAFETY: the range lies in the block's own usable pages.
            let bytes =
                unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
            bytes.iter().position(|byte| *byte != POISON).map(|index| range.start + index)
        })
    }

    /// Describes where an address lies relative to the block.
    fn place(&self, address: usize) -> String {
        let end = self.address + self.bytes;
        if address < self.address {
            format!("{} bytes before the start", self.address - address)
        } else if address >= end {
            match address - end {
                0 => "just past the end".into(),
                past => format!("{past} bytes past the end"),
            }
        } else {
            let gap = self.gaps.iter().find(|gap| gap.contains(&address));
            let gap = gap.map_or(String::new(), |gap| {
                format!(", {} bytes into a forbidden gap,", address - gap.start)
            });
            format!("at byte {}{gap}", address - self.address)
        }
    }
}

/// All blocks of all simulators of this process, by address, since a fault comes with an address only.
fn blocks() -> MutexGuard<'static, BTreeMap<usize, Allocation>> {
    static BLOCKS: Mutex<BTreeMap<usize, Allocation>> = Mutex::new(BTreeMap::new());
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocates a block filled with poison and returns its address, a multiple of `alignment`; `None` if the host has no memory left.
pub(super) fn allocate(bytes: usize, guard: Guard, alignment: usize) -> Option<usize> {
    let allocation = Allocation::new(bytes, guard, alignment)?;
    let address = allocation.address;
    blocks().insert(address, allocation);
    Some(address)
}

/// Gives a block back to the system.
pub(super) fn free(address: usize) {
    blocks().remove(&address);
}

/// Fills a block with poison and removes its gaps, as if it were new.
pub(super) fn poison(address: usize) {
    if let Some(block) = blocks().get_mut(&address) {
        block.pages.poison();
        block.gaps.clear();
    }
}

/// Forbids all access to `bytes` bytes of a block from `address` on, until the block is poisoned again.
pub(super) fn forbid(address: usize, bytes: usize) {
    let mut blocks = blocks();
    let Some((_, block)) = blocks.range_mut(..=address).next_back() else { return };
    fill(address, bytes);
    block.gaps.push(address..address + bytes);
}

/// Whether `bytes` bytes from `address` on lie in one block.
pub(super) fn is_inside(address: usize, bytes: usize) -> bool {
    let blocks = blocks();
    let block = blocks.range(..=address).next_back().map(|(_, block)| block);
    block.is_some_and(|block| address + bytes <= block.address + block.bytes)
}

/// The block that an address lies in, guards included: its address, and a description of the place.
pub(super) fn describe(address: usize) -> Option<(usize, String)> {
    let blocks = blocks();
    let block = blocks.values().find(|block| block.pages.holds(address))?;
    let place = format!("{} of a block of {} bytes", block.place(address), block.bytes);
    Some((block.address, place))
}

/// The accessible ranges of the page at `page_start` that belong to no block; `None` if the page is not device memory.
pub(super) fn forbidden(page_start: usize) -> Option<Vec<Range<usize>>> {
    let blocks = blocks();
    let page_end = page_start + page();
    let (_, block) = blocks.range(..page_end).next_back()?;
    let is_own = (block.pages.usable()..block.pages.end()).contains(&page_start);
    is_own.then(|| {
        let page_end = page_start + page();
        let gaps = block.gaps.iter().filter(|gap| gap.start < page_end && page_start < gap.end);
        let mut forbidden = outside(page_start, block.address..block.address + block.bytes);
        forbidden.extend(gaps.cloned());
        forbidden
    })
}

/// The parts of a page that lie outside of `inside`.
pub(super) fn outside(page_start: usize, inside: Range<usize>) -> Vec<Range<usize>> {
    let page_end = page_start + page();
    let parts = [page_start..inside.start.min(page_end), inside.end.max(page_start)..page_end];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// A hash of a block's bytes.
pub(super) fn hash(address: usize) -> u64 {
    let blocks = blocks();
    let mut hasher = DefaultHasher::new();
    if let Some(block) = blocks.get(&address) {
        // SAFETY: the range is the block, and no kernel is running.
        hasher.write(unsafe { std::slice::from_raw_parts(address as *const u8, block.bytes) });
    }
    hasher.finish()
}

/// The address of the block that an address lies in.
pub(super) fn block_of(address: usize) -> Option<usize> {
    blocks().range(..=address).next_back().map(|(start, _)| *start)
}

/// Checks that the surroundings of a block still hold poison, and restores it; the error says where the first
/// overwritten byte lies.
pub(super) fn check_surroundings(address: usize) -> Result<(), String> {
    let blocks = blocks();
    let Some((_, block)) = blocks.range(..=address).next_back() else { return Ok(()) };
    let Some(touched) = block.first_overwritten() else { return Ok(()) };
    let place = block.place(touched);
    block.surroundings().for_each(|range| fill(range.start, range.len()));
    Err(format!("wrote {place} of a block of {} bytes", block.bytes))
}
