//! Transitions drawn from the memory.

use crate::ops::rl::replay::{Draw, Transitions, row, row_width, sample};
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw};

/// Numbers of rows, of elements of an observation, of filled rows, and of draws.
pub type ReplayExtents = [usize; 4];

/// A memory on a device; the rows after `filled` are unwritten.
pub fn memory(
    device: &Device,
    dtype: DType,
    [capacity, observation, filled, _]: ReplayExtents,
) -> Tensor {
    let numbers: Vec<f32> =
        draw(capacity * row_width(observation), 0).iter().map(|x| *x as f32).collect();
    let mut rows = Vec::new();
    for (number, own) in numbers.chunks(row_width(observation)).take(filled).enumerate() {
        let (seen, rest) = own.split_at(observation);
        let (seen_next, rest) = rest.split_at(observation);
        rows.extend(row(seen, seen_next, number % 18, rest[0], number % 5 == 4));
    }
    rows.resize(numbers.len(), f32::NAN);
    let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
    Tensor::from_f64s(device, [capacity, row_width(observation)], dtype, &rows)
}

/// `count` transitions drawn from the first `filled` rows.
pub fn drawn(rows: &Tensor, seed: u64, step: i64, filled: i32, count: usize) -> Transitions {
    let step = Tensor::from_slice(rows.device(), [1], &[step]);
    let filled = Tensor::from_slice(rows.device(), [1], &[filled]);
    sample(rows, Draw { seed, step: &step, filled: &filled, count })
}

/// The parts of a batch.
pub fn outputs(batch: &Transitions) -> Outputs {
    vec![
        ("observations", batch.observations.to_f64s()),
        ("next observations", batch.next_observations.to_f64s()),
        ("actions", batch.actions.to_f64s()),
        ("rewards", batch.rewards.to_f64s()),
        ("continues", batch.continues.to_f64s()),
    ]
}

fn run(device: &Device, dtype: DType, sizes: ReplayExtents, seed: u64, step: i64) -> Outputs {
    let [_, _, filled, count] = sizes;
    let found = outputs(&drawn(&memory(device, dtype, sizes), seed, step, filled as i32, count));
    let is_written = |(_, values): &(&str, Vec<f64>)| values.iter().all(|value| !value.is_nan());
    assert!(found.iter().all(is_written), "an unwritten row was drawn");
    found
}

pub(super) fn cases() -> Vec<Case> {
    let all: [(ReplayExtents, u64, i64); 11] = [
        ([1, 1, 1, 1], 0, 1),
        ([10, 3, 10, 1], 1, 1),
        ([10, 3, 1, 5], 1, 2),
        ([1000, 8, 1000, 32], 3, 77),
        ([1000, 8, 999, 32], 3, 77),
        ([300, 4, 37, 70], u64::MAX - 5, (1 << 31) - 1),
        ([7, 17, 7, 300], 1 << 40, 1_000_000),
        ([20, 130, 20, 3], 9, 5),
        ([5, 1, 3, 0], 0, 1),
        ([300, 4, 37, 70], 1, 1 << 31),
        ([300, 4, 37, 70], 1, (1 << 32) + 1),
    ];
    let case = |(sizes, seed, step): (ReplayExtents, u64, i64)| {
        let name = format!("replay {sizes:?}, seed {seed}, step {step}");
        Case::new(name, 1, move |device, dtype| run(device, dtype.wide(), sizes, seed, step))
    };
    all.into_iter().map(case).collect()
}
