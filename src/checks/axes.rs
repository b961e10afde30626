//! Element-wise kernels whose operands are broadcast along every other one of up to six axes, so that no two axes merge.
//! Tensors of an op have at most two axes that do not merge; a kernel has code for six, in each of its variants.

use crate::device::Gpu;
use crate::ops::tensor::elementwise::launch;
use crate::tape::Slot;
use crate::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, draw, drawn, gradient, stored};

/// Extents of the output without the last one, with six axes, five, four and three.
const OUTER: [[usize; 5]; 4] = [[2, 3, 2, 3, 2], [1, 3, 2, 3, 4], [1, 1, 4, 3, 6], [1, 1, 1, 9, 8]];

/// Elements of the output's last axis, with vector loads and without; either way, threads have a second unit.
const WIDTHS: [usize; 2] = [32, 5];

/// The output's extents.
type Extents = [usize; 6];

/// The elements in memory from one row of a broadcast operand to the next: whole vectors of any type.
const PITCH: usize = 8;

/// The axes along which an operand is broadcast: the even ones, or the odd ones with the last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Along {
    Even,
    Odd,
}

impl Along {
    const BOTH_ORDERS: [[Along; 2]; 2] = [[Along::Even, Along::Odd], [Along::Odd, Along::Even]];

    /// The operand's extents.
    fn shape(self, [a, b, c, d, e, width]: Extents) -> Extents {
        match self {
            Along::Even => [1, b, 1, d, 1, width],
            Along::Odd => [a, 1, c, 1, e, 1],
        }
    }
}

/// An operand, and its numbers as the output's elements see them.
struct Operand {
    tensor: Tensor,
    numbers: Vec<f64>,
}

impl Operand {
    /// Drawn numbers, changed so that the case's type still holds them.
    fn new(
        device: &Device,
        dtype: DType,
        (along, extents): (Along, Extents),
        number: u64,
        change: fn(f64) -> f64,
    ) -> Self {
        let shape = along.shape(extents);
        let mut whole = shape;
        whole[5] = if along == Along::Odd { PITCH } else { shape[5] };
        let all: Vec<f64> = draw(whole.iter().product(), number).into_iter().map(change).collect();
        let tensor = Tensor::from_f64s(device, whole, dtype, &all).slice(5, 0, shape[5]);
        let of_output = |index: usize| {
            let [mut rest, mut offset, mut stride] = [index, 0, 1];
            for axis in (0..6).rev() {
                let extent = extents[axis];
                offset += if shape[axis] == 1 { 0 } else { rest % extent * stride };
                rest /= extent;
                stride *= whole[axis];
            }
            all[offset]
        };
        Operand { tensor, numbers: (0..extents.iter().product()).map(of_output).collect() }
    }
}

/// To numbers in 0.5..1.
fn positive(x: f64) -> f64 {
    stored(x.abs() + 0.5)
}

fn same(x: f64) -> f64 {
    x
}

/// A drawn tensor of the output's shape, to write to.
fn target(device: &Device, dtype: DType, extents: Extents) -> (Tensor, Vec<f64>) {
    let before = draw(extents.iter().product(), 9);
    (Tensor::from_f64s(device, extents, dtype, &before), before)
}

/// What a launch writes to a tensor of the output's shape, on a GPU; what `expected` gives for the old number and an
/// element's index, on the CPU.
fn written(
    device: &Device,
    dtype: DType,
    extents: Extents,
    launch: impl Fn(&Gpu, Tensor) -> Tensor,
    expected: impl Fn(f64, usize) -> f64,
) -> (&'static str, Vec<f64>) {
    let (to, before) = target(device, dtype, extents);
    let found = match device {
        Device::Gpu(gpu) => launch(gpu, to).to_f64s(),
        Device::Cpu(_) => {
            before.iter().enumerate().map(|(index, old)| expected(*old, index)).collect()
        }
    };
    ("written", found)
}

/// A function by its name in the kernels; the derivative's arguments are what the backward pass keeps, and the gradient.
type Function = (&'static str, fn(f64) -> f64, fn(f64, f64) -> f64);

const FUNCTIONS: [Function; 7] = [
    ("relu", |x| x.max(0.0), |y, dy| if y <= 0.0 { 0.0 } else { dy }),
    ("exp", f64::exp, |y, dy| dy * y),
    ("ln", f64::ln, |x, dy| dy / x),
    ("tanh", f64::tanh, |y, dy| dy * (1.0 - y * y)),
    ("sigmoid", |x| 1.0 / (1.0 + (-x).exp()), |y, dy| dy * y * (1.0 - y)),
    ("sqrt", f64::sqrt, |y, dy| 0.5 * dy / y),
    ("square", |x| x * x, |x, dy| dy * 2.0 * x),
];

fn unary((name, forward, backward): Function) -> Case {
    let change = if ["ln", "sqrt"].contains(&name) { positive } else { same };
    let run = move |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        for (extents, [first, second]) in all_operands() {
            let kept = Operand::new(device, dtype, (first, extents), 1, change);
            let dy = Operand::new(device, dtype, (second, extents), 2, same);
            let run = |gpu: &Gpu, to: Tensor| {
                launch::unary(gpu, name, &[], &kept.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| forward(kept.numbers[index]);
            outputs.push(written(device, dtype, extents, run, expected));
            for add in [false, true] {
                let run = |gpu: &Gpu, to: Tensor| {
                    let slot = Slot { tensor: to, add };
                    launch::unary_backward(gpu, name, &kept.tensor, &dy.tensor, &slot);
                    slot.tensor
                };
                let expected = |old: f64, index: usize| {
                    let own = backward(kept.numbers[index], dy.numbers[index]);
                    if add { old + own } else { own }
                };
                outputs.push(written(device, dtype, extents, run, expected));
            }
        }
        outputs
    };
    Case::new(format!("elementwise {name} on many axes"), 1, run)
}

fn all_operands() -> Vec<(Extents, [Along; 2])> {
    let mut all = Vec::new();
    for [a, b, c, d, e] in OUTER {
        for width in WIDTHS {
            all.extend(Along::BOTH_ORDERS.map(|both| ([a, b, c, d, e, width], both)));
        }
    }
    all
}

/// The affine function and its gradient, and sums.
fn linear() -> Case {
    let run = |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        for (extents, [along, _]) in all_operands() {
            let x = Operand::new(device, dtype, (along, extents), 1, same);
            let run = |gpu: &Gpu, to: Tensor| {
                launch::unary(gpu, "affine", &[-0.75, 0.25], &x.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| -0.75 * x.numbers[index] + 0.25;
            outputs.push(written(device, dtype, extents, run, expected));
            for add in [false, true] {
                let run = |gpu: &Gpu, to: Tensor| {
                    let slot = Slot { tensor: to, add };
                    launch::affine_backward(gpu, 0.5, &x.tensor, &slot);
                    slot.tensor
                };
                let expected =
                    |old: f64, index: usize| 0.5 * x.numbers[index] + if add { old } else { 0.0 };
                outputs.push(written(device, dtype, extents, run, expected));
            }
            let run = |gpu: &Gpu, to: Tensor| {
                launch::accumulate(gpu, &x.tensor, &to);
                to
            };
            let expected = |old: f64, index: usize| old + x.numbers[index];
            outputs.push(written(device, dtype, extents, run, expected));
        }
        outputs
    };
    Case::new("elementwise affine on many axes", 1, run)
}

/// Casts to the case's type, in its case in bf16, and from bf16, in its case in f32.
fn casts() -> Case {
    let run = |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        let other = match dtype {
            DType::BF16 => DType::F32,
            DType::F32 => DType::BF16,
            _ => dtype,
        };
        for (extents, [along, _]) in all_operands() {
            // Both types hold such numbers.
            let from = Operand::new(device, other, (along, extents), 1, |x| (8.0 * x).trunc());
            for add in [false, true] {
                let run = |gpu: &Gpu, to: Tensor| {
                    launch::cast(gpu, &from.tensor, &to, add);
                    to
                };
                let expected =
                    |old: f64, index: usize| from.numbers[index] + if add { old } else { 0.0 };
                outputs.push(written(device, dtype, extents, run, expected));
            }
        }
        outputs
    };
    Case::new("elementwise cast on many axes", 1, run)
}

type Binary = fn(&Tensor, &Tensor) -> Tensor;

fn binary() -> Case {
    let functions: [Binary; 4] =
        [|a, b| a.add(b), |a, b| a.sub(b), |a, b| a.mul(b), |a, b| a.div(b)];
    let run = move |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        for (extents, [first, second]) in all_operands() {
            let a = Operand::new(device, dtype, (first, extents), 1, same).tensor;
            let b = Operand::new(device, dtype, (second, extents), 2, positive).tensor;
            outputs.extend(functions.map(|function| ("y", function(&a, &b).to_f64s())));
            let bias = Operand::new(device, dtype.wide(), (second, extents), 2, positive).tensor;
            outputs.push(("biased", a.add(&bias).to_f64s()));
        }
        outputs
    };
    Case::new("elementwise functions of two on many axes", 1, run)
}

/// Copies in units of 16, 4, 2 and 1 bytes, of both units of a thread.
fn copies() -> Case {
    let run = |device: &Device, _| {
        let mut outputs = Outputs::new();
        let kinds = [(DType::U8, 64), (DType::F32, 5), (DType::BF16, 5), (DType::U8, 5)];
        for ([a, b, c, d, e], (dtype, width)) in
            OUTER.into_iter().flat_map(|outer| kinds.map(|kind| (outer, kind)))
        {
            let extents = [a, b, c, d, e, width];
            let whole = |x: f64| (8.0 * x.abs()).trunc();
            let from = Operand::new(device, dtype, (Along::Even, extents), 1, whole);
            let run = |gpu: &Gpu, _: Tensor| {
                let to = Tensor::empty(device, extents, dtype);
                launch::copy(gpu, &from.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| from.numbers[index];
            outputs.push(written(device, DType::F32, extents, run, expected));
        }
        outputs
    };
    Case::new("elementwise copy on many axes", 1, run)
}

/// Every function with its gradient, stored and accumulated, on axes of more than 2^32 elements, of which only
/// the first are there: with vectors and without.
fn long_axes() -> Vec<Case> {
    type Op = fn(&Tensor) -> Tensor;
    let ops: [(&str, Op); 12] = [
        ("relu", |x| x.relu()),
        ("exp", |x| x.exp()),
        ("ln", |x| x.square().affine(1.0, 1.0).ln()),
        ("tanh", |x| x.tanh()),
        ("sigmoid", |x| x.sigmoid()),
        ("sqrt", |x| x.square().affine(1.0, 1.0).sqrt()),
        ("affine", |x| x.affine(-0.75, 0.25)),
        ("add", |x| x.add(x)),
        ("sub", |x| x.sub(&x.square())),
        ("mul", |x| x.mul(x)),
        ("div", |x| x.div(&x.square().affine(1.0, 1.0))),
        ("cast", |x| x.cast(if x.dtype() == DType::BF16 { DType::F32 } else { x.dtype() })),
    ];
    let case = |(name, op): (&'static str, Op)| {
        Case::new(format!("elementwise {name} of long axes"), 1, move |device, dtype| {
            let body = || {
                let mut outputs = Outputs::new();
                for length in [4096, 2053] {
                    let tape = Tape::new();
                    let x = tape.watch(&drawn(device, &[length], dtype, 1));
                    let weights = [2, 3].map(|number| drawn(device, &[length], dtype, number));
                    let y = op(&x).cast(dtype);
                    let again = op(&x).cast(dtype);
                    let loss = y.mul(&weights[0]).sum().add(&again.mul(&weights[1]).sum());
                    tape.backward(&loss);
                    let bias = drawn(device, &[length], dtype.wide(), 4);
                    outputs.extend([
                        ("y", y.to_f64s()),
                        ("gradient", gradient(&tape, &x)),
                        ("biased", x.detach().add(&bias).to_f64s()),
                    ]);
                }
                outputs
            };
            match device {
                Device::Gpu(_) => launch::with_long_axes(body),
                Device::Cpu(_) => body(),
            }
        })
    };
    // Up to three functions and their gradients are stored.
    ops.map(case).into_iter().flat_map(|case| case.and_in_bf16(6)).collect()
}

/// Copies in units of 16, 4, 2 and 1 bytes on long axes.
fn long_copies() -> Case {
    Case::new("elementwise copies of long axes", 1, |device, _| {
        let mut outputs = Outputs::new();
        for (dtype, length) in
            [(DType::F32, 2048), (DType::F32, 601), (DType::BF16, 601), (DType::U8, 601)]
        {
            let numbers: Vec<f64> = (0..length).map(|index| f64::from(index % 251)).collect();
            let whole = Tensor::from_f64s(device, [length as usize], dtype, &numbers);
            let copy = || whole.copy();
            let own = match device {
                Device::Gpu(_) => launch::with_long_axes(copy),
                Device::Cpu(_) => copy(),
            };
            outputs.push(("copy", own.to_f64s()));
        }
        outputs
    })
}

pub(super) fn cases() -> Vec<Case> {
    let functions = FUNCTIONS.map(unary).into_iter();
    let all = functions.chain([linear(), casts(), binary()]);
    all.flat_map(|case| case.and_in_bf16(1))
        .chain([copies(), long_copies()])
        .chain(long_axes())
        .collect()
}
