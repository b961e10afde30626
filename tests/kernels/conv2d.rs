//! Convolutions: output and the gradients of input, weights and bias.

use alrao::ops::conv2d::{Conv2dConfig, conv2d};
use alrao::{DType, Device, Tape, Tensor};

use super::matmul::{pitched, weighed};
use super::{Case, Outputs, drawn};

/// One convolution.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Images, height, width, channels.
    image: [usize; 4],
    /// Features, height, width.
    kernel: [usize; 3],
    config: Conv2dConfig,
    has_bias: bool,
    /// Channels of the tensor that the images are a slice of, before and after them.
    gaps: [usize; 2],
}

fn shape(
    image: [usize; 4],
    kernel: [usize; 3],
    [stride, padding, groups]: [usize; 3],
    has_bias: bool,
    gaps: [usize; 2],
) -> Shape {
    Shape { image, kernel, config: Conv2dConfig { stride, padding, groups }, has_bias, gaps }
}

fn shapes() -> Vec<Shape> {
    vec![
        // Channels by fours, and not; an image of one pixel; a kernel larger than the image.
        shape([2, 8, 8, 8], [16, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([3, 7, 5, 3], [5, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 9, 6, 1], [1, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([1, 1, 1, 4], [8, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([1, 9, 9, 4], [6, 5, 3], [1, 0, 1], false, [0, 0]),
        shape([1, 3, 2, 6], [7, 5, 4], [1, 2, 1], false, [0, 0]),
        // Strides: beside, below and above the kernel.
        shape([1, 9, 8, 4], [8, 3, 3], [2, 1, 1], true, [0, 0]),
        shape([2, 7, 7, 5], [3, 3, 3], [3, 1, 1], false, [0, 0]),
        shape([2, 8, 9, 3], [5, 2, 2], [3, 0, 1], true, [0, 0]),
        shape([2, 6, 5, 8], [12, 1, 1], [2, 0, 1], false, [0, 0]),
        // Slices of an image's channels: on 16 bytes, and not.
        shape([2, 6, 7, 8], [8, 3, 3], [1, 1, 1], true, [4, 8]),
        shape([2, 6, 7, 8], [8, 3, 3], [1, 1, 1], false, [1, 3]),
        shape([2, 6, 7, 8], [8, 3, 3], [2, 1, 1], false, [0, 1]),
        // Groups.
        shape([2, 6, 5, 8], [16, 3, 3], [1, 1, 2], true, [0, 0]),
        shape([2, 6, 5, 6], [9, 3, 3], [2, 1, 3], true, [0, 2]),
        shape([2, 5, 5, 8], [8, 1, 1], [1, 0, 2], false, [0, 0]),
        // Kernels of one pixel: with a bias not, else a product of matrices.
        shape([2, 5, 5, 8], [12, 1, 1], [1, 0, 1], false, [4, 0]),
        shape([2, 5, 5, 7], [9, 1, 1], [1, 0, 1], true, [0, 0]),
        // No images.
        shape([0, 5, 5, 4], [8, 3, 3], [1, 1, 1], true, [0, 0]),
        // 32x32, whole with many slabs, and in parts.
        shape([1, 33, 31, 20], [33, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([1, 12, 12, 66], [62, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 9, 9, 127], [129, 3, 3], [1, 1, 1], true, [0, 0]),
        // 64x64.
        shape([2, 66, 64, 9], [64, 3, 3], [1, 1, 1], true, [0, 0]),
        shape([2, 65, 65, 12], [63, 3, 3], [1, 1, 1], false, [0, 0]),
        shape([4, 65, 65, 64], [20, 3, 3], [2, 1, 1], false, [0, 0]),
        shape([2, 17, 17, 128], [128, 3, 3], [1, 1, 1], true, [0, 0]),
    ]
}

/// Those that meet 128x128, for which others' gradients are left out: they take long.
fn large_shapes() -> Vec<(Shape, [bool; 3])> {
    let dx = [true, false, false];
    let all = [true, true, false];
    vec![
        (shape([4, 66, 64, 8], [128, 3, 3], [1, 1, 1], true, [0, 0]), [false; 3]),
        (shape([4, 66, 64, 7], [127, 3, 3], [1, 1, 1], false, [0, 0]), [false; 3]),
        (shape([4, 66, 64, 128], [8, 3, 3], [1, 1, 1], false, [0, 0]), dx),
        (shape([4, 66, 64, 127], [7, 3, 3], [1, 1, 1], false, [0, 0]), dx),
        (shape([1, 30, 62, 640], [640, 1, 1], [2, 0, 1], true, [0, 0]), all),
        (shape([1, 32, 54, 513], [1024, 1, 1], [2, 0, 1], false, [0, 0]), all),
    ]
}

/// The output, and the gradients of those of x, weight and bias that are wanted: stored, and where `twice` added to by
/// a second use.
fn run(shape: Shape, wanted: [bool; 3], twice: bool) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Shape { image, kernel: [features, height, width], config, .. } = shape;
        let tape = Tape::new();
        let watch = |index: usize, x: Tensor| if wanted[index] { tape.watch(&x) } else { x };
        let x = watch(0, pitched(device, &image, dtype, shape.gaps, 1));
        let weight = [features, height, width, image[3] / config.groups];
        let weight = watch(1, drawn(device, &weight, dtype, 2));
        let bias = shape.has_bias.then(|| watch(2, drawn(device, &[features], dtype, 3)));
        let y = conv2d(&x, &weight, bias.as_ref(), config);
        if twice {
            let again = conv2d(&x, &weight, bias.as_ref(), config);
            let elements = y.shape().elements();
            let loss = y.reshape([1, elements]).matmul_transposed(&again.reshape([1, elements]));
            tape.backward(&loss);
        } else {
            tape.backward(&weighed(&y, 4));
        }
        let mut outputs = vec![("y", y.to_f64s())];
        let inputs = [("dx", Some(&x)), ("dw", Some(&weight)), ("db", bias.as_ref())];
        for (name, input) in inputs {
            let gradient = input.and_then(|input| tape.gradient(input));
            outputs.extend(gradient.map(|gradient| (name, gradient.to_f64s())));
        }
        outputs
    }
}

pub fn cases() -> Vec<Case> {
    let terms = |shape: Shape| {
        let [images, height, width, channels] = shape.image;
        let [features, kernel_height, kernel_width] = shape.kernel;
        (images * height * width).max(kernel_height * kernel_width * channels.max(features))
    };
    let name = |shape: Shape, more: &str| {
        let Shape { image, kernel, config, has_bias, gaps } = shape;
        let Conv2dConfig { stride, padding, groups } = config;
        let bias = if has_bias { " bias" } else { "" };
        format!(
            "conv2d {image:?} by {kernel:?}, stride {stride} padding {padding} groups {groups}{bias} gaps {gaps:?}{more}"
        )
    };
    let mut cases = Vec::new();
    for shape in shapes() {
        let run = run(shape, [true; 3], false);
        cases.push(Case::new(name(shape, ""), terms(shape), run));
    }
    for &shape in &shapes()[..21] {
        let run = run(shape, [true; 3], true);
        cases.push(Case::new(name(shape, " twice"), terms(shape), run));
    }
    for (shape, wanted) in large_shapes() {
        let run = run(shape, wanted, false);
        cases.push(Case::new(name(shape, " large"), terms(shape), run));
    }
    cases
}
