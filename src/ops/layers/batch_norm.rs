//! Batch normalisation over the last axis (Ioffe and Szegedy 2015), with an optional fused ReLU.

mod affine;
mod as_affine;
mod gradient_sums;
mod launch;
mod moments;
mod rows;
mod tiling;

use std::any::Any;
use std::rc::Rc;

use self::affine::{Affine, OfStatistics};
pub use self::as_affine::batch_norm_affine;
pub(crate) use self::gradient_sums::GradientSums;
pub(crate) use self::launch::sum_with_moments;
pub use self::moments::Moments;
use self::moments::moments_typed;
pub(crate) use self::moments::pieces_with_moments;
pub(crate) use self::tiling::{PartSums, with_part_sums};
use crate::device::cpu::{Cpu, Float};
use crate::device::{Device, Op};
use crate::ops::begin;
use crate::tape::{Backward, Gradients, record, record_wanting};
use crate::tensor::{Tensor, assert_alike, assert_wide, float_dispatch};
use crate::trace::{self, Operation};

/// The settings of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether the output is `max(y, 0)`.
    pub relu: bool,
}

impl Default for BatchNormConfig {
    /// PyTorch's defaults, without ReLU.
    fn default() -> Self {
        BatchNormConfig { momentum: 0.1, epsilon: 1e-5, relu: false }
    }
}

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` with the batch's statistics: `x` is `[.., C]`, the
/// others `[C]`, in F32 where `x` is BF16. The biased variance normalises, the unbiased one enters the running
/// statistics; they do not change for a channel whose mean or variance is not finite, nor for a batch of one row or
/// none.
///
/// ```
/// use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_train};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&device, [2, 1], &[1f64, 3.0]);
/// let [zero, one] = [0.0, 1.0].map(|value| Tensor::full(&device, [1], DType::F64, value));
/// let mean = Tensor::zeros(&device, [1], DType::F64);
/// let config = BatchNormConfig { epsilon: 0.0, ..BatchNormConfig::default() };
/// let y = batch_norm_train(&x, &one, &zero, &mean, &one.mul(&one), config);
/// assert_eq!(y.to_vec::<f64>(), [-1.0, 1.0]);
/// assert_eq!(mean.item(), 0.2);
/// ```
pub fn batch_norm_train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> Tensor {
    batch_norm_train_of(x, &moments(x), weight, bias, running_mean, running_variance, config)
}

/// [`batch_norm_train`] with the batch's moments from the op that computed `x`, which saves a pass over `x`. Panics if
/// they have another number of rows or channels.
pub fn batch_norm_train_of(
    x: &Tensor,
    moments: &Moments,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> Tensor {
    let running = [running_mean, running_variance];
    batch_norm_at(None, [x, weight, bias], Some(moments), running, config)
}

/// Computes the moments of a tensor `[.., C]` in a pass over it.
pub fn moments(x: &Tensor) -> Moments {
    let _op = begin("batch_norm moments", &[x], 3 * x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch::moments(gpu, x),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "moments", T => moments_typed::<T>(cpu, x)),
    }
}

/// Batch normalisation with the running statistics, which do not change.
pub fn batch_norm_eval(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> Tensor {
    batch_norm_at(None, [x, weight, bias], None, [running_mean, running_variance], config)
}

/// Batch normalisation of the first of `inputs`, with weight and bias, by these moments, or by the running statistics if there
/// are none. The output is written to `place` if that is given.
pub(crate) fn batch_norm_at(
    place: Option<&Tensor>,
    inputs: [&Tensor; 3],
    moments: Option<&Moments>,
    running: [&Tensor; 2],
    config: BatchNormConfig,
) -> Tensor {
    let x = inputs[0];
    check(inputs, moments, running);
    let y = x.empty_at(place, x.shape());
    let op = begin("batch_norm forward", &[x, &y], 3 * x.shape().elements());
    let (backward, wanted): (_, Option<Rc<dyn Any>>) = match x.device() {
        Device::Gpu(gpu) => {
            let (backward, sums) =
                launch::normalise(gpu, inputs, (&y, None), moments, running, config);
            (backward, Some(sums))
        }
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "batch_norm", T => {
            let (mean, variance) = match moments {
                Some(moments) => update_running::<T>(running, moments, x, config.momentum),
                None => (running[0].to_f64s(), running[1].to_f64s()),
            };
            (normalise::<T>(cpu, inputs, &y, [&mean, &variance], config, moments.is_some()), None)
        }),
    };
    drop(op);
    if moments.is_none() {
        let [mean, variance] = running;
        let noted = Operation::BatchNorm { epsilon: config.epsilon, relu: config.relu };
        trace::note(noted, &[x, inputs[1], inputs[2], mean, variance], &[&y]);
    }
    record_wanting(wanted, y, &inputs, backward)
}

/// Batch normalisation of `x` by these moments (which updates the running statistics), or by the running statistics if there
/// are none; then `residual`, of the shape of `x`, is added, and a ReLU follows if the configuration has one. On a GPU all of
/// it is one pass. Panics if shapes or dtypes do not fit.
///
/// ```
/// use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_add};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let [zero, one] = [0.0, 1.0].map(|value| Tensor::full(&device, [1], DType::F64, value));
/// let x = Tensor::from_slice(&device, [2, 1], &[1f64, -3.0]);
/// let config = BatchNormConfig { epsilon: 0.0, relu: true, ..BatchNormConfig::default() };
/// let y = batch_norm_add([&x, &one, &zero, &x], None, [&zero, &one], config);
/// assert_eq!(y.to_vec::<f64>(), [2.0, 0.0]);
/// ```
pub fn batch_norm_add(
    [x, weight, bias, residual]: [&Tensor; 4],
    moments: Option<&Moments>,
    running: [&Tensor; 2],
    config: BatchNormConfig,
) -> Tensor {
    assert_alike("batch_norm", &[x, residual]);
    let (own, other) = (x.shape(), residual.shape());
    assert!(own == other, "batch_norm: a residual of shape {other} for an input {own}");
    let inputs = [x, weight, bias];
    let gpu = match x.device() {
        Device::Gpu(gpu) => gpu,
        Device::Cpu(_) => {
            let plain = BatchNormConfig { relu: false, ..config };
            let sum = batch_norm_at(None, inputs, moments, running, plain).add(residual);
            return if config.relu { sum.relu() } else { sum };
        }
    };
    check(inputs, moments, running);
    let y = x.empty_at(None, own);
    let op = begin("batch_norm forward", &[x, residual, &y], 4 * own.elements());
    let to = (&y, Some(residual));
    let (backward, sums) = launch::normalise(gpu, inputs, to, moments, running, config);
    drop(op);
    let inputs = [x, weight, bias, residual];
    if !config.relu {
        let wanted: Rc<dyn Any> = sums;
        return record_wanting(Some(wanted), y, &inputs, |dy, gradients| {
            gradients.pass(3, dy);
            backward(dy, gradients);
        });
    }
    let (gpu, kept) = (Rc::clone(gpu), y.detach());
    record(y, &inputs, move |dy, gradients| {
        let op = begin("batch_norm backward", &[&kept, dy, &sums.x, dy], 5 * own.elements());
        let dy = &sums.masked(&gpu, &kept, dy);
        drop(op);
        gradients.pass(3, dy);
        backward(dy, gradients);
    })
}

/// A pass for the gradient, and before it one for the sums that it needs unless they are ready.
fn backward_op(x: &Tensor, dy: &Tensor, sums_are_ready: bool) -> Option<Op> {
    match sums_are_ready {
        true => begin("batch_norm backward", &[x, dy, x], 5 * x.shape().elements()),
        false => begin("batch_norm backward", &[x, dy, x, dy, x], 9 * x.shape().elements()),
    }
}

fn check(
    [x, weight, bias]: [&Tensor; 3],
    moments: Option<&Moments>,
    [mean, variance]: [&Tensor; 2],
) {
    let vectors = [weight, bias, mean, variance];
    assert_wide("batch_norm", x, &vectors);
    let (own, x) = (x, x.shape());
    for vector in vectors {
        let fits = x.rank() > 0 && vector.shape() == [x.columns()].into();
        assert!(fits, "batch_norm: a vector of shape {} for an input {x}", vector.shape());
    }
    if let Some(moments) = moments {
        moments.check(own);
    }
}

/// Updates the running statistics. Returns the batch's mean and variance.
fn update_running<T: Float>(
    [running_mean, running_variance]: [&Tensor; 2],
    moments: &Moments,
    x: &Tensor,
    momentum: f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mean, variance) = moments.merge();
    let rows = x.shape().rows() as f64;
    if rows == 0.0 {
        return (mean, variance);
    }
    let unbiased = rows / (rows - 1.0);
    let (mut means, mut variances) = (running_mean.write::<T>(), running_variance.write::<T>());
    for (c, (running_mean, running_variance)) in
        means.iter_mut().zip(variances.iter_mut()).enumerate()
    {
        let mix = |old: T, new: f64| T::from_f64(old.to_f64() * (1.0 - momentum) + momentum * new);
        let new = (mix(*running_mean, mean[c]), mix(*running_variance, variance[c] * unbiased));
        if new.0.is_finite() && new.1.is_finite() {
            (*running_mean, *running_variance) = new;
        }
    }
    (mean, variance)
}

/// Writes the output, and returns the backward pass.
fn normalise<T: Float>(
    cpu: &Rc<Cpu>,
    [x, weight, bias]: [&Tensor; 3],
    y: &Tensor,
    [mean, variance]: [&[f64]; 2],
    config: BatchNormConfig,
    of_batch: bool,
) -> Backward {
    let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + config.epsilon).sqrt()).collect();
    let affine = Affine {
        mean: mean.iter().map(|mean| T::from_f64(*mean)).collect(),
        scale: (weight.read::<T>().iter().zip(&inverse))
            .map(|(weight, inverse)| T::from_f64(weight.to_f64() * inverse))
            .collect(),
        bias: bias.to_vec(),
        relu: config.relu,
    };
    affine.apply(cpu, x, y);
    let context = Context { x: x.detach(), affine, inverse, of_batch };
    let cpu = Rc::clone(cpu);
    Box::new(move |dy, gradients| backward(&cpu, &context, dy, gradients))
}

/// The values that the backward pass needs.
struct Context<T> {
    x: Tensor,
    affine: Affine<T>,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Vec<f64>,
    /// Whether the statistics are functions of the input.
    of_batch: bool,
}

fn backward<T: Float>(cpu: &Cpu, context: &Context<T>, dy: &Tensor, gradients: &mut Gradients) {
    let Context { x, affine, inverse, of_batch } = context;
    let _op = backward_op(x, dy, false);
    let (sums, products) = affine.gradient_sums(cpu, x, dy);
    if let Some(slot) = gradients.any_slot(0, dy) {
        let statistics = of_batch.then(|| of_statistics(context, &sums, &products));
        assert_alike("batch_norm", &[x, &slot.tensor]);
        affine.input_gradient(cpu, x, dy, statistics.as_ref(), &slot);
    }
    let weight: Vec<f64> = products.iter().zip(inverse).map(|(p, i)| p * i).collect();
    give_channels::<T>(gradients, [(1, &weight), (2, &sums)]);
}

/// The gradient that reaches the input through the mean and the variance.
fn of_statistics<T: Float>(
    context: &Context<T>,
    sums: &[f64],
    products: &[f64],
) -> OfStatistics<T> {
    let count = context.x.shape().rows() as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| -> Vec<T> {
        let scale = |c: usize| -context.affine.scale[c].to_f64() / count;
        (0..sums.len()).map(|c| T::from_f64(scale(c) * value(c))).collect()
    };
    OfStatistics {
        slope: per_channel(&|c| products[c] * context.inverse[c] * context.inverse[c]),
        constant: per_channel(&|c| sums[c]),
    }
}

/// Stores or accumulates the gradients of inputs `[C]`.
fn give_channels<T: Float>(gradients: &mut Gradients, values: [(usize, &[f64]); 2]) {
    for (input, values) in values {
        if let Some(slot) = gradients.slot(input, T::DTYPE) {
            let mut to = slot.tensor.write::<T>();
            for (to, value) in to.iter_mut().zip(values) {
                let value = T::from_f64(*value);
                *to = if slot.add { *to + value } else { value };
            }
        }
    }
}
