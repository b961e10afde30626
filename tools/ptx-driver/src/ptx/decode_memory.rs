//! Loads, stores, copies and atomic operations.

use super::assembler::{Assembler, Line, Outcome};
use super::decode::{Decoded, fill};
use super::instruction::{Action, Atomic, Operands};
use crate::machine::packing::plain_move;
use crate::machine::registers::{Class, NONE};

impl Assembler<'_> {
    /// Decodes an access to memory.
    pub fn memory(&mut self, line: &Line) -> Outcome<Decoded> {
        match line.words[0] {
            "cp" => self.copy(line),
            "atom" | "red" => self.atomic(line),
            "ld" if line.has("param") => self.load_parameter(line),
            "st" if line.has("param") => self.store_argument(line),
            "ld" => self.load(line),
            _ => self.store(line),
        }
    }

    fn load(&mut self, line: &Line) -> Outcome<Decoded> {
        let (access, operands) = self.loaded(line)?;
        Ok((Action::Load(access), operands))
    }

    /// What a load reads, and its registers.
    fn loaded(&mut self, line: &Line) -> Outcome<(super::instruction::Access, Operands)> {
        let (access, base) = self.access(line, 1, line.operand(1)?)?;
        let class = self.data_class(line.operand(0)?, access.class);
        let data = self.list(line.operand(0)?, class)?;
        let mut operands = Operands::default();
        fill(&mut operands.d, &data)?;
        operands.s[0] = base;
        let access = super::instruction::Access { count: data.len() as u8, class, ..access };
        Ok((access, operands))
    }

    fn store(&mut self, line: &Line) -> Outcome<Decoded> {
        let (access, base) = self.access(line, 1, line.operand(0)?)?;
        let class = self.data_class(line.operand(1)?, access.class);
        let data = self.list(line.operand(1)?, class)?;
        let mut operands = Operands::default();
        operands.s[0] = base;
        fill(&mut operands.s[1..], &data)?;
        let access = super::instruction::Access { count: data.len() as u8, class, ..access };
        Ok((Action::Store(access), operands))
    }

    /// Data may be narrower than its registers: then the first register's class counts.
    fn data_class(&mut self, text: &str, class: Class) -> Class {
        let first = text.trim_start_matches('{').trim_end_matches('}').split(',').next();
        let register = first.and_then(|name| self.names.register(name.trim()));
        register.map_or(class, |(class, _)| class)
    }

    fn load_parameter(&mut self, line: &Line) -> Outcome<Decoded> {
        let (name, offset) = Self::parameter(line.operand(1)?)?;
        let is_argument = !name.starts_with('%') && self.names.register(name).is_some();
        if is_argument {
            if offset != 0 {
                return Err("a part of an argument is not supported".to_owned());
            }
            return self.argument_move(line.operand(0)?, name);
        }
        let (access, operands) = self.loaded(line)?;
        Ok((Action::LoadParameter { access, has_base: true }, operands))
    }

    fn store_argument(&mut self, line: &Line) -> Outcome<Decoded> {
        let (name, offset) = Self::parameter(line.operand(0)?)?;
        if offset != 0 {
            return Err("a part of an argument is not supported".to_owned());
        }
        self.argument_move(name, line.operand(1)?)
    }

    fn argument_move(&mut self, to: &str, from: &str) -> Outcome<Decoded> {
        let known = self.names.register(to).or_else(|| self.names.register(from));
        let (class, _) = known.ok_or_else(|| format!("there is no `{to}`"))?;
        let operands = self.registers(
            &Line { mnemonic: "mov", words: vec!["mov"], operands: vec![to, from] },
            class,
            &[class],
        )?;
        Ok((Action::Alu(plain_move(class)), operands))
    }

    fn copy(&mut self, line: &Line) -> Outcome<Decoded> {
        let none = Operands::default();
        if line.has("commit_group") {
            return Ok((Action::CommitCopies, none));
        }
        if line.has("wait_all") {
            return Ok((Action::WaitCopies { left: 0 }, none));
        }
        let number = |at: usize| -> Outcome<u32> {
            line.operand(at)?.parse().map_err(|_| "a number was expected".to_owned())
        };
        if line.has("wait_group") {
            return Ok((Action::WaitCopies { left: number(0)? }, none));
        }
        if !line.has("async") || !line.has("shared") || ![3, 4].contains(&line.operands.len()) {
            return Err("an unknown copy".to_owned());
        }
        let bytes = number(2)?;
        let is_known = bytes == 16 || line.has("ca") && [4, 8].contains(&bytes);
        if !is_known {
            return Err(format!("a copy of {bytes} bytes"));
        }
        let ((to_class, to), to_offset) = self.names.address(line.operand(0)?)?;
        let ((from_class, from), from_offset) = self.names.address(line.operand(1)?)?;
        if from_class != Class::Wide {
            return Err("an address of 32 bits in global memory".to_owned());
        }
        // The number of bytes to read; zeros fill the rest.
        let read = match line.operands.get(3) {
            Some(text) => self.names.operand(text, Class::Narrow)?,
            None => self.names.constant(Class::Narrow, u64::from(bytes)),
        };
        let mut operands = Operands::default();
        fill(&mut operands.s, &[to, from, read])?;
        let bytes = bytes as u8;
        Ok((Action::CopyAsync { bytes, to: to_class, to_offset, from_offset }, operands))
    }

    fn atomic(&mut self, line: &Line) -> Outcome<Decoded> {
        let operation = match () {
            () if line.has("add") => Atomic::Add,
            () if line.has("min") => Atomic::Min,
            () if line.has("max") => Atomic::Max,
            () if line.has("or") => Atomic::Or,
            () if line.has("exch") => Atomic::Exchange,
            () => return Err("an unknown atomic operation".to_owned()),
        };
        let is_float = line.words.last().is_some_and(|ty| ty.starts_with('f'));
        if is_float {
            return Err("an atomic operation on floats is not supported".to_owned());
        }
        let has_result = line.words[0] == "atom";
        let at = usize::from(has_result);
        let (access, base) = self.access(line, 1, line.operand(at)?)?;
        let mut operands = Operands::default();
        operands.d[0] = match has_result {
            true => self.names.operand(line.operand(0)?, access.class)?,
            false => NONE,
        };
        operands.s[0] = base;
        operands.s[1] = self.names.operand(line.operand(at + 1)?, access.class)?;
        Ok((Action::Atomic { access, operation }, operands))
    }
}
