//! Measurements for `alrao kernels`, `alrao bench` and the benchmarks: single kernels on problems of the paper's size,
//! whole training steps beside PyTorch's, and Q-learning.

#[cfg(feature = "cli")]
pub mod atlas;
#[cfg(feature = "cli")]
pub mod comparison;
pub mod estimate;
pub mod kernels;
#[cfg(feature = "cli")]
pub mod machine;
pub mod peaks;
#[cfg(feature = "cli")]
pub mod peers;
pub mod pieces;
pub mod profile;
pub mod q_learning;
pub mod step;
pub mod turns;
pub mod workloads;
