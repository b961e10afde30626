//! A run's whole state in one file: the learner's, as `alrao train` writes it, and beside it the target network, the replay
//! buffer and the episodes that are going on.

use std::path::Path;

use super::collecting::{Collecting, State};
use super::network::QNetwork;
use crate::error::{Error, Result};
use crate::train::tensor_file::Array;
use crate::train::{Checkpoint, ModelRecord, Progress};

/// Where a run is in its epochs, besides its [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// The step at which the epoch began.
    pub epoch_start: u64,
    /// The best epoch's mean return.
    pub best_return: f64,
    /// Whether the best epoch's network had learnt anything.
    pub best_has_learnt: bool,
}

impl Place {
    pub const START: Place =
        Place { epoch_start: 0, best_return: f64::NEG_INFINITY, best_has_learnt: false };

    /// Writes it into a checkpoint.
    pub fn put(&self, checkpoint: &mut Checkpoint) {
        let has_learnt = f64::from(u8::from(self.best_has_learnt));
        let values = [self.epoch_start as f64, self.best_return, has_learnt];
        checkpoint.put_beside("place", Array::new(vec![3], &values));
    }

    /// Reads it from a checkpoint. `path` is for messages.
    ///
    /// # Errors
    /// Where it is not one of Q-learning.
    pub fn read(checkpoint: &Checkpoint, path: &Path) -> Result<Place> {
        let place = numbers(checkpoint, "place", 3, path)?;
        let (epoch_start, best_return) = (place[0] as u64, place[1]);
        Ok(Place { epoch_start, best_return, best_has_learnt: place[2] != 0.0 })
    }
}

/// Reads everything back from the device.
pub(super) fn capture(
    network: &QNetwork,
    collecting: &Collecting,
    record: ModelRecord,
    progress: Progress,
    place: Place,
) -> Checkpoint {
    let learner = network.learner();
    // There is no loss to be the best.
    let mut checkpoint = Checkpoint::capture(learner, Some(record), progress, f64::INFINITY);
    let target = network.target();
    for entry in target.entries() {
        let values = Array::from_tensor(&target.view(target.values(), entry));
        checkpoint.put_beside(&format!("target.{}", entry.name), values);
    }
    let memory = network.memory();
    checkpoint.put_beside("replay.rows", Array::from_tensor(&memory.kept()));
    let mut put = |name: &str, values: &[f64]| {
        checkpoint.put_beside(name, Array::new(vec![values.len()], values));
    };
    put("replay.seen", &[memory.seen() as f64]);
    let State { observations, returns, counts, environments } = collecting.state();
    put("episodes", &counts);
    put("returns", &returns);
    if let Some(environments) = environments {
        put("environments", &environments);
    }
    checkpoint.put_beside("observations", Array::new(vec![observations.len()], &observations));
    place.put(&mut checkpoint);
    checkpoint
}

/// Puts everything into this state. `path` is for messages.
///
/// # Errors
/// Where the checkpoint is another model's or not one of Q-learning.
pub(super) fn restore(
    checkpoint: &Checkpoint,
    network: &mut QNetwork,
    collecting: &mut Collecting,
    path: &Path,
) -> Result<Place> {
    checkpoint.restore(network.learner(), path)?;
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
    Place::read(checkpoint, path)
}

fn numbers(checkpoint: &Checkpoint, name: &str, count: usize, path: &Path) -> Result<Vec<f64>> {
    let values = floats(checkpoint, name, path)?;
    if values.len() != count {
        let message = format!("alrao.rl.{name} has {} numbers, not {count}", values.len());
        return Err(Error::file(path, message));
    }
    Ok(values)
}

fn floats(checkpoint: &Checkpoint, name: &str, path: &Path) -> Result<Vec<f64>> {
    let values = checkpoint.beside(name, path)?.to_f64s();
    values.ok_or_else(|| Error::file(path, format!("alrao.rl.{name} holds no numbers")))
}
