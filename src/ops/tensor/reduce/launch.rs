//! The launches of `kernels/reduce.cu`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::{Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::tensor::elementwise::accumulate;
use crate::ops::{kernel_in, vector_of};
use crate::shape::Shape;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: u32 = 256;

/// The most threads of a row, unless it has a whole block.
const MOST_LANES: u32 = 32;

/// Rows that one thread adds up before rows are split.
const ROWS_OF_A_THREAD: u64 = 16;

/// Elements of a row that one block adds up before the row is split.
const ELEMENTS_OF_A_BLOCK: u64 = 4096;

/// The number of blocks of a launch above which sums are not split further.
const MOST_BLOCKS: u64 = 1024;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ReduceShape {
    batches: u64,
    rows: u64,
    columns: u64,
    batch_stride: u64,
    row_stride: u64,
    split_rows: u64,
    splits: u32,
    lanes: u32,
    wide: u32,
    add: u32,
    narrow: u32,
    unused: u32,
}

/// Elements `[batches, rows, columns]` that are summed over the rows.
#[derive(Clone, Copy)]
struct Matrices {
    x: Pointer,
    dtype: DType,
    batches: u64,
    rows: u64,
    columns: u64,
    batch_stride: u64,
    row_stride: u64,
}

/// The target of sums, F32 or BF16.
#[derive(Clone, Copy)]
struct Target {
    pointer: Pointer,
    dtype: DType,
    add: bool,
}

impl Target {
    fn new(tensor: &Tensor, add: bool) -> Self {
        Target { pointer: tensor.pointer(), dtype: tensor.dtype(), add }
    }
}

impl Matrices {
    /// Elements of one load.
    fn vector(&self) -> u64 {
        vector_of(self.dtype) as u64
    }

    /// The split of the rows, a function of the shape only; `blocks` is the number of blocks of one part.
    fn split(&self, blocks: u64, smallest: u64) -> (u64, u64) {
        let most = (MOST_BLOCKS / blocks.max(1)).max(1);
        let splits = (self.rows / smallest).clamp(1, most);
        let split_rows = self.rows.div_ceil(splits).next_multiple_of(self.vector()).max(1);
        (split_rows, self.rows.div_ceil(split_rows).max(1))
    }

    fn is_wide(&self, out: Pointer) -> bool {
        let aligned = (self.x.0 | out.0).is_multiple_of(16);
        let strides = [self.columns, self.batch_stride, self.row_stride];
        aligned && strides.iter().all(|stride| stride.is_multiple_of(self.vector()))
    }

    fn shape(
        &self,
        (split_rows, splits): (u64, u64),
        lanes: u32,
        wide: bool,
        out: Target,
    ) -> ReduceShape {
        ReduceShape {
            batches: self.batches,
            rows: self.rows,
            columns: self.columns,
            batch_stride: self.batch_stride,
            row_stride: self.row_stride,
            split_rows,
            splits: splits as u32,
            lanes,
            wide: wide.into(),
            add: out.add.into(),
            narrow: (out.dtype == DType::BF16).into(),
            unused: 0,
        }
    }

    /// Writes the sums, `[batches, columns]`, to `out`: in one launch, or in two if there are many rows.
    fn sum_into(&self, gpu: &Gpu, like: &Tensor, out: Target) {
        if self.batches * self.columns == 0 {
            return;
        }
        let lies_in_rows = self.columns == 1 && self.row_stride == 1;
        let blocks = match lies_in_rows {
            true => self.batches,
            false => self.batches * self.column_blocks(out.pointer),
        };
        let smallest = match lies_in_rows {
            true => ELEMENTS_OF_A_BLOCK,
            false => ROWS_OF_A_THREAD * u64::from(THREADS / self.column_lanes(out.pointer)),
        };
        let split = self.split(blocks, smallest);
        if split.1 == 1 {
            return self.launch(gpu, out, split);
        }
        let splits = split.1 as usize;
        let partial = like.empty_wide([self.batches as usize, splits, self.columns as usize]);
        self.launch(gpu, Target::new(&partial, false), split);
        let rest = Matrices {
            x: partial.pointer(),
            dtype: partial.dtype(),
            rows: split.1,
            batch_stride: split.1 * self.columns,
            row_stride: self.columns,
            ..*self
        };
        rest.launch(gpu, out, (split.1.next_multiple_of(4), 1));
    }

    fn column_units(&self, out: Pointer) -> u64 {
        if self.is_wide(out) { self.columns / self.vector() } else { self.columns }
    }

    fn column_lanes(&self, out: Pointer) -> u32 {
        (self.column_units(out) as u32).next_power_of_two().min(MOST_LANES)
    }

    fn column_blocks(&self, out: Pointer) -> u64 {
        self.column_units(out).div_ceil(u64::from(self.column_lanes(out)))
    }

    fn launch(&self, gpu: &Gpu, out: Target, split: (u64, u64)) {
        if self.columns == 1 && self.row_stride == 1 {
            let wide = self.x.0.is_multiple_of(16)
                && (self.batches == 1 || self.batch_stride.is_multiple_of(self.vector()));
            let lanes = match split.0.min(self.rows) {
                0..=1024 => row_lanes(self.rows),
                _ => THREADS,
            };
            let shape = self.shape(split, lanes, wide, out);
            let rows = self.batches * split.1;
            let blocks = rows.div_ceil(u64::from(THREADS / lanes));
            let kernel = kernel_in("reduce_rows", self.dtype);
            return launch(gpu, &kernel, blocks, self.read(), out.pointer, &shape);
        }
        let (lanes, is_wide) = (self.column_lanes(out.pointer), self.is_wide(out.pointer));
        let shape = self.shape(split, lanes, is_wide, out);
        let blocks = self.batches * split.1 * self.column_blocks(out.pointer);
        let kernel = kernel_in("reduce_columns", self.dtype);
        launch(gpu, &kernel, blocks, self.read(), out.pointer, &shape);
    }

    /// The elements, and how many bytes they have.
    fn read(&self) -> (Pointer, usize) {
        let elements = self.batches * self.rows * self.columns;
        (self.x, elements as usize * self.dtype.size())
    }
}

/// Threads that share a row of this length.
fn row_lanes(length: u64) -> u32 {
    (length.min(u64::from(MOST_LANES)) as u32).next_power_of_two()
}

/// Neighbouring axes that are all kept or all summed.
#[derive(Clone, Debug)]
struct Axes {
    numbers: Range<usize>,
    extent: u64,
    stride: u64,
    kept: bool,
}

/// The axes of `x` in as few groups as its memory layout allows; `shape` is the shape of the sum.
fn groups(x: &Tensor, shape: Shape) -> Vec<Axes> {
    let (from, mut stride) = (x.shape(), 1);
    let mut groups: Vec<Axes> = Vec::new();
    for axis in (0..from.rank()).rev() {
        let extent = from[axis] as u64;
        let kept = shape.extent_from_right(from.rank(), axis) == from[axis];
        match groups.last_mut() {
            _ if extent == 1 => {}
            Some(inner) if inner.kept == kept && inner.stride * inner.extent == stride => {
                inner.extent *= extent;
                inner.numbers.start = axis;
            }
            _ => groups.push(Axes { numbers: axis..axis + 1, extent, stride, kept }),
        }
        stride = if axis + 1 == from.rank() { x.pitch() as u64 } else { stride * extent };
    }
    groups.reverse();
    groups
}

/// The sum over group `summed`, the last that is summed, as a sum over rows of matrices; `None` if `x` has gaps in the
/// way.
fn matrices(x: &Tensor, groups: &[Axes], summed: usize) -> Option<Matrices> {
    let (outer, inner) = (&groups[..summed], &groups[summed + 1..]);
    let columns = match inner {
        [] => 1,
        [one] if one.stride == 1 => one.extent,
        _ => return None,
    };
    let is_one_axis =
        outer.windows(2).all(|pair| pair[0].stride == pair[1].stride * pair[1].extent);
    is_one_axis.then(|| Matrices {
        x: x.pointer(),
        dtype: x.dtype(),
        batches: outer.iter().map(|axes| axes.extent).product(),
        rows: groups[summed].extent,
        columns,
        batch_stride: outer.last().map_or(0, |axes| axes.stride),
        row_stride: groups[summed].stride,
    })
}

/// Sums `x` over the axes along which the slot's shape was broadcast to it.
pub(super) fn sum_to(gpu: &Gpu, x: &Tensor, slot: &Slot) {
    let (from, shape) = (x.shape(), slot.tensor.shape());
    if from.elements() == 0 {
        if !slot.add {
            slot.tensor.zero_();
        }
        return;
    }
    let groups = groups(x, shape);
    let Some(summed) = groups.iter().rposition(|axes| !axes.kept) else {
        return accumulate(&x.reshape(shape), slot);
    };
    let Some(matrices) = matrices(x, &groups, summed) else {
        return sum_to(gpu, &x.copy(), slot);
    };
    if groups[..summed].iter().all(|axes| axes.kept) {
        return matrices.sum_into(gpu, x, Target::new(&slot.tensor, slot.add));
    }
    let mut left = from.extents().to_vec();
    left[groups[summed].numbers.clone()].fill(1);
    let sums = x.empty_wide(&left[..]);
    matrices.sum_into(gpu, x, Target::new(&sums, false));
    sum_to(gpu, &sums, slot);
}

/// `out = sum over rows of x[r, :]`, or `out +=`.
pub(super) fn column_sums(gpu: &Gpu, x: &Tensor, out: &Tensor, add: bool) {
    let shape = x.shape();
    let (rows, columns) = (shape.rows() as u64, shape.columns() as u64);
    let matrices = Matrices {
        x: x.pointer(),
        dtype: x.dtype(),
        batches: 1,
        rows,
        columns,
        batch_stride: 0,
        row_stride: x.pitch() as u64,
    };
    matrices.sum_into(gpu, x, Target::new(out, add));
}

/// Writes the index of each row's largest element to `out`, I32.
pub(super) fn argmax(gpu: &Gpu, x: &Tensor, out: &Tensor) {
    let (rows, columns) = (x.shape().rows() as u64, x.shape().columns() as u64);
    let shape = ReduceShape {
        rows,
        columns,
        row_stride: x.pitch() as u64,
        lanes: row_lanes(columns),
        ..ReduceShape::zeroed()
    };
    let blocks = rows.div_ceil(u64::from(THREADS / shape.lanes));
    let kernel = kernel_in("reduce_argmax", x.dtype());
    let read = (x.pointer(), x.shape().elements() * x.dtype().size());
    launch(gpu, &kernel, blocks, read, out.pointer(), &shape);
}

fn launch(
    gpu: &Gpu,
    kernel: &str,
    blocks: u64,
    (x, bytes): (Pointer, usize),
    out: Pointer,
    shape: &ReduceShape,
) {
    gpu.launch_kernel(&Launch {
        kernel,
        grid: [blocks as u32, 1, 1],
        block: [THREADS, 1, 1],
        cluster: 1,
        shared: 0,
        work: LaunchWork::bytes(bytes),
        arguments: &[&x, &out, &Parameters(shape)],
    });
}
