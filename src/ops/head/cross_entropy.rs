//! The mean negative log-likelihood of labels under a softmax.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float, vector, vector::lane_sum, vector::vectorised};
use crate::device::gpu::Parameters;
use crate::device::{DType, Device, Gpu};
use crate::ops::kernel_in;
use crate::tape::{Slot, record};
use crate::tensor::{Tensor, float_dispatch};

/// Elements of one task.
const PIECE: usize = 1 << 12;

/// `mean_i (log sum_k e^(x_ik) - x_i(y_i))` for logits `x` `[B, K]` and labels `y` `[B]` (I32), a scalar; F32 if the
/// logits are BF16.
///
/// Panics if there are no classes or a label is outside of `0..K`; a GPU fails instead ([`Device::check`]). NaN for an empty batch.
///
/// ```
/// use alrao::{Device, Tensor, ops::head::cross_entropy::cross_entropy};
/// let device = Device::cpu();
/// let logits = Tensor::from_slice(&device, [1, 2], &[1000f32, 1000.0]);
/// let labels = Tensor::from_slice(&device, [1], &[1i32]);
/// assert_eq!(cross_entropy(&logits, &labels).item() as f32, 2f32.ln());
/// ```
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let (shape, label_shape) = (logits.shape(), labels.shape());
    assert!(
        shape.rank() == 2 && label_shape.extents() == &shape.extents()[..1],
        "cross_entropy: logits {shape} and labels {label_shape}, not [batch, classes] and [batch]"
    );
    assert!(
        labels.dtype() == DType::I32,
        "cross_entropy: labels are {:?}, not I32",
        labels.dtype()
    );
    assert!(shape[0] == 0 || shape[1] > 0, "cross_entropy: logits {shape} have no classes");
    let normalisers = logits.empty_wide([shape[0], 2]);
    let out = logits.empty_wide([]);
    match logits.device() {
        Device::Gpu(gpu) => launch_forward(gpu, logits, labels, &normalisers, &out),
        Device::Cpu(cpu) => float_dispatch!(logits.dtype(), "cross_entropy", T => {
            forward::<T>(cpu, logits, labels, &normalisers, &out);
        }),
    }
    let (kept, labels) = (logits.detach(), labels.clone());
    record(out, &[logits], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, kept.dtype()) else { return };
        match dy.device() {
            Device::Gpu(gpu) => launch_backward(gpu, &kept, &labels, &normalisers, dy, &slot),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "cross_entropy", T => {
                backward::<T>(cpu, &kept, &labels, &normalisers, dy, &slot);
            }),
        }
    })
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CrossEntropyShape {
    pitch: u64,
    gradient_pitch: u64,
    batch: u32,
    classes: u32,
    lanes: u32,
    add: u32,
}

/// Threads of a block.
const THREADS: u32 = 256;

impl CrossEntropyShape {
    fn new(logits: &Tensor, gradient_pitch: usize, add: bool) -> Self {
        let (batch, classes) = (logits.shape()[0] as u32, logits.shape()[1] as u32);
        CrossEntropyShape {
            pitch: logits.pitch() as u64,
            gradient_pitch: gradient_pitch as u64,
            batch,
            classes,
            lanes: classes.clamp(1, 32).next_power_of_two(),
            add: add.into(),
        }
    }

    fn grid(&self) -> [u32; 3] {
        [self.batch.div_ceil(THREADS / self.lanes), 1, 1]
    }
}

fn launch_forward(gpu: &Gpu, logits: &Tensor, labels: &Tensor, normalisers: &Tensor, out: &Tensor) {
    let shape = CrossEntropyShape::new(logits, 0, false);
    let losses = logits.empty_wide([shape.batch as usize]);
    let (x, labels, normalisers) = (logits.pointer(), labels.pointer(), normalisers.pointer());
    let (losses, out) = (losses.pointer(), out.pointer());
    let arguments = Parameters(&shape);
    gpu.launch(
        &kernel_in("cross_entropy_rows", logits.dtype()),
        shape.grid(),
        [THREADS, 1, 1],
        &[&x, &labels, &normalisers, &losses, &arguments],
    );
    gpu.launch("cross_entropy_mean_f32", [1; 3], [THREADS, 1, 1], &[&losses, &out, &shape.batch]);
}

fn launch_backward(
    gpu: &Gpu,
    logits: &Tensor,
    labels: &Tensor,
    normalisers: &Tensor,
    dy: &Tensor,
    slot: &Slot,
) {
    let shape = CrossEntropyShape::new(logits, slot.tensor.pitch(), slot.add);
    let (x, labels, normalisers) = (logits.pointer(), labels.pointer(), normalisers.pointer());
    let (dy, dx) = (dy.pointer(), slot.tensor.pointer());
    let arguments = Parameters(&shape);
    gpu.launch(
        &kernel_in("cross_entropy_bwd", logits.dtype()),
        shape.grid(),
        [THREADS, 1, 1],
        &[&x, &labels, &normalisers, &dy, &dx, &arguments],
    );
}

vectorised! {
    /// The largest `x_k`, and `log sum_k e^(x_k - largest)`. Stored separately, since their sum would round off a small
    /// loss.
    fn normaliser[T: Float](x: &[T]) -> [T; 2] {
        let mut largest = x[0];
        for x in x {
            largest = if *x > largest { *x } else { largest };
        }
        [largest, lane_sum(x.len(), |k| (x[k] - largest).exp::<FUSED>()).ln()]
    }
}

vectorised! {
    /// `dx_k = p_k scale`, stored or accumulated.
    fn scaled_softmax[T: Float](x: &[T], largest: T, log_sum: T, scale: T, dx: &mut [T], add: bool) {
        for (dx, x) in dx.iter_mut().zip(x) {
            let gradient = (*x - largest - log_sum).exp::<FUSED>() * scale;
            *dx = if add { *dx + gradient } else { gradient };
        }
    }
}

fn forward<T: Float>(
    cpu: &Cpu,
    logits: &Tensor,
    labels: &Tensor,
    normalisers: &Tensor,
    out: &Tensor,
) {
    let (batch, classes, pitch) = (logits.shape()[0], logits.shape()[1], logits.pitch());
    let (x, labels) = (logits.read::<T>(), labels.read::<i32>());
    for label in labels.iter() {
        assert!(
            (0..classes as i64).contains(&i64::from(*label)),
            "cross_entropy: label {label} is outside the {classes} classes"
        );
    }
    let mut normalisers = normalisers.write::<T>();
    let rows = (PIECE / classes.max(1)).max(1);
    cpu.pieces(&mut normalisers, rows * 2, batch * classes * 8, |piece, to| {
        for (to, x) in to.chunks_mut(2).zip(x[piece * rows * pitch..].chunks(pitch)) {
            to.copy_from_slice(&normaliser(&x[..classes]));
        }
    });
    let losses: Vec<T> = (normalisers.chunks(2).zip(x.chunks(pitch.max(1))).zip(labels.iter()))
        .map(|((n, x), label)| n[1] - (x[*label as usize] - n[0]))
        .collect();
    out.write::<T>()[0] = vector::sum(&losses) / T::from_f64(batch as f64);
}

/// `dx_ik = (p_ik - [k = y_i]) dy / B`.
fn backward<T: Float>(
    cpu: &Cpu,
    logits: &Tensor,
    labels: &Tensor,
    normalisers: &Tensor,
    dy: &Tensor,
    slot: &Slot,
) {
    let (batch, classes, pitch) = (logits.shape()[0], logits.shape()[1], logits.pitch());
    let (x, labels) = (logits.read::<T>(), labels.read::<i32>());
    let normalisers = normalisers.read::<T>();
    let scale = dy.read::<T>()[0] / T::from_f64(batch as f64);
    let (rows, to_pitch) = ((PIECE / classes.max(1)).max(1), slot.tensor.pitch());
    let (mut dx, add) = (slot.tensor.write::<T>(), slot.add);
    cpu.pieces(&mut dx, rows * to_pitch, batch * classes * 8, |piece, dx| {
        for (index, dx) in dx.chunks_mut(to_pitch).enumerate() {
            let row = piece * rows + index;
            let (dx, x) = (&mut dx[..classes], &x[row * pitch..row * pitch + classes]);
            scaled_softmax(x, normalisers[2 * row], normalisers[2 * row + 1], scale, dx, add);
            let label = labels[row] as usize;
            dx[label] = dx[label] - scale;
        }
    });
}
