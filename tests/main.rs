//! The integration tests, one binary.

mod averaging;
mod conversion;
mod golden;
mod gradients;
mod lstm;
mod models;
mod sequence;
mod training;
mod update;
