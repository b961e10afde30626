//! The update and the clip: whom they leave alone, and that they are the same however the work is cut.

#[cfg(has_simulator)]
use alrao::device::simulator::SimulatorOptions;
use alrao::ops::update::clip::gradient_norm_factor;
use alrao::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use alrao::random::{Philox, Purpose};
use alrao::{DType, Device, DeviceKind, Tensor};

fn draw(length: usize, number: u64) -> Vec<f64> {
    let mut stream = Philox::new(3, Purpose::Data).stream(number);
    (0..length).map(|_| stream.uniform() - 0.5).collect()
}

fn one_span(length: usize, inner: usize, features: usize) -> Table {
    Table::new([Span { base: 0, length, inner, features, rate_base: 0, in_head: false }])
}

/// Buffers of `dtype` with drawn values and gradients.
fn buffers(device: &Device, length: usize, rates: &[f64], rule: Rule, dtype: DType) -> Buffers {
    let drawn = |number| Tensor::from_f64s(device, [length], dtype, &draw(length, number));
    let zeros = || Tensor::zeros(device, [length], dtype);
    Buffers {
        narrow: None,
        values: drawn(0),
        gradients: drawn(1),
        first_moment: (rule.moments() > 0).then(zeros),
        second_moment: (rule.moments() > 1).then(zeros),
        rates: Tensor::from_f64s(device, [rates.len()], dtype, rates),
    }
}

/// One update, the given number; how many elements it left alone.
fn step(
    buffers: &Buffers,
    table: &Table,
    rule: Rule,
    scales: [f64; 2],
    diverged: Option<&[u8]>,
    number: i64,
) -> f64 {
    let device = buffers.values.device();
    let scales = Tensor::from_slice(device, [2], &scales);
    let diverged = diverged.map(|diverged| Tensor::from_slice(device, [diverged.len()], diverged));
    let number = Tensor::from_slice(device, [1], &[number]);
    let skipped = Tensor::zeros(device, [1], DType::I64);
    update(buffers, table, rule, &scales, diverged.as_ref(), &number, &skipped);
    skipped.item()
}

const MOMENTUM: Rule = Rule::Sgd { momentum: 0.9, weight_decay: 0.01 };

#[test]
fn equal_rates_are_plain_sgd_to_the_bit() {
    let device = Device::cpu();
    for (length, inner, features) in
        [(10_000, 100, 100), (9_990, 1, 999), (9_999, 1, 1), (12, 3, 2)]
    {
        let rate = 0.37f32;
        let rates = vec![f64::from(rate); features];
        let buffers = buffers(&device, length, &rates, Rule::SGD, DType::F32);
        let pairs =
            buffers.values.to_vec::<f32>().into_iter().zip(buffers.gradients.to_vec::<f32>());
        let expected: Vec<f32> = pairs.map(|(value, gradient)| value - rate * gradient).collect();
        step(&buffers, &one_span(length, inner, features), Rule::SGD, [1.0, 1.0], None, 1);
        assert_eq!(buffers.values.to_vec::<f32>(), expected);
    }
}

/// Products round weights to 11 bits in tf32, and to 8 in bf16: an update of relative size 1e-5 would be lost in either.
#[cfg(has_simulator)]
#[test]
fn small_updates_add_up_in_every_precision() {
    let (length, rate, steps) = (4_099, 0.01f32, 1_000);
    let values: Vec<f32> = draw(length, 0).iter().map(|value| (value + 1.5) as f32).collect();
    let gradients: Vec<f32> = values.iter().map(|value| value * 1e-3).collect();
    let mut expected = values.clone();
    for _ in 0..steps {
        expected.iter_mut().zip(&gradients).for_each(|(value, own)| *value -= rate * own);
    }
    for is_bf16 in [false, true] {
        let device = Device::simulator(Some(2), SimulatorOptions::default()).unwrap();
        device.set_tf32(!is_bf16);
        let buffers = Buffers {
            narrow: is_bf16.then(|| Tensor::zeros(&device, [length], DType::BF16)),
            values: Tensor::from_slice(&device, [length], &values),
            gradients: Tensor::from_slice(&device, [length], &gradients),
            first_moment: None,
            second_moment: None,
            rates: Tensor::from_slice(&device, [1], &[rate]),
        };
        let table = one_span(length, length, 1);
        for number in 1..=steps {
            step(&buffers, &table, Rule::SGD, [1.0, 1.0], None, number);
        }
        assert_eq!(buffers.values.to_vec::<f32>(), expected, "narrow copy: {is_bf16}");
        if let Some(narrow) = &buffers.narrow {
            let rounded = Tensor::from_slice(&device, [length], &expected).cast(DType::BF16);
            assert_eq!(narrow.to_f64s(), rounded.to_f64s());
        }
    }
}

#[test]
fn each_element_has_its_feature_s_rate() {
    let device = Device::cpu();
    // Longer than a chunk, with features that begin and end anywhere in one; and a gap that no parameter covers.
    let spans = [
        Span { base: 0, length: 9_000, inner: 7, features: 11, rate_base: 2, in_head: false },
        Span { base: 9_004, length: 5_000, inner: 1, features: 13, rate_base: 0, in_head: false },
        Span {
            base: 14_004,
            length: 4_200,
            inner: 4_200,
            features: 1,
            rate_base: 5,
            in_head: false,
        },
    ];
    let rates = draw(13, 9);
    let buffers = buffers(&device, 18_204, &rates, Rule::SGD, DType::F64);
    let (before, gradients) = (buffers.values.to_vec::<f64>(), buffers.gradients.to_vec::<f64>());
    step(&buffers, &Table::new(spans), Rule::SGD, [0.5, 0.25], None, 1);
    let mut expected = before.clone();
    for span in spans {
        for e in 0..span.length {
            let rate = rates[span.rate_base + e / span.inner % span.features] * 0.5;
            expected[span.base + e] -= rate * (0.25 * gradients[span.base + e]);
        }
    }
    assert_eq!(buffers.values.to_vec::<f64>(), expected);
}

#[test]
fn an_element_without_a_finite_gradient_is_left_alone_with_its_moments() {
    let device = Device::cpu();
    for rule in [Rule::SGD, MOMENTUM, Rule::ADAM] {
        let buffers = buffers(&device, 100, &[0.1], rule, DType::F32);
        let table = one_span(100, 100, 1);
        assert_eq!(step(&buffers, &table, rule, [1.0, 1.0], None, 1), 0.0);
        let seen = || {
            let moments = [&buffers.first_moment, &buffers.second_moment];
            let moments = moments.into_iter().flatten().map(|moment| moment.to_vec::<f32>());
            [buffers.values.to_vec::<f32>()].into_iter().chain(moments).collect::<Vec<_>>()
        };
        let before = seen();
        let mut gradients = buffers.gradients.to_vec::<f32>();
        let broken = [(3, f32::NAN), (40, f32::INFINITY), (99, f32::NEG_INFINITY)];
        broken.iter().for_each(|(element, value)| gradients[*element] = *value);
        buffers.gradients.copy_from_slice(&gradients);
        assert_eq!(step(&buffers, &table, rule, [1.0, 0.5], None, 2), 3.0);
        for (before, after) in before.iter().zip(seen()) {
            let same: Vec<usize> = (0..100).filter(|&e| before[e] == after[e]).collect();
            assert_eq!(same, [3, 40, 99], "{rule:?}");
        }
    }
}

#[test]
fn a_diverged_classifier_is_frozen_and_no_classifier_is_clipped() {
    let device = Device::cpu();
    for (length, inner, features) in [(3 * 5_000, 5_000, 3), (3, 1, 3)] {
        let mut spans = [Span { base: 0, length, inner, features, rate_base: 0, in_head: true }; 2];
        spans[1] = Span { base: length, in_head: false, ..spans[0] };
        let buffers = buffers(&device, 2 * length, &[0.1, 0.2, 0.3], Rule::SGD, DType::F64);
        let mut gradients = draw(2 * length, 1);
        // A frozen element is not counted as skipped.
        gradients[inner] = f64::NAN;
        buffers.gradients.copy_from_slice(&gradients);
        let before = buffers.values.to_vec::<f64>();
        let skipped =
            step(&buffers, &Table::new(spans), Rule::SGD, [1.0, 0.5], Some(&[0, 1, 0]), 1);
        assert_eq!(skipped, 0.0);
        for (e, (after, before)) in buffers.values.to_vec::<f64>().iter().zip(before).enumerate() {
            let rate = [0.1, 0.2, 0.3][e / inner % features];
            let expected = match e {
                e if e >= length => before - rate * (0.5 * gradients[e]),
                e if e / inner == 1 => before,
                e => before - rate * gradients[e],
            };
            assert_eq!(*after, expected, "element {e}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads| {
        let device = Device::open_with_threads(DeviceKind::Cpu, Some(threads)).unwrap();
        let buffers = buffers(&device, 100_000, &draw(50, 9), Rule::ADAM, DType::F32);
        let factor = Tensor::zeros(&device, [1], DType::F64);
        gradient_norm_factor(&buffers.gradients, 1.0, &factor);
        let table = one_span(100_000, 2_000, 50);
        step(&buffers, &table, Rule::ADAM, [1.0, factor.item()], None, 1);
        (buffers.values.to_vec::<f32>(), factor.item())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn the_clip_is_over_finite_elements() {
    let device = Device::cpu();
    let factor = |gradients: &[f32], limit: f64| {
        let gradients = Tensor::from_slice(&device, [gradients.len()], gradients);
        let scales = Tensor::full(&device, [2], DType::F64, 7.0);
        gradient_norm_factor(&gradients, limit, &scales.slice(0, 1, 1));
        assert_eq!(scales.to_vec::<f64>()[0], 7.0);
        scales.to_vec::<f64>()[1]
    };
    assert_eq!(factor(&[3.0, 4.0], 2.5), 2.5 / (5.0 + 1e-6));
    assert_eq!(factor(&[3.0, 4.0], 100.0), 1.0);
    assert_eq!(factor(&[3.0, f32::NAN, -4.0, f32::INFINITY], 2.5), 2.5 / (5.0 + 1e-6));
    assert_eq!(factor(&[f32::NAN], 2.5), 1.0);
    // In f32 these squares would overflow.
    let large = factor(&[3e30, 4e30], 1.0) * 5e30;
    assert!((large - 1.0).abs() < 1e-6, "{large}");
    let many = vec![1f32; 100_000];
    assert_eq!(factor(&many, 1.0), 1.0 / (100_000f64.sqrt() + 1e-6));
}
