//! Steps whose numbers need more than 31 or 32 bits: a day of Q-learning passes 2^31 updates.

use alrao::checks::replay::{drawn, memory};
use alrao::ops::input::augment::{Augmentation, images_from_floats};
use alrao::ops::layers::dropout::dropout;
use alrao::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use alrao::ops::update::step_statistics::advance;
use alrao::{DType, Device, Tensor};

use crate::devices::devices;

/// The steps around 2^31 and around 2^32.
fn late_steps() -> impl Iterator<Item = i64> {
    [1i64 << 31, 1 << 32].into_iter().flat_map(|end| end - 2..=end + 2)
}

fn number(device: &Device, step: i64) -> Tensor {
    Tensor::from_slice(device, [1], &[step])
}

/// One update by Adam of five elements, with moments that are not zero.
fn moved(device: &Device, rule: Rule, step: i64) -> Vec<f32> {
    let five = |values: [f32; 5]| Tensor::from_slice(device, [5], &values);
    let buffers = Buffers {
        values: five([0.5, -1.0, 2.0, 0.0, 1e-3]),
        narrow: None,
        gradients: five([0.1, -0.2, 0.3, 1e-4, 5.0]),
        first_moment: Some(five([0.2, -0.1, 0.0, 1e-3, 1.0])),
        second_moment: Some(five([0.3, 0.1, 0.2, 1e-5, 2.0])),
        rates: Tensor::from_slice(device, [1], &[0.01f32]),
    };
    let span = Span { base: 0, length: 5, inner: 5, features: 1, rate_base: 0, in_head: false };
    let scales = Tensor::from_slice(device, [2], &[1.0f64, 1.0]);
    let skipped = Tensor::from_slice(device, [1], &[0i64]);
    update(&buffers, &Table::new([span]), rule, &scales, None, &number(device, step), &skipped);
    assert_eq!(skipped.item(), 0.0);
    buffers.values.to_vec()
}

#[test]
fn adam_s_bias_correction_stays_at_its_limit() {
    // `powi` and `powf` agree on 0 long before 2^31.
    for device in devices() {
        let limit = moved(&device, Rule::ADAM, 1_000_000);
        assert!(limit.iter().all(|value| value.is_finite()));
        for step in late_steps().chain([1 << 47]) {
            assert_eq!(moved(&device, Rule::ADAM, step), limit, "{}, step {step}", device.name());
        }
    }
}

#[test]
fn a_decay_so_near_1_that_the_correction_still_matters_goes_on_smoothly() {
    let rule = Rule::Adam {
        beta1: 0.9,
        beta2: 1.0 - 1e-10,
        epsilon: 1e-8,
        weight_decay: 0.0,
        is_decoupled: false,
    };
    for device in devices() {
        let all: Vec<Vec<f32>> = late_steps().map(|step| moved(&device, rule, step)).collect();
        for end in all.chunks(5) {
            for (a, b) in end.iter().zip(&end[1..]) {
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * a.abs();
                assert!(a.iter().zip(b).all(near), "{a:?} and {b:?} on {}", device.name());
            }
        }
        assert_ne!(all[0], all[5]);
    }
}

/// What is drawn in a step, as bits.
type Drawn = fn(&Device, i64) -> Vec<u32>;

#[test]
fn every_step_draws_other_random_numbers() {
    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.to_f64s().iter().map(|value| (*value as f32).to_bits()).collect()
    }
    let all: [(&str, Drawn); 3] = [
        ("dropout", |device, step| {
            let ones = Tensor::full(device, [256], DType::F32, 1.0);
            bits(&dropout(&ones, 0.5, 3, &number(device, step), 1))
        }),
        ("crops", |device, step| {
            let pixels: Vec<f32> = (0..8 * 36).map(|pixel| pixel as f32).collect();
            let images = Tensor::from_slice(device, [8, 6, 6, 1], &pixels);
            let step = number(device, step);
            let augmentation = Augmentation { seed: 3, step: &step, padding: 4 };
            bits(&images_from_floats(&images, None, DType::F32, Some(augmentation)))
        }),
        ("transitions", |device, step| {
            let rows = memory(device, DType::F32, [1000, 2, 1000, 0]);
            bits(&drawn(&rows, 3, step, 1000, 32).observations)
        }),
    ];
    let mut steps: Vec<i64> = late_steps().collect();
    // Those of 2^32 less.
    steps.extend([0, 1, 2]);
    for (name, draw) in all {
        let of_cpu: Vec<_> = steps.iter().map(|step| draw(&Device::cpu(), *step)).collect();
        for (index, own) in of_cpu.iter().enumerate() {
            let same = of_cpu[..index].iter().position(|other| own == other);
            assert_eq!(same.map(|same| steps[same]), None, "{name}, step {}", steps[index]);
        }
        for device in devices() {
            for (step, own) in steps.iter().zip(&of_cpu) {
                let name = format!("{name}, step {step} on {}", device.name());
                assert_eq!(draw(&device, *step), *own, "{name}");
            }
        }
    }
}

#[test]
fn the_number_passes_both_ends() {
    for device in devices() {
        for end in [1i64 << 31, 1 << 32] {
            let number = number(&device, end - 2);
            for step in end - 1..=end + 2 {
                advance(Some(&number), None);
                assert_eq!(number.to_vec::<i64>(), [step], "on {}", device.name());
            }
        }
    }
}

#[test]
#[should_panic(expected = "optimizer: the step is I32 [1], not one I64")]
fn a_step_of_32_bits_panics() {
    let device = Device::cpu();
    let one = Tensor::full(&device, [1], DType::F32, 1.0);
    let (rates, gradients) = (one.copy(), one.copy());
    let moments = [Some(one.copy()), Some(one.copy())];
    let [first_moment, second_moment] = moments;
    let buffers =
        Buffers { values: one, narrow: None, gradients, first_moment, second_moment, rates };
    let step = Tensor::from_slice(&device, [1], &[1i32]);
    let scales = Tensor::from_slice(&device, [2], &[1.0f64, 1.0]);
    let skipped = Tensor::from_slice(&device, [1], &[0i64]);
    update(&buffers, &Table::default(), Rule::ADAM, &scales, None, &step, &skipped);
}
