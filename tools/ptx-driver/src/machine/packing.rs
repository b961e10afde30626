//! `mov` between a register and the parts of a vector.

use super::registers::{Class, LANES, Lane, Mask, NONE, Registers};
use crate::ptx::instruction::{Alu, Operands};

/// The move of `parts` parts that are `bytes` bytes together.
pub fn vector_move(bytes: usize, parts: usize, is_packed: bool) -> Option<Alu> {
    match (bytes, parts, is_packed) {
        (8, 2, true) => Some(pack::<2, 32>),
        (8, 4, true) => Some(pack::<4, 16>),
        (4, 2, true) => Some(pack_narrow),
        (8, 2, false) => Some(unpack::<2, 32>),
        (8, 4, false) => Some(unpack::<4, 16>),
        (4, 2, false) => Some(unpack_narrow),
        _ => None,
    }
}

fn pack<const PARTS: usize, const BITS: usize>(r: &mut Registers, o: &Operands, mask: Mask) {
    let mut values = [0u64; LANES];
    for part in 0..PARTS {
        let own = u32::row(r, o.s[part]);
        for lane in 0..LANES {
            let bits = u64::from(own[lane]) & ((1 << BITS) - 1);
            values[lane] |= bits << (BITS * part);
        }
    }
    u64::put(r, o.d[0], values, mask);
}

fn pack_narrow(r: &mut Registers, o: &Operands, mask: Mask) {
    let (low, high) = (u16::row(r, o.s[0]), u16::row(r, o.s[1]));
    let values = std::array::from_fn(|lane| u32::from(low[lane]) | u32::from(high[lane]) << 16);
    u32::put(r, o.d[0], values, mask);
}

fn unpack<const PARTS: usize, const BITS: usize>(r: &mut Registers, o: &Operands, mask: Mask) {
    let whole = u64::row(r, o.s[0]);
    for part in (0..PARTS).filter(|part| o.d[*part] != NONE) {
        let values = whole.map(|bits| (bits >> (BITS * part) & ((1 << BITS) - 1)) as u32);
        u32::put(r, o.d[part], values, mask);
    }
}

fn unpack_narrow(r: &mut Registers, o: &Operands, mask: Mask) {
    let whole = u32::row(r, o.s[0]);
    for part in (0..2).filter(|part| o.d[*part] != NONE) {
        u16::put(r, o.d[part], whole.map(|bits| (bits >> (16 * part)) as u16), mask);
    }
}

/// A move between registers of one class.
pub fn plain_move(class: Class) -> Alu {
    match class {
        Class::Predicate => |r, o, mask| {
            let bits = r.predicate(o.s[0]);
            r.set_predicate(o.d[0], bits, mask);
        },
        Class::Narrow => |r, o, mask| {
            let values = u32::row(r, o.s[0]);
            u32::put(r, o.d[0], values, mask);
        },
        Class::Wide => |r, o, mask| {
            let values = u64::row(r, o.s[0]);
            u64::put(r, o.d[0], values, mask);
        },
    }
}
