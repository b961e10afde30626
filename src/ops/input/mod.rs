//! From stored samples to a batch.

pub mod augment;
pub mod gather;
