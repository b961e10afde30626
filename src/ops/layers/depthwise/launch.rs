//! The launches of `kernels/depthwise.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::{Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::layers::convolution::Geometry;
use crate::ops::tensor::matmul::{Epilogue, Parts, Rows, sum_parts};
use crate::ops::{kernel_in, vector_of};
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: usize = 256;

/// Channels of a block in the weights' gradient.
const CHANNELS: usize = 32;

/// Pixels of a row that a thread of `depthwise_3x3` computes.
const RUN: usize = 4;

/// The most parts of the sums over all pixels, and the fewest pixels of a part.
const PARTS: usize = 64;
const PART_PIXELS: usize = 128;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DepthwiseShape {
    x_pitch: u64,
    y_pitch: u64,
    images: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    out_height: u32,
    out_width: u32,
    stride: u32,
    padding: u32,
    add: u32,
    part_pixels: u32,
}

impl DepthwiseShape {
    /// `x` and `y` have the input's and the output's shape; either may be a gradient.
    fn new(geometry: Geometry, x: &Tensor, y: &Tensor) -> Self {
        DepthwiseShape {
            x_pitch: x.pitch() as u64,
            y_pitch: y.pitch() as u64,
            images: geometry.images as u32,
            height: geometry.height as u32,
            width: geometry.width as u32,
            channels: geometry.config.groups as u32,
            kernel_height: geometry.kernel_height as u32,
            kernel_width: geometry.kernel_width as u32,
            out_height: geometry.out_height as u32,
            out_width: geometry.out_width as u32,
            stride: geometry.config.stride as u32,
            padding: geometry.config.padding as u32,
            add: 0,
            part_pixels: 0,
        }
    }
}

/// The kernels that fit a convolution.
#[derive(Clone, Copy)]
enum Family {
    /// For 3x3 and, except in the weights' gradient, stride 1; 16 bytes of channels a thread.
    Three,
    /// 16 bytes of channels a thread.
    Wide,
    /// One channel a thread.
    One,
}

impl Family {
    /// The kernels for these tensors; `depthwise_3` has kernels for `strides`.
    fn of(geometry: Geometry, tensors: &[&Tensor], strides: &[usize]) -> Self {
        let vector = vector_of(tensors[0].dtype());
        let is_aligned = |tensor: &&Tensor| {
            tensor.pointer().0.is_multiple_of(16)
                && tensor.pitch().is_multiple_of(vector)
                && tensor.shape().columns().is_multiple_of(vector)
        };
        if !tensors.iter().all(is_aligned) {
            return Family::One;
        }
        let is_three = geometry.kernel_height == 3 && geometry.kernel_width == 3;
        match is_three && strides.contains(&geometry.config.stride) {
            true => Family::Three,
            false => Family::Wide,
        }
    }

    /// Threads for `rows` rows of `width` pixels of a tensor.
    fn threads(self, rows: usize, width: usize, of: &Tensor) -> usize {
        let (channels, vector) = (of.shape().columns(), vector_of(of.dtype()));
        match self {
            Family::Three => rows * width.div_ceil(RUN) * (channels / vector),
            Family::Wide => rows * width * (channels / vector),
            Family::One => rows * width * channels,
        }
    }

    /// The kernel that does `work` on tensors of this type.
    fn kernel(self, work: &str, dtype: DType) -> String {
        let family = match self {
            Family::Three => 3,
            Family::Wide => vector_of(dtype),
            Family::One => 1,
        };
        kernel_in(&format!("depthwise_{family}_{work}"), dtype)
    }
}

/// The grid for `threads` threads.
fn grid(threads: usize) -> [u32; 3] {
    let blocks = u32::try_from(threads.div_ceil(THREADS));
    [blocks.expect("a tensor that fits the memory has fewer blocks"), 1, 1]
}

pub(super) fn forward(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    out: &Tensor,
    geometry: Geometry,
) {
    let mut touched = vec![x, weight, out];
    touched.extend(bias);
    let kind = Family::of(geometry, &touched, &[1]);
    let kernel = kind.kernel("fwd", x.dtype());
    let Geometry { images, out_height, out_width, .. } = geometry;
    let blocks = grid(kind.threads(images * out_height, out_width, out));
    let bias = bias.map_or(Pointer::NULL, Tensor::pointer);
    let (x_pointer, weight, y) = (x.pointer(), weight.pointer(), out.pointer());
    let shape = DepthwiseShape::new(geometry, x, out);
    let threads = [THREADS as u32, 1, 1];
    gpu.launch(&kernel, blocks, threads, &[&x_pointer, &weight, &bias, &y, &Parameters(&shape)]);
}

pub(super) fn input_gradient(
    gpu: &Gpu,
    weight: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    geometry: Geometry,
) {
    let dx = &slot.tensor;
    let kind = Family::of(geometry, &[dy, weight, dx], &[1]);
    let kernel = kind.kernel("dx_bwd", dx.dtype());
    let Geometry { images, height, width, .. } = geometry;
    let blocks = grid(kind.threads(images * height, width, dx));
    let shape =
        DepthwiseShape { add: u32::from(slot.add), ..DepthwiseShape::new(geometry, dx, dy) };
    let (dy, weight, dx) = (dy.pointer(), weight.pointer(), dx.pointer());
    let threads = [THREADS as u32, 1, 1];
    gpu.launch(&kernel, blocks, threads, &[&dy, &weight, &dx, &Parameters(&shape)]);
}

pub(super) fn weight_gradient(gpu: &Gpu, x: &Tensor, dy: &Tensor, slot: &Slot, geometry: Geometry) {
    let pixels = geometry.images * geometry.out_pixels();
    if pixels == 0 && !slot.add {
        slot.tensor.zero_();
    }
    let taps = geometry.kernel_height * geometry.kernel_width;
    if pixels == 0 || geometry.config.groups == 0 {
        return;
    }
    let kind = Family::of(geometry, &[x, dy], &[1, geometry.config.stride]);
    let kernel = kind.kernel("dw_bwd", x.dtype());
    let taps_of_block = if matches!(kind, Family::Three) { 9 } else { 1 };
    let part_pixels = pixels.div_ceil(PARTS).max(PART_PIXELS);
    let count = pixels.div_ceil(part_pixels);
    let parts = x.empty_wide([count, taps, geometry.config.groups]);
    let shape =
        DepthwiseShape { part_pixels: part_pixels as u32, ..DepthwiseShape::new(geometry, x, dy) };
    let blocks = [count, geometry.config.groups.div_ceil(CHANNELS), taps / taps_of_block];
    let blocks = blocks.map(|blocks| blocks as u32);
    let (x, dy, to) = (x.pointer(), dy.pointer(), parts.pointer());
    let threads = [THREADS as u32, 1, 1];
    gpu.launch(&kernel, blocks, threads, &[&x, &dy, &to, &Parameters(&shape)]);
    let columns = taps * geometry.config.groups;
    let rows = Rows::new(&slot.tensor, columns);
    let parts = Parts { pointer: to, splits: count };
    sum_parts(gpu, parts, [1, columns], rows, Epilogue::add(slot.add));
}
