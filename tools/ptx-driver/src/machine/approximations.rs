//! The approximate functions (`.approx`): the correctly rounded value by default, or off by as much as the PTX manual allows.

use super::operation::{binary, op, unary};
use super::registers::{Lane, Mask, Registers};
use crate::ptx::instruction::{Arithmetic, Operands};

/// An approximate function, by its name and type.
pub fn approximation(operation: &str, ty: &str, is_off: bool) -> Option<Arithmetic> {
    match (operation, ty, is_off) {
        ("ex2.approx.ftz" | "ex2.approx", "f32", false) => op!(|a: f32| -> f32 => exp2(a)),
        ("ex2.approx.ftz" | "ex2.approx", "f32", true) => {
            op!(|a: f32| -> f32 => off(exp2(a), 2, a.to_bits()))
        }
        ("lg2.approx.ftz" | "lg2.approx", "f32", _) => {
            op!(|a: f32| -> f32 => flush(f64::from(flush(a)).log2() as f32))
        }
        ("rcp.approx.ftz" | "rcp.approx", "f32", false) => op!(|a: f32| -> f32 => reciprocal(a)),
        ("rcp.approx.ftz" | "rcp.approx", "f32", true) => {
            op!(|a: f32| -> f32 => off(reciprocal(a), 1, a.to_bits()))
        }
        ("rsqrt.approx.ftz" | "rsqrt.approx", "f32", _) => {
            op!(|a: f32| -> f32 => flush((1.0 / f64::from(flush(a)).sqrt()) as f32))
        }
        ("sqrt.approx.ftz" | "sqrt.approx", "f32", _) => op!(|a: f32| -> f32 => flush(a).sqrt()),
        ("div.approx.ftz" | "div.approx", "f32", false) => {
            op!(|a: f32, b: f32| -> f32 => quotient(a, b))
        }
        ("div.approx.ftz" | "div.approx", "f32", true) => {
            op!(|a: f32, b: f32| -> f32 => off(quotient(a, b), 2, a.to_bits() ^ b.to_bits().rotate_left(7)))
        }
        ("rcp.approx.ftz", "f64", _) => op!(|a: f64| -> f64 => coarse_reciprocal(a)),
        _ => None,
    }
}

/// Subnormal numbers are zero (`.ftz`).
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

fn exp2(x: f32) -> f32 {
    flush(f64::from(flush(x)).exp2() as f32)
}

fn reciprocal(x: f32) -> f32 {
    flush((1.0 / f64::from(flush(x))) as f32)
}

fn quotient(a: f32, b: f32) -> f32 {
    flush((f64::from(flush(a)) / f64::from(flush(b))) as f32)
}

/// The upper word of the operand alone counts, and the lower word of the result is zero.
fn coarse_reciprocal(x: f64) -> f64 {
    let upper = |x: f64| f64::from_bits(x.to_bits() >> 32 << 32);
    let flush = |x: f64| if x.is_subnormal() { 0.0f64.copysign(x) } else { x };
    let result = flush(1.0 / flush(upper(x)));
    if result.is_finite() { upper(result) } else { result }
}

/// Off by up to `most` units in the last place, by an error that depends on the operands alone, as a GPU's does. Powers of two are
/// exact: the manual's tables say so of ex2(0) and rcp(1).
fn off(x: f32, most: i32, operands: u32) -> f32 {
    if !x.is_normal() || x.to_bits() << 9 == 0 {
        return x;
    }
    let hash = (operands ^ operands >> 15).wrapping_mul(0x2c1b_3c6d);
    let hash = (hash ^ hash >> 12).wrapping_mul(0x297a_2d39);
    let error = (hash >> 16) as i32 % (2 * most + 1) - most;
    let result = f32::from_bits(x.to_bits().wrapping_add_signed(error));
    if result.is_normal() { result } else { x }
}
