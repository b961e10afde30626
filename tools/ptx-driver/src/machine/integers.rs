//! Integer and bit operations.

use super::cluster::place_of;
use super::operation::{binary, op, ternary, unary};
use super::registers::{Class, LANES, Lane, Mask, Registers};
use crate::ptx::instruction::{Arithmetic, Operands};

/// An integer operation, by its name without and by its type.
pub fn integer(operation: &str, ty: &str) -> Option<Arithmetic> {
    match ty {
        "u16" => unsigned16(operation),
        "s16" => signed16(operation),
        "u32" => unsigned32(operation),
        "s32" => signed32(operation),
        "u64" => unsigned64(operation),
        "s64" => signed64(operation),
        _ => None,
    }
}

// Division by zero has no defined result on a GPU, and no trap; all bits set is what it gives.
macro_rules! integers {
    ($function:ident, $t:ty, $all:expr) => {
        fn $function(operation: &str) -> Option<Arithmetic> {
            match operation {
                "add" => op!(|a: $t, b: $t| -> $t => a.wrapping_add(b)),
                "sub" => op!(|a: $t, b: $t| -> $t => a.wrapping_sub(b)),
                "mul.lo" => op!(|a: $t, b: $t| -> $t => a.wrapping_mul(b)),
                "mad.lo" => op!(|a: $t, b: $t, c: $t| -> $t => a.wrapping_mul(b).wrapping_add(c)),
                "div" => op!(|a: $t, b: $t| -> $t => if b == 0 { $all } else { a.wrapping_div(b) }),
                "rem" => op!(|a: $t, b: $t| -> $t => if b == 0 { a } else { a.wrapping_rem(b) }),
                "min" => op!(|a: $t, b: $t| -> $t => a.min(b)),
                "max" => op!(|a: $t, b: $t| -> $t => a.max(b)),
                "abs" => op!(|a: $t| -> $t => if a < 1 { a.wrapping_neg() } else { a }),
                "neg" => op!(|a: $t| -> $t => a.wrapping_neg()),
                "shr" => op!(|a: $t, b: u32| -> $t => if b < <$t>::BITS { a >> b } else { a >> (<$t>::BITS / 2) >> (<$t>::BITS / 2 - 1) >> 1 }),
                "setp.eq" => op!(|a: $t, b: $t| -> bool => a == b),
                "setp.ne" => op!(|a: $t, b: $t| -> bool => a != b),
                "setp.lt" | "setp.lo" => op!(|a: $t, b: $t| -> bool => a < b),
                "setp.le" | "setp.ls" => op!(|a: $t, b: $t| -> bool => a <= b),
                "setp.gt" | "setp.hi" => op!(|a: $t, b: $t| -> bool => a > b),
                "setp.ge" | "setp.hs" => op!(|a: $t, b: $t| -> bool => a >= b),
                _ => wide_products(operation, stringify!($t)),
            }
        }
    };
}
integers!(unsigned16, u16, u16::MAX);
integers!(signed16, i16, -1);
integers!(unsigned32, u32, u32::MAX);
integers!(signed32, i32, -1);
integers!(unsigned64, u64, u64::MAX);
integers!(signed64, i64, -1);

fn wide_products(operation: &str, ty: &str) -> Option<Arithmetic> {
    match (operation, ty) {
        ("mul.wide", "u16") => op!(|a: u16, b: u16| -> u32 => u32::from(a) * u32::from(b)),
        ("mul.wide", "i16") => op!(|a: i16, b: i16| -> i32 => i32::from(a) * i32::from(b)),
        ("mul.wide", "u32") => op!(|a: u32, b: u32| -> u64 => u64::from(a) * u64::from(b)),
        ("mul.wide", "i32") => op!(|a: i32, b: i32| -> i64 => i64::from(a) * i64::from(b)),
        ("mad.wide", "u32") => {
            op!(|a: u32, b: u32, c: u64| -> u64 => (u64::from(a) * u64::from(b)).wrapping_add(c))
        }
        ("mad.wide", "i32") => {
            op!(|a: i32, b: i32, c: i64| -> i64 => (i64::from(a) * i64::from(b)).wrapping_add(c))
        }
        ("mapa.shared::cluster", "u32") => op!(|at: u32, rank: u32| -> u32 => place_of(at, rank)),
        ("mul.hi", "u32") => {
            op!(|a: u32, b: u32| -> u32 => (u64::from(a) * u64::from(b) >> 32) as u32)
        }
        ("mul.hi", "i32") => {
            op!(|a: i32, b: i32| -> i32 => (i64::from(a) * i64::from(b) >> 32) as i32)
        }
        ("mul.hi", "u64") => {
            op!(|a: u64, b: u64| -> u64 => (u128::from(a) * u128::from(b) >> 64) as u64)
        }
        ("mul.hi", "i64") => {
            op!(|a: i64, b: i64| -> i64 => (i128::from(a) * i128::from(b) >> 64) as i64)
        }
        _ => None,
    }
}

/// An operation on bits, by its name and its type without the letter in front.
pub fn bits(operation: &str, ty: &str) -> Option<Arithmetic> {
    let size = ty.trim_start_matches(['b', 'u', 's', 'f']);
    match size {
        "16" => bits16(operation),
        "32" => bits32(operation),
        "64" => bits64(operation),
        "pred" => predicates(operation),
        _ => None,
    }
}

macro_rules! bit_operations {
    ($function:ident, $t:ty) => {
        fn $function(operation: &str) -> Option<Arithmetic> {
            match operation {
                "and" => op!(|a: $t, b: $t| -> $t => a & b),
                "or" => op!(|a: $t, b: $t| -> $t => a | b),
                "xor" => op!(|a: $t, b: $t| -> $t => a ^ b),
                "not" => op!(|a: $t| -> $t => !a),
                "mov" => op!(|a: $t| -> $t => a),
                "shl" => op!(|a: $t, b: u32| -> $t => a.checked_shl(b).unwrap_or(0)),
                "shr" => op!(|a: $t, b: u32| -> $t => a.checked_shr(b).unwrap_or(0)),
                "selp" => op!(|a: $t, b: $t, p: bool| -> $t => if p { a } else { b }),
                "setp.eq" => op!(|a: $t, b: $t| -> bool => a == b),
                "setp.ne" => op!(|a: $t, b: $t| -> bool => a != b),
                "popc" => op!(|a: $t| -> u32 => a.count_ones()),
                "clz" => op!(|a: $t| -> u32 => a.leading_zeros()),
                "brev" => op!(|a: $t| -> $t => a.reverse_bits()),
                _ => None,
            }
        }
    };
}
bit_operations!(bits16, u16);
bit_operations!(bits64, u64);
bit_operations!(common_bits32, u32);

fn bits32(operation: &str) -> Option<Arithmetic> {
    match operation {
        "prmt" => op!(|a: u32, b: u32, c: u32| -> u32 => permute(a, b, c)),
        "bfi" => Some(Arithmetic {
            run: insert_field,
            to: Class::Narrow,
            from: &[Class::Narrow, Class::Narrow, Class::Narrow, Class::Narrow],
        }),
        "bfe" => op!(|a: u32, at: u32, length: u32| -> u32 => extract_field(a, at, length)),
        "shf.l.wrap" => op!(|a: u32, b: u32, n: u32| -> u32 => funnel(a, b, 32 - (n & 31))),
        "shf.r.wrap" => op!(|a: u32, b: u32, n: u32| -> u32 => funnel(a, b, n & 31)),
        _ => common_bits32(operation),
    }
}

fn predicates(operation: &str) -> Option<Arithmetic> {
    match operation {
        "and" => op!(|a: bool, b: bool| -> bool => a & b),
        "or" => op!(|a: bool, b: bool| -> bool => a | b),
        "xor" => op!(|a: bool, b: bool| -> bool => a ^ b),
        "not" => op!(|a: bool| -> bool => !a),
        "mov" => op!(|a: bool| -> bool => a),
        _ => None,
    }
}

/// `shf`: 32 bits of the pair b:a, from bit `at` on.
fn funnel(a: u32, b: u32, at: u32) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    (pair >> at) as u32
}

/// `prmt`: each nibble of the selector chooses a byte of the pair b:a, or eight copies of its sign.
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let pair = u64::from(b) << 32 | u64::from(a);
    (0..4).fold(0, |result, place| {
        let choice = selector >> (4 * place) & 0xf;
        let byte = (pair >> (8 * (choice & 7))) as u8;
        let byte = if choice & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        result | u32::from(byte) << (8 * place)
    })
}

/// The bits of a field of `length` bits from bit `at` on.
fn field(at: u32, length: u32) -> u32 {
    let ones = if length >= 32 { u32::MAX } else { (1 << length) - 1 };
    ones.checked_shl(at).unwrap_or(0)
}

fn extract_field(a: u32, at: u32, length: u32) -> u32 {
    let (at, length) = (at & 0xff, length & 0xff);
    a.checked_shr(at).unwrap_or(0) & field(0, length)
}

/// `bfi d, a, b, at, length`: b with the low bits of a in a field.
fn insert_field(registers: &mut Registers, operands: &Operands, mask: Mask) {
    let [a, b, at, length] = [0, 1, 2, 3].map(|n| u32::row(registers, operands.s[n]));
    let values: [u32; LANES] = std::array::from_fn(|lane| {
        let at = at[lane] & 0xff;
        let field = field(at, length[lane] & 0xff);
        b[lane] & !field | a[lane].checked_shl(at).unwrap_or(0) & field
    });
    u32::put(registers, operands.d[0], values, mask);
}
