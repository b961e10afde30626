//! The launches of `kernels/matmul.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::tiles::Cut;
use crate::device::gpu::{Argument, Block, Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::elementwise::accumulate;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// A matrix in rows of contiguous f32, and whether the product takes it transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub pointer: Pointer,
    /// Elements from one row to the next, as it lies in memory.
    pub stride: usize,
    pub transposed: bool,
}

impl Operand {
    /// Whether every fourth element of every row lies on 16 bytes, in every member of a batch.
    fn is_aligned(&self, batch_stride: usize) -> bool {
        is_aligned(self.pointer, &[self.stride, batch_stride])
    }
}

/// Whether an address and distances in f32 from it are multiples of 16 bytes.
pub(crate) fn is_aligned(pointer: Pointer, strides: &[usize]) -> bool {
    pointer.0.is_multiple_of(16) && strides.iter().all(|stride| stride.is_multiple_of(4))
}

/// `MatmulShape`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulShape {
    a_stride: u64,
    b_stride: u64,
    c_stride: u64,
    a_batch: u64,
    b_batch: u64,
    c_batch: u64,
    c_split: u64,
    m: u32,
    n: u32,
    k: u32,
    splits: u32,
    slabs: u32,
    add: u32,
    a_is_aligned: u32,
    b_is_aligned: u32,
    c_is_aligned: u32,
    padding: u32,
}

/// `MatmulParts`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulParts {
    rows: u64,
    c_stride: u64,
    columns: u32,
    splits: u32,
    add: u32,
    is_aligned: u32,
}

/// How a product's factors are rounded. Sums are f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Precision {
    /// Not at all.
    F32,
    /// To 10 bits of fraction, for tensor cores.
    Tf32,
}

/// A stack of products whose members lie at fixed distances.
pub(super) struct Batch {
    pub members: usize,
    /// Elements from one member to the next; 0 for an operand that serves all.
    pub a_stride: usize,
    pub b_stride: usize,
}

/// `C (+)= op(A) op(B)` for `sizes` m, n, k: `op(A)` is `[m, k]`, `op(B)` `[k, n]`, C's rows lie `c.1` elements apart.
/// C may overlap neither A nor B.
pub(crate) fn product(
    gpu: &Rc<Gpu>,
    sizes: [usize; 3],
    a: Operand,
    b: Operand,
    c: (Pointer, usize),
    add: bool,
) {
    let batch = Batch { members: 1, a_stride: 0, b_stride: 0 };
    products(gpu, Precision::F32, &batch, sizes, a, b, c, add);
}

/// A tensor as a factor of a product: elements from one of its rows to the next, and whether it is taken transposed.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    pub tensor: &'a Tensor,
    pub stride: usize,
    pub transposed: bool,
}

impl Factor<'_> {
    fn operand(&self) -> Operand {
        let Factor { tensor, stride, transposed } = *self;
        Operand { pointer: tensor.pointer(), stride, transposed }
    }

    /// From one row to the next of the same tensor without gaps.
    fn dense_stride(&self) -> usize {
        dense_stride(self.tensor, self.stride)
    }
}

fn dense_stride(tensor: &Tensor, stride: usize) -> usize {
    if tensor.is_contiguous() { stride } else { tensor.shape().columns() }
}

/// `C (+)= op(A) op(B)` of tensors: A and B both F32, or both BF16; C is either, in rows `c.1` elements apart.
///
/// Factors in BF16 are widened on the way to a product in f32, which is exact but for the order of its sums.
pub(crate) fn product_of(
    gpu: &Rc<Gpu>,
    sizes: [usize; 3],
    a: Factor,
    b: Factor,
    (c, c_stride): (&Tensor, usize),
    add: bool,
) {
    assert!(
        a.tensor.dtype() == b.tensor.dtype(),
        "matmul: {:?} and {:?} do not mix",
        a.tensor.dtype(),
        b.tensor.dtype()
    );
    if [a.tensor.dtype(), c.dtype()] == [DType::F32; 2] {
        return product(gpu, sizes, a.operand(), b.operand(), (c.pointer(), c_stride), add);
    }
    let [left, right] = [&a, &b].map(|factor| factor.tensor.detach().cast(DType::F32));
    let out = c.empty_wide(c.shape());
    product(
        gpu,
        sizes,
        Factor { tensor: &left, stride: a.dense_stride(), ..a }.operand(),
        Factor { tensor: &right, stride: b.dense_stride(), ..b }.operand(),
        (out.pointer(), dense_stride(c, c_stride)),
        false,
    );
    accumulate(&out, &Slot { tensor: c.detach(), add });
}

/// The same for every member of a batch. C's members follow each other, as rows do.
#[expect(clippy::too_many_arguments, reason = "they are what a product is")]
pub(super) fn products(
    gpu: &Rc<Gpu>,
    precision: Precision,
    batch: &Batch,
    [m, n, k]: [usize; 3],
    a: Operand,
    b: Operand,
    (c, c_stride): (Pointer, usize),
    add: bool,
) {
    if batch.members * m * n == 0 {
        return;
    }
    let cut = match precision {
        Precision::F32 => Cut::of(batch.members, [m, n, k]),
        Precision::Tf32 => Cut::in_tf32(batch.members, [m, n, k]),
    };
    let rows = batch.members * m;
    let parts = (cut.splits > 1).then(|| Block::new(gpu, cut.splits * rows * n * 4));
    let (to, to_stride) = match &parts {
        Some(parts) => (parts.pointer(0), n),
        None => (c, c_stride),
    };
    let shape = MatmulShape {
        a_stride: a.stride as u64,
        b_stride: b.stride as u64,
        c_stride: to_stride as u64,
        a_batch: batch.a_stride as u64,
        b_batch: batch.b_stride as u64,
        c_batch: (m * to_stride) as u64,
        c_split: (rows * n) as u64,
        m: m as u32,
        n: n as u32,
        k: k as u32,
        splits: cut.splits as u32,
        slabs: cut.slabs as u32,
        add: u32::from(add && parts.is_none()),
        a_is_aligned: u32::from(a.is_aligned(batch.a_stride)),
        b_is_aligned: u32::from(b.is_aligned(batch.b_stride)),
        c_is_aligned: u32::from(is_aligned(to, &[to_stride, rows * n])),
        padding: 0,
    };
    let tiles = m.div_ceil(cut.tile.m) * n.div_ceil(cut.tile.n);
    let blocks = grid(batch.members * tiles * cut.splits);
    let kernel = kernel(precision, cut.tile.name, [a.transposed, b.transposed]);
    let (threads, shared) = ([cut.tile.threads, 1, 1], cut.tile.shared);
    let arguments: [&dyn Argument; 4] = [&a.pointer, &b.pointer, &to, &Parameters(&shape)];
    gpu.launch_with_shared(kernel, blocks, threads, shared, &arguments);
    if let Some(parts) = &parts {
        sum_parts(gpu, (parts.pointer(0), cut.splits), [rows, n], (c, c_stride), add);
    }
}

/// `C (+)=` the sum of the parts, each `[rows, columns]` without gaps, in order.
pub(crate) fn sum_parts(
    gpu: &Gpu,
    (parts, splits): (Pointer, usize),
    [rows, columns]: [usize; 2],
    (c, c_stride): (Pointer, usize),
    add: bool,
) {
    let is_aligned = is_aligned(parts, &[columns]) && is_aligned(c, &[c_stride]);
    let shape = MatmulParts {
        rows: rows as u64,
        c_stride: c_stride as u64,
        columns: columns as u32,
        splits: splits as u32,
        add: u32::from(add),
        is_aligned: u32::from(is_aligned),
    };
    let threads = rows * columns / if is_aligned { 4 } else { 1 };
    let blocks = grid(threads.div_ceil(256));
    gpu.launch("matmul_sum_f32", blocks, [256, 1, 1], &[&parts, &c, &Parameters(&shape)]);
}

/// So many blocks in a line.
fn grid(blocks: usize) -> [u32; 3] {
    [u32::try_from(blocks).expect("a tensor that fits the memory has fewer tiles"), 1, 1]
}

fn kernel(precision: Precision, tile: &str, transposed: [bool; 2]) -> &'static str {
    use Precision::{F32, Tf32};
    match (precision, tile, transposed) {
        (_, _, [true, true]) => {
            panic!("a product with both sides transposed is one of the other order")
        }
        (F32, "128", [false, false]) => "matmul_128_nn_f32",
        (F32, "128", [false, true]) => "matmul_128_nt_f32",
        (F32, "128", [true, false]) => "matmul_128_tn_f32",
        (F32, "64", [false, false]) => "matmul_64_nn_f32",
        (F32, "64", [false, true]) => "matmul_64_nt_f32",
        (F32, "64", [true, false]) => "matmul_64_tn_f32",
        (F32, _, [false, false]) => "matmul_32_nn_f32",
        (F32, _, [false, true]) => "matmul_32_nt_f32",
        (F32, _, [true, false]) => "matmul_32_tn_f32",
        (Tf32, "128", [false, false]) => "matmul_tf32_128_nn",
        (Tf32, "128", [false, true]) => "matmul_tf32_128_nt",
        (Tf32, "128", [true, false]) => "matmul_tf32_128_tn",
        (Tf32, "64", [false, false]) => "matmul_tf32_64_nn",
        (Tf32, "64", [false, true]) => "matmul_tf32_64_nt",
        (Tf32, "64", [true, false]) => "matmul_tf32_64_tn",
        (Tf32, _, [false, false]) => "matmul_tf32_32_nn",
        (Tf32, _, [false, true]) => "matmul_tf32_32_nt",
        (Tf32, _, [true, false]) => "matmul_tf32_32_tn",
    }
}
