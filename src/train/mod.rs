//! Training: the step, epochs, evaluation, the run directory and its checkpoints.

mod checkpoint;
mod config;
mod directory;
mod evaluate;
mod feed;
mod learner;
pub(crate) mod memory;
mod metrics;
mod observer;
mod rates;
pub(crate) mod repeated_work;
mod run;
mod sample;
pub mod settings;
mod step_launches;
pub(crate) mod tensor_file;
mod trainer;
mod training;

pub use checkpoint::{Checkpoint, ModelRecord, Progress, Record};
pub use config::{Optimizer, Order, Precision, RunConfig, Schedule, TrainConfig};
pub use directory::RunDirectory;
pub use evaluate::{Evaluation, EvaluationPrecision, evaluate};
pub(crate) use evaluate::{load, locate};
pub use learner::Learner;
pub use observer::{
    Counts, EpochReport, Event, Observer, Silent, StepReport, StopFlag, TestReport,
};
pub use run::{Overrides, Run};
pub(crate) use run::{check_precision, check_precision_of_run};
#[cfg(feature = "cli")]
pub(crate) use run::{input, kind};
pub use sample::sample;
pub use step_launches::step_launches;
#[cfg(feature = "cli")]
pub(crate) use tensor_file::replace;
pub use trainer::Trainer;
pub use training::{Outcome, Report, Training};
