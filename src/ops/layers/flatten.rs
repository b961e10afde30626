//! From channels-last images to rows in PyTorch's order.

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::Parameters;
use crate::device::{Device, Gpu, cpu::Float};
use crate::ops::{begin, kernel_in};
use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, float_dispatch};
use crate::trace::{self, Operation};

/// The side of the blocks that are transposed one after another: a block's lines stay in the cache.
const BLOCK: usize = 16;

/// Flattens `[N, H, W, C]` to `[N, C H W]`, in PyTorch's order, channel by channel. `[N, D]` is returned unchanged.
///
/// ```
/// use alrao::{Device, Tensor, ops::layers::flatten::flatten};
/// let x = Tensor::from_slice(&Device::cpu(), [1, 1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
/// assert_eq!(flatten(&x).to_vec::<f32>(), [1.0, 3.0, 2.0, 4.0]);
/// ```
pub fn flatten(x: &Tensor) -> Tensor {
    let shape = x.shape();
    if shape.rank() == 2 {
        return x.clone();
    }
    let &[images, height, width, channels] = shape.extents() else {
        panic!("flatten: shape {shape} is neither [N, H, W, C] nor [N, D]");
    };
    let pixels = height * width;
    if pixels == 1 || channels == 1 {
        return x.reshape([images, pixels * channels]);
    }
    let out = x.empty_like([images, channels * pixels]);
    transpose(&matrix(x, shape), &Slot { tensor: rows(&out, shape), add: false });
    trace::note(Operation::Flatten, &[x], &[&out]);
    record(out, &[x], move |gradient, gradients| {
        if let Some(slot) = gradients.slot(0, gradient.dtype()) {
            let tensor = matrix(&slot.tensor, shape);
            transpose(&rows(gradient, shape), &Slot { tensor, add: slot.add });
        }
    })
}

/// `[N, H, W, C]` as `[N, pixels, channels]`.
fn matrix(x: &Tensor, shape: Shape) -> Tensor {
    x.view(0, [shape[0], shape[1] * shape[2], shape[3]], x.pitch())
}

/// `[N, C H W]` as `[N, channels, pixels]`.
fn rows(x: &Tensor, shape: Shape) -> Tensor {
    let pixels = shape[1] * shape[2];
    let dense = if x.is_contiguous() { x.detach() } else { x.copy() };
    dense.view(0, [shape[0], shape[3], pixels], pixels)
}

/// Transposes each matrix of `from` `[N, A, B]` into the slot's `[N, B, A]`.
fn transpose(from: &Tensor, slot: &Slot) {
    let _op = begin("flatten", &[from, &slot.tensor], 0);
    match from.device() {
        Device::Gpu(gpu) => launch_transpose(gpu, from, slot),
        Device::Cpu(cpu) => float_dispatch!(from.dtype(), "flatten", T => {
            let (shape, to, add) = (from.shape(), &slot.tensor, slot.add);
            let source = from.read::<T>();
            let (from_pitch, to_pitch) = (from.pitch(), to.pitch());
            let (from_image, to_image) = (shape[1] * from_pitch, shape[2] * to_pitch);
            cpu.pieces(&mut to.write::<T>(), to_image, shape.elements(), |image, target| {
                let source = &source[image * from_image..];
                transpose_image(source, from_pitch, target, to_pitch, [shape[1], shape[2]], add);
            });
        }),
    }
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FlattenShape {
    from_pitch: u64,
    to_pitch: u64,
    from_image: u64,
    to_image: u64,
    rows: u32,
    columns: u32,
    add: u32,
    image_tiles: u32,
}

fn launch_transpose(gpu: &Gpu, from: &Tensor, slot: &Slot) {
    const SIDE: u32 = 32;
    let (shape, to) = (from.shape(), &slot.tensor);
    let kernel = kernel_in("flatten_transpose", from.dtype());
    let (from_pitch, to_pitch) = (from.pitch() as u64, to.pitch() as u64);
    let (rows, columns) = (shape[1] as u32, shape[2] as u32);
    let shape = FlattenShape {
        from_pitch,
        to_pitch,
        from_image: u64::from(rows) * from_pitch,
        to_image: u64::from(columns) * to_pitch,
        rows,
        columns,
        add: slot.add.into(),
        image_tiles: rows.div_ceil(SIDE) * columns.div_ceil(SIDE),
    };
    let grid = [from.shape()[0] as u32 * shape.image_tiles, 1, 1];
    let (from, to) = (from.pointer(), to.pointer());
    gpu.launch(&kernel, grid, [256, 1, 1], &[&from, &to, &Parameters(&shape)]);
}

fn transpose_image<T: Float>(
    from: &[T],
    from_pitch: usize,
    to: &mut [T],
    to_pitch: usize,
    [rows, columns]: [usize; 2],
    add: bool,
) {
    for first_row in (0..rows).step_by(BLOCK) {
        let block = first_row..rows.min(first_row + BLOCK);
        for column in 0..columns {
            for row in block.clone() {
                let (value, to) =
                    (from[row * from_pitch + column], &mut to[column * to_pitch + row]);
                *to = if add { *to + value } else { value };
            }
        }
    }
}
