//! The interface of environments, which are opened by name.

use super::gymnasium::Gymnasium;
use super::pendulum::{Pendulum, TORQUES};
use crate::error::{Error, Result};

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
    /// [`Error::Environment`] where it fails.
    fn reset(&mut self, resets: &[(usize, u64)], observations: &mut [f32]) -> Result<()>;

    /// Takes one step in every copy that has an action, and writes its observation. The other copies take no step:
    /// their outcome is `None`, and their rows stay as they are. An episode that ends is not reset: its last
    /// observation is written.
    ///
    /// # Errors
    /// [`Error::Environment`] where it fails.
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
    /// [`Error::Input`] where it is not a state of these copies, or the environment cannot restore one.
    fn restore(&mut self, state: &[f64]) -> Result<()>;
}

/// Opens `count` copies of an environment: `pendulum`, `pendulum:TORQUES` or `gym:NAME`.
///
/// # Errors
/// [`Error::Input`] where the name is unknown, or Gymnasium cannot be opened; [`Error::Environment`] where making the
/// environment fails.
pub fn open(name: &str, count: usize) -> Result<Box<dyn Environments>> {
    assert!(count > 0, "environments: at least one copy is needed");
    let (kind, detail) = match name.split_once(':') {
        Some((kind, detail)) => (kind, Some(detail)),
        None => (name, None),
    };
    match (kind, detail) {
        ("pendulum", None) => Ok(Box::new(Pendulum::new(count, TORQUES))),
        ("pendulum", Some(torques)) => Ok(Box::new(Pendulum::new(count, number_of(torques)?))),
        ("gym", Some(name)) if !name.is_empty() => Ok(Box::new(Gymnasium::open(name, count)?)),
        ("gym", _) => {
            Err(Error::field("env", "gym: needs a name behind it, as in gym:LunarLander-v3"))
        }
        _ => {
            let message = format!("'{name}' is none of pendulum, pendulum:TORQUES, gym:NAME");
            Err(Error::field("env", message))
        }
    }
}

/// The number of torques of a pendulum.
fn number_of(torques: &str) -> Result<usize> {
    let number =
        torques.parse().ok().filter(|number| Pendulum::NUMBERS_OF_TORQUES.contains(number));
    number.ok_or_else(|| {
        let (low, high) = Pendulum::NUMBERS_OF_TORQUES.into_inner();
        let message = format!("'{torques}' is not a number of torques from {low} to {high}");
        Error::input(format!("`env` pendulum:{torques}"), message)
    })
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
