//! The launches of `kernels/squeeze_excite.cu`.

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::{Argument, Launch, Parameters, Pointer};
use crate::device::{Gpu, LaunchWork};
use crate::ops::divisor::Divisor;
use crate::ops::{kernel_in, vector_of};
use crate::shape::Shape;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Threads of the block that has an image.
const GATES_THREADS: u32 = 512;

/// Threads of the other blocks.
const THREADS: u32 = 256;

/// Units of V channels of such a block.
const UNITS: usize = 2 * THREADS as usize;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SqueezeExciteShape {
    x_pitch: u64,
    y_pitch: u64,
    other_pitch: u64,
    images: u32,
    pixels: u32,
    channels: u32,
    hidden: u32,
    by_groups: Divisor,
    blocks: u32,
    add: u32,
    unused: u32,
}

impl SqueezeExciteShape {
    /// Of images `[N, H, W, C]`, with `vector` channels a thread. Panics if an image is too large for 32 bits.
    fn new(images: Shape, hidden: usize, vector: usize) -> Self {
        let [count, height, width, channels] = [0, 1, 2, 3].map(|axis| images[axis]);
        let (pixels, groups) = (height * width, channels.div_ceil(vector));
        let is_small =
            pixels * groups + UNITS < Divisor::END && 2 * channels * (hidden + 1) < Divisor::END;
        assert!(
            is_small,
            "squeeze_excite: images {images} with {hidden} units are too large for a GPU"
        );
        SqueezeExciteShape {
            images: count as u32,
            pixels: pixels as u32,
            channels: channels as u32,
            hidden: hidden as u32,
            by_groups: Divisor::new(groups),
            blocks: (pixels * groups).div_ceil(UNITS) as u32,
            ..SqueezeExciteShape::zeroed()
        }
    }

    /// The grid of the kernels whose blocks have a part of an image.
    fn grid(&self) -> [u32; 3] {
        [self.images * self.blocks, 1, 1]
    }
}

/// Channels of a thread: 16 bytes of them if all vectors of these tensors' rows are whole and aligned. Their rows have
/// the same number of channels.
fn vector(tensors: &[&Tensor]) -> usize {
    let vector = vector_of(tensors[0].dtype());
    let is_whole = |tensor: &&Tensor| {
        let is_aligned = tensor.pointer().0.is_multiple_of(16);
        is_aligned && (tensor.shape().columns() | tensor.pitch()).is_multiple_of(vector)
    };
    if tensors.iter().all(is_whole) { vector } else { 1 }
}

/// The name of the kernel that does `work` on vectors of tensors like `x`.
fn kernel(work: &str, vector: usize, x: &Tensor) -> String {
    kernel_in(&format!("squeeze_excite_{work}_x{vector}"), x.dtype())
}

/// Bytes of all elements.
fn bytes(tensors: &[&Tensor]) -> usize {
    tensors.iter().map(|own| own.shape().elements() * own.dtype().size()).sum()
}

/// A launch of blocks that each have a part of an image.
fn launch(gpu: &Gpu, kernel: &str, grid: [u32; 3], bytes: usize, arguments: &[&dyn Argument]) {
    let (block, work) = ([THREADS, 1, 1], LaunchWork::bytes(bytes));
    gpu.launch_kernel(&Launch { kernel, grid, block, cluster: 1, shared: 0, work, arguments });
}

/// A launch of a block per image.
fn launch_images(gpu: &Gpu, kernel: &str, images: u32, bytes: usize, arguments: &[&dyn Argument]) {
    let (grid, block, work) = ([images, 1, 1], [GATES_THREADS, 1, 1], LaunchWork::bytes(bytes));
    gpu.launch_kernel(&Launch { kernel, grid, block, cluster: 1, shared: 0, work, arguments });
}

/// The gates of a batch, and all that the backward pass needs beside `x`.
pub(super) struct Gates {
    /// `[units, 1, 1, C]` and `[C, 1, 1, units]`, without gaps.
    squeeze: Tensor,
    excite: Tensor,
    /// `[N, C]`.
    means: Tensor,
    /// `[N, units]`.
    hidden: Tensor,
    /// `[N, C]`.
    gates: Tensor,
}

/// Computes the gates of images `x`.
pub(super) fn gates(
    gpu: &Gpu,
    x: &Tensor,
    [squeeze, squeeze_bias]: [&Tensor; 2],
    [excite, excite_bias]: [&Tensor; 2],
) -> Gates {
    let contiguous =
        |weight: &Tensor| if weight.is_contiguous() { weight.detach() } else { weight.copy() };
    let (squeeze, excite) = (contiguous(squeeze), contiguous(excite));
    let (images, units) = (x.shape()[0], squeeze.shape()[0]);
    let per_channel = || x.empty_wide([images, x.shape()[3]]);
    let (means, hidden, gates) = (per_channel(), x.empty_wide([images, units]), per_channel());
    let vector = vector(&[x, &squeeze]);
    let shape = SqueezeExciteShape {
        x_pitch: x.pitch() as u64,
        ..SqueezeExciteShape::new(x.shape(), units, vector)
    };
    launch_images(
        gpu,
        &kernel("gates_fwd", vector, x),
        shape.images,
        bytes(&[x, &squeeze, &excite, &means, &hidden, &gates]),
        &[
            &x.pointer(),
            &squeeze.pointer(),
            &squeeze_bias.pointer(),
            &excite.pointer(),
            &excite_bias.pointer(),
            &means.pointer(),
            &hidden.pointer(),
            &gates.pointer(),
            &Parameters(&shape),
        ],
    );
    Gates { squeeze, excite, means, hidden, gates }
}

impl Gates {
    /// Writes `y = x gate + residual`.
    pub fn apply(&self, gpu: &Gpu, x: &Tensor, residual: Option<&Tensor>, y: &Tensor) {
        let tensors: Vec<&Tensor> = [x, y].into_iter().chain(residual).collect();
        let vector = vector(&tensors);
        let shape = SqueezeExciteShape {
            x_pitch: x.pitch() as u64,
            y_pitch: y.pitch() as u64,
            other_pitch: residual.map_or(0, Tensor::pitch) as u64,
            ..self.shape(x.shape(), vector)
        };
        let more = residual.map_or(Pointer::NULL, Tensor::pointer);
        let bytes = bytes(&tensors) + bytes(&[&self.gates]);
        let (from, gates, to) = (x.pointer(), self.gates.pointer(), y.pointer());
        let arguments: [&dyn Argument; 5] = [&from, &gates, &more, &to, &Parameters(&shape)];
        launch(gpu, &kernel("apply_fwd", vector, x), shape.grid(), bytes, &arguments);
    }

    fn shape(&self, images: Shape, vector: usize) -> SqueezeExciteShape {
        SqueezeExciteShape::new(images, self.hidden.shape()[1], vector)
    }
}

/// What the sums over an image's pixels of `dy x` give.
pub(super) struct Sums {
    /// The gradient before the sigmoid, `[N, C]`.
    excite: Tensor,
    /// The gradient before the ReLU, `[N, units]`.
    squeeze: Tensor,
    /// The part of the gradient of each pixel that comes from the mean, `[N, C]`.
    means: Tensor,
}

/// Sums `dy x` over the pixels, and computes the backward pass of both layers for each image.
pub(super) fn sums_of_products(gpu: &Gpu, gates: &Gates, x: &Tensor, dy: &Tensor) -> Sums {
    let Gates { squeeze, excite, hidden, gates: factors, .. } = gates;
    let vector = vector(&[x, dy, squeeze]);
    let shape = SqueezeExciteShape {
        x_pitch: x.pitch() as u64,
        y_pitch: dy.pitch() as u64,
        ..gates.shape(x.shape(), vector)
    };
    let [dexcite, dsqueeze, dmeans] =
        [factors, hidden, factors].map(|like| like.empty_like(like.shape()));
    launch_images(
        gpu,
        &kernel("gates_bwd", vector, x),
        shape.images,
        bytes(&[dy, x, squeeze, excite, hidden, factors, &dexcite, &dsqueeze, &dmeans]),
        &[
            &dy.pointer(),
            &x.pointer(),
            &squeeze.pointer(),
            &excite.pointer(),
            &hidden.pointer(),
            &factors.pointer(),
            &dexcite.pointer(),
            &dsqueeze.pointer(),
            &dmeans.pointer(),
            &Parameters(&shape),
        ],
    );
    Sums { excite: dexcite, squeeze: dsqueeze, means: dmeans }
}

/// Stores or accumulates the gradients of the layers: `squeeze` and its bias, `excite` and its bias.
pub(super) fn layer_gradients(gpu: &Gpu, gates: &Gates, sums: &Sums, slots: &[Option<Slot>; 4]) {
    let [images, channels] = [0, 1].map(|axis| gates.means.shape()[axis]);
    let add = slots.iter().enumerate().map(|(place, slot)| {
        let is_added = slot.as_ref().is_some_and(|slot| slot.add);
        u32::from(is_added) << place
    });
    let shape = SqueezeExciteShape {
        add: add.sum(),
        ..gates.shape(Shape::from([images, 1, 1, channels]), 1)
    };
    let pointer =
        |slot: &Option<Slot>| slot.as_ref().map_or(Pointer::NULL, |own| own.tensor.pointer());
    let [squeeze, squeeze_bias, excite, excite_bias] = slots.each_ref().map(pointer);
    let elements = (2 * channels + 1) * shape.hidden as usize + channels;
    let read = bytes(&[&gates.means, &gates.hidden, &sums.excite, &sums.squeeze]);
    launch(
        gpu,
        "squeeze_excite_weights_bwd_f32",
        [elements.div_ceil(THREADS as usize) as u32, 1, 1],
        read + 4 * elements,
        &[
            &gates.means.pointer(),
            &gates.hidden.pointer(),
            &sums.excite.pointer(),
            &sums.squeeze.pointer(),
            &squeeze,
            &squeeze_bias,
            &excite,
            &excite_bias,
            &Parameters(&shape),
        ],
    );
}

/// Stores or accumulates the gradient of `x`.
pub(super) fn input_gradient(gpu: &Gpu, gates: &Gates, sums: &Sums, dy: &Tensor, slot: &Slot) {
    let dx = &slot.tensor;
    let vector = vector(&[dy, dx]);
    let shape = SqueezeExciteShape {
        y_pitch: dy.pitch() as u64,
        other_pitch: dx.pitch() as u64,
        add: u32::from(slot.add),
        ..gates.shape(dy.shape(), vector)
    };
    let old = if slot.add { bytes(&[dx]) } else { 0 };
    let bytes = bytes(&[dy, dx, &gates.gates, &sums.means]) + old;
    let (from, factors) = (dy.pointer(), gates.gates.pointer());
    let (means, to) = (sums.means.pointer(), dx.pointer());
    let arguments: [&dyn Argument; 5] = [&from, &factors, &means, &to, &Parameters(&shape)];
    launch(gpu, &kernel("input_bwd", vector, dy), shape.grid(), bytes, &arguments);
}
