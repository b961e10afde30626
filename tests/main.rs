//! The integration tests, one binary.

// A helper of tests is outside of what clippy.toml knows as a test.
#![allow(clippy::unwrap_used)]

mod alrao;
mod arrows;
mod averaging;
#[cfg(target_os = "linux")]
mod both_sides;
mod bundle;
mod circles;
#[cfg(feature = "cli")]
mod command_line;
mod conversion;
mod devices;
mod empty_shapes;
mod environments;
#[cfg(feature = "cli")]
mod estimates;
mod examples;
#[cfg(feature = "cli")]
mod fixtures;
mod formats;
mod golden;
mod gradients;
mod gymnasium;
mod host_work;
#[cfg(feature = "cli")]
mod instruction_sets;
#[cfg(feature = "cli")]
mod kernels;
mod launches;
mod long_runs;
mod lstm;
mod machine_code;
mod masks;
mod models;
#[cfg(feature = "cli")]
mod onnx;
mod own_data;
mod own_runs;
#[cfg(all(feature = "cli", unix))]
mod parts;
mod peers;
mod place;
#[cfg(has_simulator)]
mod placement;
#[cfg(feature = "cli")]
mod predict;
mod profile;
mod q_learning;
mod regression;
#[cfg(all(feature = "cli", unix))]
mod runs;
mod sequence;
mod training;
mod update;
mod vision;
mod workloads;
#[cfg(all(feature = "cli", has_simulator))]
mod workshop;
