//! Launches, and why they are refused.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::entry::{Outcome, exported};
use super::errors::{INVALID_CLUSTER_SIZE, INVALID_VALUE, OUT_OF_RESOURCES};
use super::occupancy;
use super::state::{Function, Handle, state};
use super::work::{KernelLaunch, Work};
use crate::options::options;
use crate::ptx::instruction::Kernel;

/// The largest extents of grids and blocks, and the most threads of a block.
const GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const BLOCK: [u32; 3] = [1024, 1024, 64];
const THREADS: u64 = 1024;

/// The most blocks of a cluster on every GPU that has clusters.
const MOST_BLOCKS_OF_CLUSTER: u32 = 8;

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

/// `CUlaunchConfig`.
#[repr(C)]
pub struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    dynamic_shared: c_uint,
    stream: Handle,
    attributes: *const Attribute,
    count: c_uint,
}

/// `CUlaunchAttribute`, of which only the extents of clusters are known.
#[repr(C)]
struct Attribute {
    id: c_int,
    padding: [u8; 4],
    extents: [c_uint; 3],
    rest: [u8; 52],
}

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`.
const CLUSTER_DIMENSION: c_int = 4;

impl Config {
    fn cluster(&self) -> Outcome<[u32; 3]> {
        if self.count == 0 {
            return Ok([1; 3]);
        }
        // SAFETY: the driver's manual demands as many attributes there.
        let attributes =
            unsafe { std::slice::from_raw_parts(self.attributes, self.count as usize) };
        match attributes {
            [Attribute { id: CLUSTER_DIMENSION, extents, .. }] => Ok(*extents),
            _ => {
                eprintln!(
                    "ptx-driver: a launch with attributes other than the extents of clusters"
                );
                Err(INVALID_VALUE)
            }
        }
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

/// The blocks of a cluster, along the second axis.
fn check_cluster(grid: [u32; 3], cluster: [u32; 3]) -> Result<u32, (c_int, String)> {
    if cluster == [1; 3] {
        return Ok(1);
    }
    let is_known = options().gpu.major >= 9
        && cluster[0] == 1
        && cluster[2] == 1
        && (1..=MOST_BLOCKS_OF_CLUSTER).contains(&cluster[1])
        && grid[1].is_multiple_of(cluster[1]);
    match is_known {
        true => Ok(cluster[1]),
        false => Err((
            INVALID_CLUSTER_SIZE,
            format!("clusters of {cluster:?} blocks in a grid of {grid:?}"),
        )),
    }
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
    [grid, block, cluster]: [[u32; 3]; 3],
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
        .and_then(|()| check_cluster(grid, cluster))
        .and_then(|cluster| {
            let parameters = parameters.read(kernel).map_err(|text| (INVALID_VALUE, text))?;
            Ok((cluster, parameters))
        });
    let (cluster, parameters) = checked.map_err(|(error, text)| {
        eprintln!("ptx-driver: the launch of {} is refused: {text}", kernel.name);
        error
    })?;
    let kernel = Arc::clone(&own.kernel);
    let launch = KernelLaunch { kernel, grid, block, cluster, dynamic_shared: dynamic, parameters };
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
        let extents = [[grid_x, grid_y, grid_z], [block_x, block_y, block_z], [1; 3]];
        launch(function, extents, dynamic_shared as usize, stream, Parameters { each, extra })
    }

    fn cuLaunchKernelEx(
        config: *const Config,
        function: Handle,
        each: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        // SAFETY: the driver's manual demands a configuration.
        let config = unsafe { config.as_ref() }.ok_or(INVALID_VALUE)?;
        let extents = [config.grid, config.block, config.cluster()?];
        let dynamic = config.dynamic_shared as usize;
        launch(function, extents, dynamic, config.stream, Parameters { each, extra })
    }
}
