//! Gradients at masked elements, when the incoming gradient is not finite. PyTorch 2.x gave all expected numbers.

use alrao::ops::layers::batch_norm::{BatchNormConfig, batch_norm_eval, batch_norm_train};
use alrao::ops::layers::conv2d::{Conv2dConfig, Fused, InputAffine, conv2d_fused};
use alrao::ops::layers::dropout::dropout;
use alrao::ops::layers::embedding::embedding;
use alrao::ops::layers::linear::linear;
use alrao::ops::layers::pool::max_pool2d;
use alrao::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use alrao::{DType, Device, Tape, Tensor};

use crate::devices::devices;

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;

/// The devices, each with the types it computes in.
fn all() -> Vec<(Device, DType)> {
    let devices = devices().into_iter().map(|device| (device, DType::F32));
    devices.chain([(Device::cpu(), DType::F64)]).collect()
}

/// The gradients of inputs of these shapes and values, for a given gradient of the output.
fn gradients<const N: usize>(
    (device, dtype): &(Device, DType),
    inputs: [(&[usize], &[f64]); N],
    upstream: &[f64],
    op: impl Fn(&[Tensor; N]) -> Tensor,
) -> [Vec<f64>; N] {
    let tape = Tape::new();
    let inputs =
        inputs.map(|(shape, values)| tape.watch(&Tensor::from_f64s(device, shape, *dtype, values)));
    let output = op(&inputs);
    let upstream = Tensor::from_f64s(device, output.shape(), *dtype, upstream);
    tape.backward(&output.mul(&upstream).sum());
    inputs.map(|input| tape.gradient(&input).unwrap().to_f64s())
}

fn assert_same(name: &str, (device, dtype): &(Device, DType), found: &[f64], expected: &[f64]) {
    let same = format!("{found:?}") == format!("{expected:?}");
    assert!(same, "{name} on {} in {dtype:?}: {found:?}, not {expected:?}", device.name());
}

#[test]
fn a_relu_that_was_0_has_no_gradient() {
    let x = [-1.0, 0.0, 1.0, NAN, -INF, INF];
    for on in all() {
        for (gradient, expected) in [
            (INF, [0.0, 0.0, INF, INF, 0.0, INF]),
            (-INF, [0.0, 0.0, -INF, -INF, 0.0, -INF]),
            (NAN, [0.0, 0.0, NAN, NAN, 0.0, NAN]),
        ] {
            let [own] = gradients(&on, [(&[6], &x)], &[gradient; 6], |[x]| x.relu());
            assert_same("relu", &on, &own, &expected);
            // Wider than a vector, and accumulated beside another gradient.
            let (many, upstream) = (x.repeat(24), [gradient; 144]);
            let [own] =
                gradients(&on, [(&[2, 72], &many)], &upstream, |[x]| x.relu().add(&x.relu()));
            assert_same("relu twice", &on, &own, &expected.repeat(24));
        }
    }
}

#[test]
fn a_norm_with_a_relu_that_was_0_has_no_gradient() {
    let config = BatchNormConfig { epsilon: 0.0, relu: true, ..BatchNormConfig::default() };
    for on in all() {
        let (device, dtype) = &on;
        let running = |value| Tensor::full(device, [1], *dtype, value);
        let (x, one, zero) = ([-1.0, 0.0, 1.0, NAN, -INF, INF], [1.0], [0.0]);
        let inputs = [(&[6, 1][..], &x[..]), (&[1], &one), (&[1], &zero)];
        let [own, ..] = gradients(&on, inputs, &[INF; 6], |[x, weight, bias]| {
            batch_norm_eval(x, weight, bias, &running(0.0), &running(1.0), config)
        });
        assert_same("evaluation", &on, &own, &[0.0, 0.0, INF, INF, 0.0, INF]);
        let train = |first| {
            let inputs = [(&[4, 1][..], &[-1.0, 1.0, -3.0, 3.0][..]), (&[1], &one), (&[1], &zero)];
            gradients(&on, inputs, &[first, 1.0, first, 0.5], |[x, weight, bias]| {
                batch_norm_train(x, weight, bias, &running(0.0), &running(1.0), config)
            })
        };
        for (own, expected) in train(INF).iter().zip(&train(7.0)) {
            assert!(own.iter().all(|value| value.is_finite()));
            assert_same("training", &on, own, expected);
        }
    }
}

#[test]
fn a_layer_s_fused_relu_that_was_0_has_no_gradient() {
    for on in all() {
        let own = gradients(
            &on,
            [(&[2, 1][..], &[-1.0, 1.0][..]), (&[1, 1], &[2.0]), (&[1], &[0.0])],
            &[INF, 1.0],
            |[x, weight, bias]| linear(x, weight, bias, true),
        );
        assert_same("linear", &on, &own.concat(), &[0.0, 2.0, 1.0, 1.0]);
        let image = (&[1, 1, 2, 1][..], &[-1.0, 1.0][..]);
        let weight = (&[1, 1, 1, 1][..], &[2.0][..]);
        let own = gradients(&on, [image, weight], &[INF, 1.0], |[x, weight]| {
            let fused = Fused { relu: true, ..Fused::default() };
            conv2d_fused(x, weight, None, Conv2dConfig::default(), fused).0
        });
        assert_same("a ReLU on the output", &on, &own.concat(), &[0.0, 2.0, 1.0]);
    }
}

#[test]
fn a_relu_on_a_convolution_s_input_that_was_0_has_no_gradient() {
    for dtype in [DType::F32, DType::F64] {
        let on = (Device::cpu(), dtype);
        let inputs = [
            (&[1, 1, 2, 1][..], &[-1.0, 1.0][..]),
            (&[1, 1, 1, 1], &[2.0]),
            (&[1], &[3.0]),
            (&[1], &[0.0]),
        ];
        let [x, _, scale, shift] = gradients(&on, inputs, &[INF, 1.0], |[x, w, scale, shift]| {
            let fused =
                Fused { input: Some(InputAffine { scale, shift, relu: true }), ..Fused::default() };
            conv2d_fused(x, w, None, Conv2dConfig::default(), fused).0
        });
        assert_same("a ReLU on the input", &on, &[x, scale, shift].concat(), &[0.0, 6.0, 2.0, 2.0]);
    }
}

#[test]
fn a_pixel_that_was_not_the_largest_has_no_gradient() {
    // The first of equals; of several NaN the last.
    let top = [1.0, 2.0, 3.0, 3.0, NAN, 1.0, NAN, NAN, -INF, -INF];
    let expected = [0.0, INF, INF, 0.0, INF, 0.0, 0.0, INF, INF, 0.0];
    for on in all() {
        for channels in [1, 8] {
            let spread = |values: &[f64]| -> Vec<f64> {
                values.iter().flat_map(|value| vec![*value; channels]).collect()
            };
            let x = [spread(&top), vec![-INF; 10 * channels]].concat();
            let shape = [1, 2, 10, channels];
            let upstream = vec![INF; 5 * channels];
            let [own] = gradients(&on, [(&shape, &x)], &upstream, |[x]| max_pool2d(x, 2, 2, 0));
            let expected = [spread(&expected), vec![0.0; 10 * channels]].concat();
            assert_same("max_pool2d", &on, &own, &expected);
        }
    }
}

#[test]
fn rows_and_columns_that_were_not_read_have_no_gradient() {
    for on in all() {
        let tokens = Tensor::from_slice(&on.0, [3], &[1i32, 3, 1]);
        let upstream = [INF, NAN, 2.0, 3.0, 1.0, 1.0];
        let [own] = gradients(&on, [(&[4, 2], &[1.0; 8])], &upstream, |[x]| embedding(&tokens, x));
        assert_same("embedding", &on, &own, &[0.0, 0.0, INF, NAN, 0.0, 0.0, 2.0, 3.0]);
        let [own] = gradients(&on, [(&[2, 3], &[1.0; 6])], &[INF, NAN], |[x]| x.slice(1, 1, 1));
        assert_same("slice", &on, &own, &[0.0, INF, 0.0, 0.0, NAN, 0.0]);
    }
}

/// As in PyTorch, which multiplies by the mask.
#[test]
fn dropout_is_a_product() {
    for on in all() {
        let (device, dtype) = &on;
        let step = Tensor::from_slice(device, [1], &[1i64]);
        let drop = |x: &Tensor, probability| dropout(x, probability, 3, &step, 0);
        let kept = drop(&Tensor::full(device, [64], *dtype, 1.0), 0.5).to_f64s();
        assert!(kept.contains(&0.0) && kept.contains(&2.0));
        let product = |value: f64| -> Vec<f64> { kept.iter().map(|mask| mask * value).collect() };
        for value in [INF, -INF, NAN, -3.0] {
            let of = Tensor::full(device, [64], *dtype, value);
            let expected: Vec<f64> = product(value).iter().map(|own| own + 0.0).collect();
            assert_same("forward", &on, &drop(&of, 0.5).to_f64s(), &expected);
            let upstream = [value; 64];
            let [own] = gradients(&on, [(&[64], &[1.0; 64])], &upstream, |[x]| drop(x, 0.5));
            assert_same("backward", &on, &own, &expected);
        }
        let all = Tensor::full(device, [64], *dtype, INF);
        assert!(drop(&all, 1.0).to_f64s().iter().all(|value| value.is_nan()));
        assert!(drop(&all, 0.0).to_f64s().iter().all(|value| *value == INF));
    }
}

/// A frozen feature has rate 0, and its moment may overflow.
#[test]
fn a_frozen_parameter_stays_whatever_its_moment_is() {
    for (device, dtype) in all() {
        let two = |values: [f64; 2]| Tensor::from_f64s(&device, [2], dtype, &values);
        let huge = if dtype == DType::F32 { f64::from(f32::MAX) } else { f64::MAX };
        let buffers = Buffers {
            values: two([0.5, 0.25]),
            narrow: None,
            gradients: two([huge, 1.0]),
            first_moment: Some(two([huge, 1.0])),
            second_moment: None,
            rates: two([0.0, 0.125]),
        };
        let span = Span { base: 0, length: 2, inner: 1, features: 2, rate_base: 0, in_head: false };
        let [scales, skipped] = [[1.0, 1.0], [0.0, 0.0]].map(|own| own.to_vec());
        let scales = Tensor::from_slice(&device, [2], &scales);
        let skipped = Tensor::from_f64s(&device, [1], DType::I64, &skipped[..1]);
        let step = Tensor::from_slice(&device, [1], &[1i64]);
        let rule = Rule::Sgd { momentum: 1.0, weight_decay: 0.0 };
        update(&buffers, &Table::new([span]), rule, &scales, None, &step, &skipped);
        let found = [&buffers.values, buffers.first_moment.as_ref().unwrap()].map(Tensor::to_f64s);
        assert_same("values", &(device, dtype), &found.concat(), &[0.5, 0.0, INF, 2.0]);
    }
}
