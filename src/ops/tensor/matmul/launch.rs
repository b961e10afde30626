//! The launches of `kernels/matmul.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::arithmetic::Arithmetic;
use super::tiles::Cut;
use crate::device::gpu::{Argument, Block, Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::tensor::Tensor;

/// A matrix in contiguous rows of f32 or bf16, and whether the product takes it transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pointer: Pointer,
    dtype: DType,
    /// Elements from one row to the next in memory.
    stride: usize,
    transposed: bool,
    /// Whether the elements are tf32 numbers, so that a product in tf32 need not round them.
    is_rounded: bool,
}

impl Operand {
    /// The matrix in a tensor, with rows `stride` elements apart.
    pub fn new(tensor: &Tensor, stride: usize, transposed: bool) -> Self {
        let (pointer, dtype) = (tensor.pointer(), tensor.dtype());
        Operand { pointer, dtype, stride, transposed, is_rounded: false }
    }

    /// The same matrix; `is_rounded`: whether its elements are tf32 numbers.
    pub fn rounded(self, is_rounded: bool) -> Self {
        Operand { is_rounded, ..self }
    }

    /// Whether all rows, in every member of a batch, are aligned to 16 bytes and a multiple of 16 bytes long. `sizes`: those
    /// of the matrix that the product takes.
    fn is_aligned(&self, batch_stride: usize, sizes: [usize; 2]) -> bool {
        let length = sizes[usize::from(!self.transposed)];
        lies_in_runs(self.pointer, self.dtype, &[self.stride, batch_stride, length])
    }
}

/// The rows that a product writes: f32, or bf16 if its operands are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub pointer: Pointer,
    pub dtype: DType,
    /// Elements from one row to the next.
    pub stride: usize,
}

impl Rows {
    /// The rows of a tensor, `stride` elements apart.
    pub fn new(tensor: &Tensor, stride: usize) -> Self {
        Rows { pointer: tensor.pointer(), dtype: tensor.dtype(), stride }
    }

    /// Whether they are bf16, as a kernel's argument.
    pub fn is_bf16(&self) -> u32 {
        u32::from(self.dtype == DType::BF16)
    }
}

/// The epilogue of a product, applied to its sums as it writes them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Epilogue {
    /// F32, one for each column.
    pub bias: Option<Pointer>,
    /// Whether a ReLU follows the bias.
    pub relu: bool,
    /// Whether to accumulate in place.
    pub add: bool,
    /// The norm, if C is the gradient of a norm's output. Only for a whole product of two operands that are not transposed.
    pub norm: Option<NormInput>,
}

/// The input of the norm before a product, whose epilogue sums the gradient of the norm's output. Null by default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormInput {
    pub x: Pointer,
    /// `[3, C]`: mean, scale, bias.
    pub affine: Pointer,
    /// `[row tiles, 2, C]`.
    pub sums: Pointer,
    /// Elements from one row of `x` to the next.
    pub pitch: usize,
    pub relu: bool,
}

impl Default for NormInput {
    fn default() -> Self {
        let null = Pointer::NULL;
        NormInput { x: null, affine: null, sums: null, pitch: 0, relu: false }
    }
}

impl Epilogue {
    /// An epilogue without bias and ReLU.
    pub fn add(add: bool) -> Self {
        Epilogue { add, ..Epilogue::default() }
    }

    fn bias(&self) -> Pointer {
        self.bias.unwrap_or(Pointer::NULL)
    }
}

/// Whether an address is a multiple of 16 bytes and these strides and lengths are multiples of 4 elements.
pub(crate) fn is_aligned(pointer: Pointer, strides: &[usize]) -> bool {
    lies_in_runs(pointer, DType::F32, strides)
}

/// Whether an address and these strides and lengths, in elements, are multiples of 16 bytes.
pub(crate) fn lies_in_runs(pointer: Pointer, dtype: DType, strides: &[usize]) -> bool {
    pointer.0.is_multiple_of(16)
        && strides.iter().all(|stride| (stride * dtype.size()).is_multiple_of(16))
}

/// Bytes from one row to the next of a product's operand, as a kernel's argument. Panics if they need more than 32 bits.
pub(crate) fn row_bytes(op: &str, dtype: DType, stride: usize) -> u32 {
    let bytes = u32::try_from(stride * dtype.size());
    bytes.unwrap_or_else(|_| panic!("{op}: rows of {stride} elements are too long for a GPU"))
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulShape {
    c_stride: u64,
    a_batch: u64,
    b_batch: u64,
    c_batch: u64,
    c_split: u64,
    norm_pitch: u64,
    a_row_bytes: u32,
    b_row_bytes: u32,
    m: u32,
    n: u32,
    k: u32,
    splits: u32,
    slabs: u32,
    add: u32,
    a_is_aligned: u32,
    b_is_aligned: u32,
    c_is_aligned: u32,
    c_is_bf16: u32,
    relu: u32,
    norm_relu: u32,
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulParts {
    rows: u64,
    c_stride: u64,
    columns: u32,
    splits: u32,
    add: u32,
    relu: u32,
    is_aligned: u32,
    unused: u32,
}

/// A batch of products at fixed strides.
pub(super) struct Batch {
    pub members: usize,
    /// Elements from one member to the next; 0 for an operand that all members share.
    pub a_stride: usize,
    pub b_stride: usize,
}

const ONE: Batch = Batch { members: 1, a_stride: 0, b_stride: 0 };

/// `C (+)= relu?(op(A) op(B) + bias)` for `sizes` m, n, k: `op(A)` is `[m, k]`, `op(B)` `[k, n]`. C may overlap neither
/// A nor B.
pub(crate) fn product(
    gpu: &Rc<Gpu>,
    sizes: [usize; 3],
    a: Operand,
    b: Operand,
    c: Rows,
    epilogue: Epilogue,
) {
    products(gpu, &ONE, sizes, a, b, c, epilogue);
}

/// [`product`], which `complete`s a split product itself from its parts.
pub(crate) fn product_completed_by(
    complete: impl FnOnce(Parts),
    gpu: &Rc<Gpu>,
    sizes: [usize; 3],
    [a, b]: [Operand; 2],
    c: Rows,
    epilogue: Epilogue,
) {
    launch(complete, gpu, &ONE, sizes, [a, b], c, epilogue);
}

/// [`product`] for every member of a batch. C's members are adjacent, as its rows are.
pub(super) fn products(
    gpu: &Rc<Gpu>,
    batch: &Batch,
    sizes: [usize; 3],
    a: Operand,
    b: Operand,
    c: Rows,
    epilogue: Epilogue,
) {
    let [m, n, _] = sizes;
    let complete = |parts| sum_parts(gpu, &parts, [batch.members * m, n], c, epilogue);
    launch(complete, gpu, batch, sizes, [a, b], c, epilogue);
}

fn launch(
    complete: impl FnOnce(Parts),
    gpu: &Rc<Gpu>,
    batch: &Batch,
    [m, n, k]: [usize; 3],
    [a, b]: [Operand; 2],
    c: Rows,
    epilogue: Epilogue,
) {
    assert!(
        a.dtype == b.dtype && (c.dtype == DType::F32 || c.dtype == a.dtype),
        "matmul: no kernel for {:?} by {:?} to {:?}",
        a.dtype,
        b.dtype,
        c.dtype
    );
    if batch.members * m * n == 0 {
        return;
    }
    let arithmetic = Arithmetic::of(gpu, a.dtype);
    let cut = Cut::of(arithmetic, batch.members, [m, n, k]);
    let rows = batch.members * m;
    let parts = (cut.splits > 1).then(|| Parts::new(gpu, cut.splits, rows * n));
    let (to, direct) = match &parts {
        Some(parts) => {
            let parts = Rows { pointer: parts.pointer(), dtype: DType::F32, stride: n };
            (parts, Epilogue::default())
        }
        None => (c, epilogue),
    };
    let norm = direct.norm.unwrap_or_default();
    let shape = MatmulShape {
        c_stride: to.stride as u64,
        a_batch: batch.a_stride as u64,
        b_batch: batch.b_stride as u64,
        c_batch: (m * to.stride) as u64,
        c_split: (rows * n) as u64,
        a_row_bytes: row_bytes("matmul", a.dtype, a.stride),
        b_row_bytes: row_bytes("matmul", b.dtype, b.stride),
        m: m as u32,
        n: n as u32,
        k: k as u32,
        splits: cut.splits as u32,
        slabs: cut.slabs as u32,
        add: u32::from(direct.add),
        a_is_aligned: u32::from(a.is_aligned(batch.a_stride, [m, k])),
        b_is_aligned: u32::from(b.is_aligned(batch.b_stride, [k, n])),
        c_is_aligned: u32::from(is_aligned(to.pointer, &[to.stride, n])),
        c_is_bf16: to.is_bf16(),
        relu: u32::from(direct.relu),
        norm_pitch: norm.pitch as u64,
        norm_relu: u32::from(norm.relu),
    };
    let tiles = m.div_ceil(cut.tile.m) * n.div_ceil(cut.tile.n);
    let blocks = grid(batch.members * tiles * cut.splits);
    let is_rounded = a.is_rounded && arithmetic == Arithmetic::Tf32;
    let sides = match ([a.transposed, b.transposed], is_rounded) {
        ([false, false], false) => "nn",
        ([false, false], true) => "nn_rounded",
        ([false, true], _) => "nt",
        ([true, false], false) => "tn",
        ([true, false], true) => "tn_rounded",
        ([true, true], _) => {
            panic!("a product with both sides transposed is one of the other order")
        }
    };
    let kernel = format!("matmul_{}_{sides}_{}", cut.tile.name, arithmetic.suffix());
    let arguments: [&dyn Argument; 8] = [
        &a.pointer,
        &b.pointer,
        &direct.bias(),
        &norm.x,
        &norm.affine,
        &to.pointer,
        &norm.sums,
        &Parameters(&shape),
    ];
    gpu.launch_kernel(&Launch {
        kernel: &kernel,
        grid: blocks,
        block: [cut.tile.threads, 1, 1],
        cluster: 1,
        shared: cut.tile.shared,
        work: LaunchWork::passes(cut.slabs),
        arguments: &arguments,
    });
    if let Some(parts) = parts {
        complete(parts);
    }
}

/// The parts of a split product, each a contiguous matrix of f32. A clone is the same memory.
#[derive(Clone)]
pub(crate) struct Parts {
    block: Rc<Block>,
    pub splits: usize,
}

impl Parts {
    /// Memory for `splits` parts of `elements` elements.
    pub fn new(gpu: &Rc<Gpu>, splits: usize, elements: usize) -> Self {
        Parts { block: Block::new(gpu, splits * elements * 4), splits }
    }

    /// The first part.
    pub fn pointer(&self) -> Pointer {
        self.block.pointer(0)
    }
}

/// `C (+)= relu?(the sum of the parts + bias)`; each part is `[rows, columns]`; they are added in order.
pub(crate) fn sum_parts(
    gpu: &Gpu,
    parts: &Parts,
    [rows, columns]: [usize; 2],
    c: Rows,
    epilogue: Epilogue,
) {
    let (splits, parts, bias) = (parts.splits, parts.pointer(), epilogue.bias());
    let is_aligned = is_aligned(parts, &[columns])
        && is_aligned(bias, &[])
        && is_aligned(c.pointer, &[c.stride]);
    let shape = MatmulParts {
        rows: rows as u64,
        c_stride: c.stride as u64,
        columns: columns as u32,
        splits: splits as u32,
        add: u32::from(epilogue.add),
        relu: u32::from(epilogue.relu),
        is_aligned: u32::from(is_aligned),
        unused: 0,
    };
    let threads = rows * columns / if is_aligned { 4 } else { 1 };
    let kernel = if c.is_bf16() != 0 { "matmul_sum_bf16" } else { "matmul_sum_f32" };
    gpu.launch_kernel(&Launch {
        kernel,
        grid: grid(threads.div_ceil(256)),
        block: [256, 1, 1],
        cluster: 1,
        shared: 0,
        work: LaunchWork::bytes(rows * columns * (splits * 4 + c.dtype.size())),
        arguments: &[&parts, &bias, &c.pointer, &Parameters(&shape)],
    });
}

/// A grid of `blocks` blocks on one axis.
pub(super) fn grid(blocks: usize) -> [u32; 3] {
    [u32::try_from(blocks).expect("a tensor that fits the memory has fewer tiles"), 1, 1]
}
