//! Launches, and why they are refused.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::entry::{Outcome, exported};
use super::errors::{INVALID_VALUE, OUT_OF_RESOURCES};
use super::occupancy;
use super::state::{Function, Handle, state};
use super::work::{KernelLaunch, Work};
use crate::options::options;
use crate::ptx::instruction::Kernel;

/// The largest extents of grids and blocks, and the most threads of a block.
const GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const BLOCK: [u32; 3] = [1024, 1024, 64];
const THREADS: u64 = 1024;

/// The marks in the list of `extra`.
const EXTRA_END: usize = 0;
const EXTRA_POINTER: usize = 1;
const EXTRA_SIZE: usize = 2;

/// Where a launch's parameters are.
#[derive(Clone, Copy)]
struct Parameters {
    /// A pointer to each.
    each: *mut *mut c_void,
    /// A list of marks and values that describes them in one piece.
    extra: *mut *mut c_void,
}

impl Parameters {
    fn read(self, kernel: &Kernel) -> Result<Vec<u8>, String> {
        match (self.each.is_null(), self.extra.is_null()) {
            (_, true) => self.read_each(kernel),
            (true, false) => self.read_extra(kernel),
            (false, false) => Err("parameters are given twice".to_owned()),
        }
    }

    fn read_each(self, kernel: &Kernel) -> Result<Vec<u8>, String> {
        let mut all = vec![0; kernel.parameter_bytes];
        if self.each.is_null() && !kernel.parameters.is_empty() {
            return Err("no parameters are given".to_owned());
        }
        for (number, parameter) in kernel.parameters.iter().enumerate() {
            // SAFETY: the driver's manual demands a pointer for each of the kernel's parameters.
            let own = unsafe { *self.each.add(number) };
            if own.is_null() {
                return Err(format!("parameter {number} is missing"));
            }
            // SAFETY: the driver's manual demands as many bytes there as the parameter has.
            let bytes = unsafe { std::slice::from_raw_parts(own.cast::<u8>(), parameter.bytes) };
            all[parameter.offset..parameter.offset + parameter.bytes].copy_from_slice(bytes);
        }
        Ok(all)
    }

    fn read_extra(self, kernel: &Kernel) -> Result<Vec<u8>, String> {
        let (mut buffer, mut size, mut at) = (std::ptr::null::<u8>(), None, 0);
        loop {
            // SAFETY: the driver's manual demands pairs of a mark and a value, and a mark at the end.
            let mark = unsafe { *self.extra.add(at) } as usize;
            if mark == EXTRA_END {
                break;
            }
            // SAFETY: as above.
            let value = unsafe { *self.extra.add(at + 1) };
            match mark {
                EXTRA_POINTER => buffer = value.cast(),
                // SAFETY: as above: the value points to a size.
                EXTRA_SIZE => size = Some(unsafe { *value.cast::<usize>() }),
                other => return Err(format!("an unknown mark {other}")),
            }
            at += 2;
        }
        if size != Some(kernel.parameter_bytes) || buffer.is_null() {
            return Err(format!(
                "{} bytes of parameters, not {}",
                size.unwrap_or(0),
                kernel.parameter_bytes
            ));
        }
        // SAFETY: the caller's buffer has this size.
        Ok(unsafe { std::slice::from_raw_parts(buffer, kernel.parameter_bytes) }.to_vec())
    }
}

/// Checks the extents of a launch.
fn check_extents(
    function: &Function,
    grid: [u32; 3],
    block: [u32; 3],
) -> Result<(), (c_int, String)> {
    let is_within = |extents: [u32; 3], limits: [u32; 3]| {
        extents.iter().zip(limits).all(|(own, limit)| (1..=limit).contains(own))
    };
    if !is_within(grid, GRID) {
        return Err((INVALID_VALUE, format!("a grid of {grid:?} blocks")));
    }
    let threads = block.iter().map(|extent| u64::from(*extent)).product::<u64>();
    if !is_within(block, BLOCK) || threads > THREADS {
        return Err((INVALID_VALUE, format!("a block of {block:?} threads")));
    }
    let most = function.kernel.kernel.max_threads;
    if threads > most as u64 {
        let text = format!("{threads} threads of a block, and the kernel allows {most}");
        return Err((INVALID_VALUE, text));
    }
    Ok(())
}

/// Checks shared memory and registers of a launch.
fn check_resources(
    function: &Function,
    threads: usize,
    dynamic: usize,
) -> Result<(), (c_int, String)> {
    let kernel = &function.kernel.kernel;
    if dynamic > function.dynamic_limit {
        let text = format!(
            "{dynamic} bytes of dynamic shared memory beside {} static ones; {} are allowed until more are asked for",
            kernel.static_shared, function.dynamic_limit
        );
        return Err((INVALID_VALUE, text));
    }
    let shared = kernel.static_shared + dynamic;
    if occupancy::blocks(&options().gpu, function.kernel.registers, threads, shared) == 0 {
        let text = format!("not even one block of {threads} threads fits on an SM");
        return Err((OUT_OF_RESOURCES, text));
    }
    Ok(())
}

fn launch(
    function: Handle,
    [grid, block]: [[u32; 3]; 2],
    dynamic: usize,
    stream: Handle,
    parameters: Parameters,
) -> Outcome {
    let mut state = state();
    state.check()?;
    let own = state.function(function)?.clone();
    let kernel = &own.kernel.kernel;
    let threads = block.iter().map(|extent| *extent as usize).product();
    let checked = check_extents(&own, grid, block)
        .and_then(|()| check_resources(&own, threads, dynamic))
        .and_then(|()| parameters.read(kernel).map_err(|text| (INVALID_VALUE, text)));
    let parameters = checked.map_err(|(error, text)| {
        eprintln!("ptx-driver: the launch of {} is refused: {text}", kernel.name);
        error
    })?;
    let kernel = Arc::clone(&own.kernel);
    let launch = KernelLaunch { kernel, grid, block, dynamic_shared: dynamic, parameters };
    state.submit(stream, Work::Launch(Arc::new(launch)))
}

exported! {
    fn cuLaunchKernel(
        function: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        dynamic_shared: c_uint,
        stream: Handle,
        each: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        let extents = [[grid_x, grid_y, grid_z], [block_x, block_y, block_z]];
        launch(function, extents, dynamic_shared as usize, stream, Parameters { each, extra })
    }
}
