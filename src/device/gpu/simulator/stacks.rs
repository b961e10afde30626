//! Stacks for CUDA threads that have to wait, each with a guard page below it.

use corosensei::stack::{Stack, StackPointer};

use super::memory::page;

/// Bytes of one stack, without its guard.
pub(super) const STACK_BYTES: usize = 64 << 10;

/// Stacks of one mapping.
const BATCH: usize = 64;

/// A stack that belongs to one coroutine at a time.
pub(super) struct GuardedStack {
    /// The highest address, where the stack begins.
    base: usize,
    /// The lowest address, that of the guard page.
    limit: usize,
}

impl GuardedStack {
    /// The address behind it, where it begins.
    pub fn end(&self) -> usize {
        self.base
    }
}

// SAFETY: `base` and `limit` delimit readable and writable pages above a guard page. They stay mapped as long as their
// `Stacks`, and belong to one coroutine.
unsafe impl Stack for GuardedStack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base).expect("a mapping does not begin at zero")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit).expect("a mapping does not begin at zero")
    }
}

/// All stacks of one thread of the operating system.
#[derive(Default)]
pub(super) struct Stacks {
    free: Vec<GuardedStack>,
    maps: Vec<(usize, usize)>,
}

impl Stacks {
    /// A free stack; `None` if the system allows no more mappings.
    pub fn take(&mut self) -> Option<GuardedStack> {
        if self.free.is_empty() {
            self.map()?;
        }
        self.free.pop()
    }

    fn map(&mut self) -> Option<()> {
        let step = STACK_BYTES + page();
        let length = BATCH * step;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice overlaps no other memory.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start as usize;
        self.maps.push((start, length));
        for index in (0..BATCH).rev() {
            let limit = start + index * step;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: the range lies inside the mapping made above.
            let failed = unsafe { libc::mprotect((limit + page()) as *mut _, STACK_BYTES, access) };
            if failed != 0 {
                return None;
            }
            // Stacks that all began at the same offset in a page would compete for the same cache lines.
            let colour = (index * 1088 % page()) & !63;
            self.free.push(GuardedStack { base: limit + step - colour, limit });
        }
        Some(())
    }

    /// Whether an address lies on a stack's guard page.
    pub fn is_guard(&self, address: usize) -> bool {
        self.maps.iter().any(|(start, length)| {
            (*start..start + length).contains(&address)
                && (address - start) % (STACK_BYTES + page()) < page()
        })
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        for (start, length) in &self.maps {
            // SAFETY: the mapping was made by `map`; the worker drops its coroutines before its stacks.
            unsafe { libc::munmap(*start as *mut _, *length) };
        }
    }
}
