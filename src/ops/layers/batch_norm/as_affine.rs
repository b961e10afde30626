//! Batch norm as an affine function of every channel, which a convolution applies to its input as it reads it.

use super::affine::Affine;
use super::moments::Moments;
use super::{BatchNormConfig, check, give_channels, launch, update_running};
use crate::device::Device;
use crate::device::cpu::Float;
use crate::ops::begin;
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, float_dispatch};

/// The affine function that [`super::batch_norm_train`] applies to every channel, `y = scale x + shift`: returns
/// `[scale, shift]`, each `[C]`, with `scale = weight / sqrt(variance + epsilon)` and `shift = bias - mean scale`. The
/// running statistics are updated as there. Gradients reach `x` through its statistics, the weight and the bias.
///
/// `x` is `[.., C]`, `moments` its moments, the others `[C]`. A ReLU in `config` is left to the caller. If the mean is
/// large compared to the standard deviation, `scale x + shift` loses digits that `(x - mean) scale + bias` keeps.
///
/// ```
/// use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_affine, moments};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&device, [2, 1], &[1f64, 3.0]);
/// let [zero, one, two] = [0.0, 1.0, 2.0].map(|value| Tensor::full(&device, [1], DType::F64, value));
/// let config = BatchNormConfig { epsilon: 0.0, ..BatchNormConfig::default() };
/// let running = [zero.copy(), one.copy()];
/// let [scale, shift] = batch_norm_affine(&x, &moments(&x), &two, &one, &running[0], &running[1], config);
/// assert_eq!((scale.item(), shift.item()), (2.0, -3.0));
/// ```
pub fn batch_norm_affine(
    x: &Tensor,
    moments: &Moments,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> [Tensor; 2] {
    check([x, weight, bias], [running_mean, running_variance]);
    moments.check(x);
    let channels = x.shape().columns();
    let read = [weight, bias, running_mean, running_variance];
    let op = begin("batch_norm affine forward", &read, 10 * channels);
    if let Device::Gpu(gpu) = x.device() {
        let running = [running_mean, running_variance];
        return launch::affine(gpu, [x, weight, bias], moments, running, config);
    }
    let both = float_dispatch!(x.dtype(), "batch_norm", T => {
        let (mean, variance) = moments.merge();
        let running = [running_mean, running_variance];
        update_running::<T>(running, &mean, &variance, x, config.momentum);
        typed::<T>(x, weight, bias, mean, &variance, config.epsilon)
    });
    drop(op);
    [0, 1].map(|row| both.slice(0, row, 1).reshape([channels]))
}

/// Scale and shift as `[2, C]`, the output of one op.
fn typed<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    mean: Vec<f64>,
    variance: &[f64],
    epsilon: f64,
) -> Tensor {
    let both = x.empty_like([2, mean.len()]);
    let weights: Vec<f64> = weight.to_f64s();
    let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let scale: Vec<f64> = weights.iter().zip(&inverse).map(|(w, i)| w * i).collect();
    let shift =
        bias.to_f64s().into_iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s);
    both.copy_from_f64s(&scale.iter().copied().chain(shift).collect::<Vec<_>>());
    let context = Context { x: x.detach(), mean, inverse, weights };
    record(both, &[x, weight, bias], move |gradient, gradients| {
        backward::<T>(&context, &gradient.to_f64s(), gradients);
    })
}

/// The values that the backward pass needs.
struct Context {
    x: Tensor,
    mean: Vec<f64>,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Vec<f64>,
    weights: Vec<f64>,
}

fn backward<T: Float>(context: &Context, gradient: &[f64], gradients: &mut Gradients) {
    let Context { x, mean, inverse, weights } = context;
    let _op = begin("batch_norm affine backward", &[x, x], 3 * x.shape().elements());
    let (of_scale, of_shift) = gradient.split_at(mean.len());
    // The shift depends on the scale.
    let of_scale: Vec<f64> = (0..mean.len()).map(|c| of_scale[c] - mean[c] * of_shift[c]).collect();
    if gradients.wants(0) {
        let each = |value: &dyn Fn(usize) -> f64| -> Vec<T> {
            let count = x.shape().rows() as f64;
            (0..mean.len())
                .map(|c| T::from_f64(-weights[c] * inverse[c] * value(c) / count))
                .collect()
        };
        let of_statistics = Affine {
            mean: mean.iter().map(|mean| T::from_f64(*mean)).collect(),
            scale: each(&|c| of_scale[c] * inverse[c] * inverse[c]),
            bias: each(&|c| of_shift[c]),
            relu: false,
        };
        gradients.pass(0, &of_statistics.apply(x));
    }
    let weight: Vec<f64> = of_scale.iter().zip(inverse).map(|(scale, i)| scale * i).collect();
    give_channels::<T>(gradients, x, [(1, &weight), (2, of_shift)]);
}
