//! The cut of a tensor into the blocks of `kernels/batch_norm.cu`.

use std::cell::Cell;

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::Pointer;
use crate::ops::layers::row_tiles::{THREADS, WANTED_BLOCKS};
use crate::ops::{kernel_in, vector_of};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The most threads of a block in one row: with 16 bytes each, 512 bytes of it.
const MOST_COLUMNS: usize = 32;

/// The fewest rows of a thread.
const LEAST_ROWS: usize = 4;

/// The most bytes that all blocks together read again in place of a launch: a microsecond of memory traffic.
const MOST_REREADS: usize = 4 << 20;

pub(super) const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

thread_local! {
    /// Whether [`with_separate_finish`] runs.
    static IS_SEPARATE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with a launch of its own for the sums over the parts, in norms of any size. For tests of both forms; in a run the
/// size decides.
pub(crate) fn with_separate_finish<R>(work: impl FnOnce() -> R) -> R {
    let before = IS_SEPARATE.replace(true);
    let result = work();
    IS_SEPARATE.set(before);
    result
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct BatchNormShape {
    pub rows: u64,
    pub rows_of_part: u64,
    pub x_pitch: u64,
    pub y_pitch: u64,
    pub dy_pitch: u64,
    pub dx_pitch: u64,
    pub residual_pitch: u64,
    pub channels: u32,
    pub columns: u32,
    pub relu: u32,
    pub add: u32,
    pub of_batch: u32,
    pub splits: u32,
}

/// The cut of a tensor's rows into parts, and of its channels into vectors.
pub(super) struct Tiling {
    /// Channels of a thread.
    vector: usize,
    columns: usize,
    pub rows_of_part: usize,
    pub grid: [u32; 3],
}

impl Tiling {
    /// `pointers` and `tensors` are all the memory that is read and written in vectors.
    pub fn of(tensors: &[&Tensor], pointers: &[Pointer]) -> Self {
        let (channels, rows) = (tensors[0].shape().columns(), tensors[0].shape().rows());
        let vector = vector_of(tensors[0].dtype());
        let is_whole = channels.is_multiple_of(vector)
            && tensors.iter().all(|tensor| tensor.pitch().is_multiple_of(vector))
            && pointers.iter().all(|pointer| pointer.0.is_multiple_of(16));
        let vector = if is_whole { vector } else { 1 };
        let groups = channels.div_ceil(vector);
        let columns = groups.next_power_of_two().min(MOST_COLUMNS);
        let across = groups.div_ceil(columns);
        let most_parts = rows.div_ceil(LEAST_ROWS * THREADS / columns).max(1);
        let parts = (WANTED_BLOCKS / across.max(1)).clamp(1, most_parts);
        let rows_of_part = rows.div_ceil(parts).max(1);
        let grid = [across as u32, rows.div_ceil(rows_of_part) as u32, 1];
        Tiling { vector, columns, rows_of_part, grid }
    }

    pub fn shape(&self, x: &Tensor) -> BatchNormShape {
        BatchNormShape {
            rows: x.shape().rows() as u64,
            rows_of_part: self.rows_of_part as u64,
            x_pitch: x.pitch() as u64,
            y_pitch: 0,
            dy_pitch: 0,
            dx_pitch: 0,
            residual_pitch: 0,
            channels: x.shape().columns() as u32,
            columns: self.columns as u32,
            relu: 0,
            add: 0,
            of_batch: 0,
            splits: 0,
        }
    }

    /// The bytes that blocks read if each adds the parts of its own channels; `None` if that takes longer than a launch of
    /// its own, or there are no rows. `parts` is the shape of the parts.
    pub fn rereads(&self, parts: Shape) -> Option<usize> {
        let channels_of_block = self.columns * self.vector;
        let blocks: usize = self.grid.iter().map(|blocks| *blocks as usize).product();
        let bytes = blocks * parts[0] * parts[1] * channels_of_block * 4;
        (bytes > 0 && bytes <= MOST_REREADS && !IS_SEPARATE.get()).then_some(bytes)
    }

    /// The kernel for this vector width.
    pub fn kernel(&self, work: &str, x: &Tensor) -> String {
        kernel_in(&format!("batch_norm_{work}_x{}", self.vector), x.dtype())
    }
}
