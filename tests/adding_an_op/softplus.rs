//! A smooth relu.

use crate::device::cpu::{Float, vector::vectorised};
use crate::device::{Device, Gpu};
use crate::ops::{begin, kernel_in};
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, float_dispatch};

/// Elements of a task.
const PIECE: usize = 1 << 14;

vectorised! {
    fn forward[T: Float](x: &[T], y: &mut [T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.at_least(T::ZERO) + (T::ONE + (-x.abs()).exp::<FUSED>()).ln();
        }
    }
}

vectorised! {
    fn backward[T: Float](x: &[T], dy: &[T], dx: &mut [T], add: bool) {
        for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
            let gradient = *dy * x.sigmoid::<FUSED>();
            *dx = if add { *dx + gradient } else { gradient };
        }
    }
}

/// `log(1 + e^x)`, element by element.
pub fn softplus(input: &Tensor) -> Tensor {
    let x = contiguous(input);
    let y = x.empty_like(x.shape());
    let op = begin("softplus forward", &[&x, &y], 4 * x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch_forward(gpu, &x, &y),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "softplus", T => {
            let x = x.read::<T>();
            cpu.pieces(&mut y.write::<T>(), PIECE, x.len(), |piece, y| {
                let start = piece * PIECE;
                forward(&x[start..start + y.len()], y);
            });
        }),
    }
    drop(op);
    record(y, &[input], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let (dy, dx) = (contiguous(dy), &slot.tensor);
        let _op = begin("softplus backward", &[&x, &dy, dx], 4 * x.shape().elements());
        match x.device() {
            Device::Gpu(gpu) => launch_backward(gpu, &x, &dy, &slot),
            Device::Cpu(cpu) => float_dispatch!(x.dtype(), "softplus", T => {
                let (x, dy) = (x.read::<T>(), dy.read::<T>());
                cpu.pieces(&mut dx.write::<T>(), PIECE, dy.len(), |piece, dx| {
                    let range = piece * PIECE..piece * PIECE + dx.len();
                    backward(&x[range.clone()], &dy[range], dx, slot.add);
                });
            }),
        }
    })
}

/// The tensor, or a copy of it where its rows have gaps.
fn contiguous(x: &Tensor) -> Tensor {
    if x.is_contiguous() { x.detach() } else { x.copy() }
}

fn launch_forward(gpu: &Gpu, x: &Tensor, y: &Tensor) {
    let n = x.shape().elements() as u64;
    let kernel = kernel_in("softplus_fwd", x.dtype());
    gpu.launch(&kernel, grid(n), [256, 1, 1], &[&x.pointer(), &y.pointer(), &n]);
}

fn launch_backward(gpu: &Gpu, x: &Tensor, dy: &Tensor, slot: &Slot) {
    let n = x.shape().elements() as u64;
    let kernel = kernel_in("softplus_bwd", x.dtype());
    let (x, dy, dx, add) = (x.pointer(), dy.pointer(), slot.tensor.pointer(), u32::from(slot.add));
    gpu.launch(&kernel, grid(n), [256, 1, 1], &[&x, &dy, &dx, &n, &add]);
}

/// A thread for each of `n` elements.
fn grid(n: u64) -> [u32; 3] {
    [n.div_ceil(256) as u32, 1, 1]
}
