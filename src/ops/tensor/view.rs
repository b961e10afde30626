//! Reshape and slice: views of the same elements if the memory layout allows it.

use crate::ops::tensor::elementwise::accumulate;
use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::Tensor;
use crate::trace::{self, Operation};

impl Tensor {
    /// The same elements in row-major order under another shape. Panics if their number differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let (shape, old) = (shape.into(), self.shape());
        assert!(
            shape.elements() == old.elements(),
            "reshape: {old} has other than {shape}'s elements"
        );
        let keeps_rows = old.rank() > 0 && shape.rank() > 0 && old.columns() == shape.columns();
        let out = if self.is_contiguous() {
            self.view(0, shape, shape.columns())
        } else if keeps_rows {
            self.view(0, shape, self.pitch())
        } else {
            self.copy().view(0, shape, shape.columns())
        };
        trace::note(Operation::Reshape, &[self], &[&out]);
        record(out, &[self], move |gradient, gradients| {
            gradients.pass(0, &gradient.detach().reshape(old))
        })
    }

    /// Elements `start` to `start + length` of one axis: a view of the same memory if it is the last axis or all axes
    /// before it have extent 1, else a copy. Panics if the range leaves the axis.
    pub fn slice(&self, axis: usize, start: usize, length: usize) -> Tensor {
        let whole = self.shape();
        assert!(
            axis < whole.rank() && start + length <= whole[axis],
            "slice: axis {axis}, {start}..{} of shape {whole}",
            start + length
        );
        let out = match self.slice_view(axis, start, length) {
            Some(view) => view,
            None => self.slice_copy(axis, start, length),
        };
        trace::note(Operation::Slice { axis, start }, &[self], &[&out]);
        record(out, &[self], move |gradient, gradients| {
            let Some(slot) = gradients.slot(0, gradient.dtype()) else { return };
            let whole = slot.sum();
            for (tensor, from) in same_elements(&whole, gradient, axis, start) {
                accumulate(&from, &Slot { tensor, add: true });
            }
        })
    }

    fn slice_view(&self, axis: usize, start: usize, length: usize) -> Option<Tensor> {
        let whole = self.shape();
        let mut extents = whole.extents().to_vec();
        extents[axis] = length;
        if axis + 1 == whole.rank() {
            let pitch = if whole.rank() == 1 { length } else { self.pitch() };
            return Some(self.view(start, &extents[..], pitch));
        }
        let is_outermost = whole.extents()[..axis].iter().all(|extent| *extent == 1);
        let below: usize = whole.extents()[axis + 1..whole.rank() - 1].iter().product();
        is_outermost.then(|| self.view(start * below * self.pitch(), &extents[..], self.pitch()))
    }

    fn slice_copy(&self, axis: usize, start: usize, length: usize) -> Tensor {
        let mut extents = self.shape().extents().to_vec();
        extents[axis] = length;
        let out = self.empty_like(&extents[..]);
        for (from, tensor) in same_elements(self, &out, axis, start) {
            accumulate(&from, &Slot { tensor, add: false });
        }
        out
    }
}

/// Pairs of views of the same elements in `whole` and in `sliced`, its part from `start` on along `axis`: one pair,
/// unless there are gaps between rows.
fn same_elements(
    whole: &Tensor,
    sliced: &Tensor,
    axis: usize,
    start: usize,
) -> Vec<(Tensor, Tensor)> {
    let (shape, length) = (whole.shape(), sliced.shape()[axis]);
    let (pitch, sliced_pitch, columns) = (whole.pitch(), sliced.pitch(), shape.columns());
    if axis + 1 == shape.rank() {
        let part = [shape.rows(), length];
        return vec![(whole.view(start, part, pitch), sliced.view(0, part, sliced_pitch))];
    }
    let extents = shape.extents();
    let outer: usize = extents[..axis].iter().product();
    let below: usize = extents[axis + 1..extents.len() - 1].iter().product();
    if whole.is_contiguous() && sliced.is_contiguous() {
        let run = below * columns;
        let part = [outer, length * run];
        let kept = whole.view(start * run, part, extents[axis] * run);
        return vec![(kept, sliced.view(0, part, length * run))];
    }
    let part = [length * below, columns];
    let pair = |number: usize| {
        let kept = whole.view((number * extents[axis] + start) * below * pitch, part, pitch);
        (kept, sliced.view(number * part[0] * sliced_pitch, part, sliced_pitch))
    };
    (0..outer).map(pair).collect()
}
