//! Floating-point operations that are exactly rounded.

use super::operation::{binary, op, ternary, unary};
use super::registers::{Lane, Mask, Registers};
use crate::ptx::instruction::{Arithmetic, Operands};

/// An operation on f32 or f64, by its name and its type.
pub fn float(operation: &str, ty: &str) -> Option<Arithmetic> {
    match ty {
        "f32" => single(operation),
        "f64" => double(operation),
        _ => None,
    }
}

macro_rules! floats {
    ($function:ident, $t:ident, $u:ty) => {
        fn $function(operation: &str) -> Option<Arithmetic> {
            const SIGN: $u = 1 << (<$u>::BITS - 1);
            match operation {
                "add" | "add.rn" => op!(|a: $t, b: $t| -> $t => a + b),
                "sub" | "sub.rn" => op!(|a: $t, b: $t| -> $t => a - b),
                "mul" | "mul.rn" => op!(|a: $t, b: $t| -> $t => a * b),
                "fma.rn" => op!(|a: $t, b: $t, c: $t| -> $t => a.mul_add(b, c)),
                "div.rn" => op!(|a: $t, b: $t| -> $t => a / b),
                "rcp.rn" => op!(|a: $t| -> $t => 1.0 / a),
                "sqrt.rn" => op!(|a: $t| -> $t => a.sqrt()),
                "abs" => op!(|a: $u| -> $u => a & !SIGN),
                "neg" => op!(|a: $u| -> $u => a ^ SIGN),
                // PTX takes the sign from the first operand.
                "copysign" => op!(|a: $u, b: $u| -> $u => b & !SIGN | a & SIGN),
                // Of a NaN and a number, the number.
                "min" => op!(|a: $t, b: $t| -> $t => if a < b || b.is_nan() { a } else if a == b { $t::from_bits(a.to_bits() | b.to_bits()) } else { b }),
                "max" => op!(|a: $t, b: $t| -> $t => if a > b || b.is_nan() { a } else if a == b { $t::from_bits(a.to_bits() & b.to_bits()) } else { b }),
                "setp.eq" => op!(|a: $t, b: $t| -> bool => a == b),
                "setp.ne" => op!(|a: $t, b: $t| -> bool => a < b || a > b),
                "setp.lt" => op!(|a: $t, b: $t| -> bool => a < b),
                "setp.le" => op!(|a: $t, b: $t| -> bool => a <= b),
                "setp.gt" => op!(|a: $t, b: $t| -> bool => a > b),
                "setp.ge" => op!(|a: $t, b: $t| -> bool => a >= b),
                "setp.equ" => op!(|a: $t, b: $t| -> bool => !(a < b || a > b)),
                "setp.neu" => op!(|a: $t, b: $t| -> bool => a != b),
                "setp.ltu" => op!(|a: $t, b: $t| -> bool => is_not(a >= b)),
                "setp.leu" => op!(|a: $t, b: $t| -> bool => is_not(a > b)),
                "setp.gtu" => op!(|a: $t, b: $t| -> bool => is_not(a <= b)),
                "setp.geu" => op!(|a: $t, b: $t| -> bool => is_not(a < b)),
                "setp.num" => op!(|a: $t, b: $t| -> bool => !a.is_nan() && !b.is_nan()),
                "setp.nan" => op!(|a: $t, b: $t| -> bool => a.is_nan() || b.is_nan()),
                _ => None,
            }
        }
    };
}
floats!(double, f64, u64);
floats!(common_single, f32, u32);

/// A comparison that also holds of NaN is the opposite one turned round.
#[inline(always)]
fn is_not(holds: bool) -> bool {
    !holds
}

fn single(operation: &str) -> Option<Arithmetic> {
    match operation {
        "add.rz" => op!(|a: f32, b: f32| -> f32 => add_toward_zero(a, b)),
        "fma.rm" => op!(|a: f32, b: f32, c: f32| -> f32 => fma_down(a, b, c)),
        _ => common_single(operation),
    }
}

/// a + b rounded towards zero. The sum in f64 is exact, or its error tells on which side of an f32 it lies.
fn add_toward_zero(a: f32, b: f32) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    let sum = a + b;
    if !sum.is_finite() {
        return sum as f32;
    }
    let part = sum - a;
    let error = (a - (sum - part)) + (b - part);
    let rounded = sum as f32;
    let excess = (f64::from(rounded) - sum) * sum.signum();
    let is_beyond = excess > 0.0 || excess == 0.0 && error * sum.signum() < 0.0;
    match (is_beyond, rounded > 0.0) {
        (false, _) => rounded,
        (true, true) => rounded.next_down(),
        (true, false) => rounded.next_up(),
    }
}

/// a b + c rounded towards minus infinity. The product is exact in f64, and the error of the sum is known exactly (Knuth's
/// two-sum), so that one comparison decides.
fn fma_down(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    if !sum.is_finite() {
        return sum as f32;
    }
    let part = sum - product;
    let error = (product - (sum - part)) + (c - part);
    let rounded = sum as f32;
    let excess = f64::from(rounded) - sum;
    if excess > 0.0 || excess == 0.0 && error < 0.0 { rounded.next_down() } else { rounded }
}
