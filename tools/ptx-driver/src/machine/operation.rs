//! Turns a function of one lane into an operation on a warp's registers.

use super::registers::{LANES, Lane, Mask, Registers};
use crate::ptx::instruction::Operands;

/// Applies a function of one register.
#[inline(always)]
pub fn unary<A: Lane, R: Lane>(
    registers: &mut Registers,
    operands: &Operands,
    mask: Mask,
    f: impl Fn(A) -> R,
) {
    let a = A::row(registers, operands.s[0]);
    let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane]));
    R::put(registers, operands.d[0], values, mask);
}

/// Applies a function of two registers.
#[inline(always)]
pub fn binary<A: Lane, B: Lane, R: Lane>(
    registers: &mut Registers,
    operands: &Operands,
    mask: Mask,
    f: impl Fn(A, B) -> R,
) {
    let a = A::row(registers, operands.s[0]);
    let b = B::row(registers, operands.s[1]);
    let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane], b[lane]));
    R::put(registers, operands.d[0], values, mask);
}

/// Applies a function of three registers.
#[inline(always)]
pub fn ternary<A: Lane, B: Lane, C: Lane, R: Lane>(
    registers: &mut Registers,
    operands: &Operands,
    mask: Mask,
    f: impl Fn(A, B, C) -> R,
) {
    let a = A::row(registers, operands.s[0]);
    let b = B::row(registers, operands.s[1]);
    let c = C::row(registers, operands.s[2]);
    let values: [R; LANES] = std::array::from_fn(|lane| f(a[lane], b[lane], c[lane]));
    R::put(registers, operands.d[0], values, mask);
}

/// `op!(|a: f32, b: f32| -> f32 => a + b)`: an operation with the classes of its registers.
macro_rules! op {
    (|$a:ident: $A:ty| -> $R:ty => $body:expr) => {{
        fn run(r: &mut Registers, o: &Operands, mask: Mask) {
            unary(
                r,
                o,
                mask,
                #[inline(always)]
                |$a: $A| -> $R { $body },
            );
        }
        Some(Arithmetic { run, to: <$R>::CLASS, from: &[<$A>::CLASS] })
    }};
    (|$a:ident: $A:ty, $b:ident: $B:ty| -> $R:ty => $body:expr) => {{
        fn run(r: &mut Registers, o: &Operands, mask: Mask) {
            binary(
                r,
                o,
                mask,
                #[inline(always)]
                |$a: $A, $b: $B| -> $R { $body },
            );
        }
        Some(Arithmetic { run, to: <$R>::CLASS, from: &[<$A>::CLASS, <$B>::CLASS] })
    }};
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| -> $R:ty => $body:expr) => {{
        fn run(r: &mut Registers, o: &Operands, mask: Mask) {
            ternary(
                r,
                o,
                mask,
                #[inline(always)]
                |$a: $A, $b: $B, $c: $C| -> $R { $body },
            );
        }
        Some(Arithmetic { run, to: <$R>::CLASS, from: &[<$A>::CLASS, <$B>::CLASS, <$C>::CLASS] })
    }};
}
pub(crate) use op;
