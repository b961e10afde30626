//! One op, one file: its shape rule, its CPU code, its backward. Knows no layer.
//!
//! `docs/adding-an-op.md` shows how to add one.

pub mod batch_norm;
pub mod concatenate;
pub mod conv2d;
pub mod cross_entropy;
pub mod depthwise;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod flatten;
pub mod lstm;
pub mod matmul;
pub mod pool;
pub mod reduce;
pub mod view;
