//! The ops of layers.

pub mod batch_norm;
pub mod conv2d;
pub mod depthwise;
pub mod dropout;
pub mod embedding;
pub mod flatten;
pub mod linear;
pub mod lstm;
pub mod pool;
