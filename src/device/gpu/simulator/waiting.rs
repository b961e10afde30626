//! What the threads of a block wait for: the block's barrier, a collective of their warp, their asynchronous copies.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{null, null_mut};

use super::abi::Site;

/// The block's barrier: the threads that have arrived, and at which call.
pub(super) struct Barrier {
    pub arrived: Vec<u32>,
    pub records: Vec<*mut c_void>,
    pub site: *const Site,
}

impl Default for Barrier {
    fn default() -> Self {
        Barrier { arrived: Vec::new(), records: Vec::new(), site: null() }
    }
}

impl Barrier {
    pub fn clear(&mut self) {
        self.arrived.clear();
        self.records.clear();
    }
}

/// The waiting lanes of a warp and their records.
#[derive(Clone, Copy)]
pub(super) struct Warp {
    pub arrived: u32,
    pub records: [*mut c_void; 32],
}

impl Default for Warp {
    fn default() -> Self {
        Warp { arrived: 0, records: [null_mut(); 32] }
    }
}

/// An asynchronous copy; without a source it writes zeros.
#[derive(Clone, Copy)]
pub(super) struct AsyncCopy {
    pub target: usize,
    /// 0 for zeros.
    pub source: usize,
    pub bytes: usize,
    pub site: &'static Site,
}

impl AsyncCopy {
    /// # Safety
    /// A kernel must be running, and no hook: if the kernel may not access the memory, this faults as the
    /// kernel would.
    pub unsafe fn run(&self) {
        let (source, target) = (self.source as *const u8, self.target as *mut u8);
        // SAFETY: the caller's promise.
        unsafe {
            match source.is_null() {
                true => target.write_bytes(0, self.bytes),
                false => std::ptr::copy_nonoverlapping(source, target, self.bytes),
            }
        }
    }

    /// Nothing for zeros.
    pub fn read(&self) -> Option<Range<usize>> {
        (self.source != 0).then(|| self.source..self.source + self.bytes)
    }

    pub fn written(&self) -> Range<usize> {
        self.target..self.target + self.bytes
    }
}

/// The pending asynchronous copies of one thread.
#[derive(Default)]
pub(super) struct Copies {
    pub queue: Vec<AsyncCopy>,
    /// The end of each group in the queue.
    pub groups: Vec<usize>,
}

impl Copies {
    pub fn clear(&mut self) {
        self.queue.clear();
        self.groups.clear();
    }

    /// Removes and returns the copies of all groups except the last `left`.
    pub fn take(&mut self, left: usize) -> Vec<AsyncCopy> {
        let finished = self.groups.len().saturating_sub(left);
        let end = if finished == 0 { 0 } else { self.groups[finished - 1] };
        self.groups.drain(..finished);
        self.groups.iter_mut().for_each(|mark| *mark -= end);
        self.queue.drain(..end).collect()
    }
}
