//! Element-wise functions of one tensor, of two with broadcasting, and copies.

mod launch;

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{Cost, DType, Device, Gpu};
use crate::ops::{begin, no_kernel};
use crate::shape::{MAX_RANK, Shape};
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, dense, float_dispatch};

/// Elements that one task works on: three such pieces fit the second-level cache.
const PIECE: usize = 1 << 14;

/// A function of one number, and its derivative as a function of the one value that is kept for it.
trait Unary: Copy + Send + Sync + 'static {
    /// Whether the derivative is written in terms of the output; else of the input.
    const KEEPS_OUTPUT: bool;
    /// What the kernels call it.
    const NAME: &'static str;
    /// Both passes, for [`Device::op`].
    const OPS: [&'static str; 2];
    fn forward<const FUSED: bool, T: Float>(self, x: T) -> T;
    fn derivative<const FUSED: bool, T: Float>(self, kept: T) -> T;

    fn launch(self, gpu: &Gpu, x: &Tensor, y: &Tensor) {
        launch::unary(gpu, Self::NAME, &[], x, y);
    }

    fn launch_backward(self, gpu: &Gpu, kept: &Tensor, dy: &Tensor, slot: &Slot) {
        launch::unary_backward(gpu, Self::NAME, kept, dy, slot);
    }
}

macro_rules! unary {
    ($($type:ident, $name:literal, $keeps_output:literal, |$x:ident| $forward:expr, |$kept:ident| $derivative:expr;)*) => {
        $(#[derive(Clone, Copy)]
        struct $type;
        impl Unary for $type {
            const KEEPS_OUTPUT: bool = $keeps_output;
            const NAME: &'static str = $name;
            const OPS: [&'static str; 2] = [concat!($name, " forward"), concat!($name, " backward")];
            #[inline(always)]
            fn forward<const FUSED: bool, T: Float>(self, $x: T) -> T { $forward }
            #[inline(always)]
            fn derivative<const FUSED: bool, T: Float>(self, $kept: T) -> T { $derivative }
        })*
    };
}

unary! {
    Relu, "relu", true, |x| x.at_least(T::ZERO), |y| if y > T::ZERO { T::ONE } else { T::ZERO };
    Exp, "exp", true, |x| x.exp::<FUSED>(), |y| y;
    Ln, "ln", false, |x| x.ln(), |x| T::ONE / x;
    Tanh, "tanh", true, |x| x.tanh::<FUSED>(), |y| T::ONE - y * y;
    Sigmoid, "sigmoid", true, |x| x.sigmoid::<FUSED>(), |y| y * (T::ONE - y);
    Sqrt, "sqrt", true, |x| x.sqrt(), |y| T::from_f64(0.5) / y;
    Square, "square", false, |x| x * x, |x| x + x;
}

/// `factor x + summand`.
#[derive(Clone, Copy)]
struct Affine {
    factor: f64,
    summand: f64,
}

impl Unary for Affine {
    const KEEPS_OUTPUT: bool = true;
    const NAME: &'static str = "affine";
    const OPS: [&'static str; 2] = ["affine forward", "affine backward"];
    #[inline(always)]
    fn forward<const FUSED: bool, T: Float>(self, x: T) -> T {
        T::from_f64(self.factor) * x + T::from_f64(self.summand)
    }
    #[inline(always)]
    fn derivative<const FUSED: bool, T: Float>(self, _: T) -> T {
        T::from_f64(self.factor)
    }

    fn launch(self, gpu: &Gpu, x: &Tensor, y: &Tensor) {
        let own = [self.factor as f32, self.summand as f32];
        launch::unary(gpu, Self::NAME, &own, x, y);
    }

    fn launch_backward(self, gpu: &Gpu, _: &Tensor, dy: &Tensor, slot: &Slot) {
        launch::affine_backward(gpu, self.factor as f32, dy, slot);
    }
}

vectorised! {
    fn unary_forward[T: Float, U: Unary](function: U, x: &[T], y: &mut [T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = function.forward::<FUSED, T>(*x);
        }
    }
}

vectorised! {
    fn unary_backward[T: Float, U: Unary](function: U, kept: &[T], dy: &[T], dx: &mut [T], add: bool) {
        let pairs = dx.iter_mut().zip(kept.iter().zip(dy));
        if add {
            pairs.for_each(|(dx, (kept, dy))| *dx += *dy * function.derivative::<FUSED, T>(*kept));
        } else {
            pairs.for_each(|(dx, (kept, dy))| *dx = *dy * function.derivative::<FUSED, T>(*kept));
        }
    }
}

fn unary<U: Unary>(function: U, x: &Tensor) -> Tensor {
    let y = x.empty_like(x.shape());
    let op = begin(U::OPS[0], &[x, &y], y.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => function.launch(gpu, x, &y),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "element-wise", T => {
            unary_typed::<T, U>(cpu, function, x, &y);
        }),
    }
    drop(op);
    let kept = if U::KEEPS_OUTPUT { y.clone() } else { x.detach() };
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, &kept) else { return };
        let dx = &slot.tensor;
        let _op = begin(U::OPS[1], &[&kept, dy, dx], dx.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => function.launch_backward(gpu, &kept, dy, &slot),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "element-wise", T => {
                unary_backward_typed::<T, U>(cpu, function, &kept, dy, &slot);
            }),
        }
    })
}

fn unary_typed<T: Float, U: Unary>(cpu: &Cpu, function: U, x: &Tensor, y: &Tensor) {
    let from = &*dense::<T>(x);
    let from = from.read::<T>();
    cpu.pieces(&mut y.write::<T>(), PIECE, from.len(), |piece, to| {
        let start = piece * PIECE;
        unary_forward(function, &from[start..start + to.len()], to);
    });
}

fn unary_backward_typed<T: Float, U: Unary>(
    cpu: &Cpu,
    function: U,
    kept: &Tensor,
    dy: &Tensor,
    slot: &Slot,
) {
    let (kept, dy) = (&*dense::<T>(kept), &*dense::<T>(dy));
    let (kept, dy) = (kept.read::<T>(), dy.read::<T>());
    let (mut dx, add) = (slot.tensor.write::<T>(), slot.add);
    cpu.pieces(&mut dx, PIECE, dy.len(), |piece, dx| {
        let range = piece * PIECE..piece * PIECE + dx.len();
        unary_backward(function, &kept[range.clone()], &dy[range], dx, add);
    });
}

/// A function of two numbers.
trait Binary: Copy + Send + Sync + 'static {
    /// What the ops and the kernels call it.
    const NAME: &'static str;
    fn apply<T: Float>(a: T, b: T) -> T;
}

macro_rules! binary {
    ($($type:ident, $name:literal, |$a:ident, $b:ident| $body:expr;)*) => {
        $(#[derive(Clone, Copy)]
        struct $type;
        impl Binary for $type {
            const NAME: &'static str = $name;
            #[inline(always)]
            fn apply<T: Float>($a: T, $b: T) -> T { $body }
        })*
    };
}

binary! {
    Add, "add", |a, b| a + b;
    Subtract, "sub", |a, b| a - b;
    Multiply, "mul", |a, b| a * b;
    Divide, "div", |a, b| a / b;
}

vectorised! {
    /// `out[i] = f(a[i * a_step], b[i * b_step])`, steps 0 or 1.
    fn binary_row[T: Float, B: Binary](a: &[T], a_step: usize, b: &[T], b_step: usize, out: &mut [T], _f: B) {
        match (a_step, b_step) {
            (1, 1) => out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out = B::apply(*a, *b)),
            (1, _) => out.iter_mut().zip(a).for_each(|(out, a)| *out = B::apply(*a, b[0])),
            (_, 1) => out.iter_mut().zip(b).for_each(|(out, b)| *out = B::apply(a[0], *b)),
            _ => out.fill(B::apply(a[0], b[0])),
        }
    }
}

/// Where an operand's rows lie when it is broadcast to an output shape.
struct Broadcast {
    strides: [usize; MAX_RANK],
    extents: [usize; MAX_RANK],
    rank: usize,
}

impl Broadcast {
    fn new(operand: &Tensor, output: Shape) -> Self {
        let rank = output.rank();
        let (mut strides, mut extents) = ([0; MAX_RANK], [1; MAX_RANK]);
        let mut stride = operand.pitch();
        for axis in (0..rank).rev() {
            let extent = operand.shape().extent_from_right(rank, axis);
            extents[axis] = output[axis];
            let own = if axis + 1 == rank { 1 } else { stride };
            strides[axis] = if extent == 1 { 0 } else { own };
            if axis + 1 < rank {
                stride *= extent;
            }
        }
        Broadcast { strides, extents, rank }
    }

    /// Offset of the operand's elements for the output's row `row`.
    fn row_offset(&self, mut row: usize) -> usize {
        let mut offset = 0;
        for axis in (0..self.rank.saturating_sub(1)).rev() {
            offset += row % self.extents[axis] * self.strides[axis];
            row /= self.extents[axis];
        }
        offset
    }

    fn column_step(&self) -> usize {
        if self.rank == 0 { 0 } else { self.strides[self.rank - 1] }
    }
}

fn binary_into<T: Float, B: Binary>(cpu: &Cpu, a: &Tensor, b: &Tensor, out: &Tensor, function: B) {
    let shape = out.shape();
    let (left, right) = (a.read::<T>(), b.read::<T>());
    let mut to = out.write::<T>();
    if a.shape() == shape && b.shape() == shape && a.is_contiguous() && b.is_contiguous() {
        cpu.pieces(&mut to, PIECE, left.len(), |piece, to| {
            let range = piece * PIECE..piece * PIECE + to.len();
            binary_row(&left[range.clone()], 1, &right[range], 1, to, function);
        });
        return;
    }
    let columns = shape.columns();
    let (a, b) = (Broadcast::new(a, shape), Broadcast::new(b, shape));
    let rows = (PIECE / columns.max(1)).max(1);
    cpu.pieces(&mut to, rows * columns, shape.elements(), |piece, to| {
        for (index, row) in to.chunks_mut(columns).enumerate() {
            let (from_a, from_b) =
                (a.row_offset(piece * rows + index), b.row_offset(piece * rows + index));
            binary_row(
                &left[from_a..],
                a.column_step(),
                &right[from_b..],
                b.column_step(),
                row,
                function,
            );
        }
    });
}

/// The broadcast value of `function(a, b)`, without a gradient.
fn binary_value<B: Binary>(function: B, a: &Tensor, b: &Tensor) -> Tensor {
    let name = B::NAME;
    // A bias is as wide as sums are.
    let is_biased = name == Add::NAME && b.dtype() == a.dtype().wide();
    if !is_biased || !a.device().same(b.device()) {
        assert_alike(name, &[a, b]);
    }
    let shape = (a.shape().broadcast(&b.shape())).unwrap_or_else(|| {
        panic!("{name}: shapes {} and {} do not broadcast", a.shape(), b.shape())
    });
    let out = a.empty_like(shape);
    let _op = begin(B::NAME, &[a, b, &out], shape.elements());
    match a.device() {
        Device::Gpu(gpu) => launch::binary(gpu, name, a, b, &out),
        Device::Cpu(cpu) => {
            float_dispatch!(a.dtype(), "element-wise", T => binary_into::<T, B>(cpu, a, b, &out, function));
        }
    }
    out
}

vectorised! {
    fn accumulate_row[T: Float](from: &[T], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
}

/// Stores `from` in the slot, or adds it, as the slot says. Shapes must be equal; both may have gaps. On a GPU one may be
/// BF16 and the other F32.
pub(crate) fn accumulate(from: &Tensor, slot: &Slot) {
    let to = &slot.tensor;
    assert!(from.shape() == to.shape(), "accumulate: shapes {} and {}", from.shape(), to.shape());
    let _op = match slot.add {
        true => begin("accumulate", &[from, to, to], from.shape().elements()),
        false => begin("copy", &[from, to], 0),
    };
    if let (Device::Gpu(gpu), true) = (from.device(), from.dtype() != to.dtype()) {
        assert!(from.device().same(to.device()), "accumulate: tensors of two devices");
        return launch::cast(gpu, from, to, slot.add);
    }
    assert_alike("accumulate", &[from, to]);
    match from.device() {
        Device::Gpu(gpu) if slot.add => launch::accumulate(gpu, from, to),
        Device::Gpu(gpu) => launch::copy(gpu, from, to),
        Device::Cpu(cpu) => float_dispatch!(from.dtype(), "accumulate", T => {
            accumulate_typed::<T>(cpu, from, to, slot.add);
        }),
    }
}

/// A tensor of a shape that `x` broadcasts to, each element as in `x`. No gradient.
pub(crate) fn broadcast_to(x: &Tensor, shape: Shape) -> Tensor {
    let Device::Gpu(gpu) = x.device() else {
        return Tensor::zeros(x.device(), shape, x.dtype()).add(&x.detach());
    };
    let out = x.empty_like(shape);
    let _op = begin("broadcast", &[x, &out], 0);
    launch::affine_backward(gpu, 1.0, x, &Slot { tensor: out.clone(), add: false });
    out
}

impl Gradients<'_> {
    /// Gives input number `input` this gradient as it is, without a copy where it is the first.
    pub(crate) fn pass(&mut self, input: usize, gradient: &Tensor) {
        if let Some(slot) = self.offer(input, gradient) {
            accumulate(gradient, &slot);
        }
    }

    /// The same with a part of the gradient of the op's output; see [`Gradients::offer_part`].
    pub(crate) fn pass_part(&mut self, input: usize, part: &Tensor) {
        if let Some(slot) = self.offer_part(input, part) {
            accumulate(part, &slot);
        }
    }
}

fn accumulate_typed<T: Float>(cpu: &Cpu, from: &Tensor, to: &Tensor, add: bool) {
    let shape = from.shape();
    if shape.elements() == 0 {
        return;
    }
    let flat = from.is_contiguous() && to.is_contiguous();
    let (from_pitch, to_pitch) = if flat { (PIECE, PIECE) } else { (from.pitch(), to.pitch()) };
    let width = if flat { PIECE } else { shape.columns() };
    let rows = if flat { 1 } else { (PIECE / width.max(1)).max(1) };
    let (source, mut target) = (from.read::<T>(), to.write::<T>());
    cpu.pieces(&mut target, rows * to_pitch, shape.elements(), |piece, to| {
        let source = source[piece * rows * from_pitch..].chunks(from_pitch);
        for (to, from) in to.chunks_mut(to_pitch).zip(source) {
            let width = width.min(to.len()).min(from.len());
            match add {
                true => accumulate_row(&from[..width], &mut to[..width]),
                false => to[..width].copy_from_slice(&from[..width]),
            }
        }
    });
}

/// The elements in another dtype, in memory of their own, without a gradient.
fn cast_value(from: &Tensor, dtype: DType) -> Tensor {
    let to = Tensor::empty(from.device(), from.shape(), dtype);
    let _op = begin("cast", &[from, &to], 0);
    match from.device() {
        Device::Gpu(gpu) => launch::cast(gpu, from, &to, false),
        Device::Cpu(_) => to.copy_from_f64s(&from.to_f64s()),
    }
    to
}

/// `dy` where a ReLU's output `y` is above 0, and 0 elsewhere; on a GPU.
pub(crate) fn relu_gradient(y: &Tensor, dy: &Tensor) -> Tensor {
    let Device::Gpu(gpu) = y.device() else { no_kernel("relu_gradient") };
    let gradient = y.empty_like(y.shape());
    let slot = Slot { tensor: gradient.clone(), add: false };
    let _op = begin(Relu::OPS[1], &[y, dy, &gradient], y.shape().elements());
    launch::unary_backward(gpu, "relu", y, dy, &slot);
    gradient
}

/// Copies the elements of `from` to `to`, of the same shape and dtype, whatever that is. Both may have gaps.
pub(crate) fn copy_into(from: &Tensor, to: &Tensor) {
    assert_alike("copy", &[from, to]);
    assert!(from.shape() == to.shape(), "copy: shapes {} and {}", from.shape(), to.shape());
    match (from.device(), from.dtype()) {
        (Device::Gpu(_), _) | (_, DType::F32 | DType::F64) => {
            accumulate(from, &Slot { tensor: to.clone(), add: false })
        }
        (_, DType::I32) => to.copy_from_slice(&from.to_vec::<i32>()),
        (_, DType::U8) => to.copy_from_slice(&from.to_vec::<u8>()),
        (_, DType::I64) => to.copy_from_slice(&from.to_vec::<i64>()),
        (_, DType::BF16) => to.copy_from_slice(&from.to_vec::<half::bf16>()),
    }
}

impl Tensor {
    /// `max(x, 0)`, element by element; NaN stays.
    pub fn relu(&self) -> Tensor {
        unary(Relu, self)
    }

    /// `e^x`, element by element.
    pub fn exp(&self) -> Tensor {
        unary(Exp, self)
    }

    /// The natural logarithm, element by element.
    pub fn ln(&self) -> Tensor {
        unary(Ln, self)
    }

    /// The hyperbolic tangent, element by element.
    pub fn tanh(&self) -> Tensor {
        unary(Tanh, self)
    }

    /// `1 / (1 + e^-x)`, element by element.
    pub fn sigmoid(&self) -> Tensor {
        unary(Sigmoid, self)
    }

    /// The square root, element by element.
    pub fn sqrt(&self) -> Tensor {
        unary(Sqrt, self)
    }

    /// `x^2`, element by element.
    pub fn square(&self) -> Tensor {
        unary(Square, self)
    }

    /// `factor x + summand`, element by element.
    pub fn affine(&self, factor: f64, summand: f64) -> Tensor {
        unary(Affine { factor, summand }, self)
    }

    /// `a + b`, broadcast as in NumPy. Panics where the shapes do not fit. Where `a` is BF16, `b` may be F32, as a bias
    /// is, and the sum is BF16.
    pub fn add(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Add, self, other);
        let (a, b, dtype) = (self.shape(), other.shape(), other.dtype());
        record(out, &[self, other], move |gradient, gradients| {
            gradients.pass_sum(0, gradient, a);
            gradients.pass_sum_in(1, gradient, b, dtype);
        })
    }

    /// `a - b`, broadcast as in NumPy.
    pub fn sub(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Subtract, self, other);
        let (a, b) = (self.shape(), other.shape());
        record(out, &[self, other], move |gradient, gradients| {
            gradients.pass_sum(0, gradient, a);
            if gradients.wants(1) {
                gradients.pass_sum(1, &gradient.detach().affine(-1.0, 0.0), b);
            }
        })
    }

    /// `a b`, element by element, broadcast as in NumPy.
    pub fn mul(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Multiply, self, other);
        let (a, b) = (self.detach(), other.detach());
        record(out, &[self, other], move |gradient, gradients| {
            for (input, own, factor) in [(0, &a, &b), (1, &b, &a)] {
                if gradients.wants(input) {
                    let product = binary_value(Multiply, gradient, factor);
                    gradients.pass_sum(input, &product, own.shape());
                }
            }
        })
    }

    /// `a / b`, element by element, broadcast as in NumPy.
    pub fn div(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Divide, self, other);
        let (a, b, quotient) = (self.detach(), other.detach(), out.clone());
        record(out, &[self, other], move |gradient, gradients| {
            let by_b = binary_value(Divide, gradient, &b);
            gradients.pass_sum(0, &by_b, a.shape());
            if gradients.wants(1) {
                let product = binary_value(Multiply, &by_b, &quotient).affine(-1.0, 0.0);
                gradients.pass_sum(1, &product, b.shape());
            }
        })
    }

    /// The same elements in another dtype, rounded to it; the gradient comes back in this tensor's own. On the CPU F32
    /// and F64, on a GPU F32 and BF16.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        let out = cast_value(self, dtype);
        let own = self.dtype();
        record(out, &[self], move |gradient, gradients| match gradients.home_dtype(0) {
            Some(home) if home == gradient.dtype() => gradients.pass(0, gradient),
            _ => gradients.pass(0, &cast_value(gradient, own)),
        })
    }

    /// The same elements in memory of their own, without gaps and without a gradient.
    pub fn copy(&self) -> Tensor {
        let out = self.empty_like(self.shape());
        copy_into(self, &out);
        out
    }

    /// A tensor with every element `value`, rounded to the dtype. Nothing is copied from the host.
    pub fn full(device: &Device, shape: impl Into<Shape>, dtype: DType, value: f64) -> Self {
        let shape = shape.into();
        let _op = device.op("fill", || Cost::bytes(shape.elements() * dtype.size()));
        let Device::Gpu(gpu) = device else {
            return Tensor::from_f64s(device, shape, dtype, &vec![value; shape.elements()]);
        };
        let tensor = Tensor::empty(device, shape, dtype);
        match dtype {
            DType::F64 => launch::fill(gpu, &tensor, &value.to_ne_bytes()),
            DType::F32 => launch::fill(gpu, &tensor, &(value as f32).to_ne_bytes()),
            DType::I32 => launch::fill(gpu, &tensor, &(value as i32).to_ne_bytes()),
            DType::U8 => launch::fill(gpu, &tensor, &(value as u8).to_ne_bytes()),
            DType::I64 => launch::fill(gpu, &tensor, &(value as i64).to_ne_bytes()),
            DType::BF16 => launch::fill(gpu, &tensor, &half::bf16::from_f64(value).to_ne_bytes()),
        }
        tensor
    }
}
