//! The cut of a tensor into the blocks of `kernels/batch_norm.cu`.

use std::cell::Cell;

use bytemuck::{Pod, Zeroable};

use crate::device::Gpu;
use crate::device::gpu::Pointer;
use crate::ops::layers::row_tiles::{THREADS, WANTED_BLOCKS};
use crate::ops::{kernel_in, vector_of, with_setting};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The most threads of a block in one row: with 16 bytes each, 512 bytes of it.
const MOST_COLUMNS: usize = 32;

/// The fewest rows of a thread.
const LEAST_ROWS: usize = 4;

/// The most bytes that all blocks together read again in place of a launch: a microsecond of memory traffic.
const MOST_REREADS: usize = 4 << 20;

/// The same limit for clusters. A launch that adds many parts takes two microseconds or more, the time of this memory traffic.
const MOST_REREADS_OF_CLUSTERS: usize = 10 << 20;

/// Blocks of a cluster: the most that every GPU with clusters allows.
const CLUSTER: usize = 8;

/// How a tensor is cut into blocks.
#[derive(Clone, Copy)]
struct Cut {
    /// The most threads of a block in one row.
    most_columns: usize,
    /// The number of blocks, about.
    blocks: usize,
    /// Blocks of a cluster.
    cluster: usize,
}

const ALONE: Cut = Cut { most_columns: MOST_COLUMNS, blocks: WANTED_BLOCKS, cluster: 1 };

/// The fewer channels a block has, and the fewer blocks there are, the less they read again. With 16 bytes a thread, eight threads read
/// 128 bytes of a row, a whole line of the cache; and two blocks on each SM keep a GPU busy.
const IN_CLUSTERS: Cut = Cut { most_columns: 8, blocks: WANTED_BLOCKS / 2, cluster: CLUSTER };

pub(super) const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

/// Who adds the parts of a norm's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartSums {
    /// A launch of its own.
    Launch,
    /// Each block of the pass that needs the sums.
    Block,
    /// The blocks of a cluster together.
    Cluster,
}

thread_local! {
    /// What [`with_part_sums`] asks for.
    static FORCED: Cell<Option<PartSums>> = const { Cell::new(None) };
}

/// Does `work` with one way of adding parts, in norms of any size. For tests of all ways; in a run the size decides.
pub(crate) fn with_part_sums<R>(way: PartSums, work: impl FnOnce() -> R) -> R {
    with_setting(&FORCED, Some(way), work)
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
    pub to_tf32: u32,
    pub unused: u32,
}

/// The cut of a tensor's rows into parts, and of its channels into vectors.
pub(super) struct Tiling {
    /// Channels of a thread.
    vector: usize,
    columns: usize,
    pub rows_of_part: usize,
    pub grid: [u32; 3],
    /// Blocks of a cluster, along the grid's second axis.
    pub cluster: u32,
}

impl Tiling {
    /// `pointers` and `tensors` are all the memory that is read and written in vectors.
    pub fn of(tensors: &[&Tensor], pointers: &[Pointer]) -> Self {
        Tiling::cut(tensors, pointers, ALONE)
    }

    /// For a pass that needs the sums over parts of this shape. If the blocks of the pass add the parts of their own channels, the
    /// result has the bytes that they read for it; `None` if a launch of its own takes less time, or there are no parts.
    pub fn behind_parts(
        gpu: &Gpu,
        tensors: &[&Tensor],
        pointers: &[Pointer],
        parts: Option<Shape>,
    ) -> (Self, Option<usize>) {
        let alone = (PartSums::Block, ALONE, MOST_REREADS);
        let together = (PartSums::Cluster, IN_CLUSTERS, MOST_REREADS_OF_CLUSTERS);
        let ways = [Some(alone), gpu.has_clusters().then_some(together)];
        let chosen = ways.into_iter().flatten().find_map(|(way, cut, most)| {
            let tiling = Tiling::cut(tensors, pointers, cut);
            let bytes = tiling.rereads(parts?);
            let fits = FORCED.get().map_or(bytes <= most, |forced| forced == way);
            (bytes > 0 && fits).then_some((tiling, Some(bytes)))
        });
        chosen.unwrap_or_else(|| (Tiling::of(tensors, pointers), None))
    }

    fn cut(tensors: &[&Tensor], pointers: &[Pointer], cut: Cut) -> Self {
        let Cut { most_columns, blocks, cluster } = cut;
        let (channels, rows) = (tensors[0].shape().columns(), tensors[0].shape().rows());
        let vector = vector_of(tensors[0].dtype());
        let is_whole = channels.is_multiple_of(vector)
            && tensors.iter().all(|tensor| tensor.pitch().is_multiple_of(vector))
            && pointers.iter().all(|pointer| pointer.0.is_multiple_of(16));
        let vector = if is_whole { vector } else { 1 };
        let groups = channels.div_ceil(vector);
        let columns = groups.next_power_of_two().min(most_columns);
        let across = groups.div_ceil(columns);
        let most_parts = rows.div_ceil(LEAST_ROWS * THREADS / columns).max(1);
        // Whole clusters.
        let wanted = blocks / across.max(1) / cluster * cluster;
        let parts = wanted.clamp(1, most_parts);
        let rows_of_part = rows.div_ceil(parts).max(1);
        let down = rows.div_ceil(rows_of_part).next_multiple_of(cluster);
        let grid = [across as u32, down as u32, 1];
        Tiling { vector, columns, rows_of_part, grid, cluster: cluster as u32 }
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
            to_tf32: 0,
            unused: 0,
        }
    }

    /// The bytes that the blocks of all clusters read to add the parts of their own channels.
    fn rereads(&self, parts: Shape) -> usize {
        let channels_of_block = self.columns * self.vector;
        let blocks: usize = self.grid.iter().map(|blocks| *blocks as usize).product();
        blocks / self.cluster as usize * parts[0] * parts[1] * channels_of_block * 4
    }

    /// The kernel for this vector width.
    pub fn kernel(&self, work: &str, x: &Tensor) -> String {
        kernel_in(&format!("batch_norm_{work}_x{}", self.vector), x.dtype())
    }
}
