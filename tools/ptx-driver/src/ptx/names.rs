//! The names of a kernel: registers, by scope, and the addresses of variables and parameters.

use std::collections::HashMap;

use super::instruction::Special;
use super::text::bytes_of;
use crate::machine::registers::{Class, NONE, Slot};

/// A register.
pub type Register = (Class, Slot);

/// Names between two braces. nvcc declares predicates and temporaries anew in inner scopes.
#[derive(Default)]
struct Scope {
    registers: HashMap<String, Register>,
    /// `%r<100>` declares %r0 to %r99.
    ranges: HashMap<String, (usize, Class)>,
}

/// All names that are visible at a statement.
#[derive(Default)]
pub struct Names {
    scopes: Vec<Scope>,
    counts: [usize; 3],
    constants: HashMap<(Class, u64), Slot>,
    specials: HashMap<Special, Slot>,
    /// Addresses of shared, local and constant variables, and offsets of parameters.
    pub addresses: HashMap<String, u64>,
}

impl Names {
    /// Opens a scope.
    pub fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    /// Closes the innermost scope.
    pub fn close(&mut self) {
        self.scopes.pop();
    }

    /// A register without a name.
    pub fn fresh(&mut self, class: Class) -> Slot {
        let count = &mut self.counts[class as usize];
        *count += 1;
        (*count - 1) as Slot
    }

    /// Declares `.reg .b32 %r<100>` or `.reg .pred p, q`.
    ///
    /// # Errors
    /// If the type is unknown.
    pub fn declare(&mut self, text: &str) -> Result<(), String> {
        let mut words = text.split_whitespace().skip(1);
        let ty = words.next().unwrap_or("");
        let class = class_of(ty).ok_or_else(|| format!("a register of an unknown type: {text}"))?;
        let rest: String = words.collect();
        for name in rest.split(',').filter(|name| !name.is_empty()) {
            match name.split_once('<') {
                Some((prefix, count)) => {
                    let count = count.trim_end_matches('>').parse().map_err(|_| text.to_owned())?;
                    if let Some(scope) = self.scopes.last_mut() {
                        scope.ranges.insert(prefix.to_owned(), (count, class));
                    }
                }
                None => {
                    let slot = self.fresh(class);
                    self.define(name, (class, slot));
                }
            }
        }
        Ok(())
    }

    /// Gives a register a name in the innermost scope.
    pub fn define(&mut self, name: &str, register: Register) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.registers.insert(name.to_owned(), register);
        }
    }

    /// The register of this name, if there is one.
    pub fn register(&mut self, name: &str) -> Option<Register> {
        if let Some(special) = special(name) {
            return Some((Class::Narrow, self.special(special)));
        }
        let (prefix, number) = split_number(name);
        for at in (0..self.scopes.len()).rev() {
            if let Some(found) = self.scopes[at].registers.get(name) {
                return Some(*found);
            }
            let range = self.scopes[at].ranges.get(prefix).copied();
            if let (Some((count, class)), Some(number)) = (range, number)
                && number < count
            {
                let register = (class, self.fresh(class));
                self.scopes[at].registers.insert(name.to_owned(), register);
                return Some(register);
            }
        }
        None
    }

    /// A register that holds a constant.
    pub fn constant(&mut self, class: Class, bits: u64) -> Slot {
        if let Some(slot) = self.constants.get(&(class, bits)) {
            return *slot;
        }
        let slot = self.fresh(class);
        self.constants.insert((class, bits), slot);
        slot
    }

    fn special(&mut self, special: Special) -> Slot {
        if let Some(slot) = self.specials.get(&special) {
            return *slot;
        }
        let slot = self.fresh(Class::Narrow);
        self.specials.insert(special, slot);
        slot
    }

    /// The register of an operand of this class: a register, a number, or an address.
    ///
    /// # Errors
    /// If it is none of these, or a register of another class.
    pub fn operand(&mut self, text: &str, class: Class) -> Result<Slot, String> {
        if text == "_" {
            return Ok(NONE);
        }
        if let Some((own, slot)) = self.register(text) {
            return match own == class {
                true => Ok(slot),
                false => Err(format!("{text} is a register of class {own:?}, not {class:?}")),
            };
        }
        let bits = match number(text) {
            Some(bits) => bits,
            None => self.address_of(text).ok_or_else(|| format!("there is no `{text}`"))?,
        };
        let kept = match class {
            Class::Predicate => bits & 1,
            Class::Narrow => bits & u64::from(u32::MAX),
            Class::Wide => bits,
        };
        Ok(self.constant(class, kept))
    }

    fn address_of(&self, text: &str) -> Option<u64> {
        let (name, offset) = split_offset(text);
        Some(self.addresses.get(name)?.wrapping_add(offset? as u64))
    }

    /// Reads `[base+offset]`: the base's register and the offset.
    ///
    /// # Errors
    /// If the base is unknown.
    pub fn address(&mut self, text: &str) -> Result<(Register, i64), String> {
        let inner = text.trim_start_matches('[').trim_end_matches(']').trim();
        let (base, offset) = split_offset(inner);
        let offset = offset.ok_or_else(|| format!("an address of an unknown form: {text}"))?;
        if let Some(register) = self.register(base) {
            return Ok((register, offset));
        }
        let known = self.addresses.get(base).copied();
        let start = known.ok_or_else(|| format!("there is no `{base}`"))?;
        Ok(((Class::Wide, self.constant(Class::Wide, start)), offset))
    }

    /// The numbers of registers, the constants and the special registers.
    pub fn finish(self) -> ([usize; 3], Vec<Constant>, Vec<(Special, Slot)>) {
        let constants =
            self.constants.into_iter().map(|((class, bits), slot)| (class, slot, bits)).collect();
        (self.counts, constants, self.specials.into_iter().collect())
    }
}

/// A register that holds the same bits in every thread.
pub type Constant = (Class, Slot, u64);

/// The class of registers of a type such as `.b32`.
pub fn class_of(ty: &str) -> Option<Class> {
    match bytes_of(ty) {
        Some(8) => Some(Class::Wide),
        Some(_) => Some(Class::Narrow),
        None => (ty == ".pred").then_some(Class::Predicate),
    }
}

/// `base+offset` or `base`.
pub fn split_offset(text: &str) -> (&str, Option<i64>) {
    match text.split_once('+') {
        Some((base, offset)) => (base.trim(), offset.trim().parse().ok()),
        None => (text, Some(0)),
    }
}

fn split_number(name: &str) -> (&str, Option<usize>) {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (prefix, name[prefix.len()..].parse().ok())
}

fn special(name: &str) -> Option<Special> {
    let axis = |letter: &str| ["x", "y", "z"].iter().position(|own| *own == letter);
    if let Some((of, letter)) = name.split_once('.') {
        let axis = axis(letter)? as u8;
        return match of {
            "%tid" => Some(Special::Thread(axis)),
            "%ntid" => Some(Special::Threads(axis)),
            "%ctaid" => Some(Special::Block(axis)),
            "%nctaid" => Some(Special::Blocks(axis)),
            _ => None,
        };
    }
    match name {
        "%laneid" => Some(Special::LaneIndex),
        "%warpid" => Some(Special::WarpIndex),
        "%cluster_ctarank" => Some(Special::ClusterRank),
        "%cluster_nctarank" => Some(Special::ClusterSize),
        _ => None,
    }
}

/// The bits of a number as PTX writes it.
pub fn number(text: &str) -> Option<u64> {
    let hex = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| text.strip_prefix(prefix));
    if let Some(digits) = hex(["0f", "0F"]) {
        return u32::from_str_radix(digits, 16).ok().map(u64::from);
    }
    if let Some(digits) = hex(["0d", "0D"]) {
        return u64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = hex(["0x", "0X"]) {
        return u64::from_str_radix(digits.trim_end_matches('U'), 16).ok();
    }
    text.trim_end_matches('U').parse::<i128>().ok().map(|value| value as u64)
}
