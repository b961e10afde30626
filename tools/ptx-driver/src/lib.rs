//! `libcuda.so` without a GPU: the calls of CUDA's driver that alrao makes, and an interpreter of PTX behind them.
//!
//! The program's own code, its launches and nvcc's PTX run as they are; what takes the place of the GPU is this library. It
//! refuses what a driver refuses, and finds what a GPU does not tell: see [`machine`] and the README.

pub mod driver;
pub mod machine;
pub mod options;
pub mod ptx;
