//! The integration tests, one binary.

mod gradients;
mod lstm;
mod sequence;
