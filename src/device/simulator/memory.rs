//! Simulated device memory: every block lies against a page that cannot be touched, and starts out as NaN.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What fresh memory is filled with: NaN as f32, f64 and bf16, -1 as an integer.
pub(super) const POISON: u8 = 0xff;

/// Every block starts at a multiple of this, as CUDA's do at a multiple of 256.
const ALIGNMENT: usize = 16;

/// On which side of a block the untouchable page lies against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guard {
    /// Behind it: the usual overrun.
    #[default]
    Behind,
    /// In front of it.
    InFront,
}

/// Bytes of a page.
pub(super) fn page() -> usize {
    static PAGE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    // SAFETY: it only asks for a constant of the system.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize)
}

/// Pages that can be used, between two that cannot.
#[derive(Debug)]
pub(super) struct GuardedPages {
    start: usize,
    length: usize,
}

impl GuardedPages {
    /// At least `bytes` usable bytes, zero at first. `None` where there is no memory left.
    pub fn new(bytes: usize) -> Option<GuardedPages> {
        let length = bytes.max(1).next_multiple_of(page()) + 2 * page();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping wherever the system likes touches nobody's memory.
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
        self.start + page()
    }

    pub fn usable_bytes(&self) -> usize {
        self.length - 2 * page()
    }

    /// Address after the last usable byte.
    pub fn end(&self) -> usize {
        self.usable() + self.usable_bytes()
    }

    /// Whether an address lies here, guards included.
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
        // SAFETY: the mapping was made by `new` and nobody else knows of it any more.
        unsafe { libc::munmap(self.start as *mut _, self.length) };
    }
}

fn fill(start: usize, length: usize) {
    // SAFETY: callers give ranges inside their own usable pages.
    unsafe { std::ptr::write_bytes(start as *mut u8, POISON, length) };
}

/// One block of device memory.
struct Allocation {
    pages: GuardedPages,
    address: usize,
    bytes: usize,
    /// Stretches in it that nobody may touch.
    gaps: Vec<Range<usize>>,
}

impl Allocation {
    fn new(bytes: usize, guard: Guard) -> Option<Self> {
        let rounded = bytes.next_multiple_of(ALIGNMENT);
        let pages = GuardedPages::new(rounded)?;
        let address = match guard {
            Guard::Behind => pages.end() - rounded,
            Guard::InFront => pages.usable(),
        };
        pages.poison();
        Some(Allocation { pages, address, bytes, gaps: Vec::new() })
    }

    /// What holds poison as long as no kernel goes wrong: both sides of the block, and the gaps in it.
    fn surroundings(&self) -> impl Iterator<Item = Range<usize>> {
        let before = self.pages.usable()..self.address;
        let behind = self.address + self.bytes..self.pages.end();
        [before, behind].into_iter().chain(self.gaps.iter().cloned())
    }

    /// The first byte around the block or in its gaps that no longer holds the poison.
    fn first_overwritten(&self) -> Option<usize> {
        self.surroundings().find_map(|range| {
            // SAFETY: the range lies in the block's own usable pages.
            let bytes =
                unsafe { std::slice::from_raw_parts(range.start as *const u8, range.len()) };
            bytes.iter().position(|byte| *byte != POISON).map(|index| range.start + index)
        })
    }

    /// Where an address lies, seen from the block.
    fn place(&self, address: usize) -> String {
        let end = self.address + self.bytes;
        if address < self.address {
            format!("{} bytes before the start", self.address - address)
        } else if address >= end {
            format!("{} bytes past the end", address - end)
        } else {
            let gap = self.gaps.iter().find(|gap| gap.contains(&address));
            let gap = gap.map_or(String::new(), |gap| {
                format!(", {} bytes into a gap that is nobody's,", address - gap.start)
            });
            format!("at byte {}{gap}", address - self.address)
        }
    }
}

/// All blocks of all simulators of this process, by address: a fault knows nothing but an address.
fn blocks() -> MutexGuard<'static, BTreeMap<usize, Allocation>> {
    static BLOCKS: Mutex<BTreeMap<usize, Allocation>> = Mutex::new(BTreeMap::new());
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fresh block, filled with poison; its address. `None` where the host has no memory left.
pub(super) fn allocate(bytes: usize, guard: Guard) -> Option<usize> {
    let allocation = Allocation::new(bytes, guard)?;
    let address = allocation.address;
    blocks().insert(address, allocation);
    Some(address)
}

/// Gives a block back to the system.
pub(super) fn free(address: usize) {
    blocks().remove(&address);
}

/// Makes a block as good as fresh.
pub(super) fn poison(address: usize) {
    if let Some(block) = blocks().get_mut(&address) {
        block.pages.poison();
        block.gaps.clear();
    }
}

/// Declares that nobody may touch `bytes` bytes from `address` on, which are part of a block, until it is made fresh.
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

/// The address of the block, and what to say of an address in it or on one of its guards: where it lies.
pub(super) fn describe(address: usize) -> Option<(usize, String)> {
    let blocks = blocks();
    let block = blocks.values().find(|block| block.pages.holds(address))?;
    let place = format!("{} of a block of {} bytes", block.place(address), block.bytes);
    Some((block.address, place))
}

/// Of the page that begins at an address, what belongs to no block, though it can be touched; `None` where the whole page
/// is not device memory.
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

/// The address of the block that an address lies in.
pub(super) fn block_of(address: usize) -> Option<usize> {
    blocks().range(..=address).next_back().map(|(start, _)| *start)
}

/// Whether the bytes beside a block and in its gaps are untouched; if not, where the first touched one lies. They are made good again.
pub(super) fn check_surroundings(address: usize) -> Result<(), String> {
    let blocks = blocks();
    let Some((_, block)) = blocks.range(..=address).next_back() else { return Ok(()) };
    let Some(touched) = block.first_overwritten() else { return Ok(()) };
    let place = block.place(touched);
    block.surroundings().for_each(|range| fill(range.start, range.len()));
    Err(format!("wrote {place} of a block of {} bytes", block.bytes))
}
