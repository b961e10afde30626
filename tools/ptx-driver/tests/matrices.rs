//! Tensor cores and matrix loads against a plain product. Which lane holds which element is written down here a second time,
//! from CUTLASS's traits (`SM80_16x8x8_F32TF32TF32F32_TN`, `SM80_16x8x16_F32BF16BF16F32_TN`, `SM75_U32x4_LDSM_N` and `_T`): a
//! layout there maps a thread and a value to a column-major number.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use common::{Aligned, Setup, kernel};
use cuda::options::Arithmetic;

/// A layout of CUTLASS: extents and strides of the thread's and the value's parts.
type Layout = [&'static [(usize, usize)]; 2];

fn number(layout: Layout, thread: usize, value: usize) -> usize {
    let part = |mut index: usize, modes: &[(usize, usize)]| {
        modes.iter().fold(0, |sum, (extent, stride)| {
            let own = index % extent;
            index /= extent;
            sum + own * stride
        })
    };
    part(thread, layout[0]) + part(value, layout[1])
}

struct Traits {
    mnemonic: &'static str,
    k: usize,
    /// Elements of a register.
    packed: usize,
    a: Layout,
    b: Layout,
}

/// C and D: 16 x 8.
const C: Layout = [&[(4, 32), (8, 1)], &[(2, 16), (2, 8)]];

const TF32: Traits = Traits {
    mnemonic: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    k: 8,
    packed: 1,
    a: [&[(4, 16), (8, 1)], &[(2, 8), (2, 64)]],
    b: [&[(4, 8), (8, 1)], &[(2, 32)]],
};

const BF16: Traits = Traits {
    mnemonic: "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    k: 16,
    packed: 2,
    a: [&[(4, 32), (8, 1)], &[(2, 16), (2, 8), (2, 128)]],
    b: [&[(4, 16), (8, 1)], &[(2, 8), (2, 64)]],
};

/// Whole numbers, of which products and sums are exact.
fn element(row: usize, column: usize, seed: usize) -> f32 {
    ((row * 7 + column * 13 + seed) % 11) as f32 - 5.0
}

/// The registers of all lanes, a register after the other, each of 32 words.
fn fragments(
    count: usize,
    packed: usize,
    layout: Layout,
    rows: usize,
    value: impl Fn(usize, usize) -> f32,
) -> Vec<u32> {
    let mut words = vec![0u32; count * 32];
    for lane in 0..32 {
        for at in 0..count * packed {
            let number = number(layout, lane, at);
            let bits = value(number % rows, number / rows).to_bits();
            let word = &mut words[at / packed * 32 + lane];
            *word |= if packed == 2 { (bits >> 16) << (16 * (at % 2)) } else { bits };
        }
    }
    words
}

/// A kernel that loads ten registers, multiplies, and stores four behind them.
fn product_kernel(mnemonic: &str) -> String {
    let mut body =
        "mov.u32 %r0, %tid.x;\nmul.wide.u32 %rd1, %r0, 4;\nadd.s64 %rd1, %rd0, %rd1;\n".to_owned();
    for at in 0..10 {
        body += &format!("ld.global.u32 %r{}, [%rd1+{}];\n", at + 1, 128 * at);
    }
    body += &format!(
        "{mnemonic} {{%r11, %r12, %r13, %r14}}, {{%r1, %r2, %r3, %r4}}, {{%r5, %r6}}, {{%r7, %r8, %r9, %r10}};\n"
    );
    for at in 0..4 {
        body += &format!("st.global.u32 [%rd1+{}], %r{};\n", 128 * (10 + at), 11 + at);
    }
    kernel("", &body)
}

fn products(
    traits: &Traits,
    truncated: bool,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    c: impl Fn(usize, usize) -> f32,
) -> Vec<Vec<f32>> {
    let mut words = Aligned::new(14 * 32);
    let mut all = fragments(4, traits.packed, traits.a, 16, a);
    // B is stored by columns: the layout maps to n and k.
    all.extend(fragments(2, traits.packed, traits.b, 8, b));
    all.extend(fragments(4, 1, C, 16, c));
    words.words()[..320].copy_from_slice(&all);
    let arithmetic = Arithmetic { truncated_sums: truncated, ..Arithmetic::default() };
    let setup = Setup { arithmetic, ..Setup::default() };
    setup.run(&product_kernel(traits.mnemonic), words.words()).unwrap();
    let mut d = vec![vec![f32::NAN; 8]; 16];
    for lane in 0..32 {
        for at in 0..4 {
            let number = number(C, lane, at);
            d[number % 16][number / 16] = f32::from_bits(words.words()[320 + 32 * at + lane]);
        }
    }
    d
}

#[test]
fn products_are_plain_ones() {
    for traits in [&TF32, &BF16] {
        for truncated in [false, true] {
            let d = products(
                traits,
                truncated,
                |m, k| element(m, k, 1),
                |n, k| element(n, k, 4),
                |m, n| element(m, n, 9),
            );
            for (m, row) in d.iter().enumerate() {
                for (n, own) in row.iter().enumerate() {
                    let sum: f32 = (0..traits.k).map(|k| element(m, k, 1) * element(n, k, 4)).sum();
                    assert_eq!(*own, sum + element(m, n, 9), "{} at {m}, {n}", traits.mnemonic);
                }
            }
        }
    }
}

#[test]
fn operands_of_tf32_are_truncated() {
    // One unit below 2: rounding would make it 2.
    let below = f32::from_bits(2.0f32.to_bits() - 1);
    let d = products(&TF32, false, |_, k| if k == 0 { below } else { 0.0 }, |_, _| 1.0, |_, _| 0.0);
    assert_eq!(d[3][5], 2.0 - 1.0 / 1024.0);
}

#[test]
fn sums_are_truncated_on_request() {
    let of = |truncated| {
        let d = products(
            &TF32,
            truncated,
            |_, k| if k == 0 { 1.0 } else { 0.0 },
            |_, _| 0.75 * 2.0f32.powi(-23),
            |_, _| 1.0,
        );
        d[0][0]
    };
    assert_eq!(of(false), 1.0 + f32::EPSILON);
    assert_eq!(of(true), 1.0);
}

/// Element `at` of row `row` of matrix `matrix` in memory.
fn stored(matrix: usize, row: usize, at: usize) -> u32 {
    (matrix * 64 + row * 8 + at) as u32
}

#[test]
fn matrices_are_loaded_as_cutlass_says() {
    for (name, count, transposed) in [
        ("x1", 1, false),
        ("x2", 2, false),
        ("x4", 4, false),
        ("x4.trans", 4, true),
        ("x2.trans", 2, true),
    ] {
        let registers: Vec<String> = (0..count).map(|at| format!("%r{}", 10 + at)).collect();
        let mut body = "mov.u32 %r0, %tid.x;\nmov.u32 %r2, words;\nshl.b32 %r1, %r0, 4;\nadd.s32 %r1, %r1, %r2;\n\
                        mul.wide.u32 %rd1, %r0, 16;\nadd.s64 %rd1, %rd0, %rd1;\nld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1];\n\
                        st.shared.v4.u32 [%r1], {%r3, %r4, %r5, %r6};\nbar.sync 0;\n"
            .to_owned();
        body += &format!(
            "ldmatrix.sync.aligned.m8n8.{name}.shared.b16 {{{}}}, [%r1];\n",
            registers.join(", ")
        );
        body += "mul.wide.u32 %rd2, %r0, 4;\nadd.s64 %rd2, %rd0, %rd2;\n";
        for (at, register) in registers.iter().enumerate() {
            body += &format!("st.global.u32 [%rd2+{}], {register};\n", 512 + 128 * at);
        }
        let mut words = Aligned::new(256);
        for matrix in 0..4 {
            for row in 0..8 {
                for pair in 0..4 {
                    let (low, high) =
                        (stored(matrix, row, 2 * pair), stored(matrix, row, 2 * pair + 1));
                    words.words()[matrix * 32 + row * 4 + pair] = low | high << 16;
                }
            }
        }
        let text = kernel(".shared .align 16 .b8 words[512];", &body);
        Setup::default().run(&text, words.words()).unwrap();
        for matrix in 0..count {
            for lane in 0..32 {
                let own = words.words()[128 + 32 * matrix + lane];
                // Thread l holds elements 2 l and 2 l + 1 of the matrix, or of its transpose.
                let expected = |at: usize| match transposed {
                    false => stored(matrix, at / 8, at % 8),
                    true => stored(matrix, at % 8, at / 8),
                };
                assert_eq!(
                    own,
                    expected(2 * lane) | expected(2 * lane + 1) << 16,
                    "{name}, {matrix}, {lane}"
                );
            }
        }
    }
}
