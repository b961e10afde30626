//! Flat parameter buffers, and the optimisers that update them in one pass.

mod flat;
mod optimizer;

pub use flat::{FlatEntry, FlatParameters};
pub use optimizer::Optimizer;
