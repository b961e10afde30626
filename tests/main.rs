//! The integration tests, one binary.

mod averaging;
mod conversion;
mod golden;
mod gradients;
mod lstm;
mod sequence;
mod update;
