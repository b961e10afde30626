//! Learning from a data set: batches, evaluation, and runs of it.

mod evaluate;
mod feed;
mod reports;
mod run;
mod sample;
mod step_launches;
mod task;
mod trainer;

pub use evaluate::{Evaluation, evaluate};
pub use reports::{EpochReport, Event, Plan, Report, Status, TestReport};
pub use run::{Overrides, Run};
pub use run::{input, kind};
pub use sample::sample;
pub use step_launches::step_launches;
pub use task::Supervised;
pub use trainer::Trainer;
