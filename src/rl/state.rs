//! A run's whole state in one file: the learner's, as `alrao train` writes it, the target network, the replay buffer
//! and the current episodes.

use std::path::Path;

use super::collecting::{Collecting, State};
use super::network::QNetwork;
use crate::error::{Error, Result};
use crate::learn::tensor_file::Array;
use crate::learn::{Checkpoint, ModelRecord, Progress};

/// Prefix of the arrays that are not the learner's.
pub(super) const PREFIX: &str = "alrao.rl.";

/// The part of a run's progress that [`Progress`] lacks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// The step at which the epoch began.
    pub epoch_start: u64,
    /// The best epoch's mean return.
    pub best_return: f64,
    /// Whether the best epoch's network had learnt anything.
    pub best_has_learnt: bool,
}

impl Standing {
    pub const START: Standing =
        Standing { epoch_start: 0, best_return: f64::NEG_INFINITY, best_has_learnt: false };

    /// Writes it into a checkpoint.
    pub fn put(&self, checkpoint: &mut Checkpoint) {
        let has_learnt = f64::from(u8::from(self.best_has_learnt));
        let values = [self.epoch_start as f64, self.best_return, has_learnt];
        put(checkpoint, "place", Array::new(vec![3], &values));
    }

    /// Reads it from a checkpoint. `path` is for messages.
    ///
    /// # Errors
    /// Where it is not a checkpoint of Q-learning.
    pub fn read(checkpoint: &Checkpoint, path: &Path) -> Result<Standing> {
        let place = numbers(checkpoint, "place", 3, path)?;
        let (epoch_start, best_return) = (place[0] as u64, place[1]);
        Ok(Standing { epoch_start, best_return, best_has_learnt: place[2] != 0.0 })
    }
}

/// Reads the whole state back from the device.
pub(super) fn capture(
    network: &QNetwork,
    collecting: &Collecting,
    record: Option<ModelRecord>,
    progress: Progress,
) -> Checkpoint {
    let learner = network.learner();
    let mut checkpoint = Checkpoint::capture(learner, record, progress);
    let target = network.target();
    for entry in target.entries() {
        let values = Array::from_tensor(&target.view(target.values(), entry));
        put(&mut checkpoint, &format!("target.{}", entry.name), values);
    }
    let memory = network.memory();
    put(&mut checkpoint, "replay.rows", Array::from_tensor(&memory.kept()));
    let mut put_numbers = |name: &str, values: &[f64]| {
        put(&mut checkpoint, name, Array::new(vec![values.len()], values));
    };
    put_numbers("replay.seen", &[memory.seen() as f64]);
    let State { observations, returns, counts, environments } = collecting.state();
    put_numbers("episodes", &counts);
    put_numbers("returns", &returns);
    if let Some(environments) = environments {
        put_numbers("environments", &environments);
    }
    put(&mut checkpoint, "observations", Array::new(vec![observations.len()], &observations));
    checkpoint
}

fn put(checkpoint: &mut Checkpoint, name: &str, array: Array) {
    checkpoint.put(&format!("{PREFIX}{name}"), array);
}

/// Restores the whole state. `path` is for messages.
///
/// # Errors
/// Where the checkpoint is of another model, or not of Q-learning.
pub(super) fn restore(
    checkpoint: &Checkpoint,
    network: &mut QNetwork,
    collecting: &mut Collecting,
    path: &Path,
) -> Result<Standing> {
    checkpoint.restore_beside(network.learner(), Some(PREFIX), path)?;
    let exactly = |name: &str, count: usize| numbers(checkpoint, name, count, path);
    let target = network.target();
    for entry in target.entries() {
        let values = exactly(&format!("target.{}", entry.name), entry.shape.elements())?;
        target.view(target.values(), entry).copy_from_f64s(&values);
    }
    target.refresh_narrow();
    let seen = exactly("replay.seen", 1)?[0] as u64;
    let memory = network.memory_mut();
    let rows = exactly("replay.rows", memory.elements_of(seen))?;
    memory.restore(&rows, seen);
    let counts = exactly("episodes", 4)?;
    let own = collecting.state();
    collecting.restore(State {
        counts: [counts[0], counts[1], counts[2], counts[3]],
        returns: exactly("returns", own.returns.len())?,
        observations: exactly("observations", own.observations.len())?
            .into_iter()
            .map(|value| value as f32)
            .collect(),
        environments: own
            .environments
            .map(|_| floats(checkpoint, "environments", path))
            .transpose()?,
    })?;
    Standing::read(checkpoint, path)
}

fn numbers(checkpoint: &Checkpoint, name: &str, count: usize, path: &Path) -> Result<Vec<f64>> {
    let values = floats(checkpoint, name, path)?;
    if values.len() != count {
        let message = format!("{PREFIX}{name} has {} numbers, not {count}", values.len());
        return Err(Error::file(path, message));
    }
    Ok(values)
}

fn floats(checkpoint: &Checkpoint, name: &str, path: &Path) -> Result<Vec<f64>> {
    let values = checkpoint.array(&format!("{PREFIX}{name}"), path)?.to_f64s();
    values.ok_or_else(|| Error::file(path, format!("{PREFIX}{name} holds no numbers")))
}
