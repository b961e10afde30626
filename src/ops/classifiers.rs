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

pub(in crate::ops) mod evaluate;
pub(in crate::ops) mod launch;

use std::borrow::Cow;

use crate::device::cpu::vector::vectorised;
use crate::device::cpu::{Cpu, Float};
use crate::device::{DType, Device, Op};
use crate::ops::matmul::gemm_parallel;
use crate::ops::mixture::{Posterior, Sample};
pub use crate::ops::prediction::{PredictionKind, predict};
use crate::ops::reduce::add_column_sums;
use crate::ops::{begin, many_classes};
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, assert_alike, assert_wide, dense, float_dispatch};

/// Logits of one task.
const PIECE: usize = 1 << 12;

/// The targets of the classifiers.
#[derive(Clone, Copy)]
pub enum Targets<'a> {
    /// A class for each sample: I32 `[B]`.
    Classes(&'a Tensor),
    /// Numbers to regress on: `[B, D]`.
    Values(&'a Tensor),
    /// A number to regress on for one output of each sample, as in Q-learning, where only the value of the chosen
    /// action is observed. The sample's loss ignores the other outputs, even if they are not finite.
    Chosen {
        /// The chosen outputs: I32 `[B]`.
        outputs: &'a Tensor,
        /// Their targets: `[B]`.
        values: &'a Tensor,
        /// Above 0: the gradients clip the error `x_ijc - v_i` to this size, the likelihood does not (the error
        /// clipping of Mnih et al. 2015; infinite for none).
        limit: f64,
    },
}

impl<'a> Targets<'a> {
    /// Their tensors.
    pub(crate) fn tensors(self) -> Vec<&'a Tensor> {
        match self {
            Targets::Classes(targets) | Targets::Values(targets) => vec![targets],
            Targets::Chosen { outputs, values, .. } => vec![outputs, values],
        }
    }

    /// Targets of the same kind with other tensors, in the order of [`Targets::tensors`].
    pub(crate) fn made_of<'b>(self, tensors: &'b [Tensor]) -> Targets<'b> {
        match (self, tensors) {
            (Targets::Classes(_), [targets]) => Targets::Classes(targets),
            (Targets::Values(_), [targets]) => Targets::Values(targets),
            (Targets::Chosen { limit, .. }, [outputs, values]) => {
                Targets::Chosen { outputs, values, limit }
            }
            _ => panic!("classifiers: targets of {} tensors", tensors.len()),
        }
    }

    /// The numbers to regress on.
    fn values(self) -> Option<&'a Tensor> {
        match self {
            Targets::Classes(_) => None,
            Targets::Values(values) | Targets::Chosen { values, .. } => Some(values),
        }
    }
}

/// The result of [`classifiers`] for a batch.
#[derive(Clone)]
pub struct Head {
    /// The scalar on the tape from which the backward pass starts. Its value is the sum of the finite losses of the
    /// classifiers and the mixture. Its backward pass gives each parameter the gradient described above, and assumes a
    /// gradient of 1 at the scalar.
    pub objective: Tensor,
    /// F64 `[1]`: the mixture's mean loss; infinite if some sample has no finite classifier.
    pub loss: Tensor,
    /// I32 `[1]`: samples whose likeliest class under the mixture is right; 0 in regression.
    pub correct: Tensor,
    /// F64 `[N]`: each classifier's mean loss; infinite if it diverged.
    pub classifier_losses: Tensor,
    /// U8 `[N]`: 1 for a diverged classifier, under which some sample has no finite likelihood.
    pub diverged: Tensor,
    /// I32 `[1]`: samples without a finite classifier of positive weight. Their `dz` is zero.
    pub samples_without_finite_classifier: Tensor,
}

/// The numbers of samples B, inputs d, classifiers N, and outputs of a classifier K.
#[derive(Clone, Copy)]
pub(super) struct Extents {
    pub samples: usize,
    pub inputs: usize,
    pub classifiers: usize,
    pub outputs: usize,
}

impl Extents {
    pub fn of(op: &str, z: &Tensor, weight: &Tensor, bias: &Tensor) -> Self {
        assert_alike(op, &[z, weight]);
        assert_wide(op, z, &[bias]);
        let (z_shape, shape) = (z.shape(), weight.shape());
        let fits = z_shape.rank() == 2
            && shape.rank() == 3
            && shape[2] == z_shape[1]
            && bias.shape().extents() == &shape.extents()[..2];
        assert!(
            fits,
            "{op}: z {z_shape}, weight {shape} and bias {} are not [B, d], [N, K, d] and [N, K]",
            bias.shape()
        );
        assert!(
            weight.is_contiguous() && bias.is_contiguous(),
            "{op}: weight {shape} or bias {} has gaps",
            bias.shape()
        );
        assert!(
            shape[0] > 0 && shape[1] > 0,
            "{op}: weight {shape} has no classifiers or no outputs"
        );
        Extents {
            samples: z_shape[0],
            inputs: z_shape[1],
            classifiers: shape[0],
            outputs: shape[1],
        }
    }

    /// The number of logits of one sample, over all classifiers.
    pub fn row(&self) -> usize {
        self.classifiers * self.outputs
    }

    /// Begins a product with all classifiers' weights, or of their gradient, that reads or writes these tensors once.
    pub fn product_op(&self, name: &'static str, tensors: &[&Tensor]) -> Option<Op> {
        let operations = 2 * self.samples * self.row() * self.inputs;
        begin(name, tensors, operations)
    }

    /// Begins the pass from logits to losses and gradients: an exponential, three sums and two products for each logit.
    pub fn losses_op(&self, scores: &Tensor, g: &Tensor) -> Option<Op> {
        let operations = 6 * scores.shape().elements();
        begin("classifiers losses", &[scores, g], operations)
    }

    pub fn bias_gradient_op(&self, g: &Tensor, db: &Tensor) -> Option<Op> {
        let operations = g.shape().elements();
        begin("classifiers bias gradient", &[g, db], operations)
    }

    /// Samples of one task.
    pub fn task_samples(&self) -> usize {
        (PIECE / self.row().max(1)).max(1)
    }

    fn check_targets(&self, op: &str, targets: Targets) {
        match targets {
            Targets::Classes(classes) => assert!(
                classes.dtype() == DType::I32 && classes.shape().elements() == self.samples,
                "{op}: classes {:?} {} for {} samples",
                classes.dtype(),
                classes.shape(),
                self.samples
            ),
            Targets::Values(values) => assert!(
                values.shape().extents() == [self.samples, self.outputs],
                "{op}: values {} for {} samples of {} outputs",
                values.shape(),
                self.samples,
                self.outputs
            ),
            Targets::Chosen { outputs, values, limit } => assert!(
                outputs.dtype() == DType::I32
                    && outputs.shape().extents() == [self.samples]
                    && values.shape().extents() == [self.samples]
                    && limit > 0.0,
                "{op}: chosen outputs {:?} {} and values {} for {} samples, errors up to {limit}",
                outputs.dtype(),
                outputs.shape(),
                values.shape(),
                self.samples
            ),
        }
    }

    pub fn check_posterior(&self, op: &str, log_posterior: &Tensor) {
        assert!(
            log_posterior.dtype() == DType::F64
                && log_posterior.shape().extents() == [self.classifiers],
            "{op}: log-posterior {:?} {} for {} classifiers",
            log_posterior.dtype(),
            log_posterior.shape(),
            self.classifiers
        );
    }
}

/// The losses of a batch and their gradients: `z` is `[B, d]`, `weight` `[N, K, d]`, `bias` `[N, K]`, `log_posterior`
/// F64 `[N]`, which may be minus infinity. Panics on other shapes, and on a class or chosen output outside of `0..K`. A
/// GPU cannot panic: it treats such a sample as one without a finite classifier.
///
/// If `z` and `weight` are BF16, so are the gradients of `z` and of the logits. Logits, bias, values, losses and the
/// parameters' gradients are F32 or F64.
///
/// ```
/// use alrao::{Device, Tensor};
/// use alrao::ops::classifiers::{Targets, classifiers};
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
    let form = launch::form(z, extents);
    classifiers_in(form, z, weight, bias, targets, log_posterior)
}

/// How a launch gets the logits that an earlier one computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// They are stored in memory.
    Stored,
    /// They are computed again. Only on a GPU, in tf32, for F32, classes and at most 128 inputs; otherwise they are
    /// stored.
    Recomputed,
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
    match (z.device(), form, targets) {
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
    }
}

fn classifiers_typed<T: Float>(
    cpu: &Cpu,
    extents: Extents,
    [z, weight, bias]: [&Tensor; 3],
    targets: Targets,
    log_posterior: &Tensor,
) -> Head {
    let scores = outputs(z, weight, bias);
    let op = extents.losses_op(&scores, &scores);
    let samples = Samples::new(z, extents);
    let posterior = Posterior::new(&log_posterior.read::<f64>());
    evaluate::evaluate::<T>(cpu, extents, &scores, targets, &posterior, &samples);
    let head = samples.summary::<T>(z.dtype());
    drop(op);
    let needs_finite_z = head.samples_without_finite_classifier.read::<i32>()[0] > 0;
    let bias_like = bias.detach();
    // The pass over the samples has overwritten the scores with their gradients.
    let (z_like, w_like, g) = (z.detach(), weight.detach(), scores);
    let context = Context { extents, z: z_like, weight: w_like, g, samples, needs_finite_z };
    let objective = record(head.objective, &[z, weight, bias], move |_, gradients| {
        let device = context.z.device().clone();
        let Device::Cpu(cpu) = &device else { unreachable!("the forward pass was on the CPU") };
        context.weight_gradient::<T>(cpu, gradients);
        context.bias_gradient::<T>(cpu, gradients, &bias_like);
        context.input_gradient::<T>(cpu, gradients);
    });
    Head { objective, ..head }
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

/// The statistics of each sample: F64 `[B, 2 N + 2]`.
struct Samples {
    statistics: Tensor,
    extents: Extents,
}

impl Samples {
    fn new(z: &Tensor, extents: Extents) -> Self {
        let shape = [extents.samples, 2 * extents.classifiers + 2];
        Samples { statistics: Tensor::empty(z.device(), shape, DType::F64), extents }
    }

    fn width(&self) -> usize {
        self.statistics.shape().columns()
    }

    /// The batch's losses and counts, added up in the order of the samples.
    fn summary<T: Float>(&self, dtype: DType) -> Head {
        let device = self.statistics.device();
        let classifiers = self.extents.classifiers;
        let head = Head {
            objective: Tensor::empty(device, [], dtype),
            loss: Tensor::empty(device, [1], DType::F64),
            correct: Tensor::empty(device, [1], DType::I32),
            classifier_losses: Tensor::zeros(device, [classifiers], DType::F64),
            diverged: Tensor::zeros(device, [classifiers], DType::U8),
            samples_without_finite_classifier: Tensor::empty(device, [1], DType::I32),
        };
        self.summarise::<T>(&head);
        head
    }

    fn summarise<T: Float>(&self, head: &Head) {
        let Extents { samples, classifiers, .. } = self.extents;
        let mut statistics = self.statistics.write::<f64>();
        let mut losses = head.classifier_losses.write::<f64>();
        let mut diverged = head.diverged.write::<u8>();
        let (mut mixture, mut correct, mut without_finite) = (0.0, 0, 0);
        for row in statistics.chunks_mut(2 * classifiers + 2) {
            let sample = Sample::of(row, classifiers);
            let sums = losses.iter_mut().zip(diverged.iter_mut());
            for ((loss, diverged), likelihood) in sums.zip(&*sample.log_likelihoods) {
                match likelihood.is_finite() {
                    true => *loss -= likelihood,
                    false => *diverged = 1,
                }
            }
            correct += *sample.correct as i32;
            match sample.has_no_finite_classifier() {
                true => without_finite += 1,
                false => mixture -= *sample.log_mixture,
            }
        }
        let count = samples as f64;
        let objective = (losses.iter().sum::<f64>() + mixture) / count;
        for (loss, diverged) in losses.iter_mut().zip(diverged.iter()) {
            *loss = if *diverged == 0 { *loss / count } else { f64::INFINITY };
        }
        head.objective.write::<T>()[0] = T::from_f64(objective);
        head.loss.write::<f64>()[0] =
            if without_finite == 0 { mixture / count } else { f64::INFINITY };
        head.correct.write::<i32>()[0] = correct;
        head.samples_without_finite_classifier.write::<i32>()[0] = without_finite;
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
        let Some(slot) = gradients.slot(1, &self.weight) else { return };
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
    fn bias_gradient<T: Float>(&self, cpu: &Cpu, gradients: &mut Gradients, bias: &Tensor) {
        let Some(sums) = gradients.sum_slot(2, bias) else { return };
        let _op = self.extents.bias_gradient_op(&self.g, &sums);
        add_column_sums(cpu, &self.g.read::<T>(), self.extents.row(), &mut sums.write::<T>());
    }

    /// `dz_i = sum_j r_ij g_ij W_j`. The last one to run: it overwrites `g`.
    fn input_gradient<T: Float>(&self, cpu: &Cpu, gradients: &mut Gradients) {
        let Some(slot) = gradients.slot(0, &self.z) else { return };
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
