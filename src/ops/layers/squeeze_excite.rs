//! Channel gates (squeeze and excitation, Hu et al. 2018): each channel of an image is scaled by a factor that depends
//! on the means of all its channels.

mod launch;

use std::rc::Rc;

use self::launch::{Gates, gates, input_gradient, layer_gradients, sums_of_products};
use crate::device::{Device, Gpu};
use crate::ops::begin;
use crate::ops::layers::conv2d::{Conv2dConfig, conv2d};
use crate::ops::layers::pool::global_average_pool;
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, assert_alike, assert_wide};

/// `y = x gate + residual`, or `x gate` without a residual. `gate = sigmoid(excite max(squeeze mean + bias, 0) + bias)`
/// has a factor for each channel of each image; `mean` is the mean of each channel over the image's pixels.
///
/// `x` and the residual are `[N, H, W, C]`. The layers are 1x1 convolutions, each with its bias: `squeeze` is
/// `[units, 1, 1, C]` and `[units]`, `excite` is `[C, 1, 1, units]` and `[C]`. Panics if shapes or dtypes do not fit.
///
/// ```
/// use alrao::ops::layers::squeeze_excite::squeeze_excite;
/// use alrao::{Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&device, [1, 1, 2, 1], &[1f32, 3.0]);
/// let [weight, zero] = [1.0, 0.0].map(|value| Tensor::from_slice(&device, [1, 1, 1, 1], &[value as f32]));
/// let bias = Tensor::from_slice(&device, [1], &[0f32]);
/// // With weights of zero, a gate is 1/2.
/// let y = squeeze_excite(&x, [&weight, &bias], [&zero, &bias], Some(&x));
/// assert_eq!(y.to_vec::<f32>(), [1.5, 4.5]);
/// ```
pub fn squeeze_excite(
    x: &Tensor,
    squeeze: [&Tensor; 2],
    excite: [&Tensor; 2],
    residual: Option<&Tensor>,
) -> Tensor {
    check(x, squeeze, excite, residual);
    match x.device() {
        Device::Cpu(_) => composed(x, squeeze, excite, residual),
        Device::Gpu(gpu) => on_gpu(gpu, x, squeeze, excite, residual),
    }
}

fn check(x: &Tensor, squeeze: [&Tensor; 2], excite: [&Tensor; 2], residual: Option<&Tensor>) {
    assert_alike("squeeze_excite", &[x, squeeze[0], excite[0]]);
    assert_wide("squeeze_excite", x, &[squeeze[1], excite[1]]);
    let (shape, units) = (x.shape(), squeeze[1].shape().elements());
    let is_image = shape.rank() == 4 && shape[3] > 0 && units > 0;
    assert!(is_image, "squeeze_excite: {units} hidden units for x of shape {shape}");
    let channels = shape[3];
    let layers = [(squeeze, [units, 1, 1, channels]), (excite, [channels, 1, 1, units])];
    for ([weight, bias], extents) in layers {
        assert!(
            weight.shape().extents() == extents && bias.shape().extents() == &extents[..1],
            "squeeze_excite: weight {} and bias {} of a layer {extents:?} for x of shape {shape}",
            weight.shape(),
            bias.shape()
        );
    }
    if let Some(residual) = residual {
        assert_alike("squeeze_excite", &[x, residual]);
        let other = residual.shape();
        assert!(
            shape == other,
            "squeeze_excite: a residual of shape {other} for x of shape {shape}"
        );
    }
}

/// The op as separate ops.
fn composed(
    x: &Tensor,
    squeeze: [&Tensor; 2],
    excite: [&Tensor; 2],
    residual: Option<&Tensor>,
) -> Tensor {
    let layer = |x: &Tensor, [weight, bias]: [&Tensor; 2]| {
        conv2d(x, weight, Some(bias), Conv2dConfig::default())
    };
    let [images, .., channels] = [0, 1, 2, 3].map(|axis| x.shape()[axis]);
    let mean = global_average_pool(x).reshape([images, 1, 1, channels]);
    let gates = layer(&layer(&mean, squeeze).relu(), excite).sigmoid();
    let y = x.mul(&gates);
    match residual {
        Some(residual) => y.add(residual),
        None => y,
    }
}

/// Two launches: the gates, which need all of an image's pixels, and the output.
fn on_gpu(
    gpu: &Rc<Gpu>,
    x: &Tensor,
    squeeze: [&Tensor; 2],
    excite: [&Tensor; 2],
    residual: Option<&Tensor>,
) -> Tensor {
    let y = x.empty_like(x.shape());
    let mut tensors = vec![x, x, &y];
    tensors.extend(residual);
    let op = begin("squeeze_excite forward", &tensors, 3 * x.shape().elements());
    let gates = gates(gpu, x, squeeze, excite);
    gates.apply(gpu, x, residual, &y);
    drop(op);
    let mut inputs = vec![x, squeeze[0], squeeze[1], excite[0], excite[1]];
    inputs.extend(residual);
    let (gpu, x, has_residual) = (Rc::clone(gpu), x.detach(), residual.is_some());
    record(y, &inputs, move |dy, all| {
        if has_residual {
            all.pass(5, dy);
        }
        backward(&gpu, &gates, &x, dy, all);
    })
}

fn backward(gpu: &Gpu, gates: &Gates, x: &Tensor, dy: &Tensor, gradients: &mut Gradients) {
    if (0..5).all(|input| !gradients.wants(input)) {
        return;
    }
    let _op = begin("squeeze_excite backward", &[x, dy, dy, x], 4 * x.shape().elements());
    let sums = sums_of_products(gpu, gates, x, dy);
    let slots = [1, 2, 3, 4].map(|input| gradients.slot(input, x.dtype().wide()));
    if slots.iter().any(Option::is_some) {
        layer_gradients(gpu, gates, &sums, &slots);
    }
    if let Some(slot) = gradients.any_slot(0, dy) {
        assert_alike("squeeze_excite", &[x, &slot.tensor]);
        input_gradient(gpu, gates, &sums, dy, &slot);
    }
}
