//! The machine: executes kernels warp by warp.

pub mod access;
pub mod approximations;
pub mod block;
pub mod clocks;
pub mod cluster;
pub mod collective;
pub mod conversions;
pub mod copies;
pub mod fault;
pub mod floats;
pub mod global;
pub mod grid;
pub mod integers;
mod operation;
pub mod packing;
pub mod product;
pub mod registers;
pub mod shared;
pub mod warp;
