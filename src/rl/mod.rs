//! Reinforcement learning: environments, and Q-learning in them.

mod environment;
mod pendulum;

pub use environment::{Environments, Outcome, Spaces, open};
pub use pendulum::Pendulum;
