//! The integration tests, one binary.

mod averaging;
mod golden;
mod gradients;
mod lstm;
mod models;
mod sequence;
mod training;
mod update;
mod vision;
