//! A cluster: its blocks take turns on one worker. Each runs to the cluster's barrier; then the others run to it, and all go on.
//!
//! The blocks have one shared memory between them, so that its content does not survive the barrier: it is poisoned for
//! each block that goes on. Kernels exchange values by the barrier's collective.

use std::collections::VecDeque;

use super::job::Failure;
use super::waiting::{ClusterBlock, Exchange};
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
            exchange(waiting, job.cluster).map_err(|what| Failure {
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
