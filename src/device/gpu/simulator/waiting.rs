//! What the threads of a block wait for: the block's barrier, a collective of their warp, their asynchronous copies.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{null, null_mut};

use super::abi::{Collective, Site};

/// What a waiting CUDA thread waits for.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    /// The coroutine that is parked with it.
    pub slot: Option<u32>,
    pub site: *const Site,
    pub mask: u32,
    pub collective: usize,
}

pub(super) const NOT_WAITING: Waiting =
    Waiting { slot: None, site: null(), mask: 0, collective: 0 };

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

/// A block's records, by number of the thread. All its threads wait for their cluster.
pub(super) struct Exchange {
    pub site: *const Site,
    pub records: Vec<*mut c_void>,
    pub collective: Collective,
}

impl Exchange {
    /// Takes the records of a barrier that all threads have reached.
    pub fn of(barrier: &mut Barrier, collective: Collective) -> Self {
        let mut records = vec![null_mut(); barrier.arrived.len()];
        for (thread, record) in barrier.arrived.iter().zip(&barrier.records) {
            records[*thread as usize] = *record;
        }
        barrier.clear();
        Exchange { site: barrier.site, records, collective }
    }

    /// Runs the collective over the threads with the same number in these blocks, by rank.
    ///
    /// # Errors
    /// If the blocks wait in different places.
    ///
    /// # Safety
    /// The records must lie on stacks of threads that are parked.
    pub unsafe fn run(blocks: &[&Exchange]) -> Result<(), String> {
        let first = blocks[0];
        if let Some(other) = blocks.iter().find(|other| !std::ptr::eq(other.site, first.site)) {
            // SAFETY: sites are statics of the kernels.
            let (here, there) = unsafe { (&*first.site, &*other.site) };
            return Err(format!(
                "this block waits in {here} while one of its cluster waits in {there}"
            ));
        }
        for thread in 0..first.records.len() {
            let mut records: Vec<_> = blocks.iter().map(|block| block.records[thread]).collect();
            // SAFETY: the caller's promise; threads at the same place give records of the same kind.
            unsafe { (first.collective)(records.as_mut_ptr(), records.len() as u32) };
        }
        Ok(())
    }
}

/// A block that waits for its cluster.
pub(super) struct ClusterBlock {
    pub number: u64,
    pub rank: u32,
    pub exchange: Exchange,
    pub waiting: Vec<Waiting>,
    pub reads_gaps: u32,
    /// Barriers that the block had passed, for races.
    pub interval: u32,
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

/// Threads that wait for others which never come, by number: which wait where, and which have left.
pub(super) fn deadlock(threads: &[Waiting]) -> String {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (thread, waiting) in threads.iter().enumerate() {
        let state = match waiting.slot {
            None => "have left".to_owned(),
            // SAFETY: a waiting thread's site is a static of the kernel.
            Some(_) => format!("wait in {}", unsafe { &*waiting.site }),
        };
        match groups.iter_mut().find(|(known, _)| *known == state) {
            Some((_, threads)) => threads.push(thread),
            None => groups.push((state, vec![thread])),
        }
    }
    let groups: Vec<String> = groups
        .iter()
        .map(|(state, threads)| format!("threads {} {state}", ranges(threads)))
        .collect();
    format!("deadlock: {}", groups.join("; "))
}

/// Numbers as ranges, such as `0-31, 64, 96-127`.
fn ranges(numbers: &[usize]) -> String {
    let runs: Vec<String> = numbers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => one.to_string(),
            _ => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    match runs.len() {
        0..=4 => runs.join(", "),
        _ => format!("{}, ..", runs[..4].join(", ")),
    }
}
