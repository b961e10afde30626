//! A device that takes kernel launches: a GPU, the simulator or the launch counter. Ops do not know which.

mod binaries;
mod block;
mod capture;
pub(super) mod counter;
pub(super) mod cuda;
mod device;
pub(super) mod driver;
mod graph;
mod host_work;
mod launch;
mod memory;
pub(crate) mod occupancy;
mod reports;
mod ring;
#[cfg(has_simulator)]
pub mod simulator;
#[cfg(test)]
mod tests;

pub use binaries::fat_binaries;
pub(crate) use block::Block;
pub use device::{Gpu, KernelTime};
pub use graph::CapturedGraph;
pub use host_work::HostWork;
#[cfg(all(has_simulator, feature = "cli"))]
pub(crate) use launch::ArgumentKind;
pub use launch::LaunchWork;
pub(crate) use launch::{Argument, Launch, Parameters, Pointer};
pub use occupancy::{Limits, Resources};
pub(crate) use occupancy::{MOST_WARPS, resident_blocks};
pub use reports::{LaunchSample, LaunchTrace, PhaseTraffic, SampledRequest, SiteTraffic};
pub(crate) use ring::Ring;
