//! Accesses to memory.

use super::copies::Copy;
use super::fault::{ILLEGAL_ADDRESS, LAUNCH_FAILED, MISALIGNED_ADDRESS, Problem};
use super::global;
use super::registers::{Class, LANES, Mask, NONE, Registers, Slot, lanes};
use super::shared::{Kind, Shared, Who, Wrong};
use super::warp::{Launch, Warp};
use crate::ptx::instruction::{Access, Action, Atomic, Instruction, Operands, Space};

impl Access {
    /// Bytes of all elements.
    fn size(&self) -> u64 {
        u64::from(self.bytes) * u64::from(self.count)
    }

    /// An element's bits as a register holds them.
    fn extend(&self, bits: u64) -> u64 {
        match (self.is_signed, self.bytes) {
            (true, 1) => bits as u8 as i8 as u64,
            (true, 2) => bits as u16 as i16 as u64,
            (true, 4) => bits as u32 as i32 as u64,
            _ => bits,
        }
    }
}

/// A lane's address.
#[inline(always)]
fn address(registers: &Registers, class: Class, slot: Slot, lane: usize, offset: i64) -> u64 {
    let address = registers.get(class, slot, lane).wrapping_add(offset as u64);
    // Addresses in shared memory have 32 bits and wrap round.
    if class == Class::Narrow { address & u64::from(u32::MAX) } else { address }
}

/// All lanes' addresses in shared memory. They have 32 bits and wrap round.
#[inline(always)]
fn places(registers: &Registers, access: Access, slot: Slot) -> [u32; LANES] {
    match access.address {
        Class::Wide => registers.wide(slot).map(|at| at.wrapping_add(access.offset as u64) as u32),
        _ => registers.narrow(slot).map(|at| at.wrapping_add(access.offset as u32)),
    }
}

/// The lanes that have this address.
#[inline(always)]
fn same(places: &[u32; LANES], at: u32) -> Mask {
    let mut mask = 0;
    for (lane, place) in places.iter().enumerate() {
        mask |= u32::from(*place == at) << lane;
    }
    mask
}

fn check_alignment(lane: usize, at: u64, bytes: u64) -> Result<(), Problem> {
    if at & (bytes - 1) == 0 {
        return Ok(());
    }
    let text = format!("a misaligned access of {bytes} bytes at {at:#x}");
    Err(Problem::new(lane, MISALIGNED_ADDRESS, text))
}

/// What is wrong with an access to shared memory, in words.
#[cold]
pub fn explain(launch: &Launch, lane: usize, at: u64, wrong: Wrong) -> Problem {
    let place = |pc: u32| launch.kernel.place(pc as usize);
    match wrong {
        Wrong::OutOfBounds => {
            let text = format!("an access out of bounds of shared memory, at byte {at}");
            Problem::new(lane, ILLEGAL_ADDRESS, text)
        }
        Wrong::Unwritten => {
            let text = format!("a read of unwritten shared memory, at byte {at}");
            Problem::new(lane, LAUNCH_FAILED, text)
        }
        Wrong::Race { thread, pc, was_write } => {
            let did = if was_write { "written" } else { "read" };
            let text = format!(
                "a race on shared memory, at byte {at}: {did} by thread {thread} at {}, with no barrier in between",
                place(pc)
            );
            Problem::new(lane, LAUNCH_FAILED, text)
        }
        Wrong::InFlight { thread, pc } => {
            let text = format!(
                "a race on shared memory, at byte {at}: a copy by thread {thread} is in flight, started at {}",
                place(pc)
            );
            Problem::new(lane, LAUNCH_FAILED, text)
        }
    }
}

impl Warp {
    fn who(&self, pc: u32, lane: usize) -> Who<'_> {
        Who { warp: self.number, lanes: 1 << lane, clocks: &self.clocks, pc }
    }

    fn check_global(
        &mut self,
        launch: &Launch,
        lane: usize,
        at: u64,
        bytes: u64,
    ) -> Result<(), Problem> {
        check_alignment(lane, at, bytes)?;
        let (start, end) = self.last_range;
        if at >= start && at.wrapping_add(bytes) <= end {
            return Ok(());
        }
        match launch.memory.find(at, bytes) {
            Some(range) => {
                self.last_range = range;
                Ok(())
            }
            None => {
                let text = format!(
                    "an access of {bytes} bytes out of bounds of global memory, {}",
                    launch.memory.describe(at)
                );
                Err(Problem::new(lane, ILLEGAL_ADDRESS, text))
            }
        }
    }

    /// The place of a lane's local memory.
    fn check_local(&self, lane: usize, at: u64, bytes: u64) -> Result<usize, Problem> {
        check_alignment(lane, at, bytes)?;
        let size = (self.local.len() / LANES) as u64;
        match at.checked_add(bytes).is_some_and(|end| end <= size) {
            true => Ok((lane as u64 * size + at) as usize),
            false => {
                let text =
                    format!("an access out of bounds of local memory, at byte {at} of {size}");
                Err(Problem::new(lane, ILLEGAL_ADDRESS, text))
            }
        }
    }

    pub(super) fn load(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        access: Access,
        operands: &Operands,
        pc: u32,
        active: Mask,
    ) -> Result<(), Problem> {
        let size = access.size();
        if access.space == Space::Shared {
            return self.load_shared(launch, shared, access, operands, pc, active);
        }
        for lane in lanes(active) {
            let at = address(&self.registers, access.address, operands.s[0], lane, access.offset);
            match access.space {
                Space::Global => {
                    self.check_global(launch, lane, at, size)?;
                    self.take(access, operands, lane, |offset| {
                        // SAFETY: the range was checked just now, and allocations outlive launches.
                        unsafe { global::load(at + offset, access.bytes) }
                    });
                }
                Space::Local => {
                    let start = self.check_local(lane, at, size)?;
                    let local = std::mem::take(&mut self.local);
                    self.take_from(access, operands, lane, &local, start);
                    self.local = local;
                }
                Space::Cluster => {
                    check_alignment(lane, at, size)?;
                    let (memory, start) = shared
                        .others
                        .find(at, size)
                        .map_err(|text| Problem::new(lane, LAUNCH_FAILED, text))?;
                    self.take_from(access, operands, lane, memory, start);
                }
                Space::Constant | Space::Shared => {
                    let memory = &launch.kernel.constant_memory;
                    check_bounds(lane, at, size, memory.len(), "constant memory")?;
                    self.take_from(access, operands, lane, memory, at as usize);
                }
            }
        }
        Ok(())
    }

    fn load_shared(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        access: Access,
        operands: &Operands,
        pc: u32,
        active: Mask,
    ) -> Result<(), Problem> {
        let size = access.size();
        let places = places(&self.registers, access, operands.s[0]);
        if let Some(lane) = lanes(active).find(|lane| u64::from(places[*lane]) & (size - 1) != 0) {
            return check_alignment(lane, u64::from(places[lane]), size);
        }
        let mut who = Who { warp: self.number, lanes: 0, clocks: &self.clocks, pc };
        let (mut rest, mut are_distinct) = (active, false);
        while rest != 0 {
            let lane = rest.trailing_zeros() as usize;
            // Lanes that read the same place are looked at together.
            who.lanes = if are_distinct { 1 << lane } else { same(&places, places[lane]) & rest };
            are_distinct |= who.lanes == 1 << lane;
            rest &= !who.lanes;
            let at = u64::from(places[lane]);
            shared
                .read(&who, at, size as usize, access.used)
                .map_err(|wrong| explain(launch, lane, at, wrong))?;
            for number in 0..usize::from(access.count) {
                let slot = operands.d[number];
                let start = at as usize + number * usize::from(access.bytes);
                if slot != NONE {
                    let bits = access.extend(element(&shared.bytes, start, access.bytes));
                    self.registers.spread(access.class, slot, who.lanes, bits);
                }
            }
        }
        Ok(())
    }

    pub(super) fn load_parameter(
        &mut self,
        launch: &Launch,
        access: Access,
        operands: &Operands,
        active: Mask,
    ) -> Result<(), Problem> {
        for lane in lanes(active) {
            let at = address(&self.registers, access.address, operands.s[0], lane, access.offset);
            check_bounds(lane, at, access.size(), launch.parameters.len(), "the parameters")?;
            self.take_from(access, operands, lane, launch.parameters, at as usize);
        }
        Ok(())
    }

    /// Writes a load's elements into its registers.
    #[inline(always)]
    fn take(
        &mut self,
        access: Access,
        operands: &Operands,
        lane: usize,
        element: impl Fn(u64) -> u64,
    ) {
        for number in 0..access.count {
            let slot = operands.d[number as usize];
            if slot != NONE {
                let bits = element(u64::from(number) * u64::from(access.bytes));
                self.registers.set(access.class, slot, lane, access.extend(bits));
            }
        }
    }

    #[inline(always)]
    fn take_from(
        &mut self,
        access: Access,
        operands: &Operands,
        lane: usize,
        from: &[u8],
        start: usize,
    ) {
        self.take(access, operands, lane, |offset| {
            element(from, start + offset as usize, access.bytes)
        });
    }

    pub(super) fn store(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        access: Access,
        operands: &Operands,
        pc: u32,
        active: Mask,
    ) -> Result<(), Problem> {
        let size = access.size();
        for lane in lanes(active) {
            let at = address(&self.registers, access.address, operands.s[0], lane, access.offset);
            let data = |registers: &Registers, number: u8| {
                registers.get(access.class, operands.s[1 + number as usize], lane)
            };
            match access.space {
                Space::Global => {
                    self.check_global(launch, lane, at, size)?;
                    for number in 0..access.count {
                        let bits = data(&self.registers, number);
                        let place = at + u64::from(number) * u64::from(access.bytes);
                        // SAFETY: the range was checked just now, and allocations outlive launches.
                        unsafe { global::store(place, access.bytes, bits) }
                    }
                }
                Space::Shared => {
                    check_alignment(lane, at, size)?;
                    shared
                        .write(&self.who(pc, lane), at, size as usize, Kind::Plain)
                        .map_err(|wrong| explain(launch, lane, at, wrong))?;
                    put_all(&mut shared.bytes, at as usize, access, |number| {
                        data(&self.registers, number)
                    });
                }
                Space::Local => {
                    let start = self.check_local(lane, at, size)?;
                    let registers = &self.registers;
                    put_all(&mut self.local, start, access, |number| data(registers, number));
                }
                Space::Constant | Space::Cluster => {
                    let text = "a write to memory that may only be read";
                    return Err(Problem::new(lane, ILLEGAL_ADDRESS, text));
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn atomic(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        access: Access,
        operation: Atomic,
        operands: &Operands,
        pc: u32,
        active: Mask,
    ) -> Result<(), Problem> {
        for lane in lanes(active) {
            let at = address(&self.registers, access.address, operands.s[0], lane, access.offset);
            let operand = self.registers.get(access.class, operands.s[1], lane);
            let new = |old: u64| updated(operation, access, old, operand);
            let old = if access.space == Space::Shared {
                check_alignment(lane, at, access.size())?;
                shared
                    .write(&self.who(pc, lane), at, access.size() as usize, Kind::Atomic)
                    .map_err(|wrong| explain(launch, lane, at, wrong))?;
                let old = element(&shared.bytes, at as usize, access.bytes);
                put(&mut shared.bytes, at as usize, access.bytes, new(old));
                old
            } else {
                self.check_global(launch, lane, at, access.size())?;
                // SAFETY: the range was checked just now, and allocations outlive launches.
                unsafe { global::update(at, access.bytes, new) }
            };
            if operands.d[0] != NONE {
                self.registers.set(access.class, operands.d[0], lane, old);
            }
        }
        Ok(())
    }

    pub(super) fn start_copies(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        instruction: &Instruction,
        pc: u32,
        active: Mask,
    ) -> Result<(), Problem> {
        let Action::CopyAsync { bytes, to, to_offset, from_offset } = instruction.action else {
            return Ok(());
        };
        let operands = &instruction.operands;
        for lane in lanes(active) {
            let to = address(&self.registers, to, operands.s[0], lane, to_offset);
            let from = address(&self.registers, Class::Wide, operands.s[1], lane, from_offset);
            let read = self.registers.get(Class::Narrow, operands.s[2], lane);
            if read > u64::from(bytes) || !read.is_multiple_of(4) {
                let text = format!(
                    "a copy of {bytes} bytes reads {read}: it must be a multiple of 4, at most {bytes}"
                );
                return Err(Problem::new(lane, LAUNCH_FAILED, text));
            }
            let copy = Copy { lane, to, from, bytes, read: read as u8, pc };
            check_alignment(lane, to, u64::from(bytes))?;
            self.check_copied(launch, &copy)?;
            shared
                .write(&self.who(pc, lane), to, usize::from(bytes), Kind::InFlight)
                .map_err(|wrong| explain(launch, lane, to, wrong))?;
            self.copies.start(copy);
            if launch.execution.early_copies {
                make(&copy, shared);
            }
        }
        Ok(())
    }

    /// A copy that reads nothing may have any aligned address.
    fn check_copied(&mut self, launch: &Launch, copy: &Copy) -> Result<(), Problem> {
        check_alignment(copy.lane, copy.from, u64::from(copy.bytes))?;
        match copy.read {
            0 => Ok(()),
            read => self.check_global(launch, copy.lane, copy.from, u64::from(read)),
        }
    }

    pub(super) fn wait_copies(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        active: Mask,
        left: u32,
    ) -> Result<(), Problem> {
        for copy in self.copies.wait(active, left) {
            // Memory may have been freed since the copy was started.
            self.check_copied(launch, &copy)?;
            if !launch.execution.early_copies {
                make(&copy, shared);
            }
            shared.arrive(&self.who(copy.pc, copy.lane), copy.to, usize::from(copy.bytes));
        }
        Ok(())
    }
}

/// Copies bytes and writes zeros. Both ranges were checked when the copy was started.
fn make(copy: &Copy, shared: &mut Shared) {
    for offset in (0..u64::from(copy.bytes)).step_by(4) {
        let bits = match offset < u64::from(copy.read) {
            // SAFETY: the range was checked, and allocations outlive launches.
            true => unsafe { global::load(copy.from + offset, 4) },
            false => 0,
        };
        put(&mut shared.bytes, (copy.to + offset) as usize, 4, bits);
    }
}

fn check_bounds(lane: usize, at: u64, bytes: u64, size: usize, of: &str) -> Result<(), Problem> {
    check_alignment(lane, at, bytes)?;
    match at.checked_add(bytes).is_some_and(|end| end <= size as u64) {
        true => Ok(()),
        false => {
            let text = format!("an access out of bounds of {of}, at byte {at} of {size}");
            Err(Problem::new(lane, ILLEGAL_ADDRESS, text))
        }
    }
}

#[inline(always)]
fn element(from: &[u8], at: usize, bytes: u8) -> u64 {
    let mut all = [0; 8];
    match bytes {
        4 => all[..4].copy_from_slice(&from[at..at + 4]),
        8 => all.copy_from_slice(&from[at..at + 8]),
        bytes => all[..usize::from(bytes)].copy_from_slice(&from[at..at + usize::from(bytes)]),
    }
    u64::from_le_bytes(all)
}

#[inline(always)]
fn put(to: &mut [u8], at: usize, bytes: u8, bits: u64) {
    let all = bits.to_le_bytes();
    match bytes {
        4 => to[at..at + 4].copy_from_slice(&all[..4]),
        8 => to[at..at + 8].copy_from_slice(&all),
        bytes => to[at..at + usize::from(bytes)].copy_from_slice(&all[..usize::from(bytes)]),
    }
}

#[inline(always)]
fn put_all(to: &mut [u8], start: usize, access: Access, data: impl Fn(u8) -> u64) {
    for number in 0..access.count {
        put(
            to,
            start + usize::from(number) * usize::from(access.bytes),
            access.bytes,
            data(number),
        );
    }
}

fn updated(operation: Atomic, access: Access, old: u64, operand: u64) -> u64 {
    let extended = |bits: u64| access.extend(bits) as i64;
    match (operation, access.is_signed) {
        (Atomic::Add, _) => old.wrapping_add(operand),
        (Atomic::Min, true) => extended(old).min(extended(operand)) as u64,
        (Atomic::Max, true) => extended(old).max(extended(operand)) as u64,
        (Atomic::Min, false) => old.min(operand),
        (Atomic::Max, false) => old.max(operand),
        (Atomic::Or, _) => old | operand,
        (Atomic::Exchange, _) => operand,
    }
}
