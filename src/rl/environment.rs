//! What every environment does, and how one is opened by its name.

use super::gymnasium::Gymnasium;
use super::pendulum::{Pendulum, TORQUES};
use crate::error::{Error, Result};

/// What an environment shows and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// Numbers in an observation.
    pub observation: usize,
    /// Number of actions, which are the numbers from 0 on.
    pub actions: usize,
}

/// What one step brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// What there was to be won.
    pub reward: f64,
    /// The episode reached an end of its own: nothing can be won behind it.
    pub terminated: bool,
    /// The episode was cut off, usually by a time limit: it could have gone on.
    pub truncated: bool,
}

impl Outcome {
    /// Whether the copy needs a reset before its next step.
    pub fn has_ended(&self) -> bool {
        self.terminated || self.truncated
    }
}

/// Several copies of one environment that go side by side. The interface is that of Gymnasium.
///
/// Observations of all copies lie in one slice, `[count, spaces().observation]`. Every copy needs a [`reset`] before its
/// first step and after the end of each episode.
///
/// # Panics
/// [`reset`] and [`step_some`] panic where a slice has the wrong length, or a copy or an action does not exist.
///
/// [`reset`]: Environments::reset
/// [`step_some`]: Environments::step_some
pub trait Environments {
    /// What is shown and taken.
    fn spaces(&self) -> Spaces;

    /// Number of copies.
    fn count(&self) -> usize;

    /// Starts new episodes in some copies, each given with its seed. Writes their first observations into their rows of
    /// `observations`, and touches no other row. The episode is a function of seed and actions, wherever the environment is
    /// deterministic.
    ///
    /// # Errors
    /// [`Error::Environment`] where it fails.
    fn reset(&mut self, resets: &[(usize, u64)], observations: &mut [f32]) -> Result<()>;

    /// Goes one step in every copy that is given an action, and writes what it then shows. The others stand still: theirs is
    /// `None`, and their rows are left alone. An episode that ended is not reset: its last observation is what is shown.
    ///
    /// # Errors
    /// [`Error::Environment`] where it fails.
    fn step_some(
        &mut self,
        actions: &[Option<usize>],
        observations: &mut [f32],
    ) -> Result<Vec<Option<Outcome>>>;

    /// [`step_some`](Environments::step_some) of all.
    ///
    /// # Errors
    /// As there.
    fn step(&mut self, actions: &[usize], observations: &mut [f32]) -> Result<Vec<Outcome>> {
        let actions: Vec<Option<usize>> = actions.iter().copied().map(Some).collect();
        Ok(self.step_some(&actions, observations)?.into_iter().flatten().collect())
    }

    /// The state of all copies, from which [`restore`](Environments::restore) goes on to the bit. `None` where there is no
    /// telling.
    fn state(&self) -> Option<Vec<f64>>;

    /// Takes up a [`state`](Environments::state) of as many copies.
    ///
    /// # Errors
    /// [`Error::Input`] where it is not a state of these copies, or cannot be taken up.
    fn restore(&mut self, state: &[f64]) -> Result<()>;
}

/// Opens `count` copies of an environment: `pendulum`, `pendulum:TORQUES` or `gym:NAME`.
///
/// # Errors
/// [`Error::Input`] where the name says nothing, or Gymnasium cannot be opened; [`Error::Environment`] where making the
/// environment fails.
pub fn open(name: &str, count: usize) -> Result<Box<dyn Environments>> {
    assert!(count > 0, "environments: no copy asked for");
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
