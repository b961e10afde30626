//! Jumps, calls and barriers.

use super::assembler::{Assembler, Line, Outcome};
use super::decode::Decoded;
use super::instruction::{Action, Instruction, Operands};
use super::text::parts;
use crate::machine::packing::plain_move;
use crate::machine::registers::Class;

impl Assembler<'_> {
    /// Decodes a jump or a barrier.
    pub fn control(&mut self, line: &Line) -> Outcome<Decoded> {
        let none = Operands::default();
        match line.words[0] {
            "bra" => {
                self.jump(line.operand(0)?);
                Ok((Action::Branch { target: 0 }, none))
            }
            "ret" if !self.within.is_empty() => {
                let mut operands = Operands::default();
                let own = self.frames.iter().find(|(name, _)| *name == self.within);
                operands.s[0] = own.map(|(_, frame)| frame.back).ok_or("a return from nowhere")?;
                Ok((Action::ReturnFromCall, operands))
            }
            "ret" | "exit" => Ok((Action::Exit, none)),
            "trap" => Ok((Action::Trap, none)),
            "call" => self.call_statement(line),
            _ => self.barrier(line),
        }
    }

    fn barrier(&mut self, line: &Line) -> Outcome<Decoded> {
        let mut operands = Operands::default();
        if line.has("cluster") {
            return match (line.has("arrive"), line.has("wait"), line.has("relaxed")) {
                (true, false, false) => Ok((Action::ClusterArrive, operands)),
                (false, true, false) => Ok((Action::ClusterWait, operands)),
                _ => Err("an unknown barrier of a cluster".to_owned()),
            };
        }
        if line.has("warp") {
            operands.s[0] = self.names.operand(line.operand(0)?, Class::Narrow)?;
            return Ok((Action::WarpBarrier, operands));
        }
        if line.has("red") {
            let is_all = line.has("and");
            if !line.has("pred") || line.operand(1)? != "0" || line.operands.len() != 3 {
                return Err("an unknown barrier".to_owned());
            }
            operands.d[0] = self.names.operand(line.operand(0)?, Class::Predicate)?;
            operands.s[0] = self.names.operand(line.operand(2)?, Class::Predicate)?;
            return Ok((Action::BarrierVote { is_all }, operands));
        }
        match (line.has("sync"), line.operands.as_slice()) {
            (true, ["0"]) => Ok((Action::Barrier, operands)),
            _ => Err("a barrier of some threads, or of another number than 0".to_owned()),
        }
    }

    /// `call (result), name, (arguments)`: moves the arguments, calls, and moves the result.
    fn call_statement(&mut self, line: &Line) -> Outcome<Decoded> {
        let (result, rest) = match line.operands.as_slice() {
            [first, rest @ ..] if first.starts_with('(') => (Some(inner(first)), rest),
            all => (None, all),
        };
        let name = *rest.first().ok_or("a call of nothing")?;
        let arguments = rest.get(1).map(|text| inner(text)).unwrap_or("");
        let frame = self.call(name)?;
        let given = parts(arguments);
        if given.len() != frame.parameters.len() {
            return Err(format!(
                "{} arguments in place of {}",
                given.len(),
                frame.parameters.len()
            ));
        }
        for (text, (_, (class, slot))) in given.iter().zip(&frame.parameters) {
            let from = self.names.operand(text, *class)?;
            self.push_move(*class, *slot, from);
        }
        let mut operands = Operands::default();
        operands.d[0] = frame.back;
        self.jump_to_function(name);
        let call = (Action::Call { target: 0 }, operands);
        let (Some(result), Some((_, (class, slot)))) = (result, frame.result) else {
            return Ok(call);
        };
        self.code.push(Instruction { guard: None, action: call.0, operands: call.1 });
        let mut operands = Operands::default();
        (operands.d[0], operands.s[0]) = (self.names.operand(result, class)?, slot);
        Ok((Action::Alu(plain_move(class)), operands))
    }

    fn push_move(&mut self, class: Class, to: u16, from: u16) {
        let mut operands = Operands::default();
        (operands.d[0], operands.s[0]) = (to, from);
        let action = Action::Alu(plain_move(class));
        self.code.push(Instruction { guard: None, action, operands });
    }
}

fn inner(text: &str) -> &str {
    text.trim_matches(['(', ')', ' '])
}
