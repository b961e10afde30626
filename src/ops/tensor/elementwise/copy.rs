//! Copies of a tensor's elements: stored or accumulated, in another dtype, and filling with one value.

use super::{PIECE, launch};
use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{Cost, DType, Device};
use crate::ops::begin;
use crate::shape::Shape;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};
use crate::trace::{self, Operation};

vectorised! {
    fn accumulate_row[T: Float](from: &[T], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
}

/// Stores `from` in the slot or accumulates it, as the slot says. Shapes must be equal; both may have gaps. On a GPU
/// one may be BF16 and the other F32, on the CPU one F32 and the other F64.
pub(crate) fn accumulate(from: &Tensor, slot: &Slot) {
    let to = &slot.tensor;
    assert!(from.shape() == to.shape(), "accumulate: shapes {} and {}", from.shape(), to.shape());
    let _op = match slot.add {
        true => begin("accumulate", &[from, to, to], from.shape().elements()),
        false => begin("copy", &[from, to], 0),
    };
    if from.dtype() != to.dtype() {
        return accumulate_cast(from, slot);
    }
    assert_alike("accumulate", &[from, to]);
    match from.device() {
        Device::Gpu(gpu) if slot.add => launch::accumulate(gpu, from, to),
        Device::Gpu(gpu) => launch::copy(gpu, from, to),
        Device::Cpu(cpu) => float_dispatch!(from.dtype(), "accumulate", T => {
            accumulate_typed::<T>(cpu, from, to, slot.add);
        }),
    }
}

fn accumulate_cast(from: &Tensor, slot: &Slot) {
    let to = &slot.tensor;
    assert!(from.device().same(to.device()), "accumulate: tensors of two devices");
    match from.device() {
        Device::Gpu(gpu) => launch::cast(gpu, from, to, slot.add),
        Device::Cpu(_) if slot.add => accumulate(&cast_value(from, to.dtype()), slot),
        Device::Cpu(_) => to.copy_from_f64s(&from.to_f64s()),
    }
}

fn accumulate_typed<T: Float>(cpu: &Cpu, from: &Tensor, to: &Tensor, add: bool) {
    let shape = from.shape();
    if shape.elements() == 0 {
        return;
    }
    let flat = from.is_contiguous() && to.is_contiguous();
    let (from_pitch, to_pitch) = if flat { (PIECE, PIECE) } else { (from.pitch(), to.pitch()) };
    let width = if flat { PIECE } else { shape.columns() };
    let rows = if flat { 1 } else { (PIECE / width.max(1)).max(1) };
    let (source, mut target) = (from.read::<T>(), to.write::<T>());
    cpu.pieces(&mut target, rows * to_pitch, shape.elements(), |piece, to| {
        let source = source[piece * rows * from_pitch..].chunks(from_pitch);
        for (to, from) in to.chunks_mut(to_pitch).zip(source) {
            let width = width.min(to.len()).min(from.len());
            match add {
                true => accumulate_row(&from[..width], &mut to[..width]),
                false => to[..width].copy_from_slice(&from[..width]),
            }
        }
    });
}

/// The elements in another dtype, in new memory, without a gradient.
fn cast_value(from: &Tensor, dtype: DType) -> Tensor {
    let to = Tensor::empty(from.device(), from.shape(), dtype);
    let _op = begin("cast", &[from, &to], 0);
    accumulate_cast(from, &Slot { tensor: to.clone(), add: false });
    to
}

/// Copies the elements of `from` to `to`, of the same shape and dtype; any dtype will do. Both may have gaps.
pub(crate) fn copy_into(from: &Tensor, to: &Tensor) {
    assert_alike("copy", &[from, to]);
    assert!(from.shape() == to.shape(), "copy: shapes {} and {}", from.shape(), to.shape());
    match (from.device(), from.dtype()) {
        (Device::Gpu(_), _) | (_, DType::F32 | DType::F64) => {
            accumulate(from, &Slot { tensor: to.clone(), add: false })
        }
        (_, DType::I32) => to.copy_from_slice(&from.to_vec::<i32>()),
        (_, DType::U8) => to.copy_from_slice(&from.to_vec::<u8>()),
        (_, DType::I64) => to.copy_from_slice(&from.to_vec::<i64>()),
        (_, DType::BF16) => to.copy_from_slice(&from.to_vec::<half::bf16>()),
    }
}

impl Tensor {
    /// The elements rounded to another dtype; the gradient has this tensor's dtype. F32 and F64 on the CPU, F32 and
    /// BF16 on a GPU.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        record(cast_value(self, dtype), &[self], |gradient, gradients| gradients.pass(0, gradient))
    }

    /// The elements in new, contiguous memory, without a gradient.
    pub fn copy(&self) -> Tensor {
        let out = self.empty_like(self.shape());
        copy_into(self, &out);
        trace::note(Operation::Copy, &[self], &[&out]);
        out
    }

    /// A tensor with every element `value`, rounded to the dtype. On a GPU it is filled without a copy from the host.
    pub fn full(device: &Device, shape: impl Into<Shape>, dtype: DType, value: f64) -> Self {
        let shape = shape.into();
        let _op = device.op("fill", || Cost::bytes(shape.elements() * dtype.size()));
        let Device::Gpu(gpu) = device else {
            return Tensor::from_f64s(device, shape, dtype, &vec![value; shape.elements()]);
        };
        let tensor = Tensor::empty(device, shape, dtype);
        match dtype {
            DType::F64 => launch::fill(gpu, &tensor, &value.to_ne_bytes()),
            DType::F32 => launch::fill(gpu, &tensor, &(value as f32).to_ne_bytes()),
            DType::I32 => launch::fill(gpu, &tensor, &(value as i32).to_ne_bytes()),
            DType::U8 => launch::fill(gpu, &tensor, &(value as u8).to_ne_bytes()),
            DType::I64 => launch::fill(gpu, &tensor, &(value as i64).to_ne_bytes()),
            DType::BF16 => launch::fill(gpu, &tensor, &half::bf16::from_f64(value).to_ne_bytes()),
        }
        tensor
    }
}
