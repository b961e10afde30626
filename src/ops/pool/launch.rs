//! The launches of `kernels/pool.cu`.

use bytemuck::{Pod, Zeroable};

use super::Windows;
use crate::device::gpu::{Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: usize = 256;

/// `PoolShape`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PoolShape {
    x_pitch: u64,
    y_pitch: u64,
    images: u32,
    height: u32,
    width: u32,
    channels: u32,
    out_height: u32,
    out_width: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding: u32,
    factor: f32,
    add: u32,
}

impl PoolShape {
    /// Windows over images `[N, H, W, C]`.
    pub fn of(windows: &Windows) -> Self {
        let kernel = windows.kernel as u32;
        let (stride, padding) = (windows.stride as u32, windows.padding as u32);
        PoolShape::new(windows.input, windows.output, [kernel; 2], stride, padding)
    }

    /// One window over each whole image `[N, H, W, C]`.
    pub fn global(input: Shape) -> Self {
        let output = Shape::from([input[0], 1, 1, input[3]]);
        PoolShape::new(input, output, [input[1] as u32, input[2] as u32], 1, 0)
    }

    fn new(input: Shape, output: Shape, kernel: [u32; 2], stride: u32, padding: u32) -> Self {
        let extents = |shape: Shape| [shape[0], shape[1], shape[2], shape[3]].map(|own| own as u32);
        let [images, height, width, channels] = extents(input);
        let [_, out_height, out_width, _] = extents(output);
        let [kernel_height, kernel_width] = kernel;
        PoolShape {
            x_pitch: 0,
            y_pitch: 0,
            images,
            height,
            width,
            channels,
            out_height,
            out_width,
            kernel_height,
            kernel_width,
            stride,
            padding,
            factor: 1.0 / (kernel_height * kernel_width) as f32,
            add: 0,
        }
    }

    /// The same over tensors of these pitches.
    fn over(self, x: &Tensor, y: &Tensor, add: bool) -> Self {
        let (x_pitch, y_pitch) = (x.pitch() as u64, y.pitch() as u64);
        PoolShape { x_pitch, y_pitch, add: u32::from(add), ..self }
    }

    /// Channels of one thread: 4 where every vector of 16 bytes is whole and aligned.
    fn vector(&self, pointers: &[Pointer]) -> usize {
        let extents = [u64::from(self.channels), self.x_pitch, self.y_pitch];
        let is_whole = extents.iter().all(|extent| extent.is_multiple_of(4));
        let is_aligned = pointers.iter().all(|pointer| pointer.0.is_multiple_of(16));
        if is_whole && is_aligned { 4 } else { 1 }
    }

    /// Blocks for `pixels` pixels of each image.
    fn grid(&self, pixels: u32, vector: usize) -> [u32; 3] {
        let groups = (self.channels as usize).div_ceil(vector);
        let threads = self.images as usize * pixels as usize * groups;
        [threads.div_ceil(THREADS) as u32, 1, 1]
    }
}

const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

pub(super) fn max_forward(gpu: &Gpu, x: &Tensor, y: &Tensor, taps: &Tensor, windows: &Windows) {
    let shape = PoolShape::of(windows).over(x, y, false);
    let (from, to) = (x.pointer(), y.pointer());
    let vector = if taps.dtype() == DType::U8 { shape.vector(&[from, to]) } else { 1 };
    let kernel = match (taps.dtype(), vector) {
        (DType::U8, 4) => "max_pool_fwd_x4_f32",
        (DType::U8, _) => "max_pool_fwd_x1_f32",
        _ => "max_pool_large_fwd_f32",
    };
    let grid = shape.grid(shape.out_height * shape.out_width, vector);
    gpu.launch(kernel, grid, BLOCK, &[&from, &to, &taps.pointer(), &Parameters(&shape)]);
}

pub(super) fn max_backward(
    gpu: &Gpu,
    dy: &Tensor,
    taps: &Tensor,
    windows: &Windows,
    dx: &Tensor,
    add: bool,
) {
    let shape = PoolShape::of(windows).over(dx, dy, add);
    let (from, to) = (dy.pointer(), dx.pointer());
    let vector = if taps.dtype() == DType::U8 { shape.vector(&[from, to]) } else { 1 };
    let kernel = match (taps.dtype(), vector) {
        (DType::U8, 4) => "max_pool_bwd_x4_f32",
        (DType::U8, _) => "max_pool_bwd_x1_f32",
        _ => "max_pool_large_bwd_f32",
    };
    let grid = shape.grid(shape.height * shape.width, vector);
    gpu.launch(kernel, grid, BLOCK, &[&from, &taps.pointer(), &to, &Parameters(&shape)]);
}

pub(super) fn average_forward(gpu: &Gpu, x: &Tensor, y: &Tensor, shape: PoolShape) {
    let shape = shape.over(x, y, false);
    let (from, to) = (x.pointer(), y.pointer());
    let vector = shape.vector(&[from, to]);
    let kernel = if vector == 4 { "average_pool_fwd_x4_f32" } else { "average_pool_fwd_x1_f32" };
    let grid = shape.grid(shape.out_height * shape.out_width, vector);
    gpu.launch(kernel, grid, BLOCK, &[&from, &to, &Parameters(&shape)]);
}

pub(super) fn average_backward(gpu: &Gpu, dy: &Tensor, shape: PoolShape, dx: &Tensor, add: bool) {
    let shape = shape.over(dx, dy, add);
    let (from, to) = (dy.pointer(), dx.pointer());
    let vector = shape.vector(&[from, to]);
    let kernel = if vector == 4 { "average_pool_bwd_x4_f32" } else { "average_pool_bwd_x1_f32" };
    let grid = shape.grid(shape.height * shape.width, vector);
    gpu.launch(kernel, grid, BLOCK, &[&from, &to, &Parameters(&shape)]);
}
