//! Matrix products: plain, with either operand transposed, batched.

mod arithmetic;
mod launch;
mod part_sums;
mod rounded;
mod tiles;

use std::rc::Rc;

pub(crate) use self::arithmetic::Arithmetic;
use self::launch::{Batch, products};
pub(crate) use self::launch::{
    Epilogue, NormInput, Operand, Parts, Rows, is_aligned, lies_in_runs, product,
    product_completed_by, row_bytes, sum_parts,
};
pub(crate) use self::part_sums::sum_weight_parts;
pub(crate) use self::rounded::{Rounding, with_rounded};
pub(crate) use self::tiles::Cut;
#[cfg(test)]
pub(crate) use self::tiles::tiles;
pub use self::tiles::with_cut;
use crate::device::cpu::{Cpu, Float, Matrix, gemm};
use crate::device::{Device, Gpu};
use crate::ops::begin;
use crate::shape::Shape;
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};
use crate::trace::{self, Operation};

/// Multiply-adds that are worth a separate task.
const TASK: usize = 1 << 20;

/// One matrix product of a batch: the transposed operands and the sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Product {
    transpose_a: bool,
    transpose_b: bool,
}

impl Product {
    /// Operations of all products of a batch with the left operand `a`.
    fn operations(self, a: &Tensor, out: &Tensor) -> usize {
        let [_, rows, columns] = matrix_extents(a.shape());
        2 * out.shape().elements() * if self.transpose_a { rows } else { columns }
    }
}

/// `C (+)= op(A) op(B)` over slices, cut into tasks by size. `op(A)` is `[m, k]`, `op(B)` `[k, n]`.
pub(crate) fn gemm_parallel<T: Float>(
    cpu: &Cpu,
    sizes: [usize; 3],
    a: (&[T], usize, bool),
    b: (&[T], usize, bool),
    (c, c_stride): (&mut [T], usize),
    accumulate: bool,
) {
    let [m, n, k] = sizes;
    if m == 0 || n == 0 {
        return;
    }
    let rows = task_rows(sizes);
    cpu.pieces(c, rows * c_stride, m * n * k, |task, c| {
        let first = task * rows;
        let height = rows.min(m - first);
        let a_view = match a.2 {
            false => Matrix::rows(&a.0[(first * a.1).min(a.0.len())..], a.1),
            true => Matrix::rows(&a.0[first.min(a.0.len())..], a.1).transposed(),
        };
        let b_view = if b.2 { Matrix::rows(b.0, b.1).transposed() } else { Matrix::rows(b.0, b.1) };
        gemm([height, n, k], a_view, b_view, c, c_stride, accumulate);
    });
}

/// Rows of C of one task: a multiple of 16, with about [`TASK`] multiply-adds or more.
fn task_rows([m, n, k]: [usize; 3]) -> usize {
    let wanted = TASK.div_ceil((n * k).max(1)).next_multiple_of(16);
    let tasks = m.div_ceil(wanted).max(1);
    // Equal shares, so that the last task has not much less work than the others.
    m.div_ceil(tasks).next_multiple_of(16).max(16)
}

fn product_into(a: &Tensor, b: &Tensor, out: &Tensor, product: Product, add: bool) {
    match a.device() {
        Device::Gpu(gpu) => product_on(gpu, [a, b], out, product, add),
        Device::Cpu(cpu) => {
            float_dispatch!(a.dtype(), "matmul", T => product_typed::<T>(cpu, a, b, out, product, add));
        }
    }
}

fn product_on(gpu: &Rc<Gpu>, [a, b]: [&Tensor; 2], out: &Tensor, product: Product, add: bool) {
    let [members, m, n] = matrix_extents(out.shape());
    let [a_batch, a_rows, a_columns] = matrix_extents(a.shape());
    let [b_batch, b_rows, _] = matrix_extents(b.shape());
    let k = if product.transpose_a { a_rows } else { a_columns };
    let stride = |batch, rows, side: &Tensor| if batch == 1 { 0 } else { rows * side.pitch() };
    let batch = Batch {
        members,
        a_stride: stride(a_batch, a_rows, a),
        b_stride: stride(b_batch, b_rows, b),
    };
    let left = Operand::new(a, a.pitch(), product.transpose_a);
    let right = Operand::new(b, b.pitch(), product.transpose_b);
    let to = Rows::new(out, out.pitch());
    products(gpu, &batch, [m, n, k], left, right, to, Epilogue::add(add));
}

/// The leading axes of each operand are its batch; an operand with two axes is used for every member of the batch.
fn product_typed<T: Float>(
    cpu: &Cpu,
    a: &Tensor,
    b: &Tensor,
    out: &Tensor,
    product: Product,
    add: bool,
) {
    let [batch, m, n] = matrix_extents(out.shape());
    let [a_batch, a_rows, a_columns] = matrix_extents(a.shape());
    let [b_batch, b_rows, _] = matrix_extents(b.shape());
    let k = if product.transpose_a { a_rows } else { a_columns };
    let (left, right) = (a.read::<T>(), b.read::<T>());
    let mut to = out.write::<T>();
    for member in 0..batch {
        let a_start = if a_batch == 1 { 0 } else { member * a_rows * a.pitch() };
        let b_start = if b_batch == 1 { 0 } else { member * b_rows * b.pitch() };
        let from = (member * m * out.pitch()).min(to.len());
        let until = (from + m * out.pitch()).min(to.len());
        gemm_parallel(
            cpu,
            [m, n, k],
            (&left[a_start.min(left.len())..], a.pitch(), product.transpose_a),
            (&right[b_start.min(right.len())..], b.pitch(), product.transpose_b),
            (&mut to[from..until], out.pitch()),
            add,
        );
    }
}

/// Batch, rows and columns of a stack of matrices.
fn matrix_extents(shape: Shape) -> [usize; 3] {
    let extents = shape.extents();
    let (outer, inner) = extents.split_at(extents.len() - 2);
    [outer.iter().product(), inner[0], inner[1]]
}

/// `op(a) op(b)` with a gradient.
fn matmul(a: &Tensor, b: &Tensor, product: Product) -> Tensor {
    assert_alike("matmul", &[a, b]);
    let shape = output_shape(a.shape(), b.shape(), product);
    let out = a.empty_like(shape);
    let op = begin("matmul forward", &[a, b, &out], product.operations(a, &out));
    product_into(a, b, &out, product, false);
    drop(op);
    let Product { transpose_a, transpose_b } = product;
    trace::note(Operation::Matmul { transpose_a, transpose_b }, &[a, b], &[&out]);
    let (left, right) = (a.detach(), b.detach());
    record(out, &[a, b], move |dy, gradients| {
        // dA = dC op(B)^T, dB = op(A)^T dC, or their transposes.
        let (factors, product) = match transpose_a {
            false => ([dy, &right], Product { transpose_a: false, transpose_b: !transpose_b }),
            true => ([&right, dy], Product { transpose_a: transpose_b, transpose_b: true }),
        };
        operand_gradient(0, factors, product, dy, gradients);
        let (factors, product) = match transpose_b {
            false => ([&left, dy], Product { transpose_a: !transpose_a, transpose_b: false }),
            true => ([dy, &left], Product { transpose_a: true, transpose_b: transpose_a }),
        };
        operand_gradient(1, factors, product, dy, gradients);
    })
}

/// The gradient of operand number `input` is a product of `a` and `b`, one of which is `dy`.
fn operand_gradient(
    input: usize,
    [a, b]: [&Tensor; 2],
    product: Product,
    dy: &Tensor,
    gradients: &mut Gradients,
) {
    let Some(shape) = gradients.shape(input) else { return };
    let whole = output_shape(a.shape(), b.shape(), product);
    let begin_op =
        |out: &Tensor| begin("matmul backward", &[a, b, out], product.operations(a, out));
    if whole.elements() == shape.elements() {
        if let Some(slot) = gradients.any_slot(input, dy) {
            let _op = begin_op(&slot.tensor);
            product_into(a, b, &slot.tensor.detach(), product, slot.add);
        }
        return;
    }
    // The operand was used for every member of the batch: its gradient is the sum over them.
    let members = dy.empty_like(whole);
    let op = begin_op(&members);
    product_into(a, b, &members, product, false);
    drop(op);
    gradients.pass(input, &members);
}

fn output_shape(a: Shape, b: Shape, product: Product) -> Shape {
    assert!(a.rank() >= 2 && b.rank() >= 2, "matmul: shapes {a} and {b} need two axes each");
    let [_, a_rows, a_columns] = matrix_extents(a);
    let [_, b_rows, b_columns] = matrix_extents(b);
    let (m, k) = if product.transpose_a { (a_columns, a_rows) } else { (a_rows, a_columns) };
    let (inner, n) = if product.transpose_b { (b_columns, b_rows) } else { (b_rows, b_columns) };
    assert!(
        k == inner,
        "matmul: shapes {a} and {b} differ on the inner axis ({k} and {inner}), {product:?}"
    );
    let outer = match (a.rank(), b.rank()) {
        (_, 2) => &a.extents()[..a.rank() - 2],
        (2, _) => &b.extents()[..b.rank() - 2],
        _ => {
            let (a_outer, b_outer) = (&a.extents()[..a.rank() - 2], &b.extents()[..b.rank() - 2]);
            assert!(a_outer == b_outer, "matmul: shapes {a} and {b} differ on a batch axis");
            a_outer
        }
    };
    Shape::new(&[outer, &[m, n]].concat())
}

impl Tensor {
    /// The product over the last two axes, batched over the axes before; an operand with two axes is used for every
    /// member.
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        matmul(self, other, Product { transpose_a: false, transpose_b: false })
    }

    /// `A B^T`.
    pub fn matmul_transposed(&self, other: &Tensor) -> Tensor {
        matmul(self, other, Product { transpose_a: false, transpose_b: true })
    }

    /// `A^T B`.
    pub fn transposed_matmul(&self, other: &Tensor) -> Tensor {
        matmul(self, other, Product { transpose_a: true, transpose_b: false })
    }
}
