//! Measurements for `alrao kernels`, `alrao bench` and the benchmarks: single kernels on problems of the paper's size,
//! whole training steps beside PyTorch's, and Q-learning.

#[cfg(feature = "cli")]
pub mod comparison;
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

use std::time::Duration;

/// The middle one, or the upper of the two in the middle. Panics if there is none.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2]
}
