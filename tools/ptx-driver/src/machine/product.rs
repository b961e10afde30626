//! `mma.sync`: a warp's product of small matrices. Which lane holds which element is the PTX manual's ("Matrix fragments for
//! mma.m16n8k8" and "mma.m16n8k16").

use super::registers::{LANES, Lane, Mask, Registers};
use crate::ptx::instruction::{Operands, Product};

const M: usize = 16;
const N: usize = 8;

/// d = a b + c of a warp's fragments.
pub fn product(registers: &mut Registers, operands: &Operands, shape: Product, is_truncated: bool) {
    match shape {
        Product::Tf32 => {
            let (a, b) = tf32_operands(registers, operands);
            multiply::<8, 4>(registers, operands, &a, &b, is_truncated);
        }
        Product::Bf16 => {
            let (a, b) = bf16_operands(registers, operands);
            multiply::<16, 8>(registers, operands, &a, &b, is_truncated);
        }
    }
}

type Operand<const ROWS: usize, const K: usize> = [[f64; K]; ROWS];

/// The lower 13 bits of an operand do not count.
fn tf32(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits & !0x1fff))
}

fn tf32_operands(registers: &Registers, operands: &Operands) -> (Operand<M, 8>, Operand<N, 8>) {
    let (mut a, mut b) = ([[0.0; 8]; M], [[0.0; 8]; N]);
    for part in 0..4 {
        let own = u32::row(registers, operands.s[part]);
        for lane in 0..LANES {
            let (row, column) = (lane / 4 + 8 * (part % 2), lane % 4 + 4 * (part / 2));
            a[row][column] = tf32(own[lane]);
        }
    }
    for part in 0..2 {
        let own = u32::row(registers, operands.s[4 + part]);
        for lane in 0..LANES {
            b[lane / 4][lane % 4 + 4 * part] = tf32(own[lane]);
        }
    }
    (a, b)
}

fn bf16_operands(registers: &Registers, operands: &Operands) -> (Operand<M, 16>, Operand<N, 16>) {
    let (mut a, mut b) = ([[0.0; 16]; M], [[0.0; 16]; N]);
    let halves =
        |bits: u32| [bits << 16, bits & 0xffff_0000].map(|own| f64::from(f32::from_bits(own)));
    for part in 0..4 {
        let own = u32::row(registers, operands.s[part]);
        for lane in 0..LANES {
            let (row, column) = (lane / 4 + 8 * (part % 2), 2 * (lane % 4) + 8 * (part / 2));
            [a[row][column], a[row][column + 1]] = halves(own[lane]);
        }
    }
    for part in 0..2 {
        let own = u32::row(registers, operands.s[4 + part]);
        for lane in 0..LANES {
            let k = 2 * (lane % 4) + 8 * part;
            [b[lane / 4][k], b[lane / 4][k + 1]] = halves(own[lane]);
        }
    }
    (a, b)
}

/// The row and column of an element of c and d.
fn place(lane: usize, part: usize) -> (usize, usize) {
    (lane / 4 + 8 * (part / 2), 2 * (lane % 4) + part % 2)
}

/// Products are exact in f64. Their sum is rounded once, or truncated after every `GROUP` products.
fn multiply<const K: usize, const GROUP: usize>(
    registers: &mut Registers,
    operands: &Operands,
    a: &Operand<M, K>,
    b: &Operand<N, K>,
    is_truncated: bool,
) {
    let mut sums = [[0.0f64; N]; M];
    for part in 0..4 {
        let own = f32::row(registers, operands.s[6 + part]);
        for lane in 0..LANES {
            let (row, column) = place(lane, part);
            sums[row][column] = f64::from(own[lane]);
        }
    }
    if is_truncated {
        for (row, sums) in sums.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                let products: [f64; K] = std::array::from_fn(|k| a[row][k] * b[column][k]);
                *sum = products.chunks(GROUP).fold(*sum, truncated_sum);
            }
        }
    } else {
        add_products(&mut sums, a, b);
    }
    for part in 0..4 {
        let values = std::array::from_fn(|lane| {
            let (row, column) = place(lane, part);
            sums[row][column] as f32
        });
        f32::put(registers, operands.d[part], values, Mask::MAX);
    }
}

fn add_products<const K: usize>(sums: &mut [[f64; N]; M], a: &Operand<M, K>, b: &Operand<N, K>) {
    let columns: [[f64; N]; K] = std::array::from_fn(|k| std::array::from_fn(|n| b[n][k]));
    for (sums, row) in sums.iter_mut().zip(a) {
        for (factor, column) in row.iter().zip(&columns) {
            for (sum, other) in sums.iter_mut().zip(column) {
                *sum += factor * other;
            }
        }
    }
}

/// A sum as tensor cores are measured to form it (Fasi, Higham, Mikaitis, Pranesh 2021): all addends are cut to the last place
/// of the largest one, and the sum is cut to f32.
fn truncated_sum(start: f64, products: &[f64]) -> f64 {
    let largest = products.iter().fold(start.abs(), |largest, own| largest.max(own.abs()));
    if largest == 0.0 || !largest.is_finite() || products.iter().any(|own| own.is_nan()) {
        return start + products.iter().sum::<f64>();
    }
    let unit = last_place(largest);
    let cut = |x: f64| (x / unit).trunc() * unit;
    toward_zero(cut(start) + products.iter().map(|own| cut(*own)).sum::<f64>())
}

/// The unit in the last place of a number of 24 bits.
fn last_place(x: f64) -> f64 {
    let exponent = (x.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    2.0f64.powi((exponent - 23).max(-149))
}

fn toward_zero(x: f64) -> f64 {
    let nearest = x as f32;
    let result = if f64::from(nearest).abs() > x.abs() { previous(nearest) } else { nearest };
    f64::from(result)
}

fn previous(x: f32) -> f32 {
    f32::from_bits(x.to_bits() - 1)
}
