//! A cluster: its blocks take turns, each from one barrier of the cluster to the next. They read each other's shared memory as
//! it was at the last one.

use std::cell::RefCell;
use std::sync::Arc;

use super::block::{Block, Random};
use super::fault::Fault;
use super::warp::Launch;

/// Where the rank stands in an address in the cluster's shared memory; rank 0 has 1 there, so that no address of a block's own
/// memory is taken for one of the cluster's.
const RANK_BITS: u32 = 24;

/// The address of a place in the shared memory of a block of the cluster (PTX manual, `mapa`).
pub fn place_of(at: u32, rank: u32) -> u32 {
    at | (rank + 1) << RANK_BITS
}

/// The shared memory of a block at the cluster's last barrier.
struct Snapshot {
    bytes: Vec<u8>,
    is_written: Vec<bool>,
}

/// What a block may see of the others in its cluster, itself among them.
#[derive(Default)]
pub struct Others {
    /// By rank; none before the first barrier.
    snapshots: Arc<Vec<Snapshot>>,
    /// Which blocks have ended.
    have_ended: Vec<bool>,
    /// The reads since the last barrier: rank, start and end.
    reads: RefCell<Vec<(usize, usize, usize)>>,
}

impl Others {
    /// The memory of the block that an address lies in, and the place there.
    ///
    /// # Errors
    /// Why these bytes may not be read.
    pub fn find(&self, at: u64, bytes: u64) -> Result<(&[u8], usize), String> {
        let start = (at & ((1 << RANK_BITS) - 1)) as usize;
        let end = start + bytes as usize;
        let rank = ((at >> RANK_BITS) as usize).checked_sub(1);
        let rank = rank.ok_or("an address in shared memory that is none of the cluster's")?;
        let Some(snapshot) = self.snapshots.get(rank) else {
            return Err(match self.snapshots.is_empty() {
                true => "a read of another block's shared memory before the cluster's barrier"
                    .to_owned(),
                false => format!(
                    "a read of shared memory of block {rank}, which the cluster does not have"
                ),
            });
        };
        if self.have_ended[rank] {
            return Err(format!(
                "a read of shared memory of block {rank} of the cluster, which has ended"
            ));
        }
        if end > snapshot.bytes.len() {
            return Err(format!(
                "an access out of bounds of another block's shared memory, at byte {start}"
            ));
        }
        if !snapshot.is_written[start..end].iter().all(|is_written| *is_written) {
            return Err(format!(
                "a read of unwritten shared memory of block {rank} of the cluster, at byte {start}"
            ));
        }
        self.reads.borrow_mut().push((rank, start, end));
        Ok((&snapshot.bytes, start))
    }
}

/// The blocks of one cluster after the other.
pub struct Cluster<'a> {
    blocks: Vec<Block<'a>>,
}

impl<'a> Cluster<'a> {
    pub fn new(launch: &'a Launch<'a>) -> Self {
        Cluster { blocks: (0..launch.cluster).map(|_| Block::new(launch)).collect() }
    }

    /// Runs the blocks of these indices, by rank.
    ///
    /// # Errors
    /// The first fault of a thread, such as an access out of bounds.
    pub fn run(&mut self, indices: &[[u32; 3]], random: &mut Random) -> Result<(), Fault> {
        for (block, index) in self.blocks.iter_mut().zip(indices) {
            block.begin(*index);
        }
        let mut have_ended = vec![false; self.blocks.len()];
        loop {
            for (rank, block) in self.blocks.iter_mut().enumerate() {
                block.shared.others.have_ended.clone_from(&have_ended);
                have_ended[rank] = !block.run(random)?;
            }
            match have_ended.iter().position(|has_ended| !has_ended) {
                None => return Ok(()),
                Some(waits) if have_ended.contains(&true) => {
                    let text = "waits for its cluster, and a block of it has ended";
                    return Err(self.blocks[waits].fault_at_cluster(text));
                }
                Some(_) => self.pass_barrier()?,
            }
        }
    }

    fn pass_barrier(&mut self) -> Result<(), Fault> {
        self.check_reads()?;
        let snapshot = |block: &Block| Snapshot {
            bytes: block.shared.bytes.clone(),
            is_written: block.shared.written(),
        };
        let snapshots = Arc::new(self.blocks.iter().map(snapshot).collect());
        for block in &mut self.blocks {
            block.shared.others.snapshots = Arc::clone(&snapshots);
            block.shared.others.reads.get_mut().clear();
            block.pass_barrier();
        }
        Ok(())
    }

    /// No block may have changed what others have read of it since the last barrier.
    fn check_reads(&self) -> Result<(), Fault> {
        for reader in &self.blocks {
            let others = &reader.shared.others;
            for (rank, start, end) in others.reads.borrow().iter().copied() {
                let own = &self.blocks[rank].shared.bytes[start..end];
                if *own != others.snapshots[rank].bytes[start..end] {
                    let text = format!(
                        "has written shared memory at byte {start} that another block of the cluster has read since the last barrier"
                    );
                    return Err(self.blocks[rank].fault_at_cluster(&text));
                }
            }
        }
        Ok(())
    }
}
