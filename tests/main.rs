//! The integration tests, one binary.

mod alrao;
mod averaging;
#[cfg(feature = "cli")]
mod command_line;
mod conversion;
mod golden;
mod gradients;
mod lstm;
mod models;
#[cfg(all(feature = "cli", unix))]
mod runs;
mod sequence;
mod training;
mod update;
mod vision;
