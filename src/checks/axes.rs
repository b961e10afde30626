//! Element-wise kernels whose operands are broadcast along every other one of six axes, so that no two axes merge. Tensors
//! of an op have at most two axes that do not merge; a kernel has code for six, in each of its variants.

use crate::device::Gpu;
use crate::ops::tensor::elementwise::launch;
use crate::tape::Slot;
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw, stored};

/// Extents of the output without the last one.
const OUTER: [usize; 5] = [2, 3, 2, 3, 2];

/// Elements of the output's last axis, with vector loads and without; either way, threads have a second unit.
const WIDTHS: [usize; 2] = [32, 5];

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
    fn shape(self, width: usize) -> [usize; 6] {
        let [a, b, c, d, e] = OUTER;
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
        (along, width): (Along, usize),
        number: u64,
        change: fn(f64) -> f64,
    ) -> Self {
        let shape = along.shape(width);
        let mut whole = shape;
        whole[5] = if along == Along::Odd { PITCH } else { width };
        let all: Vec<f64> = draw(whole.iter().product(), number).into_iter().map(change).collect();
        let tensor = Tensor::from_f64s(device, whole, dtype, &all).slice(5, 0, shape[5]);
        let of_output = |index: usize| {
            let [mut rest, mut offset, mut stride] = [index, 0, 1];
            for axis in (0..6).rev() {
                let extent = output_shape(width)[axis];
                offset += if shape[axis] == 1 { 0 } else { rest % extent * stride };
                rest /= extent;
                stride *= whole[axis];
            }
            all[offset]
        };
        Operand { tensor, numbers: (0..elements(width)).map(of_output).collect() }
    }
}

/// To numbers in 0.5..1.
fn positive(x: f64) -> f64 {
    stored(x.abs() + 0.5)
}

fn same(x: f64) -> f64 {
    x
}

fn output_shape(width: usize) -> [usize; 6] {
    let [a, b, c, d, e] = OUTER;
    [a, b, c, d, e, width]
}

fn elements(width: usize) -> usize {
    output_shape(width).iter().product()
}

/// A drawn tensor of the output's shape, to write to.
fn target(device: &Device, dtype: DType, width: usize) -> (Tensor, Vec<f64>) {
    let before = draw(elements(width), 9);
    (Tensor::from_f64s(device, output_shape(width), dtype, &before), before)
}

/// What a launch writes to a tensor of the output's shape, on a GPU; what `expected` gives for the old number and an
/// element's index, on the CPU.
fn written(
    device: &Device,
    dtype: DType,
    width: usize,
    launch: impl Fn(&Gpu, Tensor) -> Tensor,
    expected: impl Fn(f64, usize) -> f64,
) -> (&'static str, Vec<f64>) {
    let (to, before) = target(device, dtype, width);
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
        for (width, [first, second]) in all_operands() {
            let kept = Operand::new(device, dtype, (first, width), 1, change);
            let dy = Operand::new(device, dtype, (second, width), 2, same);
            let run = |gpu: &Gpu, to: Tensor| {
                launch::unary(gpu, name, &[], &kept.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| forward(kept.numbers[index]);
            outputs.push(written(device, dtype, width, run, expected));
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
                outputs.push(written(device, dtype, width, run, expected));
            }
        }
        outputs
    };
    Case::new(format!("elementwise {name} on six axes"), 1, run)
}

fn all_operands() -> impl Iterator<Item = (usize, [Along; 2])> {
    WIDTHS.into_iter().flat_map(|width| Along::BOTH_ORDERS.map(|both| (width, both)))
}

/// The affine function and its gradient, and sums.
fn linear() -> Case {
    let run = |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        for (width, [along, _]) in all_operands() {
            let x = Operand::new(device, dtype, (along, width), 1, same);
            let run = |gpu: &Gpu, to: Tensor| {
                launch::unary(gpu, "affine", &[-0.75, 0.25], &x.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| -0.75 * x.numbers[index] + 0.25;
            outputs.push(written(device, dtype, width, run, expected));
            for add in [false, true] {
                let run = |gpu: &Gpu, to: Tensor| {
                    let slot = Slot { tensor: to, add };
                    launch::affine_backward(gpu, 0.5, &x.tensor, &slot);
                    slot.tensor
                };
                let expected =
                    |old: f64, index: usize| 0.5 * x.numbers[index] + if add { old } else { 0.0 };
                outputs.push(written(device, dtype, width, run, expected));
            }
            let run = |gpu: &Gpu, to: Tensor| {
                launch::accumulate(gpu, &x.tensor, &to);
                to
            };
            let expected = |old: f64, index: usize| old + x.numbers[index];
            outputs.push(written(device, dtype, width, run, expected));
        }
        outputs
    };
    Case::new("elementwise affine on six axes", 1, run)
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
        for (width, [along, _]) in all_operands() {
            // Both types hold such numbers.
            let from = Operand::new(device, other, (along, width), 1, |x| (8.0 * x).trunc());
            for add in [false, true] {
                let run = |gpu: &Gpu, to: Tensor| {
                    launch::cast(gpu, &from.tensor, &to, add);
                    to
                };
                let expected =
                    |old: f64, index: usize| from.numbers[index] + if add { old } else { 0.0 };
                outputs.push(written(device, dtype, width, run, expected));
            }
        }
        outputs
    };
    Case::new("elementwise cast on six axes", 1, run)
}

type Binary = fn(&Tensor, &Tensor) -> Tensor;

fn binary() -> Case {
    let functions: [Binary; 4] =
        [|a, b| a.add(b), |a, b| a.sub(b), |a, b| a.mul(b), |a, b| a.div(b)];
    let run = move |device: &Device, dtype: DType| {
        let mut outputs = Outputs::new();
        for (width, [first, second]) in all_operands() {
            let a = Operand::new(device, dtype, (first, width), 1, same).tensor;
            let b = Operand::new(device, dtype, (second, width), 2, positive).tensor;
            outputs.extend(functions.map(|function| ("y", function(&a, &b).to_f64s())));
            let bias = Operand::new(device, dtype.wide(), (second, width), 2, positive).tensor;
            outputs.push(("biased", a.add(&bias).to_f64s()));
        }
        outputs
    };
    Case::new("elementwise functions of two on six axes", 1, run)
}

/// Copies in units of 16, 4, 2 and 1 bytes, of both units of a thread.
fn copies() -> Case {
    let run = |device: &Device, _| {
        let mut outputs = Outputs::new();
        let kinds = [(DType::U8, 64), (DType::F32, 5), (DType::BF16, 5), (DType::U8, 5)];
        for (dtype, width) in kinds {
            let whole = |x: f64| (8.0 * x.abs()).trunc();
            let from = Operand::new(device, dtype, (Along::Even, width), 1, whole);
            let run = |gpu: &Gpu, _: Tensor| {
                let to = Tensor::empty(device, output_shape(width), dtype);
                launch::copy(gpu, &from.tensor, &to);
                to
            };
            let expected = |_: f64, index: usize| from.numbers[index];
            outputs.push(written(device, DType::F32, width, run, expected));
        }
        outputs
    };
    Case::new("elementwise copy on six axes", 1, run)
}

pub(super) fn cases() -> Vec<Case> {
    let functions = FUNCTIONS.map(unary).into_iter();
    let all = functions.chain([linear(), casts(), binary()]);
    all.flat_map(|case| case.and_in_bf16(1)).chain([copies()]).collect()
}
