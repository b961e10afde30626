//! General tensor ops.

pub mod concatenate;
pub mod elementwise;
pub mod matmul;
mod pass;
pub mod reduce;
pub mod view;
