//! A cluster: its blocks take turns on one worker. Each runs to the cluster's barrier; then the others run to it, and all go on.
//!
//! The blocks have one shared memory between them, so that its content does not survive the barrier: it is poisoned for
//! each block that goes on. Kernels exchange values by the barrier's collective.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::job::Failure;
use super::waiting::{ClusterBlock, Exchange, NOT_WAITING};
use super::worker::Worker;

impl Worker {
    /// Runs the blocks of a cluster to their ends, or to the first error.
    ///
    /// # Safety
    /// As for [`Worker::run_block`].
    pub unsafe fn run_cluster(worker: *mut Worker, cluster: u64) -> Result<(), Failure> {
        let mut waiting = VecDeque::new();
        // SAFETY: the caller's promise.
        let outcome = unsafe { run_blocks(worker, cluster, &mut waiting) };
        for block in waiting {
            // SAFETY: no coroutine runs.
            unsafe { (*worker).discard(block) };
        }
        outcome
    }

    /// Takes what a block needs to go on after its cluster's barrier.
    pub fn leave_block(&mut self, number: u64, rank: u32, exchange: Exchange) -> ClusterBlock {
        self.deadline.store(0, Ordering::Relaxed);
        self.trap = None;
        let idle = vec![NOT_WAITING; self.waiting.len()];
        ClusterBlock {
            number,
            rank,
            exchange,
            waiting: std::mem::replace(&mut self.waiting, idle),
            reads_gaps: self.context().reads_gaps,
            interval: self.accesses.as_ref().map_or(0, |accesses| accesses.races.interval()),
        }
    }

    /// Prepares a block to go on after its cluster's barrier.
    pub fn continue_block(&mut self, block: ClusterBlock) {
        self.waiting = block.waiting;
        self.sweep = 0;
        self.shared.poison();
        if let Some(accesses) = &mut self.accesses {
            accesses.begin_block(block.number);
            accesses.races.skip_to(block.interval + 1);
        }
        let grid = self.job().grid;
        let context = self.context_mut();
        context.block = grid.at(block.number);
        context.cluster_rank = block.rank;
        context.reads_gaps = block.reads_gaps;
        self.set_deadline();
    }

    /// Discards the threads of a block of a cluster that has failed.
    pub fn discard(&mut self, block: ClusterBlock) {
        block.waiting.iter().filter_map(|waiting| waiting.slot).for_each(|slot| self.restart(slot));
    }
}

/// Leaves the blocks that wait in `waiting` after an error.
///
/// # Safety
/// As for [`Worker::run_block`].
unsafe fn run_blocks(
    worker: *mut Worker,
    cluster: u64,
    waiting: &mut VecDeque<ClusterBlock>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise; no coroutine runs between the calls.
    unsafe {
        let job = *(*worker).job();
        for (rank, number) in job.blocks_of(cluster).enumerate() {
            waiting.extend(Worker::run_block(worker, number, rank as u32)?);
        }
        while let Some(first) = waiting.front() {
            let number = first.number;
            // The exchange's accesses are not the kernel's, and no thread runs that an error could stop.
            let is_checked = std::mem::take(&mut (*worker).context_mut().is_checked);
            let exchanged = exchange(waiting, job.cluster);
            (*worker).context_mut().is_checked = is_checked;
            exchanged.map_err(|what| Failure {
                block: number,
                message: format!("{} block {}: {what}", job.kernel.name(), job.grid.at(number)),
            })?;
            for _ in 0..waiting.len() {
                let Some(block) = waiting.pop_front() else { break };
                let (number, rank) = (block.number, block.rank);
                (*worker).continue_block(block);
                waiting.extend(Worker::run_threads(worker, number, rank)?);
            }
        }
    }
    Ok(())
}

/// Exchanges values between the blocks of a cluster, which all have to wait for it.
fn exchange(waiting: &VecDeque<ClusterBlock>, blocks: u32) -> Result<(), String> {
    let all: Vec<&Exchange> = waiting.iter().map(|block| &block.exchange).collect();
    if all.len() < blocks as usize {
        // SAFETY: the site is a static of the kernel.
        let site = unsafe { &*all[0].site };
        return Err(format!("waits in {site}, and a block of its cluster has ended"));
    }
    // SAFETY: the blocks' threads are parked.
    unsafe { Exchange::run(&all) }
}
