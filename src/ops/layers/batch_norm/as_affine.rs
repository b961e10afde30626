//! Batch norm as an affine function of every channel, which a convolution applies to its input as it reads it.

use super::moments::Moments;
use super::{BatchNormConfig, check, launch, update_running};
use crate::device::Device;
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
    let (inputs, running) = ([x, weight, bias], [running_mean, running_variance]);
    check(inputs, Some(moments), running);
    match x.device() {
        Device::Gpu(gpu) => launch::update_running(gpu, inputs, moments, running, config),
        Device::Cpu(_) => float_dispatch!(x.dtype(), "batch_norm", T => {
            update_running::<T>(running, moments, x, config.momentum);
        }),
    }
    // Computed again by element-wise ops, through which gradients flow: no layer uses this path yet.
    let (rows, channels) = (x.shape().rows(), x.shape().columns());
    let flat = x.cast(x.dtype().wide()).reshape([rows, channels]);
    let mean_of = |values: &Tensor| {
        let sums = values.sum_to([1, channels]);
        sums.affine(1.0 / rows as f64, 0.0).reshape([channels])
    };
    let mean = mean_of(&flat);
    let variance = mean_of(&flat.sub(&mean).square());
    let scale = weight.div(&variance.affine(1.0, config.epsilon).sqrt());
    let shift = bias.sub(&mean.mul(&scale));
    [scale, shift]
}
