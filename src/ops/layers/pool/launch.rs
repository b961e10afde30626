//! The launches of `kernels/pool.cu`.

use bytemuck::{Pod, Zeroable};

use super::Windows;
use crate::device::gpu::{Argument, Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::layers::batch_norm::GradientSums;
use crate::ops::layers::row_tiles::{RowTiles, THREADS};
use crate::ops::{kernel_in, vector_of};
use crate::shape::Shape;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PoolShape {
    x_pitch: u64,
    y_pitch: u64,
    norm_pitch: u64,
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
    relu: u32,
    columns: u32,
    rows_of_part: u32,
    unused: u32,
}

impl PoolShape {
    /// The shape of windows over images `[N, H, W, C]`.
    pub fn of(windows: &Windows) -> Self {
        let kernel = windows.kernel as u32;
        let (stride, padding) = (windows.stride as u32, windows.padding as u32);
        PoolShape::new(windows.input, windows.output, [kernel; 2], stride, padding)
    }

    /// The shape of one window over each whole image `[N, H, W, C]`.
    pub fn global(input: Shape) -> Self {
        let output = Shape::from([input[0], 1, 1, input[3]]);
        PoolShape::new(input, output, [input[1] as u32, input[2] as u32], 1, 0)
    }

    /// The shape of windows that divide images of shape `input` evenly, into `output`.
    fn even(input: Shape, output: Shape) -> Self {
        let fits = [1, 2].into_iter().all(|axis| input[axis] * output[axis] < 1 << 31);
        assert!(fits, "adaptive_average_pool2d: images too large, {input} to {output}");
        PoolShape::new(input, output, [1; 2], 1, 0)
    }

    fn new(input: Shape, output: Shape, kernel: [u32; 2], stride: u32, padding: u32) -> Self {
        let extents = |shape: Shape| [shape[0], shape[1], shape[2], shape[3]].map(|n| n as u32);
        let [images, height, width, channels] = extents(input);
        let [_, out_height, out_width, _] = extents(output);
        let [kernel_height, kernel_width] = kernel;
        PoolShape {
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
            ..PoolShape::zeroed()
        }
    }

    /// The shape with the pitches of these tensors.
    fn over(self, x: &Tensor, y: &Tensor, add: bool) -> Self {
        let (x_pitch, y_pitch) = (x.pitch() as u64, y.pitch() as u64);
        PoolShape { x_pitch, y_pitch, add: u32::from(add), ..self }
    }

    /// Channels of one thread: 16 bytes of them if all vectors are whole and aligned.
    fn vector(&self, dtype: DType, pointers: &[Pointer]) -> usize {
        let vector = vector_of(dtype);
        let extents = [u64::from(self.channels), self.x_pitch, self.y_pitch];
        let is_whole = extents.iter().all(|extent| extent.is_multiple_of(vector as u64));
        let is_aligned = pointers.iter().all(|pointer| pointer.0.is_multiple_of(16));
        if is_whole && is_aligned { vector } else { 1 }
    }

    /// The grid for `pixels` pixels of each image.
    fn grid(&self, pixels: u32, vector: usize) -> [u32; 3] {
        let groups = (self.channels as usize).div_ceil(vector);
        let threads = self.images as usize * pixels as usize * groups;
        [threads.div_ceil(THREADS) as u32, 1, 1]
    }
}

const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

/// The kernel of a max-pool, and the channels of its threads; `pass` is `fwd` or `bwd`.
fn max_kernel(
    pass: &str,
    shape: &PoolShape,
    dtype: DType,
    taps: &Tensor,
    pointers: &[Pointer],
) -> (String, usize) {
    if taps.dtype() != DType::U8 {
        return (kernel_in(&format!("max_pool_large_{pass}"), dtype), 1);
    }
    let vector = shape.vector(dtype, pointers);
    (kernel_in(&format!("max_pool_{pass}_x{vector}"), dtype), vector)
}

pub(super) fn max_forward(gpu: &Gpu, x: &Tensor, y: &Tensor, taps: &Tensor, windows: &Windows) {
    let shape = PoolShape::of(windows).over(x, y, false);
    let (from, to) = (x.pointer(), y.pointer());
    let (kernel, vector) = max_kernel("fwd", &shape, x.dtype(), taps, &[from, to]);
    let grid = shape.grid(shape.out_height * shape.out_width, vector);
    gpu.launch(&kernel, grid, BLOCK, &[&from, &to, &taps.pointer(), &Parameters(&shape)]);
}

/// Writes the input's gradient, and computes the sums that a norm wants of it.
pub(super) fn max_backward(
    gpu: &Gpu,
    dy: &Tensor,
    taps: &Tensor,
    windows: &Windows,
    slot: &Slot,
    wanted: Option<&GradientSums>,
) {
    let dx = &slot.tensor;
    let shape = PoolShape::of(windows).over(dx, dy, slot.add);
    let (from, to) = (dy.pointer(), dx.pointer());
    // A norm whose input has another alignment sums the gradient itself.
    let (kernel, vector) = max_kernel("bwd", &shape, dx.dtype(), taps, &[from, to]);
    let fits = |sums: &&GradientSums| {
        let is_aligned = vector == 1 || sums.x.pointer().0.is_multiple_of(16);
        is_aligned && sums.x.pitch().is_multiple_of(vector)
    };
    let tiles = RowTiles::new(dx, vector, 1);
    let norm = wanted.filter(fits).map(|sums| sums.begin(tiles.parts())).unwrap_or_default();
    let shape = PoolShape {
        norm_pitch: norm.pitch as u64,
        relu: u32::from(norm.relu),
        columns: tiles.columns,
        rows_of_part: tiles.rows_of_part as u32,
        ..shape
    };
    let arguments: [&dyn Argument; 7] =
        [&from, &taps.pointer(), &norm.x, &norm.affine, &to, &norm.sums, &Parameters(&shape)];
    gpu.launch(&kernel, tiles.grid, BLOCK, &arguments);
}

pub(super) fn average_forward(gpu: &Gpu, x: &Tensor, y: &Tensor, shape: PoolShape) {
    let pixels = shape.out_height * shape.out_width;
    average(gpu, "average_pool_fwd", x, y, shape.over(x, y, false), pixels);
}

pub(super) fn average_backward(gpu: &Gpu, dy: &Tensor, shape: PoolShape, dx: &Tensor, add: bool) {
    let pixels = shape.height * shape.width;
    average(gpu, "average_pool_bwd", dy, dx, shape.over(dx, dy, add), pixels);
}

/// The mean under windows that divide the images evenly.
pub(super) fn adaptive_forward(gpu: &Gpu, x: &Tensor, y: &Tensor) {
    let shape = PoolShape::even(x.shape(), y.shape());
    let pixels = shape.out_height * shape.out_width;
    average(gpu, "adaptive_average_pool_fwd", x, y, shape.over(x, y, false), pixels);
}

pub(super) fn adaptive_backward(gpu: &Gpu, dy: &Tensor, dx: &Tensor, add: bool) {
    let shape = PoolShape::even(dx.shape(), dy.shape());
    let pixels = shape.height * shape.width;
    average(gpu, "adaptive_average_pool_bwd", dy, dx, shape.over(dx, dy, add), pixels);
}

/// Launches an average kernel with one thread for each vector of channels of the `pixels` pixels that it writes of each
/// image.
fn average(gpu: &Gpu, kernel: &str, from: &Tensor, to: &Tensor, shape: PoolShape, pixels: u32) {
    let (dtype, from, to) = (to.dtype(), from.pointer(), to.pointer());
    let vector = shape.vector(dtype, &[from, to]);
    let kernel = kernel_in(&format!("{kernel}_x{vector}"), dtype);
    gpu.launch(&kernel, shape.grid(pixels, vector), BLOCK, &[&from, &to, &Parameters(&shape)]);
}
