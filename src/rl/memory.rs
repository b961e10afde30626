//! The replay buffer: the last transitions, in flat rows on the device.

use super::environment::Spaces;
use crate::device::{DType, Device};
use crate::ops::rl::replay;
use crate::tensor::Tensor;

/// One step of an environment.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// The observation before the step.
    pub observation: &'a [f32],
    /// The action.
    pub action: usize,
    /// The reward.
    pub reward: f64,
    /// The observation after the step.
    pub next_observation: &'a [f32],
    /// Whether the step reached a final state; false where the episode was only cut off.
    pub terminated: bool,
}

/// The last transitions. A full memory replaces its oldest ones.
pub struct Memory {
    rows: Tensor,
    filled: Tensor,
    capacity: usize,
    /// Transitions stored so far, including those replaced since.
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

    /// Stores transitions in their order.
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

    /// Number of transitions in the memory.
    pub fn len(&self) -> usize {
        self.seen.min(self.capacity as u64) as usize
    }

    /// Whether the memory is empty.
    pub fn is_empty(&self) -> bool {
        self.seen == 0
    }

    /// Transitions stored so far, including those replaced since.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The rows as [`replay::sample`] takes them, `[capacity, 2 n + 3]`.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// Number of filled rows, I32 `[1]`.
    pub fn filled(&self) -> &Tensor {
        &self.filled
    }

    /// The filled rows.
    pub(super) fn kept(&self) -> Tensor {
        let width = self.rows.shape().columns();
        self.rows.view(0, [self.len(), width], width)
    }

    /// Elements of the filled rows after `seen` transitions.
    pub(super) fn elements_of(&self, seen: u64) -> usize {
        seen.min(self.capacity as u64) as usize * self.rows.shape().columns()
    }

    /// Restores the values of [`Memory::kept`] and [`Memory::seen`].
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
