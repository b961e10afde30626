//! What a convolution does besides: an affine function and a ReLU on its input, moments of its output for the norm.

use alrao::ops::layers::batch_norm::{
    BatchNormConfig, Moments, batch_norm_affine, batch_norm_train, batch_norm_train_of, moments,
};
use alrao::ops::layers::conv2d::{Conv2dConfig, Fused, InputAffine, conv2d, conv2d_fused};
use alrao::ops::layers::depthwise::depthwise_conv2d_with_moments;
use alrao::ops::tensor::concatenate::concatenate;
use alrao::{DType, Device, Shape, Tape, Tensor};

use super::{Row, draw, row};

fn config(stride: usize, padding: usize, groups: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, groups }
}

fn relu(relu: bool) -> BatchNormConfig {
    BatchNormConfig { relu, ..BatchNormConfig::default() }
}

/// A convolution that reads `relu?(scale x + shift)`.
fn read(
    x: &Tensor,
    [scale, shift]: [&Tensor; 2],
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    relu: bool,
) -> Tensor {
    let input = Some(InputAffine { scale, shift, relu });
    conv2d_fused(x, weight, bias, config, Fused { input, ..Fused::default() }).0
}

/// Shapes of images, scale, shift and weight, and of a bias where there is a fifth.
fn reads<const N: usize>(
    name: &'static str,
    shapes: [&[usize]; N],
    config: Conv2dConfig,
    relu: bool,
) -> Row {
    row(name, shapes, move |x| read(&x[0], [&x[1], &x[2]], &x[3], x.get(4), config, relu))
}

/// Running statistics that have seen nothing.
fn running(like: &Tensor) -> [Tensor; 2] {
    [0.0, 1.0].map(|value| Tensor::full(like.device(), like.shape(), like.dtype(), value))
}

fn norm(y: &Tensor, moments: &Moments, weight: &Tensor, bias: &Tensor) -> Tensor {
    let [mean, variance] = running(weight);
    batch_norm_train_of(y, moments, weight, bias, &mean, &variance, relu(false))
}

/// Shapes of images, weight, and the norm's weight and bias: a norm by the convolution's own moments.
fn normed(name: &'static str, shapes: [&[usize]; 4], config: Conv2dConfig) -> Row {
    row(name, shapes, move |x| {
        let fused = Fused { moments: true, ..Fused::default() };
        let (y, moments) = conv2d_fused(&x[0], &x[1], None, config, fused);
        norm(&y, &moments.unwrap(), &x[2], &x[3])
    })
}

fn depthwise_normed(name: &'static str, shapes: [&[usize]; 4], stride: usize) -> Row {
    row(name, shapes, move |x| {
        let (y, moments) = depthwise_conv2d_with_moments(&x[0], &x[1], None, stride, 1);
        norm(&y, &moments, &x[2], &x[3])
    })
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        reads(
            "affine 1x1",
            [&[2, 3, 2, 5], &[5], &[5], &[4, 1, 1, 5], &[4]],
            config(1, 0, 1),
            true,
        ),
        reads("affine one of all", [&[1; 4], &[1], &[1], &[1; 4], &[1]], config(1, 0, 1), false),
        reads("affine 3x3", [&[2, 5, 4, 3], &[3], &[3], &[7, 3, 3, 3]], config(1, 1, 1), true),
        reads(
            "affine, no relu",
            [&[2, 4, 3, 2], &[2], &[2], &[3, 3, 3, 2]],
            config(1, 1, 1),
            false,
        ),
        reads("affine stride 2", [&[2, 5, 7, 3], &[3], &[3], &[4, 3, 3, 3]], config(2, 1, 1), true),
        reads("affine unread", [&[2, 5, 4, 3], &[3], &[3], &[4, 1, 1, 3]], config(2, 0, 1), true),
        reads("affine padding", [&[1, 3, 2, 1], &[1], &[1], &[2, 2, 1, 1]], config(1, 2, 1), true),
        reads(
            "affine groups",
            [&[1, 5, 4, 6], &[6], &[6], &[9, 3, 3, 2], &[9]],
            config(2, 1, 3),
            true,
        ),
        reads("affine wide", [&[9, 2, 2, 40], &[40], &[40], &[9, 3, 3, 40]], config(1, 1, 1), true),
        normed("normed 1x1", [&[2, 3, 2, 5], &[4, 1, 1, 5], &[4], &[4]], config(1, 0, 1)),
        normed("normed one channel", [&[2, 3, 4, 1], &[1, 3, 3, 1], &[1], &[1]], config(1, 1, 1)),
        normed("normed stride 2", [&[2, 5, 7, 17], &[3, 3, 3, 17], &[3], &[3]], config(2, 1, 1)),
        normed("normed groups", [&[2, 5, 4, 6], &[9, 3, 3, 2], &[9], &[9]], config(1, 1, 3)),
        normed("normed parts", [&[2, 20, 21, 2], &[3, 1, 1, 2], &[3], &[3]], config(1, 0, 1)),
        depthwise_normed("normed depthwise", [&[2, 5, 4, 3], &[3, 3, 3], &[3], &[3]], 2),
    ];
    rows.extend(composed());
    rows
}

fn composed() -> Vec<Row> {
    vec![
        row("relu and bias", [&[2, 5, 4, 3], &[7, 3, 3, 3], &[7]], |x| {
            let fused = Fused { relu: true, ..Fused::default() };
            conv2d_fused(&x[0], &x[1], Some(&x[2]), config(1, 1, 1), fused).0
        }),
        row("affine of a slice", [&[2, 4, 3, 7], &[3], &[3], &[4, 3, 3, 3]], |x| {
            let x0 = x[0].slice(3, 2, 3);
            read(&x0, [&x[1], &x[2]], &x[3], None, config(1, 1, 1), true).square()
        }),
        row("affine of an image used twice", [&[2, 3, 3, 2], &[2], &[2], &[2, 3, 3, 2]], |x| {
            let once = |y: &Tensor| read(y, [&x[1], &x[2]], &x[3], None, config(1, 1, 1), true);
            once(&once(&x[0])).add(&x[0])
        }),
        row("affine of data", [&[3], &[3], &[4, 1, 1, 3]], |x| {
            let images = draw(Shape::from([2, 3, 2, 3]), 5);
            let images = Tensor::from_f64s(x[0].device(), [2, 3, 2, 3], x[0].dtype(), &images);
            read(&images, [&x[0], &x[1]], &x[2], None, config(1, 0, 1), true)
        }),
        row("affine, all given", [&[2, 3, 2, 3], &[4, 1, 1, 3]], |x| {
            let full = |value| Tensor::full(x[0].device(), [3], x[0].dtype(), value);
            read(&x[0], [&full(2.0), &full(0.5)], &x[1], None, config(1, 0, 1), true)
        }),
        row("batch norm as affine", [&[2, 3, 2, 5], &[5], &[5]], |x| {
            let [scale, shift] = norm_as_affine(&x[0], &x[1], &x[2]);
            concatenate(&[&scale, &shift]).square()
        }),
        row("batch norm as affine of a slice", [&[2, 3, 2, 7], &[4], &[4]], |x| {
            let slice = x[0].slice(3, 2, 4);
            let [scale, shift] = norm_as_affine(&slice, &x[1], &x[2]);
            slice.mul(&scale).add(&shift).square()
        }),
        row("batch norm read", [&[2, 4, 3, 5], &[5], &[5], &[4, 3, 3, 5], &[4]], |x| {
            let [scale, shift] = norm_as_affine(&x[0], &x[1], &x[2]);
            read(&x[0], [&scale, &shift], &x[3], x.get(4), config(1, 1, 1), true)
        }),
    ]
}

fn norm_as_affine(x: &Tensor, weight: &Tensor, bias: &Tensor) -> [Tensor; 2] {
    let [mean, variance] = running(weight);
    batch_norm_affine(x, &moments(x), weight, bias, &mean, &variance, relu(false))
}

/// Rows that are work for several threads; without a ReLU, whose kinks a step along all inputs would cross.
pub fn large() -> Vec<Row> {
    let (one, three, two) = (config(1, 0, 1), config(1, 1, 1), config(2, 1, 1));
    vec![
        reads("affine", [&[3, 12, 13, 20], &[20], &[20], &[40, 3, 3, 20]], three, false),
        normed("normed colours", [&[3, 20, 21, 3], &[40, 3, 3, 3], &[40], &[40]], three),
        normed("normed 1x1", [&[2, 19, 20, 24], &[40, 1, 1, 24], &[40], &[40]], one),
        normed("normed 3x3", [&[3, 12, 13, 20], &[40, 3, 3, 20], &[40], &[40]], three),
        normed("normed 3x3, stride 2", [&[5, 24, 25, 20], &[9, 3, 3, 20], &[9], &[9]], two),
        normed("normed small images", [&[67, 4, 4, 24], &[33, 3, 3, 24], &[33], &[33]], three),
        depthwise_normed("normed depthwise", [&[5, 20, 21, 40], &[3, 3, 40], &[40], &[40]], 1),
    ]
}

/// Norm, ReLU and convolution in all three ways, of the same inputs: with the norm stored, with the norm as an affine
/// function, and with that function by ordinary arithmetic. Their outputs and their inputs' gradients.
#[test]
fn a_norm_that_is_read_is_a_norm_that_is_stored() {
    type Way = fn(&[Tensor]) -> Tensor;
    const SHAPES: [&[usize]; 5] = [&[3, 5, 4, 6], &[6], &[6], &[7, 3, 3, 6], &[7]];
    let stored: Way = |x| {
        let [mean, variance] = running(&x[1]);
        let y = batch_norm_train(&x[0], &x[1], &x[2], &mean, &variance, relu(true));
        conv2d(&y, &x[3], x.get(4), config(1, 1, 1))
    };
    let as_affine: Way = |x| {
        let [scale, shift] = norm_as_affine(&x[0], &x[1], &x[2]);
        read(&x[0], [&scale, &shift], &x[3], x.get(4), config(1, 1, 1), true)
    };
    let by_arithmetic: Way = |x| {
        let share = 1.0 / x[0].shape().rows() as f64;
        let mean = x[0].sum_to([6]).affine(share, 0.0);
        let variance = x[0].sub(&mean).square().sum_to([6]).affine(share, 0.0);
        let scale = x[1].div(&variance.affine(1.0, relu(true).epsilon).sqrt());
        let shift = x[2].sub(&mean.mul(&scale));
        read(&x[0], [&scale, &shift], &x[3], x.get(4), config(1, 1, 1), true)
    };
    let device = Device::cpu();
    let [stored, others @ ..] = [stored, as_affine, by_arithmetic].map(|way| {
        let row = row("norm and convolution", SHAPES, way);
        let inputs: Vec<_> = (row.shapes.iter().enumerate())
            .map(|(number, shape)| draw(*shape, number as u64))
            .collect();
        let (loss, gradients) = super::objective(&row, &inputs, &device);
        let gradients = gradients.iter().flat_map(Tensor::to_f64s);
        [loss].into_iter().chain(gradients).collect::<Vec<_>>()
    });
    for other in others {
        for (a, b) in stored.iter().zip(&other) {
            assert!((a - b).abs() <= 1e-11 * (1.0 + a.abs()), "{a} stored, {b} read");
        }
    }
}

/// The running statistics after one batch, by the moments of a convolution whose output is far from zero.
#[test]
fn moments_of_a_convolution_are_exact_far_from_zero() {
    let device = Device::cpu();
    let cases: [(&str, [usize; 4], [usize; 4], Conv2dConfig); 6] = [
        ("1x1", [3, 32, 31, 6], [5, 1, 1, 6], config(1, 0, 1)),
        ("3x3 of colours", [3, 32, 31, 3], [5, 3, 3, 3], config(1, 1, 1)),
        ("3x3", [3, 16, 15, 18], [40, 3, 3, 18], config(1, 1, 1)),
        ("3x3, stride 2", [3, 32, 31, 18], [9, 3, 3, 18], config(2, 1, 1)),
        ("3x3 of small images", [70, 4, 4, 18], [5, 3, 3, 18], config(1, 1, 1)),
        ("groups", [3, 16, 15, 6], [6, 3, 3, 2], config(1, 1, 3)),
    ];
    for (name, images, weight, config) in cases {
        let data = |shape: [usize; 4], number| {
            Tensor::from_f64s(&device, shape, DType::F32, &draw(shape.into(), number))
        };
        let (x, weight) = (data(images, 0), data(weight, 1));
        let bias = Tensor::full(&device, [weight.shape()[0]], DType::F32, 1000.0);
        let fused = Fused { moments: true, ..Fused::default() };
        let (y, moments) = conv2d_fused(&x, &weight, Some(&bias), config, fused);
        check_running(name, &y, &moments.unwrap());
    }
    let shape = Shape::from([3, 32, 31, 5]);
    let x = Tensor::from_f64s(&device, shape, DType::F32, &draw(shape, 0));
    let weight = Tensor::from_f64s(&device, [3, 3, 5], DType::F32, &draw([3, 3, 5].into(), 1));
    let bias = Tensor::full(&device, [5], DType::F32, 1000.0);
    let (y, moments) = depthwise_conv2d_with_moments(&x, &weight, Some(&bias), 1, 1);
    check_running("depthwise", &y, &moments);
}

fn check_running(name: &str, y: &Tensor, moments: &Moments) {
    let channels = y.shape().columns();
    let one = Tensor::full(y.device(), [channels], DType::F32, 1.0);
    let [mean, variance] = running(&one);
    batch_norm_train_of(y, moments, &one, &one, &mean, &variance, relu(false));
    let (values, count) = (y.to_f64s(), y.shape().rows() as f64);
    for channel in 0..channels {
        let own = || values.iter().skip(channel).step_by(channels);
        let exact = own().sum::<f64>() / count;
        let unbiased = own().map(|y| (y - exact).powi(2)).sum::<f64>() / (count - 1.0);
        let (a, b) = (mean.to_f64s()[channel], variance.to_f64s()[channel]);
        assert!((a - 0.1 * exact).abs() < 1.1e-5, "{name}: mean {a}");
        let error = (b - (0.9 + 0.1 * unbiased)).abs();
        assert!(error < 2e-7 * (0.9 + 0.1 * unbiased), "{name}: variance off by {error}");
    }
}

#[test]
#[should_panic(expected = "moments of 12 rows of 4 channels")]
fn moments_of_another_tensor_are_refused() {
    let device = Device::cpu();
    let one = |shape: &[usize]| Tensor::full(&device, shape, DType::F32, 1.0);
    let own = moments(&one(&[2, 3, 2, 4]));
    norm(&one(&[2, 3, 3, 4]), &own, &one(&[4]), &one(&[4]));
}

#[test]
#[should_panic(expected = "conv2d: a scale or shift [2]")]
fn a_scale_of_other_channels_is_refused() {
    let device = Device::cpu();
    let one = |shape: &[usize]| Tensor::full(&device, shape, DType::F32, 1.0);
    let x = one(&[1, 2, 2, 3]);
    read(&x, [&one(&[2]), &one(&[3])], &one(&[4, 1, 1, 3]), None, config(1, 0, 1), true);
}

/// The function is of the image, not of what lies around it.
#[test]
fn padding_stays_zero() {
    let device = Device::cpu();
    let tape = Tape::new();
    let x = tape.watch(&Tensor::full(&device, [1, 1, 1, 1], DType::F64, 2.0));
    let weight = Tensor::full(&device, [1, 3, 3, 1], DType::F64, 1.0);
    let [scale, shift] = [3.0, 5.0].map(|value| Tensor::full(&device, [1], DType::F64, value));
    let y = read(&x, [&scale, &shift], &weight, None, config(1, 1, 1), false);
    tape.backward(&y.sum());
    assert_eq!((y.item(), tape.gradient(&x).unwrap().item()), (11.0, 3.0));
}
