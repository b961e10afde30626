//! Loops over the rows of one or several tensors of the same shape.

use crate::device::cpu::Float;
use crate::tensor::Tensor;

/// Elements of one task. Another number would change the rounding of results.
const PIECE: usize = 1 << 14;

/// Narrower rows are processed several at a time.
const WIDTH: usize = 128;

/// A loop over rows: `fold` contiguous rows of `columns` elements at a time.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub columns: usize,
    pub fold: usize,
    /// Folded rows in one task.
    pub count: usize,
}

impl Rows {
    pub fn of(tensors: &[&Tensor]) -> Self {
        let is_dense = tensors.iter().all(|tensor| tensor.is_contiguous());
        Rows::new(tensors[0].shape().columns(), is_dense)
    }

    /// A loop over rows of `columns` elements, contiguous if `is_dense`.
    pub fn new(columns: usize, is_dense: bool) -> Self {
        let columns = columns.max(1);
        let fold = if is_dense { WIDTH.div_ceil(columns) } else { 1 };
        Rows { columns, fold, count: (PIECE / (columns * fold)).max(1) }
    }

    /// Elements from one folded row to the next.
    pub fn pitch(&self, tensor: &Tensor) -> usize {
        if tensor.is_contiguous() { self.columns * self.fold } else { tensor.pitch() }
    }

    /// Rows in one task; the last may have fewer.
    pub fn height(&self) -> usize {
        self.count * self.fold
    }

    /// Number of tasks for `total` rows.
    pub fn tasks(&self, total: usize) -> usize {
        total.div_ceil(self.height())
    }

    /// A value per column as a value per column of a folded row.
    pub fn widen<T: Float>(&self, values: &[T]) -> Vec<T> {
        values.repeat(self.fold)
    }

    /// Adds up the values of a folded row that belong to one column.
    pub fn narrow<T: Float>(&self, wide: &[T], sums: &mut [T]) {
        for part in wide.chunks(self.columns) {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += *value);
        }
    }
}

/// A tensor's elements for a loop over its rows.
pub(super) struct Operand<'a, T> {
    elements: &'a [T],
    pub pitch: usize,
    piece: usize,
}

impl<'a, T> Operand<'a, T> {
    pub fn new(elements: &'a [T], tensor: &Tensor, rows: Rows) -> Self {
        let pitch = rows.pitch(tensor);
        Operand { elements, pitch, piece: rows.count * pitch }
    }

    /// The elements of a task.
    pub fn part(&self, task: usize) -> &'a [T] {
        &self.elements[task * self.piece..self.elements.len().min((task + 1) * self.piece)]
    }
}
