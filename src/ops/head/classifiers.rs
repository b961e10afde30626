//! The classifiers (N copies of the last layer), their losses, and the loss of their mixture, as one op.
//!
//! Classifier `j` of N gives `p_j = softmax(W_j z + b_j)`, and the mixture is `p = sum_j a_j p_j`. Each classifier's
//! parameters learn from its own loss, and `z` from the mixture's. With `g_ij`, the gradient of classifier `j`'s mean
//! loss at its logits for sample `i`, and the responsibility `r_ij = a_j p_ij(y_i) / p_i(y_i)`,
//!
//! `dW_j = sum_i g_ij z_i^T`, `db_j = sum_i g_ij`, `dz_i = sum_j r_ij W_j^T g_ij`.
//!
//! For regression `p_j` is the Gaussian with mean `W_j z + b_j` and unit variance, of all outputs or of a chosen one.
//!
//! Classifiers may diverge. If `log p_ij(y_i)` is not finite, it counts as `p_ij = 0` in that sample's mixture, with
//! `g_ij = 0` and `r_ij = 0`, and the classifier counts as diverged in this step. So no NaN reaches the mixture, `dz`,
//! or the gradient of another classifier.

pub(super) mod evaluate;
pub(super) mod launch;
mod samples;

use std::borrow::Cow;
use std::rc::Rc;

use self::samples::Samples;
use super::interface::Extents;
pub use super::interface::{Form, Head, Targets};
use super::many_classes;
use super::mixture::{Posterior, Sample};
use crate::device::cpu::vector::vectorised;
use crate::device::cpu::{Cpu, Float};
use crate::device::{DType, Device};
use crate::ops::tensor::matmul::{Arithmetic, gemm_parallel};
use crate::ops::tensor::reduce::column_sums;
use crate::tape::{Backward, Gradients, record};
use crate::tensor::{Tensor, assert_wide, dense, float_dispatch};

/// The losses of a batch and their gradients: `z` is `[B, d]`, `weight` `[N, K, d]`, `bias` `[N, K]`, `log_posterior`
/// F64 `[N]`, which may be minus infinity. Panics on other shapes, and on a class or chosen output outside of `0..K`. A
/// GPU cannot panic: it treats such a sample as one without a finite classifier.
///
/// If `z` and `weight` are BF16, so are the gradients of `z` and of the logits. Logits, bias, values, losses and the
/// parameters' gradients are F32 or F64.
///
/// ```
/// use alrao::{Device, Tensor};
/// use alrao::ops::head::classifiers::{Targets, classifiers};
/// let device = Device::cpu();
/// let z = Tensor::from_slice(&device, [1, 1], &[1f64]);
/// let weight = Tensor::from_slice(&device, [2, 2, 1], &[0f64, 0.0, 3f64.ln(), 0.0]);
/// let bias = Tensor::from_slice(&device, [2, 2], &[0f64; 4]);
/// let classes = Tensor::from_slice(&device, [1], &[0i32]);
/// let log_posterior = Tensor::from_slice(&device, [2], &[0.5f64.ln(); 2]);
/// let head = classifiers(&z, &weight, &bias, Targets::Classes(&classes), &log_posterior);
/// // The first gives the class 1/2, the second 3/4.
/// assert!((head.loss.item() + (0.5f64 * (0.5 + 0.75)).ln()).abs() < 1e-15);
/// ```
pub fn classifiers(
    z: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: Targets,
    log_posterior: &Tensor,
) -> Head {
    let extents = Extents::of("classifiers", z, weight, bias);
    let form = faster_form(z, extents);
    classifiers_in(form, z, weight, bias, targets, log_posterior)
}

/// The faster form of such a head.
fn faster_form(z: &Tensor, extents: Extents) -> Form {
    let Device::Gpu(gpu) = z.device() else { return Form::Stored };
    let is_tf32 = Arithmetic::of(gpu, z.dtype()) == Arithmetic::Tf32;
    match is_tf32 && extents.row() > launch::STAGED && many_classes::fits(extents) {
        true => Form::Recomputed,
        false => Form::Stored,
    }
}

/// [`classifiers`] in a given form.
pub fn classifiers_in(
    form: Form,
    z: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: Targets,
    log_posterior: &Tensor,
) -> Head {
    let extents = Extents::of("classifiers", z, weight, bias);
    extents.check_targets("classifiers", targets);
    assert_wide("classifiers", z, targets.values().as_slice());
    extents.check_posterior("classifiers", log_posterior);
    let (head, backward) = match (z.device(), form, targets) {
        (Device::Gpu(gpu), Form::Recomputed, Targets::Classes(classes))
            if z.dtype() == DType::F32 && many_classes::fits(extents) =>
        {
            many_classes::classifiers(gpu, extents, [z, weight, bias], classes, log_posterior)
        }
        (Device::Gpu(gpu), ..) => {
            launch::classifiers(gpu, extents, [z, weight, bias], targets, log_posterior)
        }
        (Device::Cpu(cpu), ..) => float_dispatch!(z.dtype(), "classifiers", T => {
            classifiers_typed::<T>(cpu, extents, [z, weight, bias], targets, log_posterior)
        }),
    };
    let objective = record(head.objective, &[z, weight, bias], backward);
    Head { objective, ..head }
}

fn classifiers_typed<T: Float>(
    cpu: &Rc<Cpu>,
    extents: Extents,
    [z, weight, bias]: [&Tensor; 3],
    targets: Targets,
    log_posterior: &Tensor,
) -> (Head, Backward) {
    let scores = outputs(z, weight, bias);
    let op = extents.losses_op(&scores, &scores);
    let samples = Samples::new(z, extents);
    let posterior = Posterior::new(&log_posterior.read::<f64>());
    evaluate::evaluate::<T>(cpu, extents, &scores, targets, &posterior, &samples);
    let head = samples.summary::<T>(z.dtype());
    drop(op);
    let needs_finite_z = head.samples_without_finite_classifier.read::<i32>()[0] > 0;
    // The pass over the samples has overwritten the scores with their gradients.
    let (z_like, w_like, g) = (z.detach(), weight.detach(), scores);
    let context = Context { extents, z: z_like, weight: w_like, g, samples, needs_finite_z };
    let cpu = Rc::clone(cpu);
    let backward = move |_: &Tensor, gradients: &mut Gradients| {
        context.weight_gradient::<T>(&cpu, gradients);
        context.bias_gradient(gradients);
        context.input_gradient::<T>(&cpu, gradients);
    };
    (head, Box::new(backward))
}

/// The logits of each classifier for each sample (its values in regression): `[B, N, K]`, without a gradient.
pub fn outputs(z: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let extents = Extents::of("classifiers", z, weight, bias);
    match z.device() {
        Device::Gpu(gpu) => launch::outputs(gpu, extents, z, [weight, bias]),
        Device::Cpu(cpu) => float_dispatch!(z.dtype(), "classifiers", T => {
            let out = z.empty_like([extents.samples, extents.classifiers, extents.outputs]);
            let _op = extents.product_op("classifiers outputs", &[z, weight, bias, &out]);
            let row = extents.row();
            let (z_values, weights, biases) = (z.read::<T>(), weight.read::<T>(), bias.read::<T>());
            let mut to = out.write::<T>();
            to.chunks_mut(row.max(1)).for_each(|scores| scores.copy_from_slice(&biases));
            gemm_parallel(
                cpu,
                [extents.samples, row, extents.inputs],
                (&z_values, z.pitch(), false),
                (&weights, extents.inputs, true),
                (&mut to, row),
                true,
            );
            drop(to);
            out
        }),
    }
}

/// The values that the backward pass needs.
struct Context {
    extents: Extents,
    z: Tensor,
    weight: Tensor,
    /// `g_ij`, `[B, N, K]`.
    g: Tensor,
    samples: Samples,
    /// Whether `z` may not be finite: where some sample had no finite classifier.
    needs_finite_z: bool,
}

impl Context {
    /// `dW = g^T z`, `[N K, d]`.
    fn weight_gradient<T: Float>(&self, cpu: &Cpu, gradients: &mut Gradients) {
        let Some(slot) = gradients.slot(1, self.weight.dtype()) else { return };
        let all = [&self.g, &self.z, &slot.tensor];
        let _op = self.extents.product_op("classifiers weight gradient", &all);
        let Extents { samples, inputs, .. } = self.extents;
        // If z itself is not finite, every g is zero, and 0 * inf must not enter the sum.
        let z =
            if self.needs_finite_z { only_finite::<T>(&self.z) } else { Cow::Borrowed(&self.z) };
        let row = self.extents.row();
        gemm_parallel(
            cpu,
            [row, inputs, samples],
            (&self.g.read::<T>(), row, true),
            (&z.read::<T>(), z.pitch(), false),
            (&mut slot.tensor.write::<T>(), inputs),
            slot.add,
        );
    }

    /// `db = sum_i g_i`.
    fn bias_gradient(&self, gradients: &mut Gradients) {
        let Some(slot) = gradients.slot(2, self.z.dtype()) else { return };
        let _op = self.extents.bias_gradient_op(&self.g, &slot.tensor);
        let (samples, row) = (self.extents.samples, self.extents.row());
        column_sums(&self.g.view(0, [samples, row], row), slot);
    }

    /// `dz_i = sum_j r_ij g_ij W_j`. The last one to run: it overwrites `g`.
    fn input_gradient<T: Float>(&self, cpu: &Cpu, gradients: &mut Gradients) {
        let Some(slot) = gradients.slot(0, self.z.dtype()) else { return };
        let all = [&self.g, &self.weight, &slot.tensor];
        let _op = self.extents.product_op("classifiers input gradient", &all);
        let Extents { samples, inputs, .. } = self.extents;
        self.weigh_by_responsibility::<T>(cpu);
        let row = self.extents.row();
        let weight = only_finite::<T>(&self.weight);
        gemm_parallel(
            cpu,
            [samples, inputs, row],
            (&self.g.read::<T>(), row, false),
            (&weight.read::<T>(), inputs, false),
            (&mut slot.tensor.write::<T>(), slot.tensor.pitch()),
            slot.add,
        );
    }

    fn weigh_by_responsibility<T: Float>(&self, cpu: &Cpu) {
        let Extents { samples, classifiers, outputs, .. } = self.extents;
        let mut statistics = self.samples.statistics.write::<f64>();
        let mut g = self.g.write::<T>();
        let (row, width, height) =
            (self.extents.row(), self.samples.width(), self.extents.task_samples());
        let first = (&mut g[..], height * row);
        let second = (&mut statistics[..], height * width);
        cpu.pieces2(first, second, samples * row, |_, g, statistics| {
            for (g, statistics) in g.chunks_mut(row).zip(statistics.chunks_mut(width)) {
                let sample = Sample::of(statistics, classifiers);
                for (g, share) in g.chunks_mut(outputs).zip(&*sample.responsibilities) {
                    let share = T::from_f64(*share);
                    g.iter_mut().for_each(|g| *g = evaluate::without_traces(*g * share));
                }
            }
        });
    }
}

vectorised! {
    fn all_finite[T: Float](values: &[T]) -> bool {
        // Not `all`: a loop that may end early does not vectorise.
        values.iter().fold(true, |finite, value| finite & value.is_finite())
    }
}

/// The tensor, with zeros in place of elements that are not finite.
fn only_finite<T: Float>(x: &Tensor) -> Cow<'_, Tensor> {
    let x = dense::<T>(x);
    if all_finite(&x.read::<T>()) {
        return x;
    }
    let clean = |value: &T| if value.is_finite() { *value } else { T::ZERO };
    let values: Vec<T> = x.read::<T>().iter().map(clean).collect();
    Cow::Owned(Tensor::from_slice(x.device(), x.shape(), &values))
}
