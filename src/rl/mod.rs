//! Reinforcement learning: environments, and deep Q-learning with Alrao in them (the paper's Appendix D).

mod collecting;
mod config;
mod environment;
mod episodes;
#[cfg(test)]
mod failing_disk;
mod gymnasium;
mod memory;
mod network;
mod open;
mod pendulum;
mod policy;
mod reports;
mod run;
pub mod settings;
mod state;
mod task;

pub(crate) use collecting::Collecting;
pub use config::{Exploration, QConfig, QLearningConfig};
pub use environment::{Environments, Outcome, Spaces};
pub use gymnasium::Gymnasium;
pub use memory::{Memory, Transition};
pub use network::QNetwork;
pub use open::open;
pub use pendulum::Pendulum;
pub use policy::greedy;
pub use reports::{EpochReport, Plan, Report, Status, TestReport};
pub(crate) use run::check_room;
pub use run::{Evaluation, Run, describe, evaluate};
pub use task::{Event, QLearning};
