//! Kernel files outside of this crate: compiled while the program runs, run in the simulator under all of its checks, and compared
//! with a reference.
//!
//! A file is CUDA C++ with a header that says what it computes and how it is launched; `docs/workshop.md` explains it.

// Without the simulator, kernel files can be read but not run.
#![cfg_attr(not(has_simulator), allow(dead_code))]

#[cfg(not(has_simulator))]
mod absent;
#[cfg(has_simulator)]
mod arguments;
#[cfg(has_simulator)]
mod child;
mod column;
#[cfg(has_simulator)]
mod compiler;
mod estimate;
mod exercises;
mod factors;
mod ladder;
#[cfg(has_simulator)]
mod launches;
#[cfg(has_simulator)]
mod measure;
mod nvcc;
pub mod page;
mod reference;
mod references;
mod report;
mod resources;
mod sample;
mod source;
#[cfg(has_simulator)]
mod tolerance;
mod translation;
#[cfg(has_simulator)]
mod trial;

#[cfg(not(has_simulator))]
pub use absent::{check_measured, limit_resources, measure, open_gpu, run, try_out};
#[cfg(has_simulator)]
pub use child::{limit_resources, run};
pub use column::Column;
pub use estimate::{Bound, busy_time};
pub use exercises::{Course, EXERCISES, Exercise};
pub use factors::Factors;
pub use ladder::{LADDERS, Ladder, Versions};
#[cfg(has_simulator)]
pub use measure::{check_measured, measure, open_gpu};
pub use nvcc::{NvccKernel, compile_with_nvcc, has_nvcc};
pub use reference::{Array, Problem, Reference, Value};
pub use references::{REFERENCES, reference};
pub use report::{
    Counts, Failure, Fault, LineCounts, Measured, Report, Sample, SampledArray, Traffic,
};
pub use resources::{Resources, resources};
pub use source::{Grid, KernelFile, LaunchShape};
#[cfg(has_simulator)]
pub use trial::run as try_out;
