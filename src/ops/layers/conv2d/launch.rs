//! The launches of `kernels/conv2d.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{Geometry, pointwise};
use crate::device::gpu::{Argument, Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::divisor::Divisor;
use crate::ops::layers::batch_norm::{GradientSums, Moments, sum_with_moments};
use crate::ops::layers::convolution::{OutputGradient, Then};
use crate::ops::tensor::matmul::{
    Arithmetic, Cut, Epilogue, Operand, Parts, Rows, is_aligned, lies_in_runs,
    product_completed_by, row_bytes, sum_parts, sum_weight_parts,
};
use crate::tape::{Later, Slot};
use crate::tensor::Tensor;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Conv2dShape {
    out_pitch: u64,
    out_split: u64,
    norm_pitch: u64,
    x_pixel_bytes: u32,
    y_pixel_bytes: u32,
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
    out_is_bf16: u32,
    x_is_aligned: u32,
    y_is_aligned: u32,
    weight_is_aligned: u32,
    out_is_aligned: u32,
    relu: u32,
    by_channels: Divisor,
    by_taps: [Divisor; 2],
    by_width: Divisor,
    by_height: Divisor,
    unused: u32,
}

/// One of the three products of a convolution.
#[derive(Clone, Copy)]
enum Which {
    Forward,
    InputGradient,
    WeightGradient,
}

impl Which {
    /// The middle part of its kernels' names. `is_rounded`: whether those for a `dy` of tf32 numbers.
    fn name(self, is_rounded: bool) -> &'static str {
        match (self, is_rounded) {
            (Which::Forward, _) => "fwd",
            (Which::InputGradient, false) => "dx_bwd",
            (Which::InputGradient, true) => "dx_rounded_bwd",
            (Which::WeightGradient, false) => "dw_bwd",
            (Which::WeightGradient, true) => "dw_rounded_bwd",
        }
    }

    /// Rows, columns and inner axis of one group's product; for the input's gradient, those of its largest phase.
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

    /// Its cut into tiles for operands of this type.
    fn cut(self, gpu: &Gpu, dtype: DType, geometry: Geometry) -> Cut {
        Cut::of(Arithmetic::of(gpu, dtype), self.products(geometry), self.sizes(geometry))
    }

    /// The number of products in one launch.
    fn products(self, geometry: Geometry) -> usize {
        let phases = match self {
            Which::InputGradient => geometry.config.stride * geometry.config.stride,
            _ => 1,
        };
        geometry.config.groups * phases
    }
}

/// A product and the types of its operands.
#[derive(Clone, Copy)]
struct Product {
    which: Which,
    dtype: DType,
    /// Whether `dy` holds tf32 numbers.
    is_rounded: bool,
}

/// The target of a product.
struct Target {
    rows: Rows,
    /// The number of rows and their length.
    sizes: [usize; 2],
    epilogue: Epilogue,
    /// The output's moments, if the kernel writes them: in the forward pass of a product that is not in parts.
    moments: Pointer,
}

impl Target {
    /// The rows of a tensor.
    fn rows(tensor: &Tensor, epilogue: Epilogue) -> Self {
        let sizes = [tensor.shape().rows(), tensor.shape().columns()];
        Target { rows: Rows::new(tensor, tensor.pitch()), sizes, epilogue, moments: Pointer::NULL }
    }

    /// Writes the sum of a split product's parts.
    fn sum(&self, gpu: &Gpu, parts: &Parts) {
        sum_parts(gpu, parts, self.sizes, self.rows, self.epilogue);
    }

    /// A tensor of weights with one feature a row.
    fn features(slot: &Slot) -> Self {
        let shape = slot.tensor.shape();
        let columns = shape.elements() / shape[0];
        Target {
            rows: Rows::new(&slot.tensor, columns),
            sizes: [shape[0], columns],
            epilogue: Epilogue::add(slot.add),
            moments: Pointer::NULL,
        }
    }
}

/// Launches one of the products, in parts if it has few tiles; then `complete` adds them. The kernel reads `inputs`.
fn launch(
    complete: impl FnOnce(Parts),
    gpu: &Rc<Gpu>,
    Product { which, dtype, is_rounded }: Product,
    geometry: Geometry,
    inputs: [&Tensor; 2],
    target: &Target,
    mut shape: Conv2dShape,
) {
    let [rows, columns] = target.sizes;
    if rows * columns == 0 {
        return;
    }
    let (sizes, products) = (which.sizes(geometry), which.products(geometry));
    let [m, n, _] = sizes;
    // Indices along the axes must stay below Divisor::END up to the end of the last tile. `row_bytes` panics if a feature's
    // weights need more than 32 bits.
    let is_long = sizes.iter().any(|size| size + 128 > Divisor::END);
    assert!(!is_long, "conv2d: a product of {sizes:?} is too large for a GPU");
    row_bytes("conv2d", dtype, geometry.depth());
    let cut = which.cut(gpu, dtype, geometry);
    let elements = rows * columns;
    let parts = (cut.splits > 1).then(|| Parts::new(gpu, cut.splits, elements));
    let (to, epilogue) = match &parts {
        Some(parts) => {
            let rows = Rows { pointer: parts.pointer(), dtype: DType::F32, stride: columns };
            (rows, Epilogue::default())
        }
        None => (target.rows, target.epilogue),
    };
    shape.out_pitch = to.stride as u64;
    shape.out_split = elements as u64;
    shape.splits = cut.splits as u32;
    shape.add = u32::from(epilogue.add);
    let norm = epilogue.norm.unwrap_or_default();
    shape.relu = u32::from(epilogue.relu || norm.relu);
    shape.norm_pitch = norm.pitch as u64;
    shape.out_is_bf16 = to.is_bf16();
    shape.out_is_aligned = u32::from(is_aligned(to.pointer, &[to.stride, elements, n]));
    let tiles = m.div_ceil(cut.tile.m) * n.div_ceil(cut.tile.n);
    let blocks = u32::try_from(tiles * cut.splits * products);
    let blocks = blocks.expect("a tensor that fits the memory has fewer tiles");
    let arithmetic = Arithmetic::of(gpu, dtype);
    let name = which.name(is_rounded && arithmetic == Arithmetic::Tf32);
    let kernel = format!("conv2d_{}_{name}_{}", cut.tile.name, arithmetic.suffix());
    let inputs = inputs.map(Tensor::pointer);
    let bias = epilogue.bias.unwrap_or(Pointer::NULL);
    let shape = Parameters(&shape);
    let arguments: &[&dyn Argument] = match which {
        Which::Forward => &[&inputs[0], &inputs[1], &bias, &to.pointer, &target.moments, &shape],
        Which::InputGradient => {
            let [dy, weight] = &inputs;
            &[dy, weight, &norm.x, &norm.affine, &to.pointer, &norm.sums, &shape]
        }
        Which::WeightGradient => &[&inputs[0], &inputs[1], &to.pointer, &shape],
    };
    gpu.launch_kernel(&Launch {
        kernel: &kernel,
        grid: [blocks, 1, 1],
        block: [cut.tile.threads, 1, 1],
        cluster: 1,
        shared: cut.tile.shared,
        work: LaunchWork::passes(cut.slabs),
        arguments,
    });
    if let Some(parts) = parts {
        complete(parts);
    }
}

/// A kernel's description of a convolution, without its target.
fn shape(which: Which, geometry: Geometry) -> Conv2dShape {
    let Geometry { config, kernel_width, .. } = geometry;
    let (channels, taps) = match which {
        Which::InputGradient => (geometry.features, kernel_width.div_ceil(config.stride)),
        _ => (geometry.channels, kernel_width),
    };
    Conv2dShape {
        by_channels: Divisor::new(channels),
        // A phase may have no taps; then it divides nothing.
        by_taps: [taps, taps - 1].map(|taps| Divisor::new(taps.max(1))),
        by_width: Divisor::new(geometry.out_width),
        by_height: Divisor::new(geometry.out_height),
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
        ..Conv2dShape::zeroed()
    }
}

/// Whether a convolution is a matrix product of its operands as they lie in memory.
fn is_product(geometry: Geometry) -> bool {
    pointwise::fits(geometry) && geometry.config.groups == 1
}

/// Whether rows at this pitch, and groups of this many channels, are whole runs of 16 bytes.
fn in_runs(tensor: &Tensor, pitch: usize, channels: usize) -> u32 {
    u32::from(lies_in_runs(tensor.pointer(), tensor.dtype(), &[pitch, channels]))
}

/// Bytes from one pixel to the next.
fn pixel_bytes(tensor: &Tensor) -> u32 {
    row_bytes("conv2d", tensor.dtype(), tensor.pitch())
}

/// Writes the output. Its moments come from the sums in registers, with a part for each tile, or from the launch that adds
/// the parts of a split product.
pub(super) fn forward(
    gpu: &Rc<Gpu>,
    [x, weight]: [&Tensor; 2],
    out: &Tensor,
    then: &Then,
    geometry: Geometry,
) -> Option<Moments> {
    let Geometry { channels, .. } = geometry;
    let bias = then.bias.map(Tensor::pointer);
    let epilogue = Epilogue { bias, relu: then.relu, ..Epilogue::default() };
    let cut = Which::Forward.cut(gpu, x.dtype(), geometry);
    let whole = (then.moments && cut.splits == 1).then(|| Moments::empty(out, cut.tile.m));
    let mut target = Target::rows(out, epilogue);
    if let Some(moments) = &whole {
        target.moments = moments.parts().pointer();
    }
    let mut of_parts = None;
    let complete = |parts: Parts| match then.moments {
        true => of_parts = Some(sum_with_moments(gpu, &parts, bias, out)),
        false => target.sum(gpu, &parts),
    };
    if is_product(geometry) && whole.is_none() {
        let operands = [Operand::new(x, x.pitch(), false), Operand::new(weight, channels, true)];
        let sizes = Which::Forward.sizes(geometry);
        product_completed_by(complete, gpu, sizes, operands, target.rows, epilogue);
    } else {
        let shape = Conv2dShape {
            x_pixel_bytes: pixel_bytes(x),
            x_is_aligned: in_runs(x, x.pitch(), channels),
            weight_is_aligned: in_runs(weight, geometry.depth(), 0),
            ..shape(Which::Forward, geometry)
        };
        let product = Product { which: Which::Forward, dtype: x.dtype(), is_rounded: false };
        launch(complete, gpu, product, geometry, [x, weight], &target, shape);
    }
    whole.or(of_parts)
}

/// Writes the input's gradient. The sums that a norm wants of it come from the sums in registers, with a part for each tile, or
/// from the launch that adds the parts of a split product.
pub(super) fn input_gradient(
    gpu: &Rc<Gpu>,
    weight: &Tensor,
    OutputGradient { tensor: dy, is_rounded }: OutputGradient,
    slot: &Slot,
    wanted: Option<&GradientSums>,
    geometry: Geometry,
) {
    let which = Which::InputGradient;
    let Geometry { channels, features, config, .. } = geometry;
    let cut = which.cut(gpu, dy.dtype(), geometry);
    let tiles = which.sizes(geometry)[0].div_ceil(cut.tile.m) * config.stride * config.stride;
    let norm = wanted
        .filter(|_| cut.splits == 1)
        .and_then(|sums| sums.in_epilogue(tiles, [channels, config.groups]));
    let target = Target::rows(&slot.tensor, Epilogue { norm, ..Epilogue::add(slot.add) });
    let complete = |parts: Parts| match wanted {
        Some(sums) => sums.of_product(gpu, &parts, slot),
        None => target.sum(gpu, &parts),
    };
    if is_product(geometry) {
        let dy = Operand::new(dy, dy.pitch(), false).rounded(is_rounded);
        let operands = [dy, Operand::new(weight, channels, false)];
        let sizes = which.sizes(geometry);
        return product_completed_by(complete, gpu, sizes, operands, target.rows, target.epilogue);
    }
    let shape = Conv2dShape {
        y_pixel_bytes: pixel_bytes(dy),
        y_is_aligned: in_runs(dy, dy.pitch(), features),
        weight_is_aligned: in_runs(weight, channels, 0),
        ..shape(which, geometry)
    };
    let product = Product { which, dtype: dy.dtype(), is_rounded };
    launch(complete, gpu, product, geometry, [dy, weight], &target, shape);
}

/// Writes the weight's gradient; the parts of a split product may be summed `later`.
pub(super) fn weight_gradient(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    OutputGradient { tensor: dy, is_rounded }: OutputGradient,
    slot: &Slot,
    later: Option<Later>,
    geometry: Geometry,
) {
    let which = Which::WeightGradient;
    let Geometry { channels, features, .. } = geometry;
    let target = Target::features(slot);
    let complete = |parts| sum_weight_parts(gpu, parts, slot, later);
    if is_product(geometry) {
        let dy = Operand::new(dy, dy.pitch(), true).rounded(is_rounded);
        let operands = [dy, Operand::new(x, x.pitch(), false)];
        let sizes = which.sizes(geometry);
        return product_completed_by(complete, gpu, sizes, operands, target.rows, target.epilogue);
    }
    let shape = Conv2dShape {
        x_pixel_bytes: pixel_bytes(x),
        y_pixel_bytes: pixel_bytes(dy),
        x_is_aligned: in_runs(x, x.pitch(), channels),
        y_is_aligned: in_runs(dy, dy.pitch(), features),
        ..shape(which, geometry)
    };
    let product = Product { which, dtype: dy.dtype(), is_rounded };
    launch(complete, gpu, product, geometry, [x, dy], &target, shape);
}
