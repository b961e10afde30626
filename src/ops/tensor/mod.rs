//! Ops on tensors of any meaning.

pub mod concatenate;
pub mod elementwise;
pub mod matmul;
pub mod reduce;
pub mod view;
