//! Matrix products. src/ops/matmul/tiles.rs tests that these shapes meet every tile, whole and in parts.

use alrao::ops::matmul::matmul_tf32;
use alrao::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, draw};

/// m, n, k: one below, at and one above each tile, with at least two slabs more than the tile has places for.
const SIZES: [[usize; 3]; 19] = [
    // 32x32, whole: slabs of 32.
    [31, 33, 160],
    [32, 32, 161],
    [33, 31, 159],
    // 32x32 in parts; the last has fewer slabs.
    [31, 33, 1000],
    [32, 64, 1024],
    // 64x64, whole: slabs of 16.
    [63, 65 * 132, 79],
    [64, 64 * 132, 80],
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

/// The same for tf32, whose slabs are deeper. 32x32, whole and in parts, and degenerate ones.
const TF32_SIZES: [[usize; 3]; 7] = [
    [31, 33, 160],
    [32, 32, 161],
    [33, 31, 159],
    [31, 33, 500],
    [32, 64, 1000],
    [1, 1, 1],
    [5, 3, 0],
];

/// 64x64 and 128x128, whole and in parts: with one side each, since an emulated tensor core is slow.
const LARGE_TF32_SIZES: [(Sides, [usize; 3]); 6] = [
    (Sides::Plain, [191, 64 * 56 - 1, 159]),
    (Sides::RightTransposed, [129, 4289, 160]),
    (Sides::LeftTransposed, [319, 257, 1000]),
    (Sides::Plain, [1279, 1280, 160]),
    (Sides::RightTransposed, [640, 513, 960]),
    (Sides::LeftTransposed, [1280, 1279, 159]),
];

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

/// A drawn tensor whose rows lie `before + after` elements further apart than they are long.
pub fn pitched(
    device: &Device,
    shape: &[usize],
    dtype: DType,
    [before, after]: [usize; 2],
    number: u64,
) -> Tensor {
    let (columns, outer) = shape.split_last().expect("a shape has axes");
    let whole = [outer, &[before + columns + after]].concat();
    let elements = draw(whole.iter().product(), number);
    let tensor = Tensor::from_f64s(device, &whole[..], dtype, &elements);
    tensor.slice(whole.len() - 1, before, *columns)
}

/// A number that depends on every element of `y`, each with another weight.
pub fn weighed(y: &Tensor, number: u64) -> Tensor {
    let elements = y.shape().elements();
    let weights = draw(elements, number);
    let weights = Tensor::from_f64s(y.device(), [elements, 1], y.dtype(), &weights);
    y.reshape([1, elements]).matmul(&weights)
}

fn product(
    sides: Sides,
    sizes: [usize; 3],
    gaps: [[usize; 2]; 2],
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let [a, b] = sides.shapes(sizes);
        let a = pitched(device, &a, dtype, gaps[0], 1);
        let b = pitched(device, &b, dtype, gaps[1], 2);
        vec![("product", sides.multiply(&a, &b).to_f64s())]
    }
}

/// Rounded to 10 bits of fraction, ties away from zero.
pub fn rounded(x: f64) -> f64 {
    let bits = (x as f32).to_bits();
    f64::from(f32::from_bits((bits + 0x1000) & !0x1fff))
}

/// The reference is given numbers that are rounded already: then only the sums' roundings differ.
fn product_tf32(
    sides: Sides,
    sizes: [usize; 3],
    gaps: [[usize; 2]; 2],
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let [a, b] = sides.shapes(sizes);
        let mut operands = [
            pitched(device, &a, dtype, gaps[0], 1), //
            pitched(device, &b, dtype, gaps[1], 2),
        ];
        if dtype == DType::F64 {
            operands = operands.map(|operand| {
                let elements: Vec<f64> = operand.to_f64s().into_iter().map(rounded).collect();
                Tensor::from_f64s(device, operand.shape(), dtype, &elements)
            });
        }
        let [a, b] = operands;
        let transposed = match sides {
            Sides::Plain => [false, false],
            Sides::RightTransposed => [false, true],
            Sides::LeftTransposed => [true, false],
        };
        vec![("product", matmul_tf32(&a, &b, transposed).to_f64s())]
    }
}

/// The product and the gradients of both operands, each stored and then added to, since each is used twice.
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
        let gradient = |x: &Tensor| tape.gradient(x).unwrap().to_f64s();
        vec![("product", product.to_f64s()), ("da", gradient(&a)), ("db", gradient(&b))]
    }
}

/// A batch on both sides, or an operand of two axes for all members.
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

fn tf32_case(sides: Sides, sizes: [usize; 3]) -> Case {
    let [m, n, k] = sizes;
    let name = format!("matmul tf32 {sides:?} {m} {n} {k}");
    Case::new(name, k, product_tf32(sides, sizes, [[0, 0]; 2]))
}

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        LARGE_TF32_SIZES.iter().map(|(sides, sizes)| tf32_case(*sides, *sizes)).collect();
    for sides in Sides::ALL {
        for sizes in SIZES {
            let [m, n, k] = sizes;
            let name = format!("matmul {sides:?} {m} {n} {k}");
            cases.push(Case::new(name, k, product(sides, sizes, [[0, 0]; 2])));
        }
        for sizes in TF32_SIZES {
            cases.push(tf32_case(sides, sizes));
        }
        for gaps in [[[0, 4], [4, 0]], [[1, 0], [0, 3]], [[4, 0], [2, 2]]] {
            let name = format!("matmul {sides:?} rows with gaps {gaps:?}");
            cases.push(Case::new(name, 100, product(sides, [36, 40, 100], gaps)));
            let name = format!("matmul tf32 {sides:?} rows with gaps {gaps:?}");
            cases.push(Case::new(name, 100, product_tf32(sides, [36, 40, 100], gaps)));
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
