//! Environments by name.

use super::environment::Environments;
use super::gymnasium::Gymnasium;
use super::pendulum::{Pendulum, TORQUES};
use crate::error::{Error, Result};

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
