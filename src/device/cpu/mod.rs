//! The host's processor: memory, threads and vector instructions.

mod float;
mod functions;
mod gemm;
mod level;
mod memory;
mod packed;
mod product;
#[macro_use]
pub(crate) mod vector;

use std::rc::Rc;

use rayon::prelude::*;

use super::profile::Profiler;
use super::threads::start_pool;
use crate::error::Result;
pub(crate) use float::Float;
pub(crate) use gemm::{Matrix, gemm};
pub(crate) use level::check as check_level;
pub(crate) use memory::Block;
pub use memory::{ReadGuard, WriteGuard};
pub(crate) use packed::Packed;

/// Work of fewer element operations stays on the calling thread: waking another thread would cost more.
const SERIAL_WORK: usize = 1 << 15;

/// The host's processor as a device: a caching allocator and a thread pool of its own.
pub struct Cpu {
    pool: rayon::ThreadPool,
    memory: Rc<memory::Memory>,
    /// Why the CPU was chosen in place of a GPU; `None` if the user asked for the CPU.
    instead_of_cuda: Option<String>,
    pub(super) profiler: Profiler,
}

impl Cpu {
    pub(crate) fn new(threads: Option<usize>) -> Result<Self> {
        Ok(Cpu {
            pool: start_pool("alrao", threads)?,
            memory: Rc::default(),
            instead_of_cuda: None,
            profiler: Profiler::default(),
        })
    }

    /// The same device, chosen in place of a GPU that cannot be used.
    pub(crate) fn instead_of_cuda(mut self, reason: String) -> Self {
        self.instead_of_cuda = Some(reason);
        self
    }

    /// Number of threads that work on one op.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    pub(crate) fn description(&self) -> String {
        let plural = if self.threads() == 1 { "" } else { "s" };
        let text = format!("cpu: {} thread{plural}, {}", self.threads(), level::description());
        match &self.instead_of_cuda {
            Some(reason) => format!("{text}; no cuda: {reason}"),
            None => text,
        }
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Rc<Block> {
        memory::Memory::allocate(&self.memory, bytes)
    }

    /// The peak of the bytes in use.
    pub fn peak_bytes(&self) -> usize {
        self.memory.peak_bytes()
    }

    /// Cuts `output` into pieces of `length` elements and runs `body(piece's number, piece)` on each.
    pub(crate) fn pieces<T: Send>(
        &self,
        output: &mut [T],
        length: usize,
        work: usize,
        body: impl Fn(usize, &mut [T]) + Sync,
    ) {
        if output.is_empty() {
            return;
        }
        let length = length.max(1);
        if self.is_serial(output.len().div_ceil(length), work) {
            output.chunks_mut(length).enumerate().for_each(|(index, piece)| body(index, piece));
        } else {
            self.pool.install(|| in_parallel(output, length, &body));
        }
    }

    /// [`Cpu::pieces`] over two outputs, cut into the same number of pieces.
    pub(crate) fn pieces2<T: Send, U: Send>(
        &self,
        (first, first_length): (&mut [T], usize),
        (second, second_length): (&mut [U], usize),
        work: usize,
        body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
    ) {
        if first.is_empty() {
            return;
        }
        let (first_length, second_length) = (first_length.max(1), second_length.max(1));
        if self.is_serial(first.len().div_ceil(first_length), work) {
            let pairs = first.chunks_mut(first_length).zip(second.chunks_mut(second_length));
            pairs.enumerate().for_each(|(index, (a, b))| body(index, a, b));
        } else {
            let (first, second) = ((first, first_length), (second, second_length));
            self.pool.install(|| in_parallel2(first, second, &body));
        }
    }

    /// Whether a job stays on the calling thread. Its result does not depend on this.
    fn is_serial(&self, tasks: usize, work: usize) -> bool {
        tasks <= 1 || work < SERIAL_WORK || self.threads() == 1
    }
}

/// As [`Cpu::pieces`]. Only the types are generic, so that rayon's code exists once for each of them and not once for each op.
fn in_parallel<T: Send>(output: &mut [T], length: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    let pieces = output.par_chunks_mut(length).enumerate().with_max_len(1);
    pieces.for_each(|(index, piece)| body(index, piece));
}

type Body2<'a, T, U> = dyn Fn(usize, &mut [T], &mut [U]) + Sync + 'a;

/// As [`Cpu::pieces2`].
fn in_parallel2<T: Send, U: Send>(
    (first, first_length): (&mut [T], usize),
    (second, second_length): (&mut [U], usize),
    body: &Body2<T, U>,
) {
    let pairs = first.par_chunks_mut(first_length).zip(second.par_chunks_mut(second_length));
    let pairs = pairs.enumerate().with_max_len(1);
    pairs.for_each(|(index, (a, b))| body(index, a, b));
}
