//! The replay buffer: the last transitions, in flat rows on the device.

use super::environment::Spaces;
use crate::device::{DType, Device};
use crate::ops::replay;
use crate::tensor::Tensor;

/// What one step of an environment came to.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// What was seen.
    pub observation: &'a [f32],
    /// What was done.
    pub action: usize,
    /// What it brought.
    pub reward: f64,
    /// What was seen then.
    pub next_observation: &'a [f32],
    /// Whether the episode ended in itself, so that nothing comes after; not where it was cut off.
    pub terminated: bool,
}

/// The last transitions. A new one takes the place of the oldest where there is no other.
pub struct Memory {
    rows: Tensor,
    filled: Tensor,
    capacity: usize,
    /// How many there have been.
    seen: u64,
}

impl Memory {
    /// An empty memory of a fixed size.
    pub fn new(capacity: usize, spaces: Spaces, dtype: DType, device: &Device) -> Memory {
        let width = replay::row_width(spaces.observation);
        Memory {
            rows: Tensor::zeros(device, [capacity, width], dtype),
            filled: Tensor::zeros(device, [1], DType::I32),
            capacity,
            seen: 0,
        }
    }

    /// Keeps transitions, the first one first.
    pub fn push<'a>(&mut self, transitions: impl IntoIterator<Item = Transition<'a>>) {
        let mut rows = Vec::new();
        for transition in transitions {
            let Transition { observation, action, reward, next_observation, terminated } =
                transition;
            let reward = reward as f32;
            rows.extend(replay::row(observation, next_observation, action, reward, terminated));
        }
        self.push_rows(&rows);
    }

    fn push_rows(&mut self, rows: &[f32]) {
        let width = self.rows.shape().columns();
        let mut rest = rows;
        while !rest.is_empty() {
            let place = (self.seen % self.capacity as u64) as usize;
            let count = (rest.len() / width).min(self.capacity - place);
            let (now, later) = rest.split_at(count * width);
            write(&self.rows.view(place * width, [count, width], width), now);
            self.seen += count as u64;
            rest = later;
        }
        self.filled.copy_from_slice(&[self.len() as i32]);
    }

    /// Transitions that are kept.
    pub fn len(&self) -> usize {
        self.seen.min(self.capacity as u64) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Transitions that there have been.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The rows as [`replay::sample`] takes them, `[capacity, 2 n + 3]`.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// How many of the rows are transitions, I32 `[1]`.
    pub fn filled(&self) -> &Tensor {
        &self.filled
    }

    /// The rows that are transitions, as they lie.
    pub(super) fn kept(&self) -> Tensor {
        let width = self.rows.shape().columns();
        self.rows.view(0, [self.len(), width], width)
    }

    /// Numbers of the rows that are kept once there have been so many transitions.
    pub(super) fn elements_of(&self, seen: u64) -> usize {
        seen.min(self.capacity as u64) as usize * self.rows.shape().columns()
    }

    /// Takes over what [`Memory::kept`] and [`Memory::seen`] gave.
    pub(super) fn restore(&mut self, kept: &[f64], seen: u64) {
        self.seen = seen;
        let kept: Vec<f32> = kept.iter().map(|value| *value as f32).collect();
        write(&self.kept(), &kept);
        self.filled.copy_from_slice(&[self.len() as i32]);
    }
}

fn write(to: &Tensor, rows: &[f32]) {
    match to.dtype() {
        DType::F32 => to.copy_from_slice(rows),
        _ => to.copy_from_f64s(&rows.iter().map(|value| f64::from(*value)).collect::<Vec<_>>()),
    }
}
