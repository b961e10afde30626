//! Matrix products. src/ops/tensor/matmul/tiles.rs tests that the shapes of f32 use every tile, whole and split into parts.

use crate::ops::layers::linear::linear;
use crate::ops::tensor::matmul::product as launch_product;
use crate::ops::tensor::matmul::{Epilogue, Operand, Rows, with_cut};
use crate::{DType, Device, Tape, Tensor};

use super::factors::{Factors, rounded};
use super::{Case, Outputs, draw, gradient};

/// m, n, k: one below, at and one above each tile, with at least two slabs more than the tile has pipeline stages.
const SIZES: [[usize; 3]; 19] = [
    // 32x32, whole: slabs of 32.
    [31, 5279, 160],
    [32, 5280, 161],
    [33, 5281, 159],
    // 32x32 in parts, of which the last has fewer slabs.
    [31, 33, 1000],
    [32, 64, 1024],
    // 64x64, whole: slabs of 16.
    [63, 65 * 132, 79],
    [64, 64 * 137, 80],
    [129, 4289, 81],
    // 64x64 in parts.
    [319, 321, 1000],
    [320, 320, 1024],
    // 128x128, whole: slabs of 16.
    [127, 128 * 132 - 1, 63],
    [128, 128 * 132, 64],
    // 128x128 in parts.
    [640, 640, 465],
    [1024, 513, 432],
    [768, 383, 895],
    // Degenerate.
    [1, 1, 1],
    [1, 513, 3],
    [300, 1, 7],
    [5, 3, 0],
];

/// Sizes around each tile of the tensor cores: the distance from it, and the number of parts of the inner axis.
const AROUND_A_TILE: [(isize, usize); 5] = [(-1, 1), (0, 3), (0, 1), (1, 1), (1, 2)];

#[derive(Clone, Copy, Debug)]
enum Sides {
    Plain,
    RightTransposed,
    LeftTransposed,
}

impl Sides {
    const ALL: [Sides; 3] = [Sides::Plain, Sides::RightTransposed, Sides::LeftTransposed];

    /// The operands' shapes.
    fn shapes(self, [m, n, k]: [usize; 3]) -> [[usize; 2]; 2] {
        match self {
            Sides::Plain => [[m, k], [k, n]],
            Sides::RightTransposed => [[m, k], [n, k]],
            Sides::LeftTransposed => [[k, m], [k, n]],
        }
    }

    fn multiply(self, a: &Tensor, b: &Tensor) -> Tensor {
        match self {
            Sides::Plain => a.matmul(b),
            Sides::RightTransposed => a.matmul_transposed(b),
            Sides::LeftTransposed => a.transposed_matmul(b),
        }
    }
}

/// A drawn tensor whose row stride exceeds its row length by `before + after` elements.
pub fn pitched(
    device: &Device,
    shape: &[usize],
    dtype: DType,
    gaps: [usize; 2],
    number: u64,
) -> Tensor {
    Factors::F32.pitched(device, shape, dtype, gaps, number)
}

/// A weighted sum of all elements of `y`, with a different weight for each.
pub fn weighed(y: &Tensor, number: u64) -> Tensor {
    Factors::F32.weighed(y, y.dtype(), number)
}

fn product(
    factors: Factors,
    sides: Sides,
    sizes: [usize; 3],
    gaps: [[usize; 2]; 2],
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let [a, b] = sides.shapes(sizes);
        let a = factors.pitched(device, &a, dtype, gaps[0], 1);
        let b = factors.pitched(device, &b, dtype, gaps[1], 2);
        factors.on(device, || vec![("product", sides.multiply(&a, &b).to_f64s())])
    }
}

/// A forced tile and number of parts.
fn forced(
    cut: (&'static str, usize),
    work: impl Fn(&Device, DType) -> Outputs,
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| with_cut(cut.0, cut.1, || work(device, dtype))
}

/// All sums of a tile stored in every way: with vectors, up to a last one that does not fit, and without, with a bias, a ReLU and both, and accumulated. Products
/// of bf16 are stored in bf16 and in f32.
fn stores(factors: Factors, sides: Sides, size: usize) -> impl Fn(&Device, DType) -> Outputs {
    const K: usize = 9;
    let kept = if factors == Factors::Bf16 { factors } else { Factors::F32 };
    move |device, dtype| {
        let mut outputs = Outputs::new();
        // The last vector that does not fit, in each of a thread's places along the columns.
        let fits = [(size, [0, 0]), (size - 1, [1, 2]), (1, [1, 1])];
        let tails = [7, 15, 23, 31, size - 1].map(|columns| (columns, [0, 1]));
        for (columns, gaps) in fits.into_iter().chain(tails) {
            let [a, b] = sides.shapes([size, columns, K]);
            let a = factors.pitched(device, &a, dtype, [0, 0], 1);
            let b = factors.pitched(device, &b, dtype, [0, 0], 2);
            let bias = factors.bias(device, columns, dtype, 3);
            for (has_bias, relu, add) in
                [(true, false, true), (false, true, false), (true, true, true)]
            {
                for wide in [true, false] {
                    let before = [size, gaps[0] + columns + gaps[1]];
                    let mut c = kept.pitched(device, &before, dtype, [0, 0], 4);
                    if wide {
                        c = c.cast(dtype);
                    } else if factors != Factors::Bf16 {
                        continue;
                    }
                    let c = c.slice(1, gaps[0], columns);
                    let Device::Gpu(gpu) = device else {
                        let mut y = sides.multiply(&a, &b);
                        y = if has_bias { y.add(&bias) } else { y };
                        y = if relu { y.relu() } else { y };
                        y = if add { y.add(&c) } else { y };
                        outputs.push(("product", y.to_f64s()));
                        continue;
                    };
                    let left = Operand::new(&a, a.pitch(), matches!(sides, Sides::LeftTransposed));
                    let right =
                        Operand::new(&b, b.pitch(), matches!(sides, Sides::RightTransposed));
                    let bias = has_bias.then(|| bias.pointer());
                    let (to, epilogue) =
                        (Rows::new(&c, c.pitch()), Epilogue { bias, relu, add, norm: None });
                    factors.on(device, || {
                        launch_product(gpu, [size, columns, K], left, right, to, epilogue);
                    });
                    outputs.push(("product", c.to_f64s()));
                }
            }
        }
        outputs
    }
}

fn store_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for factors in Factors::ALL {
        for (tile, size) in [("32", 32), ("64", 64), ("128", 128)] {
            for sides in Sides::ALL {
                let name = format!("matmul {factors:?} {sides:?} stores of tile {tile}");
                let work = forced((tile, 1), stores(factors, sides, size));
                cases.push(Case::new(name, 12, work).of(factors));
            }
        }
    }
    cases
}

/// A linear layer and its gradients, on a tensor of three axes.
fn linear_layer(
    factors: Factors,
    [rows, outputs, inputs]: [usize; 3],
    relu: bool,
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let tape = Tape::new();
        let x = tape.watch(&factors.pitched(device, &[2, rows, inputs], dtype, [0, 4], 1));
        let weight = tape.watch(&factors.pitched(device, &[outputs, inputs], dtype, [0, 0], 2));
        let bias = tape.watch(&factors.bias(device, outputs, dtype, 3));
        factors.on(device, || {
            let y = linear(&x, &weight, &bias, relu);
            tape.backward(&factors.weighed(&y, dtype, 4));
            let gradient = |x: &Tensor| gradient(&tape, x);
            vec![
                ("y", y.to_f64s()),
                ("dx", gradient(&x)),
                ("dw", gradient(&weight)),
                ("db", gradient(&bias)),
            ]
        })
    }
}

/// The product and the gradients of both operands. Each operand is used twice, so gradients are stored, then
/// accumulated.
fn gradients(sides: Sides, sizes: [usize; 3]) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let [a, b] = sides.shapes(sizes);
        let tape = Tape::new();
        let a = tape.watch(&pitched(device, &a, dtype, [4, 0], 1));
        let b = tape.watch(&pitched(device, &b, dtype, [0, 4], 2));
        let product = sides.multiply(&a, &b);
        let again = sides.multiply(&a, &b);
        let elements = product.shape().elements();
        let loss = product.reshape([1, elements]).matmul_transposed(&again.reshape([1, elements]));
        tape.backward(&loss);
        let gradient = |x: &Tensor| gradient(&tape, x);
        vec![("product", product.to_f64s()), ("da", gradient(&a)), ("db", gradient(&b))]
    }
}

/// A batch on both sides, or one operand of two axes that all members share.
fn batched(
    sides: Sides,
    a_is_shared: bool,
    b_is_shared: bool,
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let sizes = [33, 17, 40];
        let shape = |shape: [usize; 2], is_shared| match is_shared {
            true => shape.to_vec(),
            false => [&[5][..], &shape].concat(),
        };
        let [a, b] = sides.shapes(sizes);
        let tape = Tape::new();
        let mut a = pitched(device, &shape(a, a_is_shared), dtype, [0, 3], 1);
        let mut b = pitched(device, &shape(b, b_is_shared), dtype, [8, 0], 2);
        if !a_is_shared {
            a = tape.watch(&a);
        }
        if !b_is_shared {
            b = tape.watch(&b);
        }
        let product = sides.multiply(&a, &b);
        tape.backward(&weighed(&product, 3));
        let mut outputs = vec![("product", product.to_f64s())];
        for (name, x) in [("da", &a), ("db", &b)] {
            outputs.extend(tape.gradient(x).map(|gradient| (name, gradient.to_f64s())));
        }
        outputs
    }
}

/// Every tile of the tensor cores, whole and split into parts, with more slabs than the tile has pipeline stages.
fn tensor_core_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for factors in Factors::ON_TENSOR_CORES {
        let k = if factors == Factors::Bf16 { 325 } else { 165 };
        for (tile, size) in [("32", 32), ("64", 64), ("128", 128)] {
            for (more, parts) in AROUND_A_TILE {
                let side = |more: isize| (size as isize + more) as usize;
                let sizes = [side(more), side(-more), (k as isize + 3 * more) as usize];
                for sides in Sides::ALL {
                    let name =
                        format!("matmul {factors:?} {sides:?} {sizes:?} tile {tile} parts {parts}");
                    let work = product(factors, sides, sizes, [[0, 0]; 2]);
                    cases.push(Case::new(name, k, forced((tile, parts), work)).of(factors));
                }
            }
        }
        for sides in Sides::ALL {
            for gaps in [[[0, 8], [8, 0]], [[1, 0], [0, 3]], [[8, 0], [2, 2]], [[4, 0], [0, 4]]] {
                let name = format!("matmul {factors:?} {sides:?} rows with gaps {gaps:?}");
                let work = product(factors, sides, [40, 48, 104], gaps);
                cases.push(Case::new(name, 100, work).of(factors));
            }
            for sizes in [[1, 1, 1], [5, 3, 0], [300, 40, 600]] {
                let name = format!("matmul {factors:?} {sides:?} {sizes:?}");
                let work = product(factors, sides, sizes, [[0, 0]; 2]);
                cases.push(Case::new(name, 600, work).of(factors));
            }
        }
    }
    cases
}

fn linear_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for factors in [Factors::F32, Factors::Tf32] {
        for sizes in [[17, 33, 20], [5, 1, 7], [16, 64, 300]] {
            for (relu, parts) in [(false, 1), (true, 1), (false, 3), (true, 3)] {
                let name = format!("linear {factors:?} {sizes:?} relu {relu} parts {parts}");
                let work = linear_layer(factors, sizes, relu);
                cases.push(Case::new(name, 300, forced(("32", parts), work)).of(factors));
            }
        }
    }
    cases
}

/// A small corner of every tile, with few enough accesses for checked kernels.
fn corner_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for factors in Factors::ALL {
        for tile in ["32", "64", "128"] {
            for sides in Sides::ALL {
                let name = format!("matmul {factors:?} {sides:?} corner of tile {tile}");
                let work = product(factors, sides, [9, 7, 70], [[0, 0]; 2]);
                cases.push(Case::new(name, 70, forced((tile, 1), work)).of(factors));
            }
        }
    }
    cases
}

/// As many positive terms as in a model's longest sum, so that truncations add up.
const POSITIVE: [usize; 3] = [16, 8, 4608];

/// The product of positive numbers with tf32 factors.
pub fn positive(device: &Device, dtype: DType) -> Outputs {
    let [m, n, k] = POSITIVE;
    let operand = |shape: [usize; 2], number| {
        let numbers: Vec<f64> = draw(m.max(n) * k, number)[..shape[0] * shape[1]]
            .iter()
            .map(|x| rounded(x.abs()))
            .collect();
        Tensor::from_f64s(device, shape, dtype, &numbers)
    };
    let (a, b) = (operand([m, k], 1), operand([n, k], 2));
    // In one part, since the parts of a sum are added in f32.
    let product = || with_cut("32", 1, || a.matmul_transposed(&b).to_f64s());
    Factors::Tf32.on(device, || vec![("product", product())])
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = tensor_core_cases();
    cases.push(Case::new("matmul of positive numbers", POSITIVE[2], positive).of(Factors::Tf32));
    cases.extend(corner_cases());
    cases.extend(linear_cases());
    cases.extend(store_cases());
    for sides in Sides::ALL {
        for sizes in SIZES {
            let [m, n, k] = sizes;
            let name = format!("matmul {sides:?} {m} {n} {k}");
            cases.push(Case::new(name, k, product(Factors::F32, sides, sizes, [[0, 0]; 2])));
        }
        for gaps in [[[0, 4], [4, 0]], [[1, 0], [0, 3]], [[4, 0], [2, 2]]] {
            let name = format!("matmul {sides:?} rows with gaps {gaps:?}");
            cases.push(Case::new(name, 100, product(Factors::F32, sides, [36, 40, 100], gaps)));
        }
        for sizes in [[33, 29, 300], [64, 40, 96]] {
            let name = format!("matmul {sides:?} gradients {sizes:?}");
            cases.push(Case::new(name, 33 * 300, gradients(sides, sizes)));
        }
        for (a, b) in [(false, false), (true, false), (false, true)] {
            let name = format!("matmul {sides:?} batched, shared {a} {b}");
            cases.push(Case::new(name, 33 * 17, batched(sides, a, b)));
        }
    }
    cases
}
