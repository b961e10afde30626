//! Gathers the rows of a batch from a data set on the device.

use crate::device::gpu::Pointer;
use crate::device::{DType, Device, Element, Gpu};
use crate::ops::begin;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: u32 = 256;

/// The rows of a data set that form a batch. The cursor and the order are on the device, so that a replay of a captured
/// graph reads the next batch.
#[derive(Clone, Copy)]
pub struct Selection<'a> {
    /// The start of the batch, I32, one element.
    pub cursor: &'a Tensor,
    /// The rows in the order of their use, I32; `None` for the order in memory.
    pub order: Option<&'a Tensor>,
    /// The number of rows of the batch.
    pub count: usize,
}

impl Selection<'_> {
    /// The rows, on the CPU. Panics if a row does not exist; the message names `op`.
    pub(crate) fn rows(&self, op: &str, all: usize) -> Vec<usize> {
        let cursor = self.cursor.read::<i32>()[0] as usize;
        let places = cursor..cursor + self.count;
        let rows: Vec<usize> = match self.order {
            None => places.collect(),
            Some(order) => order.read::<i32>()[places].iter().map(|row| *row as usize).collect(),
        };
        let wrong = rows.iter().find(|row| **row >= all);
        assert!(wrong.is_none(), "{op}: row {wrong:?} of {all}");
        rows
    }

    /// The order and the cursor, for a kernel; null pointers without a selection.
    pub(crate) fn pointers(selection: Option<&Selection>) -> [Pointer; 2] {
        let order = selection.and_then(|selection| selection.order);
        [order, selection.map(|selection| selection.cursor)]
            .map(|tensor| tensor.map_or(Pointer::NULL, Tensor::pointer))
    }
}

/// The selected rows of `[n, ..]`, of F32 or I32, as `[count, ..]`. No gradient.
///
/// ```
/// use alrao::{Device, Tensor, ops::input::gather::{Selection, gather}};
/// let device = Device::cpu();
/// let rows = Tensor::from_slice(&device, [3, 2], &[0i32, 1, 10, 11, 20, 21]);
/// let (cursor, order) =
///     (Tensor::from_slice(&device, [1], &[1i32]), Tensor::from_slice(&device, [3], &[1i32, 2, 0]));
/// let batch = gather(&rows, Selection { cursor: &cursor, order: Some(&order), count: 2 });
/// assert_eq!(batch.to_vec::<i32>(), [20, 21, 0, 1]);
/// ```
pub fn gather(rows: &Tensor, selection: Selection) -> Tensor {
    let shape = rows.shape();
    assert!(
        shape.rank() >= 1
            && rows.is_contiguous()
            && matches!(rows.dtype(), DType::F32 | DType::I32),
        "gather: {shape} {:?} is no dense F32 or I32 [n, ..]",
        rows.dtype()
    );
    let mut extents = shape.extents().to_vec();
    extents[0] = selection.count;
    let out = Tensor::empty(rows.device(), &extents[..], rows.dtype());
    let _op = begin("gather", &[&out, &out], 0);
    match (rows.device(), rows.dtype()) {
        (Device::Gpu(gpu), _) => launch_gather(gpu, rows, selection, &out),
        (Device::Cpu(_), DType::F32) => copy_rows::<f32>(rows, selection, &out),
        (Device::Cpu(_), _) => copy_rows::<i32>(rows, selection, &out),
    }
    out
}

fn width(rows: &Tensor) -> usize {
    rows.shape().elements() / rows.shape()[0].max(1)
}

fn copy_rows<T: Element>(rows: &Tensor, selection: Selection, out: &Tensor) {
    let (width, from) = (width(rows), rows.read::<T>());
    let mut out = out.write::<T>();
    let numbers = selection.rows("gather", rows.shape()[0]);
    for (row, out) in numbers.into_iter().zip(out.chunks_exact_mut(width.max(1))) {
        out.copy_from_slice(&from[row * width..(row + 1) * width]);
    }
}

fn launch_gather(gpu: &Gpu, rows: &Tensor, selection: Selection, out: &Tensor) {
    let [order, cursor] = Selection::pointers(Some(&selection));
    let words = out.shape().elements();
    assert!(words <= u32::MAX as usize, "gather: a batch {} has too many elements", out.shape());
    let (words, width) = (words as u32, width(rows) as u32);
    let grid = [words.div_ceil(THREADS), 1, 1];
    gpu.launch(
        "gather_rows",
        grid,
        [THREADS, 1, 1],
        &[&rows.pointer(), &order, &cursor, &out.pointer(), &words, &width],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "gather: row Some(3) of 3")]
    fn a_row_that_is_not_there_panics() {
        let device = Device::cpu();
        let rows = Tensor::zeros(&device, [3, 2], DType::F32);
        let cursor = Tensor::from_slice(&device, [1], &[2i32]);
        gather(&rows, Selection { cursor: &cursor, order: None, count: 2 });
    }

    #[test]
    #[should_panic(expected = "gather: [3, 2] U8 is no dense F32 or I32 [n, ..]")]
    fn bytes_panic() {
        let device = Device::cpu();
        let rows = Tensor::zeros(&device, [3, 2], DType::U8);
        let cursor = Tensor::from_slice(&device, [1], &[0i32]);
        gather(&rows, Selection { cursor: &cursor, order: None, count: 2 });
    }
}
