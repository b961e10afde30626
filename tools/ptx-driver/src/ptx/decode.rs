//! The meaning of a statement: by its mnemonic, an action and its registers.

use super::assembler::{Assembler, Line, Outcome};
use super::instruction::{Access, Action, Arithmetic, Operands, Product, Shuffle, Vote};
use super::names::split_offset;
use super::text::bytes_of;
use crate::machine::approximations::approximation;
use crate::machine::conversions::conversion;
use crate::machine::floats::float;
use crate::machine::integers::{bits, integer};
use crate::machine::packing;
use crate::machine::registers::{Class, Slot};

/// An action and its registers.
pub type Decoded = (Action, Operands);

impl Assembler<'_> {
    /// Decodes a statement. What has to come before it is pushed.
    pub fn decode(&mut self, line: &Line) -> Outcome<Decoded> {
        match line.words[0] {
            "ld" | "st" | "atom" | "red" | "cp" => self.memory(line),
            "bra" | "call" | "ret" | "exit" | "trap" | "bar" | "barrier" => self.control(line),
            "shfl" | "vote" | "ldmatrix" | "mma" => self.collective(line),
            "mov" if line.operand(0)?.starts_with('{') || line.operand(1)?.starts_with('{') => {
                self.vector_move(line)
            }
            // All generic addresses are global ones.
            "cvta" => self.arithmetic(line, bits("mov", "b64")),
            _ => {
                let found = find(line, self.variant.off_approximations);
                self.arithmetic(line, found)
            }
        }
    }

    fn arithmetic(&mut self, line: &Line, found: Option<Arithmetic>) -> Outcome<Decoded> {
        let found = found.ok_or_else(|| "an unknown instruction".to_owned())?;
        let operands = self.registers(line, found.to, found.from)?;
        Ok((Action::Alu(found.run), operands))
    }

    /// `mov.b64 d, {a, b}` and `mov.b64 {a, b}, s`.
    fn vector_move(&mut self, line: &Line) -> Outcome<Decoded> {
        let (to, from) = (line.operand(0)?, line.operand(1)?);
        let whole = Self::class(line.words[1])?;
        let is_packed = from.starts_with('{');
        let vector = if is_packed { from } else { to };
        let parts = super::text::parts(vector.trim_matches(['{', '}'])).len();
        let bytes = bytes_of(&format!(".{}", line.words[1])).unwrap_or(0);
        let run = packing::vector_move(bytes, parts, is_packed).ok_or("an unknown vector")?;
        let part = if bytes / parts == 8 { Class::Wide } else { Class::Narrow };
        let mut operands = Operands::default();
        let (d, s) = if is_packed { (whole, part) } else { (part, whole) };
        fill(&mut operands.d, &self.list(to, d)?)?;
        fill(&mut operands.s, &self.list(from, s)?)?;
        Ok((Action::Alu(run), operands))
    }

    /// What the lanes of a warp do with each other.
    fn collective(&mut self, line: &Line) -> Outcome<Decoded> {
        match line.words[0] {
            "shfl" => self.shuffle(line),
            "vote" => self.vote(line),
            "ldmatrix" => self.load_matrix(line),
            _ => self.product(line),
        }
    }

    fn shuffle(&mut self, line: &Line) -> Outcome<Decoded> {
        let mode = match line.words[2] {
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            "idx" => Shuffle::Index,
            other => return Err(format!("an unknown shuffle {other}")),
        };
        let mut operands = Operands::default();
        let (value, holds) = line.operand(0)?.split_once('|').unwrap_or((line.operand(0)?, "_"));
        operands.d[0] = self.names.operand(value, Class::Narrow)?;
        operands.d[1] = self.names.operand(holds, Class::Predicate)?;
        for at in 0..4 {
            operands.s[at] = self.names.operand(line.operand(at + 1)?, Class::Narrow)?;
        }
        Ok((Action::Shuffle(mode), operands))
    }

    fn vote(&mut self, line: &Line) -> Outcome<Decoded> {
        let (mode, class) = match line.words[2] {
            "ballot" => (Vote::Ballot, Class::Narrow),
            "any" => (Vote::Any, Class::Predicate),
            "all" => (Vote::All, Class::Predicate),
            other => return Err(format!("an unknown vote {other}")),
        };
        let mut operands = Operands::default();
        operands.d[0] = self.names.operand(line.operand(0)?, class)?;
        operands.s[0] = self.names.operand(line.operand(1)?, Class::Predicate)?;
        operands.s[1] = self.names.operand(line.operand(2)?, Class::Narrow)?;
        Ok((Action::Vote(mode), operands))
    }

    fn load_matrix(&mut self, line: &Line) -> Outcome<Decoded> {
        if !line.mnemonic.starts_with("ldmatrix.sync.aligned.m8n8.") || !line.has("b16") {
            return Err("an unknown instruction".to_owned());
        }
        let mut operands = Operands::default();
        let registers = self.list(line.operand(0)?, Class::Narrow)?;
        fill(&mut operands.d, &registers)?;
        let ((class, base), offset) = self.names.address(line.operand(1)?)?;
        operands.s[0] = base;
        let (count, is_transposed) = (registers.len() as u8, line.has("trans"));
        Ok((Action::LoadMatrix { count, is_transposed, address: class, offset }, operands))
    }

    fn product(&mut self, line: &Line) -> Outcome<Decoded> {
        let shape = match line.mnemonic {
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" => Product::Tf32,
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => Product::Bf16,
            _ => return Err("an unknown instruction".to_owned()),
        };
        let mut operands = Operands::default();
        let mut sources: Vec<Slot> = Vec::new();
        fill(&mut operands.d, &self.list(line.operand(0)?, Class::Narrow)?)?;
        for at in 1..4 {
            sources.extend(self.list(line.operand(at)?, Class::Narrow)?);
        }
        if sources.len() != operands.s.len() {
            return Err(format!("{} registers of operands, not 10", sources.len()));
        }
        fill(&mut operands.s, &sources)?;
        Ok((Action::Product { shape, is_truncated: self.variant.truncated_sums }, operands))
    }

    /// Notes the smallest access to shared memory, and forgets a pragma once it has been used.
    pub fn finish(&mut self, line: &Line) -> Outcome<()> {
        let last = self.code.last().map(|instruction| instruction.action);
        if let Some(Action::Load(access) | Action::Store(access)) = last
            && access.space == super::instruction::Space::Shared
        {
            self.granule = self.granule.min(usize::from(access.bytes));
        }
        if line.words[0] == "ld" {
            self.used = None;
        }
        Ok(())
    }

    /// An access to memory, by the words of its mnemonic.
    pub fn access(&mut self, line: &Line, count: usize, address: &str) -> Outcome<(Access, Slot)> {
        use super::instruction::Space;
        let space = match () {
            () if line.has("shared") => Space::Shared,
            () if line.has("shared::cluster") => Space::Cluster,
            () if line.has("local") => Space::Local,
            () if line.has("const") => Space::Constant,
            () => Space::Global,
        };
        let ty = line.words.last().copied().unwrap_or("");
        let bytes = bytes_of(&format!(".{ty}")).ok_or_else(|| format!("an unknown type {ty}"))?;
        let ((class, base), offset) = self.names.address(address)?;
        let access = Access {
            space,
            bytes: bytes as u8,
            count: count as u8,
            is_signed: ty.starts_with('s'),
            class: if bytes == 8 { Class::Wide } else { Class::Narrow },
            address: class,
            used: self.used.unwrap_or(u16::MAX),
            offset,
        };
        Ok((access, base))
    }

    /// `[name+offset]` of a parameter: the name and the offset.
    pub fn parameter(text: &str) -> Outcome<(&str, i64)> {
        let inner = text.trim_start_matches('[').trim_end_matches(']').trim();
        let (name, offset) = split_offset(inner);
        Ok((name, offset.ok_or_else(|| format!("an address of an unknown form: {text}"))?))
    }
}

/// Copies registers into an instruction.
pub fn fill(to: &mut [Slot], from: &[Slot]) -> Outcome<()> {
    let room = to.get_mut(..from.len()).ok_or("too many registers")?;
    room.copy_from_slice(from);
    Ok(())
}

/// The operation on registers that a mnemonic names.
fn find(line: &Line, is_off: bool) -> Option<Arithmetic> {
    let words = &line.words;
    if words[0] == "cvt" {
        let (to, from) = (words.get(words.len() - 2)?, words.last()?);
        return conversion(&words[1..words.len() - 2].join("."), to, from);
    }
    let (operation, ty) = line.mnemonic.rsplit_once('.')?;
    float(operation, ty)
        .or_else(|| approximation(operation, ty, is_off))
        .or_else(|| integer(operation, ty))
        .or_else(|| bits(operation, ty))
}
