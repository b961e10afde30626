//! The parts that all training runs share: the learner and its captured step, the run loop, checkpoints, the run directory,
//! metrics, observers and settings. [`crate::supervised`] and [`crate::rl`] each add a task.

pub(crate) mod captured_step;
mod checkpoint;
mod config;
mod directory;
pub(crate) mod disk;
mod initial;
mod learner;
pub(crate) mod memory;
mod metrics;
mod observer;
mod output;
mod precision;
mod rates;
mod record;
mod regression_sums;
mod report;
mod run;
mod run_loop;
pub mod settings;
mod task;
pub(crate) mod tensor_file;
mod trained;

pub use checkpoint::Checkpoint;
pub use config::{Optimizer, Order, Precision, RunConfig, Schedule, TrainConfig};
pub use directory::RunDirectory;
pub use learner::Learner;
pub(crate) use metrics::Line;
pub use observer::{Counts, EvaluatedPart, Event, Observer, Reports, Silent, StepReport, StopFlag};
pub use output::OutputFile;
pub(crate) use output::check_output;
pub use precision::EvaluationPrecision;
pub(crate) use precision::{check_precision, check_precision_of_run};
pub(crate) use record::OWN_NETWORK;
pub use record::{ModelRecord, Progress, Record};
pub use report::{Outcome, Report};
pub use run::Run;
pub(crate) use run_loop::RunLoop;
pub(crate) use task::{Epoch, RunTask, Steps};
pub(crate) use trained::{Trained, load, load_into, locate, read_record};
