//! The integration tests, one binary.

mod gradients;
mod lstm;
mod models;
mod sequence;
mod vision;
