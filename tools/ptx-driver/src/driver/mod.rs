//! The driver's calls.

mod context;
mod coverage;
mod entry;
mod errors;
mod events;
mod functions;
mod graphs;
mod images;
mod launch;
mod memory;
mod occupancy;
mod state;
mod streams;
mod work;
