//! The driver's calls.

pub mod context;
pub mod coverage;
pub mod entry;
pub mod errors;
pub mod events;
pub mod functions;
pub mod graphs;
pub mod images;
pub mod launch;
pub mod memory;
pub mod occupancy;
pub mod state;
pub mod streams;
pub mod trials;
pub mod work;
