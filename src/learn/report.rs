//! The result of a run.

use super::Counts;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The run is done.
    Finished,
    /// The run was stopped and can be continued.
    Stopped,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report<Best, Test> {
    /// How it ended.
    pub outcome: Outcome,
    /// The best epoch, and the loss or return by which it was chosen.
    pub best: Option<(u64, Best)>,
    /// The test of the best epoch's model, if there is a test.
    pub test: Option<Test>,
    /// Counts of divergences.
    pub counts: Counts,
}
