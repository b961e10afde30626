//! Flat parameter buffers, and the optimisers that update them in one pass.

mod flat;

pub use flat::FlatParameters;
