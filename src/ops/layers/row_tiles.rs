//! The cut of an image tensor into blocks that sum what they write, as `RowTile` in `kernels/norm.cuh`.

use crate::tensor::Tensor;

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// The most threads of a block along the channels.
const MOST_COLUMNS: usize = 32;

/// The blocks that keep a GPU busy: four on each of an H100's 132 SMs.
pub(super) const WANTED_BLOCKS: usize = 4 * 132;

/// Blocks of `columns` threads along the channels, by parts of `rows_of_part` image rows.
pub(super) struct RowTiles {
    pub columns: u32,
    pub rows_of_part: usize,
    pub grid: [u32; 3],
    /// Runs of a thread.
    pub passes: usize,
}

impl RowTiles {
    /// For images `[N, H, W, C]` with `vector` channels a thread and `run` neighbouring pixels at a time. Panics if the images
    /// have more runs than 32 bits count.
    pub fn new(images: &Tensor, vector: usize, run: usize) -> Self {
        let shape = images.shape();
        let (rows, runs) = (shape[0] * shape[1], shape[2].div_ceil(run).max(1));
        assert!(u32::try_from(rows * runs).is_ok(), "images {shape} are too many for a GPU");
        let groups = shape[3].div_ceil(vector);
        // Blocks without idle threads, if whole lines of four vectors divide the channels.
        let whole = 1 << groups.trailing_zeros().min(MOST_COLUMNS.ilog2());
        let columns = if whole < 4 { groups.next_power_of_two().min(MOST_COLUMNS) } else { whole };
        let across = groups.div_ceil(columns);
        let least_rows = (THREADS / columns).div_ceil(runs);
        let parts = (WANTED_BLOCKS / across.max(1)).max(1);
        let rows_of_part = rows.div_ceil(parts).max(least_rows);
        let grid = [across as u32, rows.div_ceil(rows_of_part) as u32, 1];
        let passes = (rows_of_part * runs).div_ceil(THREADS / columns);
        RowTiles { columns: columns as u32, rows_of_part, grid, passes }
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.grid[1] as usize
    }
}
