//! Fusions in the backward pass: the op that completes the gradient of a norm's output computes the norm's sums over it, and
//! the parts of weight gradients are summed together at the end.

use super::factors::Factors;
use super::{Case, Outputs, drawn, gradient};
use crate::ops::layers::batch_norm::{
    BatchNormConfig, PartSums, batch_norm_add, batch_norm_eval, batch_norm_train,
    batch_norm_train_of, moments, with_part_sums,
};
use crate::ops::layers::conv2d::{Conv2dConfig, Fused, conv2d, conv2d_fused};
use crate::ops::layers::pool::max_pool2d;
use crate::ops::tensor::matmul::{with_cut, with_rounded};
use crate::{DType, Device, Tape, Tensor};

/// The norm's output is used by a convolution, and in some cases also by another op.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Other {
    /// No other op.
    None,
    /// Recorded later: its gradient is there when the convolution accumulates.
    Later,
    /// Recorded earlier: the convolution does not complete the gradient.
    Earlier,
}

/// The norm before the convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    OfBatch,
    OfRunning,
    WithResidual,
    WithResidualAndRelu,
}

/// A norm and a convolution of its output.
#[derive(Clone, Copy)]
struct Pair {
    /// Images, height, width, channels.
    image: [usize; 4],
    /// Features, height, width.
    kernel: [usize; 3],
    config: Conv2dConfig,
    norm: Norm,
    other: Other,
}

fn pair(image: [usize; 4], kernel: [usize; 3], [stride, padding, groups]: [usize; 3]) -> Pair {
    let config = Conv2dConfig { stride, padding, groups };
    Pair { image, kernel, config, norm: Norm::OfBatch, other: Other::None }
}

/// The gradients before and behind the norm. They do not depend on the rounding of the convolution's output.
fn run(pair: Pair, factors: Factors) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let Pair { image, kernel: [features, height, width], config, norm, other } = pair;
        let (channels, wide, tape) = (image[3], dtype.wide(), Tape::new());
        let [x, residual] = [0, 1].map(|number| tape.watch(&drawn(device, &image, dtype, number)));
        let scales = drawn(device, &[channels], wide, 2).affine(1.0, 1.0);
        let scales = tape.watch(&scales);
        let shifts = tape.watch(&drawn(device, &[channels], wide, 3));
        let running = [0.25, 2.0].map(|value| Tensor::full(device, [channels], wide, value));
        let [mean, variance] = running.each_ref();
        let relu = norm != Norm::WithResidual;
        let settings = BatchNormConfig { relu, ..BatchNormConfig::default() };
        let y = match norm {
            Norm::OfBatch => batch_norm_train(&x, &scales, &shifts, mean, variance, settings),
            Norm::OfRunning => batch_norm_eval(&x, &scales, &shifts, mean, variance, settings),
            Norm::WithResidual | Norm::WithResidualAndRelu => {
                let inputs = [&x, &scales, &shifts, &residual];
                batch_norm_add(inputs, Some(&moments(&x)), [mean, variance], settings)
            }
        };
        let weight = [features, height, width, channels / config.groups];
        let weight = factors.pitched(device, &weight, dtype, [0, 0], 4);
        let more = || y.mul(&drawn(device, &image, dtype, 5)).sum();
        factors.on(device, || {
            let earlier = (other == Other::Earlier).then(more);
            let loss = factors.weighed(&conv2d(&y, &weight, None, config), dtype, 6);
            let later = (other == Other::Later).then(more);
            let loss = loss.reshape([]);
            let loss = earlier.into_iter().chain(later).fold(loss, |loss, more| loss.add(&more));
            tape.backward(&loss);
        });
        let mut outputs = vec![
            ("dx", gradient(&tape, &x)),
            ("dweight", gradient(&tape, &scales)),
            ("dbias", gradient(&tape, &shifts)),
        ];
        outputs.extend(tape.gradient(&residual).map(|own| ("dresidual", own.to_f64s())));
        outputs
    }
}

fn pairs() -> Vec<Case> {
    let usual = pair([2, 6, 5, 8], [16, 3, 3], [1, 1, 1]);
    let point = pair([2, 5, 7, 8], [12, 1, 1], [1, 0, 1]);
    // The phases of a stride of 2 have 25, 20, 20 and 16 pixels of each image: some blocks have none.
    let strided = pair([4, 9, 9, 8], [8, 3, 3], [2, 1, 1]);
    let mut cases = Vec::new();
    let mut case = |own: Pair, factors: Factors, (tile, parts): (&'static str, usize)| {
        let Pair { image, kernel, config, norm, other } = own;
        let name = format!(
            "gradient of a norm {norm:?} of {image:?} before a convolution by {kernel:?}, stride {} groups {}, {factors:?} \
             tile {tile} parts {parts}, other use {other:?}",
            config.stride, config.groups
        );
        let run = run(own, factors);
        let run = move |device: &Device, dtype| with_cut(tile, parts, || run(device, dtype));
        let case = Case::new(name, 4000, run).of(factors);
        match factors {
            Factors::Bf16 => cases.extend(case.and_in_bf16(4).into_iter().nth(1)),
            _ => cases.push(case),
        }
    };
    for factors in Factors::AND_ROUNDED {
        for (tile, size, images) in [("32", 32, 4), ("64", 64, 4), ("128", 128, 8)] {
            case(Pair { image: [images, 9, 9, 8], ..strided }, factors, (tile, 1));
            // All columns of a tile, stored and accumulated, with a ReLU after the norm and without.
            for kernel in [[8, 3, 3], [8, 1, 1]] {
                let padding = kernel[1] / 2;
                for norm in [Norm::OfBatch, Norm::WithResidual] {
                    for other in [Other::None, Other::Later] {
                        let own = pair([1, 13, 10, size], kernel, [1, padding, 1]);
                        case(Pair { norm, other, ..own }, factors, (tile, 1));
                    }
                }
            }
        }
    }
    for own in [usual, point] {
        case(own, Factors::F32, ("32", 1));
        for factors in Factors::ALL {
            case(own, factors, ("32", 2));
        }
        for other in [Other::Later, Other::Earlier] {
            case(Pair { other, ..own }, Factors::F32, ("32", 1));
            case(Pair { other, ..own }, Factors::F32, ("32", 2));
        }
    }
    for norm in [Norm::OfRunning, Norm::WithResidual, Norm::WithResidualAndRelu] {
        case(Pair { norm, ..usual }, Factors::F32, ("32", 1));
    }
    // Channels past a tile, in groups, and such that the epilogue does not fit or vectors do not.
    for own in [
        pair([1, 13, 10, 130], [8, 3, 3], [1, 1, 1]),
        pair([1, 13, 10, 130], [8, 1, 1], [1, 0, 1]),
        pair([2, 6, 5, 8], [16, 3, 3], [1, 1, 2]),
        pair([2, 6, 5, 6], [8, 3, 3], [1, 1, 2]),
        pair([2, 5, 5, 7], [8, 3, 3], [1, 1, 1]),
        pair([2, 6, 6, 8], [8, 1, 1], [2, 0, 1]),
    ] {
        case(own, Factors::Tf32, ("128", 1));
        case(own, Factors::F32, ("32", 2));
        case(own, Factors::Bf16, ("32", 2));
    }
    cases
}

/// A norm and a max-pool of its output, with windows of this size, stride and padding. The norm does not round its input, so that each
/// maximum is the same in bf16.
fn before_a_pool(
    image: [usize; 4],
    [window, stride, padding]: [usize; 3],
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let (channels, wide, tape) = (image[3], dtype.wide(), Tape::new());
        let x = tape.watch(&drawn(device, &image, dtype, 1));
        let [zero, one] = [0.0, 1.0].map(|own| Tensor::full(device, [channels], wide, own));
        let (scales, shifts) = (tape.watch(&one), tape.watch(&zero));
        let config = BatchNormConfig { relu: true, epsilon: 0.0, ..BatchNormConfig::default() };
        let z = batch_norm_eval(&x, &scales, &shifts, &zero, &one, config);
        let y = max_pool2d(&z, window, stride, padding);
        tape.backward(&y.mul(&drawn(device, y.shape().extents(), dtype, 4)).sum());
        vec![
            ("dx", gradient(&tape, &x)),
            ("dweight", gradient(&tape, &scales)),
            ("dbias", gradient(&tape, &shifts)),
        ]
    }
}

/// A convolution before a norm, which rounds the gradient of the convolution's output to tf32. The convolution's gradients have to be
/// the same bits if it rounds as it reads.
fn before_a_norm(
    image: [usize; 4],
    kernel: [usize; 3],
    way: PartSums,
) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let [features, height, width] = kernel;
        let x = Factors::Tf32.pitched(device, &image, dtype, [0, 0], 1);
        let weight = [features, height, width, image[3]];
        let weight = Factors::Tf32.pitched(device, &weight, dtype, [0, 0], 2);
        let [scales, shifts] = [3, 4].map(|number| drawn(device, &[features], dtype, number));
        let config = Conv2dConfig { padding: height / 2, ..Conv2dConfig::default() };
        let gradients = || {
            let tape = Tape::new();
            let [x, weight] = [&x, &weight].map(|own| tape.watch(own));
            let fused = Fused { moments: true, ..Fused::default() };
            let (y, moments) = conv2d_fused(&x, &weight, None, config, fused);
            let moments = moments.expect("the convolution gives moments");
            let [mean, variance] =
                [0.0, 1.0].map(|own| Tensor::full(device, [features], dtype, own));
            let settings = BatchNormConfig { relu: true, ..BatchNormConfig::default() };
            let z = batch_norm_train_of(&y, &moments, &scales, &shifts, &mean, &variance, settings);
            tape.backward(&z.mul(&drawn(device, z.shape().extents(), dtype, 5)).sum());
            vec![("dx", gradient(&tape, &x)), ("dw", gradient(&tape, &weight))]
        };
        let run = || with_part_sums(way, || with_cut("32", 1, gradients));
        Factors::Tf32.on(device, || {
            let own = run();
            assert_eq!(own, with_rounded(false, run), "rounded by the norm, and at each read");
            own
        })
    }
}

/// Convolutions one after the other, each with its weight gradient in two parts: more of them than are summed in one launch.
fn many_weights(channels: usize) -> impl Fn(&Device, DType) -> Outputs {
    move |device, dtype| {
        let tape = Tape::new();
        let shape = [channels, 3, 3, channels];
        let draw = |number| drawn(device, &shape, dtype, number);
        let weights: Vec<Tensor> = (0..10).map(|number| tape.watch(&draw(number))).collect();
        let mut y = drawn(device, &[2, 6, 6, channels], dtype, 20);
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        with_cut("32", 2, || {
            for weight in &weights {
                y = conv2d(&y, weight, None, config);
            }
            // The last weight is used once more, so its gradient accumulates.
            y = conv2d(&y, &weights[9], None, config);
            tape.backward(&y.mul(&drawn(device, y.shape().extents(), dtype, 21)).sum());
        });
        let names = ["dw0", "dw1", "dw2", "dw3", "dw4", "dw5", "dw6", "dw7", "dw8", "dw9"];
        names.into_iter().zip(&weights).map(|(name, own)| (name, gradient(&tape, own))).collect()
    }
}

pub fn cases() -> Vec<Case> {
    let many = [4, 3].map(|channels| {
        let name = format!("weight gradients of ten convolutions of {channels} channels");
        Case::new(name, 4000, many_weights(channels))
    });
    let pools = [
        ([2, 8, 6, 8], [2, 2, 0]),
        ([2, 9, 7, 24], [3, 2, 1]),
        ([2, 7, 7, 5], [3, 1, 1]),
        ([1, 18, 19, 4], [17, 1, 0]),
        ([4, 33, 31, 8], [2, 2, 0]),
    ];
    let pools = pools.into_iter().flat_map(|(image, windows)| {
        let name = format!("gradient of a norm of {image:?} before a max-pool, {windows:?}");
        Case::new(name, 4000, before_a_pool(image, windows)).and_in_bf16(4)
    });
    let ways = [PartSums::Launch, PartSums::Block, PartSums::Cluster];
    let norms = ways.into_iter().flat_map(|way| {
        [([2, 6, 5, 8], [12, 3, 3]), ([2, 6, 5, 8], [7, 3, 3]), ([2, 5, 7, 8], [12, 1, 1])].map(
            |(image, kernel)| {
                let name = format!(
                    "gradient of a convolution of {image:?} by {kernel:?} before a norm, sums by {way:?}"
                );
                let case = Case::new(name, 4000, before_a_norm(image, kernel, way));
                case.of(Factors::Tf32).rounded_to(10)
            },
        )
    });
    pairs().into_iter().chain(many).chain(pools).chain(norms).collect()
}
