//! Sums, means and argmax, in a fixed order.

mod launch;

use crate::device::cpu::{Cpu, Float, vector, vector::vectorised};
use crate::device::{DType, Device, Gpu};
use crate::ops::begin;
use crate::ops::tensor::elementwise::broadcast_to;
use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, dense, float_dispatch};
use crate::trace::{self, Operation};

/// Rows that one task adds up. Another number would change the rounding of results.
const ROWS: usize = 512;

/// Elements of one partial sum.
const PIECE: usize = 1 << 14;

vectorised! {
    /// `sums[c] += sum over rows of x[row * pitch + c]`.
    fn add_rows[T: Float](x: &[T], pitch: usize, sums: &mut [T]) {
        for row in x.chunks(pitch) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += *x);
        }
    }
}

/// Accumulates the sum of the rows of `x`: `sums[c] += sum_r x[r, c]`.
pub(crate) fn add_column_sums<T: Float>(cpu: &Cpu, x: &[T], pitch: usize, sums: &mut [T]) {
    let columns = sums.len();
    if columns == 0 {
        return;
    }
    let tasks = x.len().div_ceil(pitch * ROWS);
    if tasks <= 1 {
        return add_rows(x, pitch, sums);
    }
    let mut partial = vec![T::ZERO; tasks * columns];
    cpu.pieces(&mut partial, columns, x.len(), |task, sums| {
        let end = x.len().min((task + 1) * ROWS * pitch);
        add_rows(&x[task * ROWS * pitch..end], pitch, sums);
    });
    add_rows(&partial, columns, sums);
}

/// Stores the sum of the rows of `x` `[.., columns]` in the slot's `[columns]`, or accumulates it.
pub(crate) fn column_sums(x: &Tensor, slot: Slot) {
    match x.device() {
        Device::Gpu(gpu) => launch::column_sums(gpu, x, &slot.tensor, slot.add),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "sum", T => {
            add_column_sums(cpu, &x.read::<T>(), x.pitch(), &mut slot.sum().write::<T>());
        }),
    }
}

/// Sums `x` over the axes along which the slot's shape was broadcast to it.
pub(super) fn sum_to_on(gpu: &Gpu, x: &Tensor, slot: &Slot) {
    let (columns, shape) = (x.shape().columns(), slot.tensor.shape());
    let _op = begin("sum", &[x, &slot.tensor], x.shape().elements());
    if shape.elements() == columns && shape.columns() == columns {
        launch::column_sums(gpu, x, &slot.tensor, slot.add);
    } else {
        launch::sum_to(gpu, x, slot);
    }
}

/// Sums `x` over the axes along which `shape` was broadcast to it; `x` itself if there are none. No gradient.
pub(crate) fn sum_to(x: &Tensor, shape: Shape) -> Tensor {
    if x.shape() == shape {
        return x.clone();
    }
    let fits = x.shape().broadcast(&shape) == Some(x.shape());
    assert!(fits, "sum: shape {} is not a broadcast of {shape}", x.shape());
    match x.device() {
        Device::Gpu(gpu) => {
            let slot = Slot { tensor: x.empty_like(shape), add: false };
            sum_to_on(gpu, x, &slot);
            slot.tensor
        }
        Device::Cpu(cpu) => {
            float_dispatch!(x.dtype(), "sum", T => sum_to_typed::<T>(cpu, x, shape))
        }
    }
}

fn sum_to_typed<T: Float>(cpu: &Cpu, x: &Tensor, shape: Shape) -> Tensor {
    let out = Tensor::zeros(x.device(), shape, x.dtype());
    let _op = begin("sum", &[x, &out], x.shape().elements());
    if x.shape().elements() == 0 {
        return out;
    }
    if shape.elements() == x.shape().columns() && shape.columns() == x.shape().columns() {
        add_column_sums(cpu, &x.read::<T>(), x.pitch(), &mut out.write::<T>());
        return out;
    }
    if shape.elements() == 1 {
        out.write::<T>()[0] = total::<T>(cpu, x);
        return out;
    }
    let (rank, columns) = (x.shape().rank(), x.shape().columns());
    let own_columns = shape.extent_from_right(rank, rank - 1);
    let x_values = x.read::<T>();
    let mut sums = out.write::<T>();
    for (mut row, values) in x_values.chunks(x.pitch()).enumerate() {
        let (mut offset, mut stride) = (0, own_columns);
        for axis in (0..rank - 1).rev() {
            let extent = shape.extent_from_right(rank, axis);
            offset += if extent == 1 { 0 } else { row % x.shape()[axis] * stride };
            row /= x.shape()[axis];
            stride *= extent;
        }
        match own_columns {
            1 => sums[offset] += vector::sum(&values[..columns]),
            _ => add_rows(&values[..columns], columns, &mut sums[offset..offset + columns]),
        }
    }
    drop(sums);
    out
}

fn total<T: Float>(cpu: &Cpu, x: &Tensor) -> T {
    let x = &*dense::<T>(x);
    let values = x.read::<T>();
    let mut partial = vec![T::ZERO; values.len().div_ceil(PIECE)];
    cpu.pieces(&mut partial, 1, values.len(), |piece, sum| {
        let end = values.len().min((piece + 1) * PIECE);
        sum[0] = vector::sum(&values[piece * PIECE..end]);
    });
    vector::sum(&partial)
}

impl Tensor {
    /// The sum of all elements, a scalar.
    pub fn sum(&self) -> Tensor {
        self.sum_to([])
    }

    /// The mean of all elements, a scalar. NaN for an empty tensor.
    pub fn mean(&self) -> Tensor {
        self.sum().affine(1.0 / self.shape().elements() as f64, 0.0)
    }

    /// The sum over the axes that a broadcast of `shape` to this tensor's shape would expand.
    ///
    /// ```
    /// use alrao::{Device, Tensor};
    /// let x = Tensor::from_slice(&Device::cpu(), [2, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// assert_eq!(x.sum_to([3]).to_vec::<f32>(), [5.0, 7.0, 9.0]);
    /// assert_eq!(x.sum_to([2, 1]).to_vec::<f32>(), [6.0, 15.0]);
    /// ```
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Tensor {
        let out = sum_to(&self.detach(), shape.into());
        trace::note(Operation::Sum, &[self], &[&out]);
        let whole = self.shape();
        record(out, &[self], move |gradient, gradients| {
            gradients.pass(0, &broadcast_to(gradient, whole));
        })
    }

    /// The index of each row's largest element, the first of equals, as I32; NaN is never the largest. Panics if rows have
    /// no elements.
    pub fn argmax(&self) -> Tensor {
        assert!(self.shape().columns() > 0, "argmax: the last axis of {} is empty", self.shape());
        let shape = Shape::new(&self.shape().extents()[..self.shape().rank().saturating_sub(1)]);
        let out = Tensor::empty(self.device(), shape, DType::I32);
        let _op = begin("argmax", &[self, &out], self.shape().elements());
        if let Device::Gpu(gpu) = self.device() {
            launch::argmax(gpu, self, &out);
            return out;
        }
        float_dispatch!(self.dtype(), "argmax", T => {
            let columns = self.shape().columns();
            let values = self.read::<T>();
            let rows = values.chunks(self.pitch()).map(|row| row_argmax(&row[..columns]) as i32);
            out.write::<i32>().iter_mut().zip(rows).for_each(|(to, index)| *to = index);
        });
        out
    }
}

/// The index of the largest element, the first of equals.
pub(crate) fn row_argmax<T: Float>(row: &[T]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] || (row[best].is_nan() && !value.is_nan()) {
            best = index;
        }
    }
    best
}
