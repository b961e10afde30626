//! Depthwise convolutions: output and the gradients of input, weights and bias.

use crate::ops::layers::batch_norm::{BatchNormConfig, batch_norm_train, batch_norm_train_of};
use crate::ops::layers::depthwise::{depthwise_conv2d, depthwise_conv2d_with_moments};
use crate::{DType, Device, Tape, Tensor};

use super::matmul::pitched;
use super::{Case, Outputs, drawn, gradient};

/// One depthwise convolution.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Images, height, width, channels.
    image: [usize; 4],
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    has_bias: bool,
    /// Channels of the tensor that the images are a slice of, before and after them.
    gaps: [usize; 2],
}

fn shapes() -> Vec<Shape> {
    let rows = [
        // 3x3, stride 1, four channels at a time: widths that are multiples of four pixels, and others; paddings of 0
        // and above the kernel.
        ([2, 5, 8, 8], [3, 3], [1, 1], true, [0, 0]),
        ([1, 7, 5, 36], [3, 3], [1, 1], false, [0, 0]),
        ([2, 6, 7, 4], [3, 3], [1, 0], true, [4, 8]),
        ([1, 3, 2, 64], [3, 3], [1, 3], false, [0, 0]),
        ([1, 1, 1, 4], [3, 3], [1, 1], true, [0, 0]),
        // Four channels at a time, other strides and kernels.
        ([2, 9, 8, 8], [3, 3], [2, 1], true, [0, 4]),
        ([1, 8, 7, 12], [2, 5], [3, 2], false, [0, 0]),
        ([1, 5, 9, 40], [5, 3], [1, 2], true, [0, 0]),
        ([2, 7, 7, 4], [1, 1], [2, 0], false, [0, 0]),
        ([1, 6, 6, 4], [2, 2], [3, 1], false, [0, 0]),
        // Channels that are not a multiple of four, and slices off 16 bytes.
        ([2, 6, 5, 3], [3, 3], [1, 1], true, [0, 0]),
        ([2, 6, 5, 1], [3, 3], [2, 1], false, [0, 0]),
        ([1, 7, 6, 5], [5, 5], [1, 2], true, [0, 0]),
        ([1, 7, 6, 33], [3, 3], [1, 1], true, [0, 0]),
        ([1, 7, 6, 8], [3, 3], [1, 1], false, [1, 3]),
        ([1, 7, 6, 16], [3, 3], [1, 1], true, [8, 16]),
        ([2, 9, 7, 24], [5, 5], [2, 2], true, [0, 8]),
        ([2, 5, 6, 8], [3, 2], [2, 1], false, [2, 0]),
        // No images.
        ([0, 5, 5, 4], [3, 3], [1, 1], true, [0, 0]),
        // Many parts of the weights' gradient, of which the last is short.
        ([3, 31, 33, 40], [3, 3], [1, 1], false, [0, 0]),
        ([3, 31, 33, 13], [3, 3], [1, 1], false, [0, 0]),
        ([5, 41, 43, 8], [3, 3], [1, 1], true, [0, 0]),
        ([3, 31, 33, 20], [5, 5], [2, 2], false, [0, 0]),
    ];
    rows.map(|(image, kernel, [stride, padding], has_bias, gaps)| Shape {
        image,
        kernel,
        stride,
        padding,
        has_bias,
        gaps,
    })
    .to_vec()
}

/// The output, and all gradients: stored, or accumulated in a second use if `twice`.
fn run(shape: Shape, twice: bool) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Shape { image, kernel: [height, width], stride, padding, .. } = shape;
        let channels = image[3];
        let tape = Tape::new();
        let x = tape.watch(&pitched(device, &image, dtype, shape.gaps, 1));
        let weight = tape.watch(&drawn(device, &[height, width, channels], dtype, 2));
        let bias = shape.has_bias.then(|| tape.watch(&drawn(device, &[channels], dtype.wide(), 3)));
        let convolve = || depthwise_conv2d(&x, &weight, bias.as_ref(), stride, padding);
        let y = convolve();
        if twice {
            tape.backward(&y.mul(&convolve()).sum());
        } else {
            let weights = drawn(device, y.shape().extents(), dtype, 4);
            tape.backward(&y.mul(&weights).sum());
        }
        let mut outputs = vec![("y", y.to_f64s())];
        let gradient = |x: &Tensor| gradient(&tape, x);
        outputs.extend([("dx", gradient(&x)), ("dw", gradient(&weight))]);
        outputs.extend(bias.as_ref().map(|bias| ("db", gradient(bias))));
        outputs
    }
}

/// Behind a norm, and before the moments for another: the convolution computes these, and the sums over its input's gradient for the
/// norm.
fn behind_a_norm(shape: Shape, is_used_again: bool) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Shape { image, kernel: [height, width], stride, padding, .. } = shape;
        let (channels, wide, tape) = (image[3], dtype.wide(), Tape::new());
        let x = tape.watch(&drawn(device, &image, dtype, 1));
        let vector = |number| drawn(device, &[channels], wide, number);
        let scales = tape.watch(&vector(2).affine(1.0, 1.0));
        let shifts = tape.watch(&vector(3));
        let config = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
        let statistics = || [0.25, 2.0].map(|value| Tensor::full(device, [channels], wide, value));
        let [mean, variance] = statistics();
        let z = batch_norm_train(&x, &scales, &shifts, &mean, &variance, config);
        let weight = drawn(device, &[height, width, channels], dtype, 4);
        let bias = shape.has_bias.then(|| vector(5));
        let (y, moments) =
            depthwise_conv2d_with_moments(&z, &weight, bias.as_ref(), stride, padding);
        let [mean, variance] = statistics();
        let (own, more) = (vector(6), vector(7));
        batch_norm_train_of(&y.detach(), &moments, &own, &more, &mean, &variance, config);
        let mut loss = y.mul(&drawn(device, y.shape().extents(), dtype, 8)).sum();
        if is_used_again {
            loss = loss.add(&z.mul(&drawn(device, &image, dtype, 9)).sum());
        }
        tape.backward(&loss);
        vec![
            ("mean", mean.to_f64s()),
            ("variance", variance.to_f64s()),
            ("dx", gradient(&tape, &x)),
            ("dweight", gradient(&tape, &scales)),
            ("dbias", gradient(&tape, &shifts)),
        ]
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in shapes().into_iter().filter(|shape| shape.gaps == [0, 0]) {
        for is_used_again in [false, true] {
            let [images, height, width, _] = shape.image;
            let Shape { image, kernel, stride, padding, has_bias, .. } = shape;
            let name = format!(
                "depthwise {image:?} by {kernel:?}, stride {stride} padding {padding} bias {has_bias} behind a norm, \
                 input used again {is_used_again}"
            );
            // A norm over few rows enlarges errors.
            if images * height * width > 20 {
                let run = behind_a_norm(shape, is_used_again);
                cases.extend(Case::new(name, 4000, run).and_in_bf16(4));
            }
        }
    }
    for shape in shapes() {
        for twice in [false, true] {
            let [images, height, width, _] = shape.image;
            let Shape { image, kernel, stride, padding, has_bias, gaps } = shape;
            let name = format!(
                "depthwise {image:?} by {kernel:?}, stride {stride} padding {padding} bias {has_bias} gaps {gaps:?} twice {twice}"
            );
            let case = Case::new(name, images * height * width, run(shape, twice));
            // With two uses, the output is stored and is the gradient of the other, and dx is stored before it
            // accumulates.
            cases.extend(case.and_in_bf16(if twice { 4 } else { 1 }));
        }
    }
    cases
}
