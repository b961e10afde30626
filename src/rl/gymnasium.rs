//! Environments of Gymnasium, in a separate Python process.
//!
//! The program contains `scripts/gymnasium_bridge.py` and starts `python3 -c` with its text, so only Python has to be
//! found; `ALRAO_PYTHON` names another Python. `frames` describes the messages between the two.

mod frames;
mod process;

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use self::frames::{Fault, Opened, Reason, Request};
use self::process::{Failure, Process};
use super::environment::{Environments, Outcome, Spaces, check_reset, check_step};
use crate::error::{Error, Result};

/// The environment variable that names the Python to use.
const SETTING: &str = "ALRAO_PYTHON";
const USUAL: [&str; 2] = ["python3", "python"];
const BRIDGE: &str = include_str!("../../scripts/gymnasium_bridge.py");
/// Importing Gymnasium takes seconds from a slow disk, a minute from a network's. A slower step is useless for
/// learning.
const PATIENCE: Duration = Duration::from_secs(180);

/// Copies of an environment of Gymnasium with a box of observations and discrete actions.
///
/// Observations of any shape are flattened to 32-bit floats, and actions are counted from 0 whatever the environment's
/// own start. The Python process ends when this value is dropped or this process ends. Its state cannot be saved.
#[derive(Debug)]
pub struct Gymnasium {
    process: Process,
    name: String,
    count: usize,
    opened: Opened,
}

impl Gymnasium {
    /// Opens `count` copies of `gymnasium.make(name)` in the Python that `ALRAO_PYTHON` names, or else `python3` or
    /// `python`.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no Python, no Gymnasium or no such environment, Q-learning does not support it,
    /// or the process does not answer; [`Error::Environment`] where making the environment fails.
    pub fn open(name: &str, count: usize) -> Result<Self> {
        let programs = programs(std::env::var_os(SETTING));
        Self::open_with(programs.into_iter().map(Command::new).collect(), PATIENCE, name, count)
    }

    /// As [`Gymnasium::open`], with the first of `commands` that exists; each runs Python. If an answer takes longer
    /// than `patience`, the process is killed.
    ///
    /// # Errors
    /// As [`Gymnasium::open`].
    pub fn open_with(
        commands: Vec<Command>,
        patience: Duration,
        name: &str,
        count: usize,
    ) -> Result<Self> {
        assert!(count > 0, "gym:{name}: at least one copy is needed");
        let mut python = String::new();
        let request = Request::Open { name, count };
        let opened = process::start(commands, BRIDGE, &mut python, &request, patience);
        let (process, opened) = opened.map_err(|failure| refusal(name, &python, failure))?;
        Ok(Gymnasium { process, name: name.to_owned(), count, opened })
    }

    /// The versions of Gymnasium and of Python.
    pub fn versions(&self) -> &str {
        &self.opened.versions
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    fn exchange(&mut self, request: &Request<'_>, length: usize) -> Result<Vec<u8>> {
        let answer = self.process.exchange(request, length..=length);
        answer.map_err(|failure| self.error(failure.to_string()))
    }

    fn error(&self, message: String) -> Error {
        Error::environment(&format!("gym:{}", self.name), message)
    }

    /// Refuses observations that are not finite: a single NaN would soon reach every value.
    fn check_observation(&self, copy: usize, observation: &[f32]) -> Result<()> {
        match observation.iter().position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(place) => {
                let number = observation[place];
                let message = format!(
                    "number {place} of the observation of copy {copy} is {number} (both are counted from 0)"
                );
                Err(self.error(message))
            }
        }
    }

    fn check_reward(&self, copy: usize, reward: f64) -> Result<()> {
        match (reward as f32).is_finite() {
            true => Ok(()),
            false => Err(self.error(format!("the reward of copy {copy} is {reward}"))),
        }
    }
}

impl Environments for Gymnasium {
    fn spaces(&self) -> Spaces {
        self.opened.spaces
    }

    fn count(&self) -> usize {
        self.count
    }

    fn reset(&mut self, resets: &[(usize, u64)], observations: &mut [f32]) -> Result<()> {
        check_reset("gymnasium", (self.spaces(), self.count), resets, observations);
        let width = self.spaces().observation;
        let shown =
            self.exchange(&Request::Reset(resets), frames::reset_length(resets.len(), width))?;
        for (&(copy, _), row) in resets.iter().zip(shown.chunks_exact(4 * width)) {
            let own = &mut observations[copy * width..][..width];
            frames::floats(row, own);
            self.check_observation(copy, own)?;
        }
        Ok(())
    }

    fn step_some(
        &mut self,
        actions: &[Option<usize>],
        observations: &mut [f32],
    ) -> Result<Vec<Option<Outcome>>> {
        check_step("gymnasium", (self.spaces(), self.count), actions, observations);
        let length = frames::step_length(self.count, self.spaces().observation);
        let answer = self.exchange(&Request::Step(actions), length)?;
        let outcomes = frames::outcomes(&answer, self.count, observations);
        for (copy, own) in observations.chunks(self.spaces().observation).enumerate() {
            if let Some(outcome) = &outcomes[copy] {
                self.check_observation(copy, own)?;
                self.check_reward(copy, outcome.reward)?;
            }
        }
        Ok(outcomes)
    }

    fn state(&self) -> Option<Vec<f64>> {
        None
    }

    fn restore(&mut self, _: &[f64]) -> Result<()> {
        let message = "the state of an environment of Gymnasium cannot be restored";
        Err(Error::input(format!("`env` gym:{}", self.name), message))
    }
}

/// The Pythons to try.
fn programs(setting: Option<OsString>) -> Vec<OsString> {
    match setting.filter(|program| !program.is_empty()) {
        Some(program) => vec![program],
        None => USUAL.map(OsString::from).to_vec(),
    }
}

/// The error for an environment that cannot be opened, with advice.
fn refusal(name: &str, python: &str, failure: Failure) -> Error {
    let failure = match failure {
        Failure::TooMany(error) => return error,
        other => other,
    };
    let message = match &failure {
        Failure::NoPython { tried } => Some(format!(
            "there is no {tried}: install Python 3 with `pip install \"gymnasium[box2d]\"`, or set {SETTING} to a Python that \
             has Gymnasium"
        )),
        Failure::NotStarted(error) => Some(format!(
            "{python} cannot be started ({error}): set {SETTING} to a Python that has Gymnasium"
        )),
        Failure::Fault { fault: Fault { reason, text }, .. } => what_to_do(*reason, text, python),
        Failure::TooMany(_)
        | Failure::Ended { .. }
        | Failure::Damaged { .. }
        | Failure::Silent { .. } => Some(format!(
            "{python} does not open it: {failure}: is that a Python 3 with Gymnasium ({SETTING} names another), and does \
             gymnasium.make work there?"
        )),
    };
    match message {
        Some(message) => Error::input(format!("`env` gym:{name}"), message),
        None => Error::environment(&format!("gym:{name}"), failure.to_string()),
    }
}

/// Advice on a fault; `None` if there is none.
fn what_to_do(reason: Reason, text: &str, python: &str) -> Option<String> {
    let install = format!("`{python} -m pip install \"gymnasium[box2d]\"`");
    Some(match reason {
        Reason::NoGymnasium => format!(
            "{python} has no Gymnasium: {install}, or set {SETTING} to a Python that has it"
        ),
        Reason::NotInstalled if text.to_lowercase().contains("box2d") => {
            format!("{python} has Gymnasium without Box2D: {install}")
        }
        Reason::NotInstalled => format!("something is not installed for {python}: {text}"),
        Reason::NotMade => format!("Gymnasium cannot make it: {text}"),
        Reason::ContinuousActions => format!(
            "its actions are continuous, {text}, and Q-learning needs discrete ones: take another environment, or \
             the built-in pendulum, which has a few torques"
        ),
        Reason::OtherActions => format!(
            "its actions are {text}, and Q-learning needs a Discrete space: take another environment"
        ),
        Reason::OtherObservation => format!(
            "its observations are {text}, and Q-learning needs a Box with at least one number: take another environment"
        ),
        Reason::Failed => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_comes_before_the_usual_names() {
        assert_eq!(programs(None), ["python3", "python"]);
        assert_eq!(programs(Some("".into())), ["python3", "python"]);
        assert_eq!(programs(Some("/a/python".into())), ["/a/python"]);
    }
}
