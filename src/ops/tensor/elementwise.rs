//! Element-wise functions of one tensor and, with broadcasting, of two.

mod copy;
pub(crate) mod launch;

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{Device, Gpu};
use crate::ops::begin;
use crate::shape::{MAX_RANK, Shape};
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, assert_alike, dense, float_dispatch};
use crate::trace::{self, Operation};
pub(crate) use copy::{accumulate, copy_into};

/// Elements of one task: three such pieces fit the L2 cache.
const PIECE: usize = 1 << 14;

/// A function of one number. Its derivative is a function of either the input or the output, which the backward pass
/// keeps.
trait Unary: Copy + Send + Sync + 'static {
    /// Whether the derivative is a function of the output, not of the input.
    const KEEPS_OUTPUT: bool;
    /// Its name in the kernels.
    const NAME: &'static str;
    /// The names of both passes, for [`Device::op`].
    const OPS: [&'static str; 2];
    fn forward<const FUSED: bool, T: Float>(self, x: T) -> T;
    /// `dy f'`. A function that is flat at a place gives 0 there, also if `dy` is infinite.
    fn backward<const FUSED: bool, T: Float>(self, kept: T, dy: T) -> T;

    /// How a recorded pass names it.
    fn operation(self) -> Operation {
        Operation::Unary(Self::NAME)
    }

    fn launch(self, gpu: &Gpu, x: &Tensor, y: &Tensor) {
        launch::unary(gpu, Self::NAME, &[], x, y);
    }

    fn launch_backward(self, gpu: &Gpu, kept: &Tensor, dy: &Tensor, slot: &Slot) {
        launch::unary_backward(gpu, Self::NAME, kept, dy, slot);
    }
}

macro_rules! unary {
    ($($type:ident, $name:literal, $keeps_output:literal, |$x:ident| $forward:expr, |$kept:ident, $dy:ident| $backward:expr;)*) => {
        $(#[derive(Clone, Copy)]
        struct $type;
        impl Unary for $type {
            const KEEPS_OUTPUT: bool = $keeps_output;
            const NAME: &'static str = $name;
            const OPS: [&'static str; 2] = [concat!($name, " forward"), concat!($name, " backward")];
            #[inline(always)]
            fn forward<const FUSED: bool, T: Float>(self, $x: T) -> T { $forward }
            #[inline(always)]
            fn backward<const FUSED: bool, T: Float>(self, $kept: T, $dy: T) -> T { $backward }
        })*
    };
}

unary! {
    Relu, "relu", true, |x| x.at_least(T::ZERO), |y, dy| if y <= T::ZERO { T::ZERO } else { dy };
    Exp, "exp", true, |x| x.exp::<FUSED>(), |y, dy| dy * y;
    Ln, "ln", false, |x| x.ln(), |x, dy| dy * (T::ONE / x);
    Tanh, "tanh", true, |x| x.tanh::<FUSED>(), |y, dy| dy * (T::ONE - y * y);
    Sigmoid, "sigmoid", true, |x| x.sigmoid::<FUSED>(), |y, dy| dy * (y * (T::ONE - y));
    Sqrt, "sqrt", true, |x| x.sqrt(), |y, dy| dy * (T::from_f64(0.5) / y);
    Square, "square", false, |x| x * x, |x, dy| dy * (x + x);
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
    fn backward<const FUSED: bool, T: Float>(self, _: T, dy: T) -> T {
        dy * T::from_f64(self.factor)
    }

    fn operation(self) -> Operation {
        Operation::Affine { factor: self.factor, summand: self.summand }
    }

    fn launch(self, gpu: &Gpu, x: &Tensor, y: &Tensor) {
        let parameters = [self.factor as f32, self.summand as f32];
        launch::unary(gpu, Self::NAME, &parameters, x, y);
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
    fn unary_backward_row[T: Float, U: Unary](function: U, kept: &[T], dy: &[T], dx: &mut [T], add: bool) {
        let pairs = dx.iter_mut().zip(kept.iter().zip(dy));
        if add {
            pairs.for_each(|(dx, (kept, dy))| *dx += function.backward::<FUSED, T>(*kept, *dy));
        } else {
            pairs.for_each(|(dx, (kept, dy))| *dx = function.backward::<FUSED, T>(*kept, *dy));
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
    trace::note(function.operation(), &[x], &[&y]);
    let kept = if U::KEEPS_OUTPUT { y.clone() } else { x.detach() };
    record(y, &[x], move |dy, gradients| {
        if let Some(slot) = gradients.slot(0, dy.dtype()) {
            unary_backward(function, &kept, dy, &slot);
        }
    })
}

/// Writes the input's gradient; `kept` is the output or the input, whichever the function needs.
fn unary_backward<U: Unary>(function: U, kept: &Tensor, dy: &Tensor, slot: &Slot) {
    let dx = &slot.tensor;
    let _op = begin(U::OPS[1], &[kept, dy, dx], dx.shape().elements());
    match dy.device() {
        Device::Gpu(gpu) => function.launch_backward(gpu, kept, dy, slot),
        Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "element-wise", T => {
            unary_backward_typed::<T, U>(cpu, function, kept, dy, slot);
        }),
    }
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
        unary_backward_row(function, &kept[range.clone()], &dy[range], dx, add);
    });
}

/// A function of two numbers.
trait Binary: Copy + Send + Sync + 'static {
    /// Its name in the ops and the kernels.
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

/// The strides of an operand that is broadcast to an output shape.
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
            let step = if axis + 1 == rank { 1 } else { stride };
            strides[axis] = if extent == 1 { 0 } else { step };
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
    // A bias has the type of sums.
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
    trace::note(Operation::Binary(name), &[a, b], &[&out]);
    out
}

/// `x` broadcast to a shape, in new memory. No gradient.
pub(crate) fn broadcast_to(x: &Tensor, shape: Shape) -> Tensor {
    let Device::Gpu(gpu) = x.device() else {
        return Tensor::zeros(x.device(), shape, x.dtype()).add(&x.detach());
    };
    let out = x.empty_like(shape);
    let _op = begin("broadcast", &[x, &out], 0);
    launch::affine_backward(gpu, 1.0, x, &Slot { tensor: out.clone(), add: false });
    out
}

/// The gradient of a ReLU with output `y`: 0 where `y` is at most 0, else `dy`, as PyTorch's.
pub(crate) fn relu_gradient(y: &Tensor, dy: &Tensor) -> Tensor {
    let slot = Slot { tensor: y.empty_like(y.shape()), add: false };
    unary_backward(Relu, y, dy, &slot);
    slot.tensor
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

    /// `a + b`, broadcast as in NumPy. Panics if the shapes do not fit. If `a` is BF16, `b` may be F32, as a bias is,
    /// and the sum is BF16.
    pub fn add(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Add, self, other);
        record(out, &[self, other], |gradient, gradients| {
            gradients.pass(0, gradient);
            gradients.pass(1, gradient);
        })
    }

    /// `a - b`, broadcast as in NumPy.
    pub fn sub(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Subtract, self, other);
        record(out, &[self, other], |gradient, gradients| {
            gradients.pass(0, gradient);
            if gradients.wants(1) {
                gradients.pass(1, &gradient.detach().affine(-1.0, 0.0));
            }
        })
    }

    /// `a b`, element by element, broadcast as in NumPy.
    pub fn mul(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Multiply, self, other);
        let (a, b) = (self.detach(), other.detach());
        record(out, &[self, other], move |gradient, gradients| {
            for (input, factor) in [(0, &b), (1, &a)] {
                if gradients.wants(input) {
                    gradients.pass(input, &binary_value(Multiply, gradient, factor));
                }
            }
        })
    }

    /// `a / b`, element by element, broadcast as in NumPy.
    pub fn div(&self, other: &Tensor) -> Tensor {
        let out = binary_value(Divide, self, other);
        let (b, quotient) = (other.detach(), out.clone());
        record(out, &[self, other], move |gradient, gradients| {
            let by_b = binary_value(Divide, gradient, &b);
            gradients.pass(0, &by_b);
            if gradients.wants(1) {
                gradients.pass(1, &binary_value(Multiply, &by_b, &quotient).affine(-1.0, 0.0));
            }
        })
    }
}
