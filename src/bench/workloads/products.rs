//! Kernels that multiply: products of matrices, convolutions, depthwise convolutions.

use super::{Cost, Size, Work, Workload, filled, forward_and_back};
use crate::device::{DType, Device};
use crate::ops::conv2d::{Conv2dConfig, conv2d};
use crate::ops::depthwise::depthwise_conv2d;
use crate::ops::matmul::matmul_tf32;
use crate::ops::matmul::tiles::Cut;
use crate::tape::Tape;

pub(super) fn all() -> Vec<Workload> {
    let mut all = matrices();
    all.push(parts());
    all.extend(CONVOLUTIONS.iter().map(convolution));
    all.extend(DEPTHWISE.iter().map(depthwise));
    all
}

/// Which side is taken transposed.
#[derive(Clone, Copy, PartialEq)]
enum Sides {
    Plain,
    RightTransposed,
    LeftTransposed,
}

/// m, n, k at full size, and small: each meets another tile in f32. The last is ten copies of the last layer, at batch 128.
const IN_F32: [[[usize; 3]; 2]; 3] = [
    [[2048, 2048, 2048], [640, 640, 465]],
    [[1400, 400, 100], [64, 64 * 132, 80]],
    [[128, 100, 512], [33, 31, 159]],
];

/// The same in tf32.
const IN_TF32: [[[usize; 3]; 2]; 3] = [
    [[2048, 2048, 2048], [640, 513, 960]],
    [[2048, 512, 512], [129, 4289, 160]],
    [[128, 100, 512], [33, 31, 159]],
];

fn matrices() -> Vec<Workload> {
    let sides = [Sides::Plain, Sides::RightTransposed, Sides::LeftTransposed];
    let mut all = Vec::new();
    for own in sides {
        all.extend(IN_F32.map(|sizes| product(own, sizes, false)));
        all.extend(IN_TF32.map(|sizes| product(own, sizes, true)));
    }
    all
}

fn product(sides: Sides, [full, small]: [[usize; 3]; 2], is_tf32: bool) -> Workload {
    let [m, n, k] = full;
    let transposed = [sides == Sides::LeftTransposed, sides == Sides::RightTransposed];
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [m, n, k] = size.of(full, small);
        let shape = |[rows, columns]: [usize; 2], is_transposed| match is_transposed {
            true => [columns, rows],
            false => [rows, columns],
        };
        let a = filled(device, &shape([m, k], transposed[0]), dtype, 1);
        let b = filled(device, &shape([k, n], transposed[1]), dtype, 2);
        Box::new(move || {
            let product = match (is_tf32, sides) {
                (true, _) => matmul_tf32(&a, &b, transposed),
                (false, Sides::Plain) => a.matmul(&b),
                (false, Sides::RightTransposed) => a.matmul_transposed(&b),
                (false, Sides::LeftTransposed) => a.transposed_matmul(&b),
            };
            vec![product]
        })
    };
    let kernels = match (is_tf32, sides) {
        (true, Sides::Plain) => "matmul_tf32*_nn*",
        (true, Sides::RightTransposed) => "matmul_tf32*_nt*",
        (true, Sides::LeftTransposed) => "matmul_tf32*_tn*",
        (false, Sides::Plain) => "matmul*_nn_f32",
        (false, Sides::RightTransposed) => "matmul*_nt_f32",
        (false, Sides::LeftTransposed) => "matmul*_tn_f32",
    };
    let cost = Cost::elements(m * k + k * n + m * n).and_operations(2 * m * n * k);
    let precision = if is_tf32 { ", tf32" } else { "" };
    let how = ["", ", left transposed", ", right transposed"]
        [usize::from(transposed[0]) + 2 * usize::from(transposed[1])];
    Workload::new(format!("[{m}, {k}] by [{k}, {n}]{precision}{how}"), prepare).cost(kernels, cost)
}

/// The gradient of an LSTM's weights: few tiles, so that the inner axis is cut.
fn parts() -> Workload {
    let (full, small) = ([400, 100, 1400], [32, 64, 1024]);
    let [m, n, k] = full;
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [m, n, k] = size.of(full, small);
        let (a, b) = (filled(device, &[k, m], dtype, 1), filled(device, &[k, n], dtype, 2));
        Box::new(move || vec![a.transposed_matmul(&b)])
    };
    let splits = Cut::of(1, full).splits;
    Workload::new(format!("{splits} parts of [{m}, {k}] by [{k}, {n}]"), prepare)
        .cost("matmul_sum*", Cost::bytes(4 * (splits + 1) * m * n).and_operations(splits * m * n))
}

/// A convolution: images, height, width, channels; features, height and width of the kernel; stride.
#[derive(Clone, Copy)]
struct Convolution {
    image: [usize; 4],
    kernel: [usize; 2],
    stride: usize,
    /// Of input and weights: those that have a gradient.
    gradients: [bool; 2],
}

const BOTH: [bool; 2] = [true, true];

const fn layer(image: [usize; 4], features: usize) -> Convolution {
    Convolution { image, kernel: [features, 3], stride: 1, gradients: BOTH }
}

const fn small(
    image: [usize; 4],
    kernel: [usize; 2],
    stride: usize,
    gradients: [bool; 2],
) -> Convolution {
    Convolution { image, kernel, stride, gradients }
}

/// VGG19's layers and cnn's first, each with a small one; the small ones meet every tile of every kernel, as the tests' do.
const CONVOLUTIONS: [[Convolution; 2]; 8] = [
    [layer([32, 32, 32, 64], 64), small([2, 66, 64, 9], [64, 3], 1, [false, false])],
    [layer([32, 16, 16, 128], 128), small([4, 65, 65, 64], [20, 3], 2, [true, false])],
    [layer([32, 8, 8, 256], 256), small([2, 17, 17, 128], [128, 3], 1, [false, true])],
    [layer([32, 4, 4, 512], 512), small([4, 66, 64, 8], [128, 3], 1, [false, false])],
    [layer([32, 2, 2, 512], 512), small([4, 66, 64, 128], [8, 3], 1, [true, false])],
    [layer([32, 32, 32, 3], 64), small([2, 9, 9, 127], [129, 3], 1, BOTH)],
    [layer([32, 32, 32, 3], 32), small([3, 7, 5, 3], [5, 3], 1, BOTH)],
    [layer([128, 16, 16, 256], 256), small([1, 32, 54, 513], [1024, 1], 2, [false, true])],
];

impl Convolution {
    fn config(self) -> Conv2dConfig {
        Conv2dConfig { stride: self.stride, padding: self.kernel[1] / 2, groups: 1 }
    }

    fn prepare(self, device: &Device, dtype: DType) -> Work {
        let Convolution { image, kernel: [features, side], gradients, .. } = self;
        let out = |extent: usize| (extent - 1) / self.stride + 1;
        let config = self.config();
        let x = filled(device, &image, dtype, 1);
        let weight = filled(device, &[features, side, side, image[3]], dtype, 2);
        let dy = [image[0], out(image[1]), out(image[2]), features];
        let dy = filled(device, &dy, dtype, 3);
        Box::new(move || {
            let tape = Tape::new();
            let watch = |is_watched, tensor: &crate::tensor::Tensor| match is_watched {
                true => tape.watch(tensor),
                false => tensor.clone(),
            };
            let (x, weight) = (watch(gradients[0], &x), watch(gradients[1], &weight));
            let y = conv2d(&x, &weight, None, config);
            if gradients == [false, false] {
                return vec![y];
            }
            tape.backward(&y.mul(&dy).sum());
            let gradients = [&x, &weight].into_iter().filter_map(|input| tape.gradient(input));
            gradients.chain([y.detach()]).collect()
        })
    }
}

fn convolution(sizes: &[Convolution; 2]) -> Workload {
    let [full, small] = *sizes;
    let Convolution { image: [images, height, width, channels], kernel: [features, side], .. } =
        full;
    let pixels = images * height * width;
    let depth = side * side * channels;
    let cost = Cost::elements(pixels * (channels + features) + features * depth)
        .and_operations(2 * pixels * features * depth);
    let name = format!("{features} features of {side}x{side} on {:?}", full.image);
    Workload::new(name, move |device, dtype, size| size.of(full, small).prepare(device, dtype))
        .cost("conv2d*_fwd*", cost)
        .cost("conv2d*_dx_bwd*", cost)
        .cost("conv2d*_dw_bwd*", cost)
}

/// Full and small images, side of the kernel, stride.
type Depthwise = ([[usize; 4]; 2], usize, usize);

/// MobileNetV2's, with stride 1 and 2; a larger kernel; channels that 16 bytes do not divide.
const DEPTHWISE: [Depthwise; 4] = [
    ([[32, 32, 32, 96], [2, 7, 9, 8]], 3, 1),
    ([[32, 32, 32, 96], [2, 7, 9, 8]], 3, 2),
    ([[32, 32, 32, 96], [2, 7, 9, 8]], 5, 1),
    ([[32, 32, 32, 63], [2, 7, 9, 5]], 3, 1),
];

fn depthwise(&([full, small], side, stride): &Depthwise) -> Workload {
    let [images, height, width, channels] = full;
    let out_pixels = images * (height / stride) * (width / stride);
    let cost = Cost::elements(channels * (images * height * width + out_pixels))
        .and_operations(2 * side * side * channels * out_pixels);
    let prepare = move |device: &Device, dtype, size: Size| {
        let [images, height, width, channels] = size.of(full, small);
        let out = |extent: usize| (extent - 1) / stride + 1;
        let x = filled(device, &[images, height, width, channels], dtype, 1);
        let weight = filled(device, &[side, side, channels], dtype, 2);
        let dy = filled(device, &[images, out(height), out(width), channels], dtype, 3);
        forward_and_back(vec![x, weight], dy, move |x| {
            depthwise_conv2d(&x[0], &x[1], None, stride, side / 2)
        })
    };
    // By fours: runs of pixels for 3x3 with stride 1, all taps' sums at once for 3x3.
    let kernels = match (channels.is_multiple_of(4), side, stride) {
        (false, ..) => ["depthwise_1_fwd*", "depthwise_1_dx_bwd*", "depthwise_1_dw_bwd*"],
        (_, 3, 1) => ["depthwise_3_fwd*", "depthwise_3_dx_bwd*", "depthwise_3_dw_bwd*"],
        (_, 3, _) => ["depthwise_4_fwd*", "depthwise_4_dx_bwd*", "depthwise_3_dw_bwd*"],
        _ => ["depthwise_4_fwd*", "depthwise_4_dx_bwd*", "depthwise_4_dw_bwd*"],
    };
    let workload =
        Workload::new(format!("depthwise {side}x{side}, stride {stride}, of {full:?}"), prepare);
    kernels.into_iter().fold(workload, |workload, kernels| workload.cost(kernels, cost))
}
