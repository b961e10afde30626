//! Learning from a data set: batches, evaluation and runs.

mod batches;
mod class_measures;
mod evaluate;
#[cfg(test)]
mod failing_disk;
mod fit;
mod measurement;
mod model_source;
mod predictor;
mod reports;
pub(crate) mod room;
mod run;
mod sample;
pub mod settings;
mod step_launches;
mod task;
mod trainer;

pub use class_measures::{ClassMeasure, ClassMeasures};
pub use evaluate::{Evaluation, evaluate};
pub use fit::kind;
pub(crate) use fit::vocabulary;
pub use measurement::{Measurement, RegressionErrors};
pub use predictor::{Predictions, Predictor, read_class_names};
pub use reports::{EpochReport, Plan, Report, Status, TestReport};
pub use run::{Run, input};
pub use sample::{Sample, sample};
pub use settings::{DataConfig, RunConfig};
pub use step_launches::step_launches;
pub(crate) use step_launches::step_profile;
pub use task::{Event, Supervised};
pub use trainer::Trainer;
