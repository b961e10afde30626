//! The launches of `kernels/conv2d.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{Fused, Geometry, pointwise};
use crate::device::gpu::{Argument, Block, Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::batch_norm::{Moments, moments};
use crate::ops::matmul::tiles::Cut;
use crate::ops::matmul::{Operand, is_aligned, product, sum_parts};
use crate::ops::no_kernel;
use crate::ops::reduce::add_column_sums_on;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::Tensor;

/// `Conv2dShape`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    x_pitch: u64,
    y_pitch: u64,
    out_pitch: u64,
    out_split: u64,
    images: u32,
    height: u32,
    width: u32,
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    features: u32,
    out_height: u32,
    out_width: u32,
    stride: u32,
    padding: u32,
    groups: u32,
    splits: u32,
    add: u32,
    x_is_aligned: u32,
    y_is_aligned: u32,
    weight_is_aligned: u32,
    out_is_aligned: u32,
}

/// One of the three products a convolution is.
#[derive(Clone, Copy)]
enum Which {
    Forward,
    InputGradient,
    WeightGradient,
}

impl Which {
    fn kernel(self, tile: &str) -> &'static str {
        match (self, tile) {
            (Which::Forward, "128") => "conv2d_128_fwd_f32",
            (Which::Forward, "64") => "conv2d_64_fwd_f32",
            (Which::Forward, _) => "conv2d_32_fwd_f32",
            (Which::InputGradient, "128") => "conv2d_128_dx_bwd_f32",
            (Which::InputGradient, "64") => "conv2d_64_dx_bwd_f32",
            (Which::InputGradient, _) => "conv2d_32_dx_bwd_f32",
            (Which::WeightGradient, "128") => "conv2d_128_dw_bwd_f32",
            (Which::WeightGradient, "64") => "conv2d_64_dw_bwd_f32",
            (Which::WeightGradient, _) => "conv2d_32_dw_bwd_f32",
        }
    }

    /// Rows, columns and inner axis of one group's product; for the input's gradient, of its largest phase.
    fn sizes(self, geometry: Geometry) -> [usize; 3] {
        let Geometry { images, features, channels, config, .. } = geometry;
        let (pixels, depth) = (images * geometry.out_pixels(), geometry.depth());
        let phase = |extent: usize| extent.div_ceil(config.stride);
        match self {
            Which::Forward => [pixels, features, depth],
            Which::InputGradient => [
                images * phase(geometry.height) * phase(geometry.width),
                channels,
                phase(geometry.kernel_height) * phase(geometry.kernel_width) * features,
            ],
            Which::WeightGradient => [features, depth, pixels],
        }
    }

    /// Products of one launch.
    fn products(self, geometry: Geometry) -> usize {
        let phases = match self {
            Which::InputGradient => geometry.config.stride * geometry.config.stride,
            _ => 1,
        };
        geometry.config.groups * phases
    }
}

/// Where a product is written: rows `pitch` apart.
struct Target {
    pointer: Pointer,
    rows: usize,
    columns: usize,
    pitch: usize,
    add: bool,
}

impl Target {
    /// The rows of a tensor.
    fn rows(tensor: &Tensor, add: bool) -> Self {
        let (rows, columns) = (tensor.shape().rows(), tensor.shape().columns());
        Target { pointer: tensor.pointer(), rows, columns, pitch: tensor.pitch(), add }
    }

    /// A tensor of weights with a feature in a row.
    fn features(slot: &Slot) -> Self {
        let shape = slot.tensor.shape();
        let columns = shape.elements() / shape[0];
        let pointer = slot.tensor.pointer();
        Target { pointer, rows: shape[0], columns, pitch: columns, add: slot.add }
    }
}

/// Launches one of the products, in parts where it has few tiles. `inputs` are what the kernel reads.
fn launch(
    gpu: &Rc<Gpu>,
    which: Which,
    geometry: Geometry,
    inputs: &[Pointer],
    target: &Target,
    mut shape: Shape,
) {
    if target.rows * target.columns == 0 {
        return;
    }
    let ([m, n, _], products) = (which.sizes(geometry), which.products(geometry));
    let cut = Cut::of(products, which.sizes(geometry));
    let elements = target.rows * target.columns;
    let parts = (cut.splits > 1).then(|| Block::new(gpu, cut.splits * elements * 4));
    let (to, pitch) = match &parts {
        Some(parts) => (parts.pointer(0), target.columns),
        None => (target.pointer, target.pitch),
    };
    let single = if geometry.config.groups == 1 { 0 } else { n };
    shape.out_pitch = pitch as u64;
    shape.out_split = elements as u64;
    shape.splits = cut.splits as u32;
    shape.add = u32::from(target.add && parts.is_none());
    shape.out_is_aligned = u32::from(is_aligned(to, &[pitch, elements, single]));
    let tiles = m.div_ceil(cut.tile.m) * n.div_ceil(cut.tile.n);
    let blocks = u32::try_from(tiles * cut.splits * products);
    let blocks = blocks.expect("a tensor that fits the memory has fewer tiles");
    let shape = Parameters(&shape);
    let mut arguments: Vec<&dyn Argument> =
        inputs.iter().map(|pointer| pointer as &dyn Argument).collect();
    arguments.extend([&to as &dyn Argument, &shape]);
    let threads = [cut.tile.threads, 1, 1];
    gpu.launch(which.kernel(cut.tile.name), [blocks, 1, 1], threads, &arguments);
    if let Some(parts) = &parts {
        let sizes = [target.rows, target.columns];
        let to = (target.pointer, target.pitch);
        sum_parts(gpu, (parts.pointer(0), cut.splits), sizes, to, target.add);
    }
}

/// What kernels are told of a convolution, but for what is written.
fn shape(geometry: Geometry) -> Shape {
    let Geometry { config, .. } = geometry;
    Shape {
        images: geometry.images as u32,
        height: geometry.height as u32,
        width: geometry.width as u32,
        channels: geometry.channels as u32,
        kernel_height: geometry.kernel_height as u32,
        kernel_width: geometry.kernel_width as u32,
        features: geometry.features as u32,
        out_height: geometry.out_height as u32,
        out_width: geometry.out_width as u32,
        stride: config.stride as u32,
        padding: config.padding as u32,
        groups: config.groups as u32,
        ..Shape::zeroed()
    }
}

/// Convolution with all that it does besides.
pub(super) fn conv2d(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    fused: Fused,
    geometry: Geometry,
) -> (Tensor, Option<Moments>) {
    assert!(x.dtype() == DType::F32, "conv2d: no kernel for {:?}", x.dtype());
    if fused.input.is_some() {
        no_kernel("conv2d with an affine function on its input");
    }
    let features = weight.shape()[0];
    let shape = [geometry.images, geometry.out_height, geometry.out_width, features];
    let out = x.empty_like(shape);
    forward(gpu, x, weight, bias, &out, geometry);
    let moments = fused.moments.then(|| moments(&out));
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let (x, weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    let gpu = Rc::clone(gpu);
    let out = record(out, &inputs, move |dy, gradients| {
        backward(&gpu, &x, &weight, dy, (gradients, has_bias), geometry);
    });
    (out, moments)
}

/// Whether a convolution is a product of matrices in memory.
fn is_product(geometry: Geometry) -> bool {
    pointwise::fits(geometry) && geometry.config.groups == 1
}

/// A tensor's rows as a side of a product.
fn side(tensor: &Tensor, stride: usize, transposed: bool) -> Operand {
    Operand { pointer: tensor.pointer(), stride, transposed }
}

fn forward(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    out: &Tensor,
    geometry: Geometry,
) {
    let Geometry { channels, .. } = geometry;
    if is_product(geometry) && bias.is_none() {
        let (x, weight) = (side(x, x.pitch(), false), side(weight, channels, true));
        let sizes = Which::Forward.sizes(geometry);
        return product(gpu, sizes, x, weight, (out.pointer(), out.pitch()), false);
    }
    let shape = Shape {
        x_pitch: x.pitch() as u64,
        x_is_aligned: u32::from(is_aligned(x.pointer(), &[x.pitch(), channels])),
        weight_is_aligned: u32::from(is_aligned(weight.pointer(), &[geometry.depth()])),
        ..shape(geometry)
    };
    let bias = bias.map_or(Pointer::NULL, Tensor::pointer);
    let inputs = [x.pointer(), weight.pointer(), bias];
    launch(gpu, Which::Forward, geometry, &inputs, &Target::rows(out, false), shape);
}

fn backward(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    (gradients, has_bias): (&mut Gradients, bool),
    geometry: Geometry,
) {
    if let Some(slot) = gradients.slot(0, x) {
        input_gradient(gpu, weight, dy, &slot, geometry);
    }
    if let Some(slot) = gradients.slot(1, weight) {
        weight_gradient(gpu, x, dy, &slot, geometry);
    }
    if has_bias && let Some(slot) = gradients.slot(2, dy) {
        add_column_sums_on(gpu, dy, &slot.tensor, slot.add);
    }
}

fn input_gradient(gpu: &Rc<Gpu>, weight: &Tensor, dy: &Tensor, slot: &Slot, geometry: Geometry) {
    let Geometry { channels, features, .. } = geometry;
    let dx = &slot.tensor;
    if is_product(geometry) {
        let (dy, weight) = (side(dy, dy.pitch(), false), side(weight, channels, false));
        let sizes = Which::InputGradient.sizes(geometry);
        return product(gpu, sizes, dy, weight, (dx.pointer(), dx.pitch()), slot.add);
    }
    let shape = Shape {
        y_pitch: dy.pitch() as u64,
        y_is_aligned: u32::from(is_aligned(dy.pointer(), &[dy.pitch(), features])),
        weight_is_aligned: u32::from(is_aligned(weight.pointer(), &[channels])),
        ..shape(geometry)
    };
    let inputs = [dy.pointer(), weight.pointer()];
    let target = Target::rows(dx, slot.add);
    launch(gpu, Which::InputGradient, geometry, &inputs, &target, shape);
}

fn weight_gradient(gpu: &Rc<Gpu>, x: &Tensor, dy: &Tensor, slot: &Slot, geometry: Geometry) {
    let Geometry { channels, features, .. } = geometry;
    if is_product(geometry) {
        let (dy, x) = (side(dy, dy.pitch(), true), side(x, x.pitch(), false));
        let sizes = Which::WeightGradient.sizes(geometry);
        return product(gpu, sizes, dy, x, (slot.tensor.pointer(), channels), slot.add);
    }
    let first_feature = if geometry.config.groups == 1 { 0 } else { features };
    let shape = Shape {
        x_pitch: x.pitch() as u64,
        y_pitch: dy.pitch() as u64,
        x_is_aligned: u32::from(is_aligned(x.pointer(), &[x.pitch(), channels])),
        y_is_aligned: u32::from(is_aligned(dy.pointer(), &[dy.pitch(), first_feature])),
        ..shape(geometry)
    };
    let inputs = [x.pointer(), dy.pointer()];
    launch(gpu, Which::WeightGradient, geometry, &inputs, &Target::features(slot), shape);
}
