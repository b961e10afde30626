//! Reshape and slice: other views of the same elements where the memory allows it.

use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::Tensor;

impl Tensor {
    /// The same elements in row-major order under another shape. Panics where their number differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let (shape, own) = (shape.into(), self.shape());
        assert!(
            shape.elements() == own.elements(),
            "reshape: {own} has other than {shape}'s elements"
        );
        let keeps_rows = own.rank() > 0 && shape.rank() > 0 && own.columns() == shape.columns();
        let out = if self.is_contiguous() {
            self.view(0, shape, shape.columns())
        } else if keeps_rows {
            self.view(0, shape, self.pitch())
        } else {
            self.copy().view(0, shape, shape.columns())
        };
        record(out, &[self], move |gradient, gradients| {
            gradients.pass(0, &gradient.detach().reshape(own))
        })
    }

    /// Elements `start` to `start + length` of one axis: a view of the same memory where it is the last axis or
    /// all axes before it have extent 1, else a copy. Panics outside the axis.
    pub fn slice(&self, axis: usize, start: usize, length: usize) -> Tensor {
        let own = self.shape();
        assert!(
            axis < own.rank() && start + length <= own[axis],
            "slice: axis {axis}, {start}..{} of shape {own}",
            start + length
        );
        let out = match self.slice_view(axis, start, length) {
            Some(view) => view,
            None => self.slice_copy(axis, start, length),
        };
        record(out, &[self], move |gradient, gradients| {
            let Some(whole) = gradients.sum_slot(0, gradient) else { return };
            for part in Blocks::of(&whole, axis, start, length) {
                let tensor = whole.view(part.offset, part.shape, part.pitch);
                let from = gradient.view(
                    part.sliced_offset(gradient),
                    part.shape,
                    part.sliced_pitch(gradient),
                );
                crate::ops::elementwise::accumulate(&from, &Slot { tensor, add: true });
            }
        })
    }

    fn slice_view(&self, axis: usize, start: usize, length: usize) -> Option<Tensor> {
        let own = self.shape();
        let mut extents = own.extents().to_vec();
        extents[axis] = length;
        if axis + 1 == own.rank() {
            let pitch = if own.rank() == 1 { length } else { self.pitch() };
            return Some(self.view(start, &extents[..], pitch));
        }
        let is_outermost = own.extents()[..axis].iter().all(|extent| *extent == 1);
        let below: usize = own.extents()[axis + 1..own.rank() - 1].iter().product();
        is_outermost.then(|| self.view(start * below * self.pitch(), &extents[..], self.pitch()))
    }

    fn slice_copy(&self, axis: usize, start: usize, length: usize) -> Tensor {
        let mut extents = self.shape().extents().to_vec();
        extents[axis] = length;
        let out = self.empty_like(&extents[..]);
        for part in Blocks::of(self, axis, start, length) {
            let from = self.view(part.offset, part.shape, part.pitch);
            let tensor = out.view(part.sliced_offset(&out), part.shape, part.sliced_pitch(&out));
            crate::ops::elementwise::accumulate(&from, &Slot { tensor, add: false });
        }
        out
    }
}

/// One two-dimensional part of a slice inside the whole.
struct Block {
    offset: usize,
    shape: Shape,
    pitch: usize,
    number: usize,
}

impl Block {
    fn sliced_pitch(&self, sliced: &Tensor) -> usize {
        sliced.pitch()
    }

    fn sliced_offset(&self, sliced: &Tensor) -> usize {
        self.number * self.shape[0] * sliced.pitch()
    }
}

/// The parts of a slice, one for each index of the axes before the sliced one.
struct Blocks;

impl Blocks {
    fn of(whole: &Tensor, axis: usize, start: usize, length: usize) -> Vec<Block> {
        let (shape, pitch) = (whole.shape(), whole.pitch());
        if axis + 1 == shape.rank() {
            let shape = Shape::from([shape.rows(), length]);
            return vec![Block { offset: start, shape, pitch, number: 0 }];
        }
        let extents = shape.extents();
        let outer: usize = extents[..axis].iter().product();
        let below: usize = extents[axis + 1..extents.len() - 1].iter().product();
        (0..outer)
            .map(|number| Block {
                offset: (number * extents[axis] + start) * below * pitch,
                shape: Shape::from([length * below, shape.columns()]),
                pitch,
                number,
            })
            .collect()
    }
}
