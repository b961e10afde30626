//! Trains neural networks without tuning a learning rate.

pub mod data;
pub mod error;
pub mod random;
pub mod shape;

pub use error::{Error, Result};
pub use shape::Shape;
