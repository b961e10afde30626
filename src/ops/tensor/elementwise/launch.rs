//! The launches of `kernels/elementwise.cu`.

use std::cell::Cell;

use bytemuck::{Pod, Zeroable};

use crate::device::Gpu;
use crate::device::gpu::{Argument, Parameters, Pointer};
use crate::ops::{kernel_in, vector_of};
use crate::shape::{MAX_RANK, Shape};
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Threads of a block.
const THREADS: u32 = 256;

/// Units of a block.
const UNITS: u64 = 2 * THREADS as u64;

/// The output and at most two inputs.
const OPERANDS: usize = 3;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ElementwiseLayout {
    units: u64,
    extents: [u64; MAX_RANK],
    strides: [[u64; MAX_RANK]; OPERANDS],
    first: u32,
    width: u32,
}

/// An axis of the output, and each operand's stride along it, 0 if the operand is broadcast.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    extent: u64,
    strides: [u64; OPERANDS],
}

impl Axis {
    /// Both as one axis, with `self` outside, if all operands' strides allow it.
    fn merged_with(self, inner: Axis) -> Option<Axis> {
        let follows = |(outer_stride, inner_stride)| outer_stride == inner_stride * inner.extent;
        let fits = self.strides.into_iter().zip(inner.strides).all(follows);
        fits.then_some(Axis { extent: self.extent * inner.extent, strides: inner.strides })
    }
}

/// The strides of a tensor along the axes of an output that it is broadcast to.
fn strides(tensor: &Tensor, output: Shape) -> [u64; MAX_RANK] {
    let (rank, mut strides) = (output.rank(), [0; MAX_RANK]);
    let mut stride = 1;
    for axis in (0..rank).rev() {
        let extent = tensor.shape().extent_from_right(rank, axis);
        strides[axis] = if extent == 1 { 0 } else { stride as u64 };
        stride = if axis + 1 == rank { tensor.pitch() } else { stride * extent };
    }
    strides
}

impl ElementwiseLayout {
    /// The layout of `operands`, the output first. An element has `size` of the units that strides are counted in.
    /// `widths` are the kernel's vector widths, in descending order, down to one that always fits.
    fn new(operands: &[&Tensor], size: u64, widths: &[u64]) -> Self {
        let axes = ElementwiseLayout::axes(operands, size);
        let last = axes[axes.len() - 1];
        let fits = |width: &u64| {
            let aligned = |tensor: &Tensor| {
                let bytes = width * tensor.dtype().size() as u64 / size;
                tensor.pointer().0.is_multiple_of(bytes.min(16))
            };
            // For an input that is broadcast along this axis, a unit is one element.
            let is_unit = |number: usize| match last.strides[number] {
                0 => number > 0,
                stride => stride == 1 && aligned(operands[number]),
            };
            let mut across = axes[..axes.len() - 1].iter().flat_map(|axis| axis.strides);
            last.extent.is_multiple_of(*width)
                && across.all(|stride| stride.is_multiple_of(*width))
                && (0..operands.len()).all(is_unit)
        };
        let width = *widths.iter().find(|width| fits(width)).unwrap_or(&1);
        let mut layout = ElementwiseLayout { width: width as u32, ..ElementwiseLayout::zeroed() };
        layout.first = (MAX_RANK - axes.len()) as u32;
        layout.units = axes.iter().map(|axis| axis.extent).product::<u64>() / width;
        for (place, axis) in (MAX_RANK - axes.len()..).zip(&axes) {
            let is_last = place + 1 == MAX_RANK;
            layout.extents[place] = if is_last { axis.extent / width } else { axis.extent };
            for (strides, stride) in layout.strides.iter_mut().zip(axis.strides) {
                strides[place] = stride;
            }
        }
        layout
    }

    /// The output's axes, outermost first: as few as all operands' strides allow, at least one.
    fn axes(operands: &[&Tensor], size: u64) -> Vec<Axis> {
        let shape = operands[0].shape();
        let mut all = [[0; MAX_RANK]; OPERANDS];
        operands.iter().zip(&mut all).for_each(|(tensor, to)| *to = strides(tensor, shape));
        let of_tensors = shape.extents().iter().enumerate().map(|(axis, extent)| Axis {
            extent: *extent as u64,
            strides: all.map(|strides| strides[axis] * size),
        });
        let mut inside = [0; OPERANDS];
        inside[..operands.len()].fill(1);
        let of_an_element = Axis { extent: size, strides: inside };
        let mut axes: Vec<Axis> = Vec::new();
        for axis in of_tensors.chain([of_an_element]).filter(|axis| axis.extent != 1) {
            match axes.last().and_then(|outer| outer.merged_with(axis)) {
                Some(merged) => *axes.last_mut().expect("it has just been merged with") = merged,
                None => axes.push(axis),
            }
        }
        if axes.is_empty() {
            axes.push(Axis { extent: 1, strides: inside });
        }
        axes
    }

    /// The layout for kernels that compute: they read 16 bytes of the narrowest operand at a time if they can.
    fn of_floats(operands: &[&Tensor]) -> Self {
        let widths = operands.iter().map(|tensor| vector_of(tensor.dtype()) as u64);
        ElementwiseLayout::new(operands, 1, &[widths.max().unwrap_or(1)])
    }

    fn grid(&self) -> [u32; 3] {
        [self.units.div_ceil(UNITS) as u32, 1, 1]
    }
}

thread_local! {
    /// Whether [`with_long_axes`] runs.
    static LONG_AXES: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with every layout of one axis changed to the beginning of one with six, of more than 2^32 units each: so a
/// check reaches the kernels' divisions of 64 bits without tensors that fill a GPU.
#[cfg(feature = "cli")]
pub(crate) fn with_long_axes<R>(work: impl FnOnce() -> R) -> R {
    let before = LONG_AXES.replace(true);
    let result = work();
    LONG_AXES.set(before);
    result
}

fn launch(gpu: &Gpu, kernel: &str, layout: &ElementwiseLayout, arguments: &[&dyn Argument]) {
    let mut layout = *layout;
    if LONG_AXES.get() && layout.first as usize == MAX_RANK - 1 {
        layout.first = 0;
        layout.extents[1..].fill(1 << 33);
    }
    let layout_argument = Parameters(&layout);
    let arguments = [arguments, &[&layout_argument]].concat();
    gpu.launch(kernel, layout.grid(), [THREADS, 1, 1], &arguments);
}

/// `y = f(x)`, for the function of this name in the kernels, with its parameters.
pub(crate) fn unary(gpu: &Gpu, function: &str, parameters: &[f32], x: &Tensor, y: &Tensor) {
    let layout = ElementwiseLayout::of_floats(&[y, x]);
    let pointers = [x.pointer(), y.pointer()];
    let parameters = parameters.iter().map(|number| number as &dyn Argument);
    let arguments: Vec<&dyn Argument> =
        pointers.iter().map(|pointer| pointer as &dyn Argument).chain(parameters).collect();
    launch(gpu, &kernel_in(&format!("elementwise_{function}_fwd"), y.dtype()), &layout, &arguments);
}

/// `dx = dy f'(kept)`, stored or accumulated.
pub(crate) fn unary_backward(gpu: &Gpu, function: &str, kept: &Tensor, dy: &Tensor, slot: &Slot) {
    let (dx, add) = (&slot.tensor, u32::from(slot.add));
    let layout = ElementwiseLayout::of_floats(&[dx, dy, kept]);
    let kernel = kernel_in(&format!("elementwise_{function}_bwd"), dx.dtype());
    let (dy, kept, dx) = (dy.pointer(), kept.pointer(), dx.pointer());
    launch(gpu, &kernel, &layout, &[&dy, &kept, &dx, &add]);
}

/// `dx = factor dy`, stored or accumulated.
pub(crate) fn affine_backward(gpu: &Gpu, factor: f32, dy: &Tensor, slot: &Slot) {
    let (dx, add) = (&slot.tensor, u32::from(slot.add));
    let layout = ElementwiseLayout::of_floats(&[dx, dy]);
    let kernel = kernel_in("elementwise_affine_bwd", dx.dtype());
    let (dy, dx) = (dy.pointer(), dx.pointer());
    launch(gpu, &kernel, &layout, &[&dy, &dx, &add, &factor]);
}

/// `out = a op b`, broadcast. In a sum with `a` in BF16, `b` may be F32.
pub(super) fn binary(gpu: &Gpu, function: &str, a: &Tensor, b: &Tensor, out: &Tensor) {
    let layout = ElementwiseLayout::of_floats(&[out, a, b]);
    let bias = if a.dtype() == b.dtype() { "" } else { "_bias" };
    let kernel = kernel_in(&format!("elementwise_{function}{bias}"), out.dtype());
    let (a, b, out) = (a.pointer(), b.pointer(), out.pointer());
    launch(gpu, &kernel, &layout, &[&a, &b, &out]);
}

/// `to += from`, both of one dtype.
pub(crate) fn accumulate(gpu: &Gpu, from: &Tensor, to: &Tensor) {
    let layout = ElementwiseLayout::of_floats(&[to, from]);
    let kernel = kernel_in("elementwise_accumulate", to.dtype());
    launch(gpu, &kernel, &layout, &[&from.pointer(), &to.pointer()]);
}

/// `to = from`, or `to +=`, from one of F32 and BF16 to the other.
pub(crate) fn cast(gpu: &Gpu, from: &Tensor, to: &Tensor, add: bool) {
    let layout = ElementwiseLayout::of_floats(&[to, from]);
    let kernel = kernel_in("elementwise_cast", to.dtype());
    launch(gpu, &kernel, &layout, &[&from.pointer(), &to.pointer(), &u32::from(add)]);
}

/// `to = from`, both of one dtype and shape.
pub(crate) fn copy(gpu: &Gpu, from: &Tensor, to: &Tensor) {
    let layout = ElementwiseLayout::new(&[to, from], to.dtype().size() as u64, &[16, 4, 2]);
    launch(gpu, "elementwise_copy", &layout, &[&from.pointer(), &to.pointer()]);
}

/// Sets every element of a contiguous tensor, aligned to 16 bytes, to the same bytes.
pub(super) fn fill(gpu: &Gpu, to: &Tensor, element: &[u8]) {
    let bytes = (to.shape().elements() * element.len()) as u64;
    let mut repeated = [0; 8];
    repeated.iter_mut().zip(element.iter().cycle()).for_each(|(to, from)| *to = *from);
    let [low, high]: [u32; 2] = bytemuck::cast(repeated);
    let grid = [bytes.div_ceil(16 * u64::from(THREADS)) as u32, 1, 1];
    let to: Pointer = to.pointer();
    gpu.launch("elementwise_fill", grid, [THREADS, 1, 1], &[&to, &low, &high, &bytes]);
}
