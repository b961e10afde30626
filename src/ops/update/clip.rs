//! Clipping of a gradient by its norm.

use crate::device::cpu::{Cpu, Float, vector, vector::vectorised};
use crate::device::gpu::Argument;
use crate::device::{DType, Device, Gpu};
use crate::ops::begin;
use crate::tensor::{Tensor, float_dispatch};

/// Elements of one partial sum of squares. Another number would change the rounding of results.
const PIECE: usize = 1 << 14;

/// Writes to `out`, F64 `[1]`, the factor that clips a gradient to a norm of `limit`: `min(1, limit / (norm + 1e-6))`,
/// as in PyTorch. The norm is that of the finite elements, in f64. `gradients` must be contiguous.
pub fn gradient_norm_factor(gradients: &Tensor, limit: f64, out: &Tensor) {
    assert!(gradients.is_contiguous(), "gradient_norm_factor: {} has gaps", gradients.shape());
    let operations = 2 * gradients.shape().elements();
    let _op = begin("clip", &[gradients, out], operations);
    match gradients.device() {
        Device::Gpu(gpu) => launch_norm_factor(gpu, gradients, limit, out),
        Device::Cpu(cpu) => float_dispatch!(gradients.dtype(), "gradient_norm_factor", T => {
            let norm = sum_of_squares::<T>(cpu, &gradients.read::<T>()).sqrt();
            out.write::<f64>()[0] = (limit / (norm + 1e-6)).min(1.0);
        }),
    }
}

fn launch_norm_factor(gpu: &Gpu, gradients: &Tensor, limit: f64, out: &Tensor) {
    const THREADS: [u32; 3] = [256, 1, 1];
    assert!(gradients.dtype() == DType::F32, "clip: no kernel for {:?}", gradients.dtype());
    let count = gradients.shape().elements() as u64;
    let part = count.div_ceil(1024).next_multiple_of(4).max(4096);
    let parts = count.div_ceil(part) as u32;
    let partial = Tensor::empty(gradients.device(), [parts as usize], DType::F64);
    let (gradients, partial, out) = (gradients.pointer(), partial.pointer(), out.pointer());
    let arguments: [&dyn Argument; 4] = [&gradients, &partial, &count, &part];
    gpu.launch("clip_squares_f32", [parts, 1, 1], THREADS, &arguments);
    gpu.launch("clip_factor", [1; 3], THREADS, &[&partial, &out, &limit, &parts]);
}

fn sum_of_squares<T: Float>(cpu: &Cpu, values: &[T]) -> f64 {
    let mut partial = vec![0.0; values.len().div_ceil(PIECE)];
    cpu.pieces(&mut partial, 1, values.len(), |piece, sum| {
        let end = values.len().min((piece + 1) * PIECE);
        sum[0] = finite_squares(&values[piece * PIECE..end]);
    });
    vector::sum(&partial)
}

vectorised! {
    /// The sum of the squares of the finite elements.
    fn finite_squares[T: Float](values: &[T]) -> f64 {
        vector::lane_sum_of(values, |value| {
            let value = value.to_f64();
            if value.abs() < f64::INFINITY { value * value } else { 0.0 }
        })
    }
}
