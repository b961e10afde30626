//! Copies of a tensor's elements: stored or accumulated, in another dtype, and filling with one value.

use super::{PIECE, launch};
use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{Cost, DType, Device};
use crate::ops::begin;
use crate::shape::Shape;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

vectorised! {
    fn accumulate_row[T: Float](from: &[T], to: &mut [T]) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
}

/// Stores `from` in the slot or accumulates it, as the slot says. Shapes must be equal; both may have gaps. On a GPU
/// one may be BF16 and the other F32.
pub(crate) fn accumulate(from: &Tensor, slot: &Slot) {
    let to = &slot.tensor;
    assert!(from.shape() == to.shape(), "accumulate: shapes {} and {}", from.shape(), to.shape());
    let _op = match slot.add {
        true => begin("accumulate", &[from, to, to], from.shape().elements()),
        false => begin("copy", &[from, to], 0),
    };
    if let (Device::Gpu(gpu), true) = (from.device(), from.dtype() != to.dtype()) {
        assert!(from.device().same(to.device()), "accumulate: tensors of two devices");
        return launch::cast(gpu, from, to, slot.add);
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

impl Gradients<'_> {
    /// Passes this gradient on to input number `input`, without a copy if it is the input's first.
    pub(crate) fn pass(&mut self, input: usize, gradient: &Tensor) {
        if let Some(slot) = self.offer(input, gradient) {
            accumulate(gradient, &slot);
        }
    }

    /// [`Gradients::pass`] with a part of the gradient of the op's output; see [`Gradients::offer_part`].
    pub(crate) fn pass_part(&mut self, input: usize, part: &Tensor) {
        if let Some(slot) = self.offer_part(input, part) {
            accumulate(part, &slot);
        }
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
    match from.device() {
        Device::Gpu(gpu) => launch::cast(gpu, from, &to, false),
        Device::Cpu(_) => to.copy_from_f64s(&from.to_f64s()),
    }
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
        let out = cast_value(self, dtype);
        let own_dtype = self.dtype();
        record(out, &[self], move |gradient, gradients| match gradients.home_dtype(0) {
            Some(home) if home == gradient.dtype() => gradients.pass(0, gradient),
            _ => gradients.pass(0, &cast_value(gradient, own_dtype)),
        })
    }

    /// The elements in new, contiguous memory, without a gradient.
    pub fn copy(&self) -> Tensor {
        let out = self.empty_like(self.shape());
        copy_into(self, &out);
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
