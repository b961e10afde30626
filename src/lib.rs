//! Trains neural networks without tuning a learning rate.

pub mod alrao;
pub mod bench;
pub mod data;
pub mod device;
pub mod error;
#[cfg(feature = "cli")]
pub mod experiments;
pub mod learn;
pub mod models;
mod named;
pub mod nn;
pub mod ops;
pub mod optim;
#[cfg(feature = "cli")]
pub mod plots;
pub mod random;
pub mod rl;
pub mod shape;
pub mod supervised;
pub mod tape;
mod task;
pub mod tensor;

pub use alrao::{Alrao, AlraoConfig};
pub use device::{DType, Device, DeviceKind};
pub use error::{Error, Result};
pub use shape::Shape;
pub use tape::Tape;
pub use tensor::Tensor;
