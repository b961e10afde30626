//! The output of one channel group.

use crate::device::cpu::{Cpu, Float};
use crate::ops::layers::batch_norm::pieces_with_moments;

/// `width` channels of images, from `column` on.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub pitch: usize,
    pub column: usize,
    pub width: usize,
}

/// Some channels of images, and the parts of all channels' moments, one for each task. No parts unless these tasks
/// complete the pixels and the moments are wanted.
pub(super) struct Output<'a, T> {
    pub elements: &'a mut [T],
    pub columns: Channels,
    pub moments: &'a mut [T],
}

impl<T: Float> Output<'_, T> {
    /// Runs `body(task's number, its pixels)` for tasks of `length` elements.
    pub fn tasks(
        self,
        cpu: &Cpu,
        length: usize,
        work: usize,
        body: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let parts = (self.moments, self.columns.pitch);
        pieces_with_moments(cpu, (self.elements, length), parts, work, body);
    }
}
