//! What the lanes of a warp do with each other's registers.

use super::access::explain;
use super::fault::{LAUNCH_FAILED, MISALIGNED_ADDRESS, Problem};
use super::registers::{Class, LANES, Lane, Mask, NONE, Slot, lanes};
use super::shared::{Shared, Who};
use super::warp::{Launch, Warp};
use crate::ptx::instruction::{Action, Instruction, Operands, Shuffle, Vote};

impl Warp {
    /// Executes an instruction of these lanes together.
    pub(super) fn collective(
        &mut self,
        launch: &Launch,
        shared: &mut Shared,
        instruction: &Instruction,
        pc: u32,
        members: Mask,
    ) -> Result<(), Problem> {
        let operands = &instruction.operands;
        match instruction.action {
            Action::WarpBarrier => self.clocks.synchronize(members),
            Action::Shuffle(mode) => self.shuffle(mode, operands, members)?,
            Action::Vote(mode) => self.vote(mode, operands, members),
            Action::LoadMatrix { count, is_transposed, address, offset } => {
                let starts = self.rows(address, operands.s[0], offset, 8 * usize::from(count))?;
                self.check_rows(launch, shared, &starts, pc)?;
                for (matrix, rows) in starts.chunks(8).enumerate() {
                    self.load_matrix(shared, rows, operands.d[matrix], is_transposed);
                }
            }
            Action::Product { shape, is_truncated } => {
                super::product::product(&mut self.registers, operands, shape, is_truncated);
            }
            _ => {}
        }
        Ok(())
    }

    /// PTX manual, `shfl.sync`.
    fn shuffle(
        &mut self,
        mode: Shuffle,
        operands: &Operands,
        members: Mask,
    ) -> Result<(), Problem> {
        let [values, choices, limits] =
            [0, 1, 2].map(|at| u32::row(&self.registers, operands.s[at]));
        let mut results = [0; LANES];
        let mut holds = 0;
        for lane in lanes(members) {
            let (choice, limit) = (choices[lane] & 31, limits[lane] & 31);
            let segment = limits[lane] >> 8 & 31;
            let own = lane as u32;
            let (first, last) = (own & segment, own & segment | limit & !segment);
            let (source, is_within) = match mode {
                Shuffle::Up => {
                    (own.wrapping_sub(choice), own as i32 - choice as i32 >= last as i32)
                }
                Shuffle::Down => (own + choice, own + choice <= last),
                Shuffle::Butterfly => (own ^ choice, own ^ choice <= last),
                Shuffle::Index => {
                    let source = first | choice & !segment;
                    (source, source <= last)
                }
            };
            let source = if is_within { source as usize } else { lane };
            if members >> source & 1 == 0 {
                let text = format!("a value from lane {source}, which does not take part");
                return Err(Problem::new(lane, LAUNCH_FAILED, text));
            }
            results[lane] = values[source];
            holds |= u32::from(is_within) << lane;
        }
        u32::put(&mut self.registers, operands.d[0], results, members);
        if operands.d[1] != NONE {
            self.registers.set_predicate(operands.d[1], holds, members);
        }
        Ok(())
    }

    fn vote(&mut self, mode: Vote, operands: &Operands, members: Mask) {
        let votes = self.registers.predicate(operands.s[0]) & members;
        let result = match mode {
            Vote::Ballot => {
                return u32::put(&mut self.registers, operands.d[0], [votes; LANES], members);
            }
            Vote::Any => votes != 0,
            Vote::All => votes == members,
        };
        let all = if result { Mask::MAX } else { 0 };
        self.registers.set_predicate(operands.d[0], all, members);
    }

    /// The places of the rows of matrices: each of the first lanes names one.
    fn rows(
        &self,
        class: Class,
        slot: Slot,
        offset: i64,
        count: usize,
    ) -> Result<Vec<u64>, Problem> {
        let place = |lane: usize| {
            let base = self.registers.get(class, slot, lane);
            let at = base.wrapping_add(offset as u64) & u64::from(u32::MAX);
            if at.is_multiple_of(16) {
                return Ok(at);
            }
            let text = format!("a misaligned row of a matrix, at byte {at}");
            Err(Problem::new(lane, MISALIGNED_ADDRESS, text))
        };
        (0..count).map(place).collect()
    }

    fn check_rows(
        &self,
        launch: &Launch,
        shared: &mut Shared,
        starts: &[u64],
        pc: u32,
    ) -> Result<(), Problem> {
        // A row goes to several lanes, so that all of them read it.
        let who = Who { warp: self.number, lanes: Mask::MAX, clocks: &self.clocks, pc };
        for (lane, at) in starts.iter().enumerate() {
            let checked = shared.read(&who, *at, 16, u16::MAX);
            checked.map_err(|wrong| explain(launch, lane, *at, wrong))?;
        }
        Ok(())
    }

    /// PTX manual, `ldmatrix`: lane l gets elements 2 (l % 4) and the next one of row l / 4; transposed, of column l / 4.
    fn load_matrix(&mut self, shared: &Shared, rows: &[u64], to: Slot, is_transposed: bool) {
        let element = |row: usize, column: usize| {
            let at = rows[row] as usize + 2 * column;
            u32::from(u16::from_le_bytes([shared.bytes[at], shared.bytes[at + 1]]))
        };
        let values: [u32; LANES] = std::array::from_fn(|lane| {
            let (outer, inner) = (lane / 4, 2 * (lane % 4));
            match is_transposed {
                false => element(outer, inner) | element(outer, inner + 1) << 16,
                true => element(inner, outer) | element(inner + 1, outer) << 16,
            }
        });
        u32::put(&mut self.registers, to, values, Mask::MAX);
    }
}
