//! Layers: parameters, modules, and what a forward pass needs to know.

mod dropout;
mod embedding;
mod init;
mod linear;
mod lstm;
mod module;
mod parameter;
mod step;

pub use dropout::Dropout;
pub use embedding::Embedding;
pub use init::Init;
pub use linear::Linear;
pub use lstm::Lstm;
pub(crate) use module::{Entry, for_each_entry, zero_missing_gradients};
pub use module::{Module, Sequential, Visitor};
pub use parameter::{Buffer, BufferKind, Features, FileLayout, Parameter};
pub use step::{Mask, Step};
