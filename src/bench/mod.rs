//! What is measured and how, for `alrao kernels`, `alrao bench` and the benchmarks: every kernel on a problem of the
//! paper's size, whole training steps, and Q-learning.

pub mod ceilings;
pub mod kernels;
pub mod profile;
pub mod q_learning;
pub mod step;
pub mod verdict;
pub mod workloads;

use std::time::Duration;

/// The one in the middle, or the upper of two. Panics where there is none.
pub fn median(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2]
}
