//! A block: its warps take turns between barriers.

use super::fault::{Fault, LAUNCH_FAILED, Problem};
use super::registers::{Class, LANES, Mask, lanes};
use super::shared::Shared;
use super::warp::{Group, Launch, Stop, Warp};
use crate::options::Order;
use crate::ptx::instruction::Action;

/// The most instructions of a warp's turn in a shuffled order.
const LONGEST_TURN: u64 = 60;

/// A random number, by a seed (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The warps and the shared memory of one block after the other: begun, then run, and after each wait for its cluster run on.
pub struct Block<'a> {
    launch: &'a Launch<'a>,
    warps: Vec<Warp>,
    pub shared: Shared,
    index: [u32; 3],
}

impl<'a> Block<'a> {
    pub fn new(launch: &'a Launch<'a>) -> Self {
        let threads = launch.block.iter().product::<u32>() as usize;
        let kernel = launch.kernel;
        let bytes = match launch.dynamic_shared {
            // nvcc reads up to 16 bytes in one piece.
            0 => kernel.static_shared.next_multiple_of(16),
            dynamic => kernel.dynamic_start + dynamic,
        };
        Block {
            launch,
            warps: (0..threads.div_ceil(LANES)).map(|number| Warp::new(launch, number)).collect(),
            shared: Shared::new(bytes, kernel.granule, launch.execution.races),
            index: [0; 3],
        }
    }

    /// Begins the block of this index.
    pub fn begin(&mut self, index: [u32; 3]) {
        self.index = index;
        self.shared.begin();
        self.warps.iter_mut().for_each(|warp| warp.begin(self.launch, index));
    }

    /// Runs the block until it ends or waits for its cluster. Returns whether it waits.
    ///
    /// # Errors
    /// The first fault of a thread, such as an access out of bounds.
    pub fn run(&mut self, random: &mut Random) -> Result<bool, Fault> {
        let result = self.run_all(random);
        let index = self.index;
        result.map_err(|fault| Fault { text: format!("{}, block {index:?}", fault.text), ..fault })
    }

    fn run_all(&mut self, random: &mut Random) -> Result<bool, Fault> {
        loop {
            self.run_to_barrier(random)?;
            if self.warps.iter().all(|warp| warp.arrived.is_empty()) {
                return Ok(false);
            }
            self.check_barrier()?;
            if self.waits_for_cluster()? {
                return Ok(true);
            }
            self.pass_barrier();
        }
    }

    /// Whether the threads wait for their cluster; all of them do if one does.
    fn waits_for_cluster(&self) -> Result<bool, Fault> {
        let is_cluster = |group: &Group| {
            let action = self.launch.kernel.code[group.pc as usize].action;
            matches!(action, Action::ClusterWait)
        };
        let groups =
            || self.warps.iter().flat_map(|warp| warp.arrived.iter().map(move |own| (warp, own)));
        let Some((warp, group)) = groups().find(|(_, group)| is_cluster(group)) else {
            return Ok(false);
        };
        match groups().all(|(_, group)| is_cluster(group)) {
            true => Ok(true),
            false => {
                let text = "waits for its cluster, and others at a barrier of the block".to_owned();
                Err(self.fault(warp, *group, text))
            }
        }
    }

    /// A fault at the cluster's barrier, at which the block waits.
    pub fn fault_at_cluster(&self, text: &str) -> Fault {
        let waits = self.warps.iter().find_map(|warp| Some((warp, warp.arrived.first()?)));
        waits.map_or_else(
            || unknown(text),
            |(warp, group)| self.fault(warp, *group, text.to_owned()),
        )
    }

    /// Runs every warp until it waits at a barrier or has ended.
    fn run_to_barrier(&mut self, random: &mut Random) -> Result<(), Fault> {
        let mut open: Vec<usize> = (0..self.warps.len()).collect();
        let order = self.launch.execution.order;
        if order == Order::Reverse {
            open.reverse();
        }
        let is_shuffled = matches!(order, Order::Shuffled(_));
        while !open.is_empty() {
            let (at, most) = match is_shuffled {
                true => (random.below(open.len() as u64) as usize, 1 + random.below(LONGEST_TURN)),
                false => (0, u64::MAX),
            };
            let stop = self.warps[open[at]].run(self.launch, &mut self.shared, most)?;
            if stop == Stop::Blocked {
                open.remove(at);
            }
        }
        Ok(())
    }

    /// Every thread of the block has to wait at the barrier, and all lanes of a warp at the same one.
    fn check_barrier(&self) -> Result<(), Fault> {
        let waits = |warp: &Warp| warp.arrived.first().copied();
        let first = self.warps.iter().find_map(|warp| Some((warp, waits(warp)?)));
        for warp in &self.warps {
            let here = warp.arrived.iter().fold(0, |mask, group| mask | group.mask);
            if let Some(lane) = lanes(warp.all & !here).next() {
                let thread = usize::from(warp.number) * LANES + lane;
                let text = format!("waits at a barrier, and thread {thread} has ended");
                return Err(first.map_or_else(
                    || unknown(&text),
                    |(warp, group)| self.fault(warp, group, text.clone()),
                ));
            }
            if let [group, other, ..] = warp.arrived.as_slice() {
                let place = self.launch.kernel.place(other.pc as usize);
                let text = format!("waits at a barrier, and other lanes of its warp at {place}");
                return Err(self.fault(warp, *group, text));
            }
        }
        Ok(())
    }

    fn fault(&self, warp: &Warp, group: Group, text: String) -> Fault {
        let lane = group.mask.trailing_zeros() as usize;
        warp.fault(self.launch, group.pc, &Problem::new(lane, LAUNCH_FAILED, text))
    }

    /// All threads that have to wait at the barrier do.
    pub fn pass_barrier(&mut self) {
        self.shared.barrier();
        let votes = self
            .warps
            .iter()
            .flat_map(|warp| warp.arrived.iter().map(|group| self.vote(warp, group)));
        let votes: Vec<Vote> = votes.flatten().collect();
        let (any, all) = (votes.iter().any(|vote| vote.any), votes.iter().all(|vote| vote.all));
        for warp in &mut self.warps {
            for group in std::mem::take(&mut warp.arrived) {
                let instruction = &self.launch.kernel.code[group.pc as usize];
                if let Action::BarrierVote { is_all } = instruction.action {
                    let result = if is_all { all } else { any };
                    for lane in lanes(group.mask) {
                        let bits = u64::from(result);
                        warp.registers.set(Class::Predicate, instruction.operands.d[0], lane, bits);
                    }
                }
                warp.resume(Group { pc: group.pc + 1, mask: group.mask });
            }
        }
    }

    /// What a group of lanes votes at a barrier that counts votes.
    fn vote(&self, warp: &Warp, group: &Group) -> Option<Vote> {
        let instruction = &self.launch.kernel.code[group.pc as usize];
        let is_vote = matches!(instruction.action, Action::BarrierVote { .. });
        let votes: Mask = is_vote.then(|| warp.registers.predicate(instruction.operands.s[0]))?;
        let own = votes & group.mask;
        Some(Vote { any: own != 0, all: own == group.mask })
    }
}

#[derive(Clone, Copy)]
struct Vote {
    any: bool,
    all: bool,
}

fn unknown(text: &str) -> Fault {
    Fault { error: LAUNCH_FAILED, text: text.to_owned() }
}
