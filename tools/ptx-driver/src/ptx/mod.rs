//! PTX: from its text to kernels that can be executed.

mod assembler;
pub mod change;
mod contraction;
mod decode;
mod decode_control;
mod decode_memory;
pub mod instruction;
mod module;
mod names;
mod text;

pub use module::Program;
