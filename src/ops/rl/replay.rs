//! Draws transitions from a replay buffer.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::Float;
use crate::device::gpu::Parameters;
use crate::device::{DType, Device, Gpu};
use crate::ops::{check_step, step_of};
use crate::random::{Philox, Purpose};
use crate::tensor::{Tensor, float_dispatch};

/// Threads of a block.
const THREADS: u32 = 256;

/// Numbers of a row beside the two observations: action, reward, and whether the episode continues.
const BESIDE: usize = 3;

/// The width of the buffer's rows, for observations of `observation` numbers.
pub fn row_width(observation: usize) -> usize {
    2 * observation + BESIDE
}

/// One transition as a row of the buffer: the observation, the next observation, the action, the reward, and 0 if the
/// episode terminated, else 1. An episode that a time limit truncated did not terminate.
pub fn row<'a>(
    observation: &'a [f32],
    next_observation: &'a [f32],
    action: usize,
    reward: f32,
    is_terminal: bool,
) -> impl Iterator<Item = f32> + 'a {
    let beside: [f32; BESIDE] = [action as f32, reward, if is_terminal { 0.0 } else { 1.0 }];
    observation.iter().chain(next_observation).copied().chain(beside)
}

/// The settings of a draw. The step and the number of rows are on the device, so that a replay of a captured graph
/// draws new rows.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// The seed; a draw is a function of it, the step and the sample's number.
    pub seed: u64,
    /// The number of the update, I64 `[1]`.
    pub step: &'a Tensor,
    /// The number of rows written so far, at most all, I32 `[1]`.
    pub filled: &'a Tensor,
    /// Rows to draw.
    pub count: usize,
}

/// A batch of B transitions, with observations of n numbers.
pub struct Transitions {
    /// The observations, `[B, n]`.
    pub observations: Tensor,
    /// The next observations, `[B, n]`.
    pub next_observations: Tensor,
    /// The actions, I32 `[B]`.
    pub actions: Tensor,
    /// The rewards, `[B]`.
    pub rewards: Tensor,
    /// 0 if the episode terminated, else 1, `[B]`.
    pub continues: Tensor,
}

impl Transitions {
    fn empty(rows: &Tensor, samples: usize, observation: usize) -> Self {
        let (matrix, vector) = ([samples, observation], [samples]);
        Transitions {
            observations: rows.empty_like(matrix),
            next_observations: rows.empty_like(matrix),
            actions: Tensor::empty(rows.device(), vector, DType::I32),
            rewards: rows.empty_like(vector),
            continues: rows.empty_like(vector),
        }
    }
}

/// Transitions drawn uniformly, with replacement, from the first `filled` rows of the buffer, `[capacity, 2 n + 3]` of
/// F32, or F64 on the CPU; [`row`] makes such rows. No gradient.
///
/// Panics on other shapes, and if `filled` is 0 or more than the capacity. A GPU cannot panic: it draws from all rows
/// if `filled` is too large, and gives samples of NaN and action -1, which change no parameter, if it is 0.
///
/// ```
/// use alrao::{Device, Tensor, ops::rl::replay::{Draw, row, sample}};
/// let device = Device::cpu();
/// let mut memory: Vec<f32> = row(&[0.1, 0.2], &[0.3, 0.4], 1, -2.5, true).collect();
/// memory.resize(10 * memory.len(), f32::NAN);
/// let rows = Tensor::from_slice(&device, [10, 7], &memory);
/// let step = Tensor::from_slice(&device, [1], &[1i64]);
/// let filled = Tensor::from_slice(&device, [1], &[1i32]);
/// let batch = sample(&rows, Draw { seed: 0, step: &step, filled: &filled, count: 2 });
/// assert_eq!(batch.next_observations.to_vec::<f32>(), [0.3, 0.4, 0.3, 0.4]);
/// assert_eq!(batch.actions.to_vec::<i32>(), [1, 1]);
/// assert_eq!(batch.continues.to_vec::<f32>(), [0.0, 0.0]);
/// ```
pub fn sample(rows: &Tensor, draw: Draw) -> Transitions {
    let observation = check(rows, &draw);
    let out = Transitions::empty(rows, draw.count, observation);
    match rows.device() {
        Device::Gpu(gpu) => launch(gpu, rows, draw, observation, &out),
        Device::Cpu(_) => float_dispatch!(rows.dtype(), "replay", T => {
            sample_typed::<T>(rows, draw, observation, &out);
        }),
    }
    out
}

/// Checks shapes and dtypes; returns the width of an observation.
fn check(rows: &Tensor, draw: &Draw) -> usize {
    let shape = rows.shape();
    let fits = shape.rank() == 2 && shape[1] > BESIDE && shape[1] % 2 == BESIDE % 2;
    assert!(
        fits && rows.is_contiguous(),
        "replay: rows {shape}, {} apart, are no dense [capacity, 2 n + 3]",
        rows.pitch()
    );
    check_step("replay", draw.step);
    let (dtype, filled) = (draw.filled.dtype(), draw.filled.shape());
    assert!(
        dtype == DType::I32 && filled.elements() == 1,
        "replay: filled is {dtype:?} {filled}, not one I32"
    );
    let is_here = |number: &Tensor| number.device().same(rows.device());
    assert!(
        is_here(draw.step) && is_here(draw.filled),
        "replay: step or filled is not on the rows' device"
    );
    (shape[1] - BESIDE) / 2
}

/// The row of a sample, below `filled`, from 32 random bits. Probabilities of rows differ by at most the fraction
/// `filled / 2^32`.
fn drawn_row(philox: &Philox, step: u64, sample: u64, filled: u32) -> usize {
    let bits = philox.at(step, sample)[0];
    ((u64::from(bits) * u64::from(filled)) >> 32) as usize
}

fn sample_typed<T: Float>(rows: &Tensor, draw: Draw, observation: usize, out: &Transitions) {
    let (capacity, width) = (rows.shape()[0], rows.shape()[1]);
    let filled = draw.filled.read::<i32>()[0];
    assert!(
        u32::try_from(filled).is_ok_and(|filled| (1..=capacity).contains(&(filled as usize))),
        "replay: {filled} rows of {capacity} are written"
    );
    let philox = Philox::new(draw.seed, Purpose::Replay);
    let step = step_of(draw.step);
    let from = rows.read::<T>();
    let mut observations = out.observations.write::<T>();
    let mut next_observations = out.next_observations.write::<T>();
    let mut actions = out.actions.write::<i32>();
    let (mut rewards, mut continues) = (out.rewards.write::<T>(), out.continues.write::<T>());
    for sample in 0..draw.count {
        let row = drawn_row(&philox, step, sample as u64, filled as u32);
        let row = &from[row * width..(row + 1) * width];
        let (seen, row) = row.split_at(observation);
        let (seen_next, beside) = row.split_at(observation);
        let place = sample * observation..(sample + 1) * observation;
        observations[place.clone()].copy_from_slice(seen);
        next_observations[place].copy_from_slice(seen_next);
        actions[sample] = beside[0].to_f64() as i32;
        rewards[sample] = beside[1];
        continues[sample] = beside[2];
    }
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReplaySizes {
    seed: u64,
    numbers: u64,
    capacity: u32,
    observation: u32,
}

fn launch(gpu: &Gpu, rows: &Tensor, draw: Draw, observation: usize, out: &Transitions) {
    assert!(rows.dtype() == DType::F32, "replay: no kernel for {:?}", rows.dtype());
    let numbers = (draw.count * rows.shape()[1]) as u64;
    let sizes = ReplaySizes {
        seed: draw.seed,
        numbers,
        capacity: rows.shape()[0] as u32,
        observation: observation as u32,
    };
    gpu.launch(
        "replay_sample_f32",
        [numbers.div_ceil(u64::from(THREADS)) as u32, 1, 1],
        [THREADS, 1, 1],
        &[
            &rows.pointer(),
            &draw.step.pointer(),
            &draw.filled.pointer(),
            &out.observations.pointer(),
            &out.next_observations.pointer(),
            &out.actions.pointer(),
            &out.rewards.pointer(),
            &out.continues.pointer(),
            &Parameters(&sizes),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Transitions in which every number identifies the row.
    fn memory(capacity: usize) -> Tensor {
        let transition = |row: usize| {
            let n = row as f32;
            super::row(&[n], &[n + 0.5], row, -n, row.is_multiple_of(2)).collect::<Vec<f32>>()
        };
        let rows: Vec<f32> = (0..capacity).flat_map(transition).collect();
        Tensor::from_slice(&Device::cpu(), [capacity, row_width(1)], &rows)
    }

    fn draw(memory: &Tensor, [seed, step, filled]: [i32; 3], count: usize) -> Transitions {
        let step = Tensor::from_slice(memory.device(), [1], &[i64::from(step)]);
        let filled = Tensor::from_slice(memory.device(), [1], &[filled]);
        sample(memory, Draw { seed: seed as u64, step: &step, filled: &filled, count })
    }

    #[test]
    fn each_number_comes_to_its_place() {
        let batch = draw(&memory(50), [3, 7, 50], 20);
        let rows = batch.actions.to_vec::<i32>();
        let is = |found: &Tensor, of_row: fn(i32) -> f32| {
            assert_eq!(
                found.to_vec::<f32>(),
                rows.iter().map(|row| of_row(*row)).collect::<Vec<_>>()
            );
        };
        is(&batch.observations, |row| row as f32);
        is(&batch.next_observations, |row| row as f32 + 0.5);
        is(&batch.rewards, |row| -row as f32);
        is(&batch.continues, |row| (row % 2) as f32);
        let distinct: std::collections::BTreeSet<i32> = rows.iter().copied().collect();
        assert!(distinct.len() > 10, "{rows:?}");
    }

    #[test]
    fn seed_and_step_give_other_rows() {
        let memory = memory(1000);
        let rows = |draws| draw(&memory, draws, 8).actions.to_vec::<i32>();
        assert_eq!(rows([1, 1, 1000]), rows([1, 1, 1000]));
        assert_ne!(rows([1, 1, 1000]), rows([1, 2, 1000]));
        assert_ne!(rows([1, 1, 1000]), rows([2, 1, 1000]));
    }

    /// Over many steps all written rows are drawn equally often, and so are all pairs of a step's first two: the sums
    /// of `(found - expected)^2 / expected` are chi-squared, with known mean and variance.
    #[test]
    fn every_written_row_is_as_likely() {
        const FILLED: usize = 20;
        const STEPS: i32 = 4000;
        const COUNT: usize = 8;
        let memory = memory(30);
        let (mut rows, mut pairs) = (vec![0.0; FILLED], vec![0.0; FILLED * FILLED]);
        for step in 0..STEPS {
            let drawn = draw(&memory, [5, step, FILLED as i32], COUNT).actions.to_vec::<i32>();
            drawn.iter().for_each(|row| rows[*row as usize] += 1.0);
            pairs[drawn[0] as usize * FILLED + drawn[1] as usize] += 1.0;
        }
        for (name, counts) in [("rows", rows), ("pairs", pairs)] {
            let freedom = (counts.len() - 1) as f64;
            let expected = counts.iter().sum::<f64>() / counts.len() as f64;
            let squares = counts.iter().map(|count| (count - expected).powi(2) / expected);
            let deviations = (squares.sum::<f64>() - freedom) / (2.0 * freedom).sqrt();
            assert!(deviations.abs() < 3.0, "{name}: {deviations} standard deviations off");
        }
    }

    #[test]
    #[should_panic(expected = "replay: 0 rows of 4 are written")]
    fn an_empty_memory_panics() {
        draw(&memory(4), [0, 1, 0], 1);
    }

    #[test]
    #[should_panic(expected = "replay: 5 rows of 4 are written")]
    fn more_rows_than_there_is_room_for_panic() {
        draw(&memory(4), [0, 1, 5], 1);
    }

    #[test]
    #[should_panic(expected = "replay: rows [4, 6]")]
    fn rows_of_another_width_panic() {
        draw(&Tensor::zeros(&Device::cpu(), [4, 6], DType::F32), [0, 1, 4], 1);
    }
}
