//! The integration tests, one binary.

mod golden;
mod gradients;
mod lstm;
mod sequence;
