//! What is measured and how, for `alrao kernels`, `alrao bench` and the benchmarks: every kernel on a problem of the
//! paper's size, whole training steps beside PyTorch's, and Q-learning.

pub mod ceilings;
#[cfg(feature = "cli")]
pub mod comparison;
pub mod kernels;
#[cfg(feature = "cli")]
pub mod machine;
#[cfg(feature = "cli")]
pub mod peers;
pub mod pieces;
pub mod profile;
pub mod q_learning;
pub mod step;
pub mod turns;
pub mod workloads;

use std::time::Duration;

/// The one in the middle, or the upper of two. Panics where there is none.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2]
}
