//! `cvt`: conversions between types.

use super::operation::{binary, op, unary};
use super::registers::{Lane, Mask, Registers};
use crate::ptx::instruction::{Arithmetic, Operands};

/// A conversion, by its rounding (`rn`, `rzi`, `sat`, none), the type it makes and the type it takes.
pub fn conversion(rounding: &str, to: &str, from: &str) -> Option<Arithmetic> {
    let rounding = rounding.trim_end_matches(".ftz");
    match (rounding, to, from) {
        ("rna", "tf32", "f32") => op!(|a: f32| -> u32 => tf32(a)),
        ("rn", "bf16", "f32") => op!(|a: f32| -> u16 => bf16(a)),
        ("rn", "bf16x2", "f32") => {
            op!(|high: f32, low: f32| -> u32 => u32::from(bf16(high)) << 16 | u32::from(bf16(low)))
        }
        ("", "f32", "bf16") => op!(|a: u16| -> u32 => u32::from(a) << 16),
        ("sat", "f32", "f32") => op!(|a: f32| -> f32 => if a > 0.0 { a.min(1.0) } else { 0.0 }),
        ("", "f64", "f32") => op!(|a: f32| -> f64 => f64::from(a)),
        ("rn", "f32", "f64") => op!(|a: f64| -> f32 => a as f32),
        ("rzi", "f32", "f32") => op!(|a: f32| -> f32 => a.trunc()),
        ("rzi", "f64", "f64") => op!(|a: f64| -> f64 => a.trunc()),
        ("rni", "f32", "f32") => op!(|a: f32| -> f32 => a.round_ties_even()),
        ("rni", "f64", "f64") => op!(|a: f64| -> f64 => a.round_ties_even()),
        ("rmi", "f32", "f32") => op!(|a: f32| -> f32 => a.floor()),
        ("rmi", "f64", "f64") => op!(|a: f64| -> f64 => a.floor()),
        ("rpi", "f32", "f32") => op!(|a: f32| -> f32 => a.ceil()),
        ("rpi", "f64", "f64") => op!(|a: f64| -> f64 => a.ceil()),
        ("rzi" | "rni" | "rmi" | "rpi", _, "f32") => from_single(rounding, to),
        ("rzi" | "rni" | "rmi" | "rpi", _, "f64") => from_double(rounding, to),
        ("rn", "f32" | "f64", _) | ("", "f64", "u32" | "s32" | "u16" | "s16") => to_float(to, from),
        ("", _, _) => between_integers(to, from),
        _ => None,
    }
}

macro_rules! to_integers {
    ($function:ident, $t:ident) => {
        /// Out of range the nearest integer, and 0 of NaN; of NaN in 64 bits, the least or the upper bit.
        fn $function(rounding: &str, to: &str) -> Option<Arithmetic> {
            const UPPER: u64 = 1 << 63;
            match (rounding, to) {
                ("rzi", "s32") => op!(|a: $t| -> i32 => a as i32),
                ("rzi", "u32") => op!(|a: $t| -> u32 => a as u32),
                ("rzi", "s64") => op!(|a: $t| -> i64 => if a.is_nan() { i64::MIN } else { a as i64 }),
                ("rzi", "u64") => op!(|a: $t| -> u64 => if a.is_nan() { UPPER } else { a as u64 }),
                ("rni", "s32") => op!(|a: $t| -> i32 => a.round_ties_even() as i32),
                ("rni", "u32") => op!(|a: $t| -> u32 => a.round_ties_even() as u32),
                ("rmi", "s32") => op!(|a: $t| -> i32 => a.floor() as i32),
                ("rpi", "s32") => op!(|a: $t| -> i32 => a.ceil() as i32),
                _ => None,
            }
        }
    };
}
to_integers!(from_single, f32);
to_integers!(from_double, f64);

/// `$of!` of the Rust type of a PTX integer type.
macro_rules! by_integer {
    ($from:expr, $of:ident) => {
        match $from {
            "u8" => $of!(u8),
            "s8" => $of!(i8),
            "u16" => $of!(u16),
            "s16" => $of!(i16),
            "u32" => $of!(u32),
            "s32" => $of!(i32),
            "u64" => $of!(u64),
            "s64" => $of!(i64),
            _ => None,
        }
    };
}

fn to_float(to: &str, from: &str) -> Option<Arithmetic> {
    macro_rules! of {
        ($t:ty) => {
            if to == "f32" { op!(|a: $t| -> f32 => a as f32) } else { op!(|a: $t| -> f64 => a as f64) }
        };
    }
    by_integer!(from, of)
}

fn between_integers(to: &str, from: &str) -> Option<Arithmetic> {
    macro_rules! of {
        ($t:ty) => {
            match to {
                "u8" => op!(|a: $t| -> u8 => a as u8),
                "s8" => op!(|a: $t| -> i8 => a as i8),
                "u16" => op!(|a: $t| -> u16 => a as u16),
                "s16" => op!(|a: $t| -> i16 => a as i16),
                "u32" => op!(|a: $t| -> u32 => a as u32),
                "s32" => op!(|a: $t| -> i32 => a as i32),
                "u64" => op!(|a: $t| -> u64 => a as u64),
                "s64" => op!(|a: $t| -> i64 => a as i64),
                _ => None,
            }
        };
    }
    by_integer!(from, of)
}

/// To the nearest number of 8 bits of precision, ties to even.
pub fn bf16(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let bits = x.to_bits();
    let tie = bits >> 16 & 1;
    ((bits + 0x7fff + tie) >> 16) as u16
}

/// To the nearest number of 11 bits of precision, ties away from zero.
pub fn tf32(x: f32) -> u32 {
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    let bits = x.to_bits();
    if x.is_infinite() { bits } else { (bits + 0x1000) & !0x1fff }
}
