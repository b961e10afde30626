//! The launches of `kernels/depthwise.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::{Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::layers::batch_norm::{GradientSums, Moments};
use crate::ops::layers::convolution::{Geometry, Then};
use crate::ops::layers::row_tiles::{RowTiles, THREADS};
use crate::ops::tensor::matmul::{Parts, sum_weight_parts};
use crate::ops::{kernel_in, vector_of};
use crate::tape::{Later, Slot};
use crate::tensor::Tensor;

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
    norm_pitch: u64,
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
    relu: u32,
    columns: u32,
    rows_of_part: u32,
    part_pixels: u32,
    unused: u32,
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
            ..DepthwiseShape::zeroed()
        }
    }

    /// With the blocks of an output.
    fn cut(self, tiles: &RowTiles) -> Self {
        let (columns, rows_of_part) = (tiles.columns, tiles.rows_of_part as u32);
        DepthwiseShape { columns, rows_of_part, ..self }
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

    /// The blocks that write a tensor.
    fn tiles(self, of: &Tensor) -> RowTiles {
        let vector = vector_of(of.dtype());
        match self {
            Family::Three => RowTiles::new(of, vector, RUN),
            Family::Wide => RowTiles::new(of, vector, 1),
            Family::One => RowTiles::new(of, 1, 1),
        }
    }

    /// The passes of a block, where its main loop is the one over its runs.
    fn work(self, tiles: &RowTiles) -> LaunchWork {
        match self {
            Family::Three => LaunchWork::passes(tiles.passes),
            Family::Wide | Family::One => LaunchWork::default(),
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

/// Writes the output, and its moments if they are wanted.
pub(super) fn forward(
    gpu: &Gpu,
    [x, weight]: [&Tensor; 2],
    out: &Tensor,
    then: &Then,
    geometry: Geometry,
) -> Option<Moments> {
    let mut touched = vec![x, weight, out];
    touched.extend(then.bias);
    let family = Family::of(geometry, &touched, &[1]);
    let tiles = family.tiles(out);
    let height = tiles.rows_of_part * geometry.out_width;
    let moments = then.moments.then(|| Moments::empty(out, height));
    let shape = DepthwiseShape::new(geometry, x, out).cut(&tiles);
    let kernel = family.kernel("fwd", x.dtype());
    let bias = then.bias.map_or(Pointer::NULL, Tensor::pointer);
    let to = moments.as_ref().map_or(Pointer::NULL, |moments| moments.parts().pointer());
    let (x, weight, y) = (x.pointer(), weight.pointer(), out.pointer());
    gpu.launch_kernel(&Launch {
        kernel: &kernel,
        grid: tiles.grid,
        block: [THREADS as u32, 1, 1],
        cluster: 1,
        shared: 0,
        work: family.work(&tiles),
        arguments: &[&x, &weight, &bias, &y, &to, &Parameters(&shape)],
    });
    moments
}

/// Writes the input's gradient, and computes the sums that a norm wants of it.
pub(super) fn input_gradient(
    gpu: &Gpu,
    weight: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    wanted: Option<&GradientSums>,
    geometry: Geometry,
) {
    let dx = &slot.tensor;
    let mut touched = vec![dy, weight, dx];
    touched.extend(wanted.map(|sums| &sums.x));
    let family = Family::of(geometry, &touched, &[1]);
    let tiles = family.tiles(dx);
    let norm = wanted.map(|sums| sums.begin(tiles.parts())).unwrap_or_default();
    let shape = DepthwiseShape {
        add: u32::from(slot.add),
        norm_pitch: norm.pitch as u64,
        relu: u32::from(norm.relu),
        ..DepthwiseShape::new(geometry, dx, dy).cut(&tiles)
    };
    let kernel = family.kernel("dx_bwd", dx.dtype());
    let (dy, weight, dx) = (dy.pointer(), weight.pointer(), dx.pointer());
    gpu.launch_kernel(&Launch {
        kernel: &kernel,
        grid: tiles.grid,
        block: [THREADS as u32, 1, 1],
        cluster: 1,
        shared: 0,
        work: family.work(&tiles),
        arguments: &[&dy, &weight, &norm.x, &norm.affine, &dx, &norm.sums, &Parameters(&shape)],
    });
}

/// Writes the weight's gradient, as sums over parts of the pixels, which may be summed `later`.
pub(super) fn weight_gradient(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    later: Option<Later>,
    geometry: Geometry,
) {
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
    let columns = taps * geometry.config.groups;
    let parts = Parts::new(gpu, count, columns);
    let shape =
        DepthwiseShape { part_pixels: part_pixels as u32, ..DepthwiseShape::new(geometry, x, dy) };
    let blocks = [count, geometry.config.groups.div_ceil(CHANNELS), taps / taps_of_block];
    let blocks = blocks.map(|blocks| blocks as u32);
    let (x, dy, to) = (x.pointer(), dy.pointer(), parts.pointer());
    let threads = [THREADS as u32, 1, 1];
    gpu.launch(&kernel, blocks, threads, &[&x, &dy, &to, &Parameters(&shape)]);
    sum_weight_parts(gpu, parts, slot, later);
}
