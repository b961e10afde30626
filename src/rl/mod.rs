//! Reinforcement learning: environments, and Q-learning in them.

mod environment;
mod gymnasium;
mod pendulum;

pub use environment::{Environments, Outcome, Spaces, open};
pub use gymnasium::Gymnasium;
pub use pendulum::Pendulum;
