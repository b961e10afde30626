//! Ops that one kind of layer uses.

pub mod batch_norm;
pub mod conv2d;
mod convolution;
pub mod depthwise;
pub mod dropout;
pub mod embedding;
pub mod flatten;
pub mod linear;
pub mod lstm;
pub mod pool;
mod row_tiles;
pub mod squeeze_excite;
