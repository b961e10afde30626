//! Compute-bound kernels: matrix products, convolutions, depthwise convolutions.

use super::{Cost, Size, Work, Workload, filled, forward_and_back};
use crate::device::{DType, Device};
use crate::ops::layers::batch_norm::{BatchNormConfig, batch_norm_train};
use crate::ops::layers::conv2d::{Conv2dConfig, Fused, conv2d, conv2d_fused};
use crate::ops::layers::depthwise::depthwise_conv2d;
use crate::ops::tensor::matmul::{with_cut, with_rounded};
use crate::tensor::Tensor;

pub(super) fn all() -> Vec<Workload> {
    let mut all = matrices();
    all.push(parts());
    all.extend([[512, 40], [510, 39]].map(split_moments));
    all.extend([[512, 40], [510, 39]].map(split_gradient));
    all.push(weight_gradients());
    let factors = [Factors::F32, Factors::Tf32, Factors::RoundedTf32];
    let of_factors = |own| factors.map(|factors| convolution(own, factors));
    all.extend(CONVOLUTIONS.into_iter().flat_map(of_factors));
    all.extend(MATRICES.map(pointwise));
    all.extend(DEPTHWISE.iter().map(depthwise));
    all
}

/// The operand that is transposed.
#[derive(Clone, Copy, PartialEq)]
enum Sides {
    Plain,
    RightTransposed,
    LeftTransposed,
}

/// A tile, and m, n, k of its workload at full size and small. The last is a head of ten classifiers at batch 128.
const MATRICES: [(&str, [[usize; 3]; 2]); 3] = [
    ("128", [[2048, 2048, 2048], [130, 129, 70]]),
    ("64", [[1400, 400, 100], [65, 64, 79]]),
    ("32", [[128, 100, 512], [33, 31, 159]]),
];

fn matrices() -> Vec<Workload> {
    let sides = [Sides::Plain, Sides::RightTransposed, Sides::LeftTransposed];
    let both = [Factors::F32, Factors::Tf32].into_iter();
    let both = both.flat_map(|factors| MATRICES.map(|own| (own, factors)));
    let own = |side| both.clone().map(move |(own, factors)| product(side, own, factors));
    sides.into_iter().flat_map(own).collect()
}

/// The factors of products of f32.
#[derive(Clone, Copy, PartialEq)]
enum Factors {
    F32,
    Tf32,
    /// The gradient of a convolution's output is rounded already.
    RoundedTf32,
}

impl Factors {
    /// Runs `work` with these factors, one tile and without split-K.
    fn in_tiles<R>(self, device: &Device, tile: &'static str, work: impl FnOnce() -> R) -> R {
        device.set_tf32(self != Factors::F32);
        let is_rounded = self == Factors::RoundedTf32;
        let result = with_cut(tile, 1, || with_rounded(is_rounded, work));
        device.set_tf32(false);
        result
    }

    /// The end of a workload's name.
    fn name(self) -> &'static str {
        match self {
            Factors::F32 => "",
            Factors::Tf32 => ", tf32",
            Factors::RoundedTf32 => ", tf32, rounded dy",
        }
    }
}

fn product(
    sides: Sides,
    (tile, [full, small]): (&'static str, [[usize; 3]; 2]),
    factors: Factors,
) -> Workload {
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
        let device = device.clone();
        Box::new(move || {
            let product = factors.in_tiles(&device, tile, || match sides {
                Sides::Plain => a.matmul(&b),
                Sides::RightTransposed => a.matmul_transposed(&b),
                Sides::LeftTransposed => a.transposed_matmul(&b),
            });
            vec![product]
        })
    };
    let kernels = match sides {
        Sides::Plain => "matmul*_nn_*",
        Sides::RightTransposed => "matmul*_nt_*",
        Sides::LeftTransposed => "matmul*_tn_*",
    };
    let cost = Cost::elements(m * k + k * n + m * n).and_operations(2 * m * n * k);
    let precision = factors.name();
    let how = ["", ", left transposed", ", right transposed"]
        [usize::from(transposed[0]) + 2 * usize::from(transposed[1])];
    Workload::new(format!("[{m}, {k}] by [{k}, {n}]{precision}{how}"), prepare).cost(kernels, cost)
}

/// The gradient of an LSTM's weights: few tiles, so split-K is used.
fn parts() -> Workload {
    const PARTS: usize = 8;
    let (full, small) = ([400, 100, 1400], [32, 64, 1024]);
    let [m, n, k] = full;
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let [m, n, k] = size.of(full, small);
        let (a, b) = (filled(device, &[k, m], dtype, 1), filled(device, &[k, n], dtype, 2));
        Box::new(move || vec![with_cut("32", PARTS, || a.transposed_matmul(&b))])
    };
    let cost = Cost::elements(m * n).and_bytes(4 * PARTS * m * n).and_operations(PARTS * m * n);
    Workload::new(format!("[{m}, {k}] by [{k}, {n}] in {PARTS} parts"), prepare)
        .cost("matmul_sum*", cost)
}

/// The sums of a convolution that is split into parts, with the moments for a batch norm: a deep layer of VGG19, with this
/// many channels at full size and small.
fn split_moments([channels, few]: [usize; 2]) -> Workload {
    const PARTS: usize = 8;
    let (full, small) = ([32, 4, 4, channels], [2, 3, 3, few]);
    let n: usize = full.iter().product();
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let image = size.of(full, small);
        let (x, features) = (filled(device, &image, dtype, 1), image[3]);
        let weight = filled(device, &[features, 3, 3, features], dtype, 2);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let fused = Fused { moments: true, ..Fused::default() };
        Box::new(move || {
            let y = with_cut("64", PARTS, || conv2d_fused(&x, &weight, None, config, fused).0);
            vec![y]
        })
    };
    let cost = Cost::elements(n).and_bytes(4 * PARTS * n).and_operations((PARTS + 3) * n);
    Workload::new(format!("the {PARTS} parts of a convolution's {full:?}, with moments"), prepare)
        .cost("batch_norm_split_x*", cost)
}

/// The input's gradient of a convolution that is split into parts, with the sums over it for the norm before the convolution.
fn split_gradient([channels, few]: [usize; 2]) -> Workload {
    const PARTS: usize = 8;
    let (full, small) = ([32, 4, 4, channels], [2, 3, 3, few]);
    let n: usize = full.iter().product();
    let prepare = move |device: &Device, dtype: DType, size: Size| -> Work {
        let image = size.of(full, small);
        let [x, dy] = [1, 2].map(|number| filled(device, &image, dtype, number));
        let features = image[3];
        let own = |number| filled(device, &[features], dtype.wide(), number);
        let (mean, variance) = (own(3), own(4));
        let weight = filled(device, &[features, 3, 3, features], dtype, 5);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let work = forward_and_back(vec![x, own(6), own(7)], dy, move |x| {
            let norm = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
            let y = batch_norm_train(&x[0], &x[1], &x[2], &mean, &variance, norm);
            conv2d(&y, &weight, None, config)
        });
        Box::new(move || with_cut("64", PARTS, &work))
    };
    let cost = Cost::elements(2 * n).and_bytes(4 * PARTS * n).and_operations((PARTS + 5) * n);
    Workload::new(format!("the {PARTS} parts of a gradient {full:?}, with a norm's sums"), prepare)
        .cost("batch_norm_split_sums_x*", cost)
}

/// The weight gradients of eight layers of VGG19, in parts that are summed in one launch.
fn weight_gradients() -> Workload {
    const PARTS: usize = 4;
    const LAYERS: usize = 8;
    let (full, small) = ([32, 4, 4, 256], [2, 3, 3, 16]);
    let n = LAYERS * 256 * 9 * 256;
    let prepare = move |device: &Device, _: DType, size: Size| {
        let image = size.of(full, small);
        let channels = image[3];
        let draw = |number| filled(device, &[channels, 3, 3, channels], DType::F32, number);
        let weights = (0..LAYERS).map(draw).collect();
        let x = filled(device, &image, DType::F32, LAYERS);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let work = forward_and_back(weights, x.copy(), move |weights| {
            let layer = |y: Tensor, weight| conv2d(&y, weight, None, config);
            weights.iter().fold(x.copy(), layer)
        });
        Box::new(move || with_cut("64", PARTS, &work)) as Work
    };
    let cost = Cost::elements(n).and_bytes(4 * PARTS * n).and_operations(PARTS * n);
    Workload::new(
        format!("the {PARTS} parts of {LAYERS} weight gradients, [256, 3, 3, 256] each"),
        prepare,
    )
    .cost("matmul_sum_many_f32", cost)
}

/// A 3x3 convolution that keeps the image's size: images, height, width, channels; output channels.
type Convolution = ([usize; 4], usize);

/// A tile, and its workload: a layer of VGG19 or the first of cnn, and a small one.
const CONVOLUTIONS: [(&str, [Convolution; 2]); 4] = [
    ("128", [([128, 16, 16, 256], 256), ([2, 9, 9, 20], 33)]),
    ("64", [([32, 16, 16, 128], 128), ([2, 9, 9, 12], 20)]),
    ("32", [([32, 4, 4, 512], 512), ([3, 5, 4, 8], 16)]),
    ("64", [([32, 32, 32, 3], 64), ([2, 7, 9, 3], 5)]),
];

fn prepared_convolution(
    device: &Device,
    dtype: DType,
    (image, features): Convolution,
    side: usize,
    (tile, factors): (&'static str, Factors),
) -> Work {
    let [images, height, width, channels] = image;
    let x = filled(device, &image, dtype, 1);
    let weight = filled(device, &[features, side, side, channels], dtype, 2);
    let dy = filled(device, &[images, height, width, features], dtype, 3);
    let config = Conv2dConfig { padding: side / 2, ..Conv2dConfig::default() };
    let work = forward_and_back(vec![x, weight], dy, move |x| conv2d(&x[0], &x[1], None, config));
    let device = device.clone();
    Box::new(move || factors.in_tiles(&device, tile, &work))
}

/// A 1x1 convolution whose output's gradient is rounded: both of its gradients are products of matrices of these sizes.
fn pointwise((tile, [full, small]): (&'static str, [[usize; 3]; 2])) -> Workload {
    let factors = Factors::RoundedTf32;
    let [m, n, k] = full;
    let name = format!("{k} features of 1x1 on [{m}, 1, 1, {n}]{}", factors.name());
    let cost = Cost::elements(m * k + k * n + m * n).and_operations(2 * m * n * k);
    Workload::new(name, move |device, dtype, size| {
        let [m, n, k] = size.of(full, small);
        prepared_convolution(device, dtype, ([m, 1, 1, n], k), 1, (tile, factors))
    })
    .cost("matmul*_nn_rounded_*", cost)
    .cost("matmul*_tn_rounded_*", cost)
}

fn convolution(
    (tile, [full, small]): (&'static str, [Convolution; 2]),
    factors: Factors,
) -> Workload {
    let (image, features) = full;
    let [images, height, width, channels] = image;
    let pixels = images * height * width;
    let depth = 9 * channels;
    let moved = |weight_bytes| {
        Cost::elements(pixels * (channels + features))
            .and_bytes(weight_bytes * features * depth)
            .and_operations(2 * pixels * features * depth)
    };
    let name = format!("{features} features of 3x3 on {image:?}{}", factors.name());
    Workload::new(name, move |device, dtype, size| {
        prepared_convolution(device, dtype, size.of(full, small), 3, (tile, factors))
    })
    .cost("conv2d*_fwd*", moved(0).and_elements(features * depth))
    .cost("conv2d*_dx_*", moved(0).and_elements(features * depth))
    .cost("conv2d*_dw_*", moved(4))
}

/// Full and small images, kernel size, stride.
type Depthwise = ([[usize; 4]; 2], usize, usize);

/// MobileNetV2's, with stride 1 and 2; a larger kernel; channels that are not a multiple of 16 bytes.
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
    let prepare = move |device: &Device, dtype: DType, size: Size| {
        let [images, height, width, channels] = size.of(full, small);
        let out = |extent: usize| (extent - 1) / stride + 1;
        let x = filled(device, &[images, height, width, channels], dtype, 1);
        let weight = filled(device, &[side, side, channels], dtype, 2);
        let dy = filled(device, &[images, out(height), out(width), channels], dtype, 3);
        forward_and_back(vec![x, weight], dy, move |x| {
            depthwise_conv2d(&x[0], &x[1], None, stride, side / 2)
        })
    };
    let kernels = ["depthwise_*_fwd*", "depthwise_*_dx_bwd*", "depthwise_*_dw_bwd*"];
    let workload =
        Workload::new(format!("depthwise {side}x{side}, stride {stride}, of {full:?}"), prepare);
    kernels.into_iter().fold(workload, |workload, kernels| workload.cost(kernels, cost))
}
