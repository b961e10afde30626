//! A warp: groups of lanes at different places of the code, of which the one at the lowest place runs first, so that lanes that
//! part at a branch meet again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::clocks::Clocks;
use super::copies::Copies;
use super::fault::{Fault, LAUNCH_FAILED, LAUNCH_TIMEOUT, Problem};
use super::global::Ranges;
use super::registers::{Class, LANES, Mask, Registers, lanes};
use super::shared::Shared;
use crate::options::Execution;
use crate::ptx::instruction::{Action, Instruction, Kernel, Special};

/// A launch of a kernel.
pub struct Launch<'a> {
    pub kernel: &'a Kernel,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Blocks of a cluster, along the second axis.
    pub cluster: u32,
    pub dynamic_shared: usize,
    pub parameters: &'a [u8],
    pub memory: &'a Ranges,
    /// Which instructions have been executed.
    pub executed: &'a [AtomicBool],
    pub execution: &'a Execution,
}

/// Lanes at one place of the code.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub pc: u32,
    pub mask: Mask,
}

/// Lanes that wait for the other members of a mask.
#[derive(Clone, Copy)]
struct Waiting {
    group: Group,
    members: Mask,
}

/// Why a warp stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Its lanes wait at a barrier of the block, or have ended.
    Blocked,
    /// Its turn is over.
    TurnOver,
}

/// Where a group goes on.
enum Next {
    Behind,
    At(u32),
    /// Its lanes have parted, wait, or have ended.
    Dissolved,
}

/// A warp.
pub struct Warp {
    pub registers: Registers,
    /// By falling place: the last one runs.
    groups: Vec<Group>,
    waiting: Vec<Waiting>,
    /// Lanes at a barrier of the block.
    pub arrived: Vec<Group>,
    /// Lanes that have arrived at the cluster's barrier and do not wait there yet.
    pub on_their_way: Mask,
    /// All lanes that the block has, and those that have not ended.
    pub all: Mask,
    pub live: Mask,
    pub number: u16,
    pub clocks: Clocks,
    pub copies: Copies,
    pub local: Vec<u8>,
    /// The range of global memory that was touched last.
    pub last_range: (u64, u64),
    /// Instructions executed in this block.
    steps: u64,
}

impl Warp {
    /// Warp number `number` of a block of this number of threads.
    pub fn new(launch: &Launch, number: usize) -> Self {
        let kernel = launch.kernel;
        let [predicates, narrow, wide] = kernel.registers;
        let mut registers = Registers::new(predicates, narrow, wide);
        for (class, slot, bits) in &kernel.constants {
            registers.fill(*class, *slot, *bits);
        }
        let threads = launch.block.iter().product::<u32>() as usize;
        let count = (threads - number * LANES).min(LANES);
        Warp {
            registers,
            groups: Vec::new(),
            waiting: Vec::new(),
            arrived: Vec::new(),
            on_their_way: 0,
            all: if count == LANES { Mask::MAX } else { (1 << count) - 1 },
            live: 0,
            number: number as u16,
            clocks: Clocks::default(),
            copies: Copies::default(),
            local: vec![0xff; kernel.local * LANES],
            last_range: (0, 0),
            steps: 0,
        }
    }

    /// Puts the warp at the beginning of a block.
    pub fn begin(&mut self, launch: &Launch, block: [u32; 3]) {
        for (special, slot) in &launch.kernel.specials {
            for lane in 0..LANES {
                let value = self.special(launch, block, *special, lane);
                self.registers.set(Class::Narrow, *slot, lane, u64::from(value));
            }
        }
        self.groups.clear();
        self.groups.push(Group { pc: 0, mask: self.all });
        self.waiting.clear();
        self.arrived.clear();
        self.on_their_way = 0;
        self.live = self.all;
        self.copies.clear();
        self.local.fill(0xff);
        self.steps = 0;
    }

    fn special(&self, launch: &Launch, block: [u32; 3], special: Special, lane: usize) -> u32 {
        let thread = u32::from(self.number) * LANES as u32 + lane as u32;
        let [x, y, _] = launch.block;
        match special {
            Special::Thread(0) => thread % x,
            Special::Thread(1) => thread / x % y,
            Special::Thread(_) => thread / x / y,
            Special::Threads(axis) => launch.block[axis as usize],
            Special::Block(axis) => block[axis as usize],
            Special::Blocks(axis) => launch.grid[axis as usize],
            Special::LaneIndex => lane as u32,
            Special::WarpIndex => u32::from(self.number),
            Special::ClusterRank => block[1] % launch.cluster,
            Special::ClusterSize => launch.cluster,
        }
    }

    /// Runs until no lane can go on, or for about `most` instructions.
    ///
    /// # Errors
    /// The first fault of a lane, such as an access out of bounds.
    pub fn run(&mut self, launch: &Launch, shared: &mut Shared, most: u64) -> Result<Stop, Fault> {
        let end = self.steps.saturating_add(most).min(launch.execution.limit);
        while let Some(group) = self.groups.pop() {
            if self.steps >= end {
                self.resume(group);
                return match self.steps >= launch.execution.limit {
                    true => Err(self.endless(launch, group)),
                    false => Ok(Stop::TurnOver),
                };
            }
            self.run_group(launch, shared, group, end)?;
        }
        match self.waiting.first() {
            Some(waiting) => Err(self.deserted(launch, *waiting)),
            None => Ok(Stop::Blocked),
        }
    }

    /// Runs a group until it dissolves or reaches the next one.
    fn run_group(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        group: Group,
        end: u64,
    ) -> Result<(), Fault> {
        let Group { mut pc, mask } = group;
        let next = self.groups.last().map_or(u32::MAX, |group| group.pc);
        loop {
            if pc >= next || self.steps >= end {
                self.resume(Group { pc, mask });
                return Ok(());
            }
            self.steps += 1;
            let Some(instruction) = launch.kernel.code.get(pc as usize) else {
                self.leave(mask);
                return Ok(());
            };
            let active = self.active(instruction, mask);
            if active == 0 {
                pc += 1;
                continue;
            }
            let executed = &launch.executed[pc as usize];
            if !executed.load(Ordering::Relaxed) {
                executed.store(true, Ordering::Relaxed);
            }
            if let Action::Alu(run) = instruction.action {
                run(&mut self.registers, &instruction.operands, active);
                pc += 1;
                continue;
            }
            let group = Group { pc, mask };
            match self.step(launch, shared, instruction, group, active) {
                Ok(Next::Behind) => pc += 1,
                // The place may lie in front of other groups.
                Ok(Next::At(place)) => pc = place,
                Ok(Next::Dissolved) => return Ok(()),
                Err(problem) => return Err(self.fault(launch, pc, &problem)),
            }
        }
    }

    #[inline(always)]
    fn active(&self, instruction: &Instruction, mask: Mask) -> Mask {
        match instruction.guard {
            None => mask,
            Some(guard) => {
                let values = self.registers.predicate(guard.slot);
                mask & if guard.is_negated { !values } else { values }
            }
        }
    }

    /// Executes an instruction that is more than an operation on registers.
    fn step(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        instruction: &Instruction,
        group: Group,
        active: Mask,
    ) -> Result<Next, Problem> {
        let operands = &instruction.operands;
        let pc = group.pc;
        match instruction.action {
            Action::Alu(_) | Action::Nothing => {}
            Action::Load(access) => self.load(launch, shared, access, operands, pc, active)?,
            Action::Store(access) => self.store(launch, shared, access, operands, pc, active)?,
            Action::LoadParameter { access, .. } => {
                self.load_parameter(launch, access, operands, active)?;
            }
            Action::CopyAsync { .. } => {
                self.start_copies(launch, shared, instruction, pc, active)?
            }
            Action::CommitCopies => self.copies.commit(active),
            Action::WaitCopies { left } => self.wait_copies(launch, shared, active, left)?,
            Action::Atomic { access, operation } => {
                self.atomic(launch, shared, access, operation, operands, pc, active)?;
            }
            Action::Branch { target } => return Ok(self.branch(group, active, target)),
            Action::Call { target } => {
                for lane in lanes(active) {
                    self.registers.set(Class::Narrow, operands.d[0], lane, u64::from(pc) + 1);
                }
                return Ok(self.branch(group, active, target));
            }
            Action::ReturnFromCall => {
                return Ok(self.return_from_call(operands.s[0], group, active));
            }
            Action::Exit => {
                self.leave(active);
                return Ok(self.part(group, active));
            }
            Action::Trap => {
                let lane = active.trailing_zeros() as usize;
                return Err(Problem::new(lane, LAUNCH_FAILED, "trap"));
            }
            Action::ClusterArrive => {
                if let Some(lane) = lanes(self.on_their_way & active).next() {
                    let text = "arrives twice at the cluster's barrier";
                    return Err(Problem::new(lane, LAUNCH_FAILED, text));
                }
                self.on_their_way |= active;
            }
            Action::Barrier | Action::BarrierVote { .. } | Action::ClusterWait => {
                if let Action::ClusterWait = instruction.action {
                    if let Some(lane) = lanes(active & !self.on_their_way).next() {
                        let text = "waits at the cluster's barrier, and has not arrived there";
                        return Err(Problem::new(lane, LAUNCH_FAILED, text));
                    }
                    self.on_their_way &= !active;
                }
                // Lanes that were in a function meanwhile come later.
                match self.arrived.iter_mut().find(|own| own.pc == pc) {
                    Some(own) => own.mask |= active,
                    None => self.arrived.push(Group { pc, mask: active }),
                }
                return Ok(self.part(group, active));
            }
            Action::WarpBarrier
            | Action::Shuffle(_)
            | Action::Vote(_)
            | Action::LoadMatrix { .. }
            | Action::Product { .. } => {
                return self.together(launch, shared, instruction, group, active);
            }
        }
        Ok(Next::Behind)
    }

    /// Some of a group's lanes are gone: the others go on behind the instruction.
    fn part(&mut self, group: Group, gone: Mask) -> Next {
        let rest = group.mask & !gone;
        if rest != 0 {
            self.resume(Group { pc: group.pc + 1, mask: rest });
        }
        Next::Dissolved
    }

    fn branch(&mut self, group: Group, taken: Mask, target: u32) -> Next {
        if taken == group.mask && self.groups.is_empty() {
            return Next::At(target);
        }
        self.resume(Group { pc: target, mask: taken });
        self.part(group, taken)
    }

    fn return_from_call(&mut self, slot: u16, group: Group, active: Mask) -> Next {
        let places = *self.registers.narrow(slot);
        let mut rest = active;
        while rest != 0 {
            let place = places[rest.trailing_zeros() as usize];
            let same = lanes(rest).filter(|lane| places[*lane] == place);
            let mask = same.fold(0, |mask, lane| mask | 1 << lane);
            self.resume(Group { pc: place, mask });
            rest &= !mask;
        }
        self.part(group, active)
    }

    /// The lanes have ended.
    fn leave(&mut self, mask: Mask) {
        self.live &= !mask;
    }

    /// Lets lanes go on at a place, together with those that are there already.
    pub fn resume(&mut self, group: Group) {
        let at = self.groups.partition_point(|own| own.pc > group.pc);
        match self.groups.get_mut(at) {
            Some(own) if own.pc == group.pc => own.mask |= group.mask,
            _ => self.groups.insert(at, group),
        }
    }

    /// Executes an instruction of several lanes for each set of them that is complete; the others wait.
    fn together(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        instruction: &Instruction,
        group: Group,
        active: Mask,
    ) -> Result<Next, Problem> {
        let mut rest = active;
        let mut waits = 0;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let (members, here) = self.members(instruction, rest, first);
            rest &= !here;
            if here & !members != 0 {
                let text = format!("the mask {members:#x} does not name the lane itself");
                return Err(Problem::new(first, LAUNCH_FAILED, text));
            }
            if members & !self.live != 0 {
                let text = format!("the mask {members:#x} names lanes that have ended");
                return Err(Problem::new(first, LAUNCH_FAILED, text));
            }
            if here == members {
                self.collective(launch, shared, instruction, group.pc, members)?;
            } else {
                waits |= here;
                self.wait(Waiting { group: Group { pc: group.pc, mask: here }, members });
            }
        }
        Ok(if waits == 0 { Next::Behind } else { self.part(group, waits) })
    }

    /// The lanes that take part in an instruction together with lane `first`, and those of `rest` that say the same.
    fn members(&self, instruction: &Instruction, rest: Mask, first: usize) -> (Mask, Mask) {
        let slot = match instruction.action {
            Action::WarpBarrier => instruction.operands.s[0],
            Action::Shuffle(_) => instruction.operands.s[3],
            Action::Vote(_) => instruction.operands.s[1],
            _ => return (Mask::MAX, rest),
        };
        let masks = self.registers.narrow(slot);
        let members = masks[first];
        let same = lanes(rest).filter(|lane| masks[*lane] == members);
        (members, same.fold(0, |mask, lane| mask | 1 << lane))
    }

    /// Lanes wait for the other members, who may be there already.
    fn wait(&mut self, own: Waiting) {
        let is_same =
            |other: &Waiting| other.group.pc == own.group.pc && other.members == own.members;
        match self.waiting.iter().position(is_same) {
            Some(at) => {
                self.waiting[at].group.mask |= own.group.mask;
                if self.waiting[at].group.mask == own.members {
                    let group = self.waiting.swap_remove(at).group;
                    self.resume(group);
                }
            }
            None => self.waiting.push(own),
        }
    }

    #[cold]
    fn deserted(&self, launch: &Launch, waiting: Waiting) -> Fault {
        let missing = waiting.members & !waiting.group.mask;
        let lane = waiting.group.mask.trailing_zeros() as usize;
        let text = format!("waits for lanes {missing:#x} of its warp, which do not come");
        self.fault(launch, waiting.group.pc, &Problem::new(lane, LAUNCH_FAILED, text))
    }

    #[cold]
    fn endless(&self, launch: &Launch, group: Group) -> Fault {
        let text = format!("no end after {} instructions of the warp", self.steps);
        let lane = group.mask.trailing_zeros() as usize;
        self.fault(launch, group.pc, &Problem::new(lane, LAUNCH_TIMEOUT, text))
    }

    /// A problem with its kernel, thread and place.
    #[cold]
    pub fn fault(&self, launch: &Launch, pc: u32, problem: &Problem) -> Fault {
        let thread = usize::from(self.number) * LANES + problem.lane;
        let place = launch.kernel.place(pc as usize);
        let text = format!("{}: thread {thread}: {}; at {place}", launch.kernel.name, problem.text);
        Fault { error: problem.error, text }
    }
}
