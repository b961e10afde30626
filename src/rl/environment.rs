//! The interface of environments.

use crate::error::Result;

/// The observations and actions of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// Numbers in an observation.
    pub observation: usize,
    /// Number of actions, which are counted from 0.
    pub actions: usize,
}

/// The outcome of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The reward.
    pub reward: f64,
    /// The episode reached a final state, after which there are no rewards.
    pub terminated: bool,
    /// The episode was cut off before a final state, usually by a time limit.
    pub truncated: bool,
}

impl Outcome {
    /// Whether the copy needs a reset before its next step.
    pub fn has_ended(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// Several copies of one environment, side by side. The interface is Gymnasium's.
///
/// One slice holds the observations of all copies, `[count, spaces().observation]`. Every copy needs a [`reset`] before
/// its first step and after the end of each episode.
///
/// # Panics
/// [`reset`] and [`step_some`] panic where a slice has the wrong length, or a copy or an action does not exist.
///
/// [`reset`]: Environments::reset
/// [`step_some`]: Environments::step_some
pub trait Environments {
    /// The observations and actions of the environment.
    fn spaces(&self) -> Spaces;

    /// Number of copies.
    fn count(&self) -> usize;

    /// Starts new episodes in some copies, each given with its seed. Writes their first observations into their rows of
    /// `observations` and leaves the other rows alone. In a deterministic environment an episode is a function of seed
    /// and actions.
    ///
    /// # Errors
    /// [`crate::Error::Environment`] where it fails.
    fn reset(&mut self, resets: &[(usize, u64)], observations: &mut [f32]) -> Result<()>;

    /// Takes one step in every copy that has an action, and writes its observation. The other copies take no step:
    /// their outcome is `None`, and their rows stay as they are. An episode that ends is not reset: its last
    /// observation is written.
    ///
    /// # Errors
    /// [`crate::Error::Environment`] where it fails.
    fn step_some(
        &mut self,
        actions: &[Option<usize>],
        observations: &mut [f32],
    ) -> Result<Vec<Option<Outcome>>>;

    /// Takes one step in every copy, as [`step_some`](Environments::step_some).
    ///
    /// # Errors
    /// As [`step_some`](Environments::step_some).
    fn step(&mut self, actions: &[usize], observations: &mut [f32]) -> Result<Vec<Outcome>> {
        let actions: Vec<Option<usize>> = actions.iter().copied().map(Some).collect();
        Ok(self.step_some(&actions, observations)?.into_iter().flatten().collect())
    }

    /// The state of all copies, from which [`restore`](Environments::restore) continues to the bit. `None` if it cannot
    /// be saved.
    fn state(&self) -> Option<Vec<f64>>;

    /// Restores a [`state`](Environments::state) of the same number of copies.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where it is not a state of these copies, or the environment cannot restore one.
    fn restore(&mut self, state: &[f64]) -> Result<()>;
}

/// Panics unless `resets` and `observations` fit the environment.
pub(super) fn check_reset(
    environment: &str,
    (spaces, count): (Spaces, usize),
    resets: &[(usize, u64)],
    observations: &[f32],
) {
    check_observations(environment, (spaces, count), observations);
    for &(copy, _) in resets {
        assert!(copy < count, "{environment}: reset of copy {copy} of {count}");
    }
}

/// Panics unless `actions` and `observations` fit the environment.
pub(super) fn check_step(
    environment: &str,
    (spaces, count): (Spaces, usize),
    actions: &[Option<usize>],
    observations: &[f32],
) {
    check_observations(environment, (spaces, count), observations);
    assert!(actions.len() == count, "{environment}: {} actions for {count} copies", actions.len());
    for &action in actions.iter().flatten() {
        let all = spaces.actions;
        assert!(action < all, "{environment}: action {action}, but there are {all}");
    }
}

fn check_observations(environment: &str, (spaces, count): (Spaces, usize), observations: &[f32]) {
    let (length, width) = (observations.len(), spaces.observation);
    assert!(
        length == count * width,
        "{environment}: room for {length} numbers, but the observations are [{count}, {width}]"
    );
}
