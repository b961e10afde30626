//! The launches of `kernels/embedding.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::Gpu;
use crate::device::gpu::{Argument, Parameters, Pointer};
use crate::ops::{kernel_in, vector_of};
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: u32 = 256;

/// Tokens that one block sorts.
const TILE: usize = 2048;

/// Bits of a digit, by which one pass sorts, and the number of digits.
const BITS: u32 = 8;
const DIGITS: usize = 1 << BITS;

/// Sorted tokens, and units of columns, of one warp.
const CHUNK: usize = 32;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EmbeddingShape {
    units: u64,
    pitch: u64,
    to_pitch: u64,
    tokens: u32,
    columns: u32,
    vocabulary: u32,
    width: u32,
    add: u32,
    chunks: u32,
}

impl EmbeddingShape {
    /// The shape for rows that are read from `from` and written to `to`.
    fn new(tokens: usize, vocabulary: usize, from: &Tensor, to: &Tensor, add: bool) -> Self {
        let (columns, pitch, to_pitch) = (to.shape().columns(), from.pitch(), to.pitch());
        let extents = [columns, pitch, to_pitch];
        let aligned = (from.pointer().0 | to.pointer().0).is_multiple_of(16);
        // 16 bytes of `from`, or 8: the usual 100 columns are not a multiple of 8.
        let fits = |width: &usize| {
            *width <= vector_of(from.dtype())
                && aligned
                && extents.iter().all(|extent| extent.is_multiple_of(*width))
        };
        let width = [8, 4].into_iter().find(fits).unwrap_or(1);
        EmbeddingShape {
            units: (tokens * columns / width) as u64,
            pitch: pitch as u64,
            to_pitch: to_pitch as u64,
            tokens: tokens as u32,
            columns: columns as u32,
            vocabulary: vocabulary as u32,
            width: width as u32,
            add: add.into(),
            chunks: tokens.div_ceil(CHUNK) as u32,
        }
    }

    /// The blocks of a kernel whose warps each process a chunk of tokens and of units of columns.
    fn blocks_of_chunks(&self) -> u32 {
        let warps = self.chunks * (self.columns / self.width).div_ceil(CHUNK as u32);
        warps.div_ceil(THREADS / 32)
    }
}

/// `out[i] = table[tokens[i]]`.
pub(super) fn gather(gpu: &Gpu, tokens: &Tensor, table: &Tensor, out: &Tensor) {
    let shape = EmbeddingShape::new(tokens.shape().elements(), table.shape()[0], table, out, false);
    let grid = [shape.units.div_ceil(u64::from(THREADS)) as u32, 1, 1];
    let kernel = kernel_in("embedding_fwd", table.dtype());
    let (tokens, table, out) = (tokens.pointer(), table.pointer(), out.pointer());
    let arguments = Parameters(&shape);
    gpu.launch(&kernel, grid, [THREADS, 1, 1], &[&tokens, &table, &out, &arguments]);
}

/// Sorted tokens and their positions, both I32 `[n]`.
struct Sorted {
    tokens: Tensor,
    positions: Tensor,
}

impl Sorted {
    fn empty(tokens: &Tensor) -> Self {
        let [tokens, positions] = [(); 2].map(|()| tokens.empty_like([tokens.shape().elements()]));
        Sorted { tokens, positions }
    }

    /// Sorts tokens stably: in one launch, or in two for every digit if there is more than a tile.
    fn new(gpu: &Gpu, tokens: &Tensor, vocabulary: usize) -> Self {
        let count = tokens.shape().elements();
        let bits = (vocabulary.max(2) - 1).ilog2() + 1;
        if count <= TILE {
            let sorted = Sorted::empty(tokens);
            let (from, to, positions) =
                (tokens.pointer(), sorted.tokens.pointer(), sorted.positions.pointer());
            let count = count as u32;
            let grid = [count.min(1), 1, 1];
            let arguments: &[&dyn Argument] = &[&from, &to, &positions, &count, &bits];
            gpu.launch("embedding_sort_tile", grid, [THREADS, 1, 1], arguments);
            return sorted;
        }
        let first = Sorted::pass(gpu, tokens, None, 0);
        (1..bits.div_ceil(BITS)).fold(first, |sorted, pass| {
            Sorted::pass(gpu, &sorted.tokens, Some(&sorted.positions), pass * BITS)
        })
    }

    /// Sorts by the digit at `shift`. Without `positions` the tokens are numbered in order.
    fn pass(gpu: &Gpu, tokens: &Tensor, positions: Option<&Tensor>, shift: u32) -> Self {
        let (count, sorted) = (tokens.shape().elements(), Sorted::empty(tokens));
        let tiles = count.div_ceil(TILE);
        let histograms = tokens.empty_like([tiles, DIGITS]);
        let (grid, block) = ([tiles as u32, 1, 1], [THREADS, 1, 1]);
        let (from, histograms, count) = (tokens.pointer(), histograms.pointer(), count as u32);
        gpu.launch("embedding_sort_count", grid, block, &[&from, &histograms, &count, &shift]);
        let positions = positions.map_or(Pointer::NULL, Tensor::pointer);
        let (to, to_positions) = (sorted.tokens.pointer(), sorted.positions.pointer());
        gpu.launch(
            "embedding_sort_place",
            grid,
            block,
            &[&from, &positions, &histograms, &to, &to_positions, &count, &shift],
        );
        sorted
    }
}

/// Computes the slot: row v is the sum of `dy` over the positions of token v.
pub(super) fn add_up(gpu: &Gpu, tokens: &Tensor, dy: &Tensor, slot: &Slot) {
    let (gradient, count) = (&slot.tensor, tokens.shape().elements());
    if !slot.add {
        gradient.zero_();
    }
    let sorted = Sorted::new(gpu, tokens, gradient.shape()[0]);
    let shape = EmbeddingShape::new(count, gradient.shape()[0], dy, gradient, slot.add);
    let parts = gradient.empty_like([shape.chunks as usize, 2, shape.columns as usize]);
    let kernel = kernel_in("embedding_sums", dy.dtype());
    let (order, positions) = (sorted.tokens.pointer(), sorted.positions.pointer());
    let (dy, gradient, parts) = (dy.pointer(), gradient.pointer(), parts.pointer());
    let (grid, block) = ([shape.blocks_of_chunks(), 1, 1], [THREADS, 1, 1]);
    let arguments = Parameters(&shape);
    gpu.launch(&kernel, grid, block, &[&order, &positions, &dy, &gradient, &parts, &arguments]);
    if shape.chunks > 1 {
        gpu.launch("embedding_joins_f32", grid, block, &[&order, &parts, &gradient, &arguments]);
    }
}
