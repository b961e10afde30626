//! Modules and their kernels.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use super::entry::{Out, Outcome, exported, text};
use super::errors::{INVALID_HANDLE, INVALID_VALUE, NOT_FOUND};
use super::images;
use super::occupancy;
use super::state::{Function, Handle, state};
use crate::options::options;

/// The dynamic and static shared memory of a launch for which nothing was asked.
pub const SHARED_UNASKED: usize = 48 << 10;

/// CUDA's numbers of function attributes.
const MAX_THREADS: c_int = 0;
const SHARED_BYTES: c_int = 1;
const LOCAL_BYTES: c_int = 3;
const REGISTERS: c_int = 4;
const MAX_DYNAMIC_SHARED: c_int = 8;
const PREFERRED_CARVEOUT: c_int = 9;

impl Function {
    /// The most dynamic shared memory that the kernel may ever have.
    pub fn dynamic_room(&self) -> usize {
        options().gpu.shared_of_block.saturating_sub(self.kernel.kernel.static_shared)
    }

    fn attribute(&self, number: c_int) -> Option<usize> {
        let kernel = &self.kernel.kernel;
        Some(match number {
            MAX_THREADS => kernel.max_threads,
            SHARED_BYTES => kernel.static_shared,
            LOCAL_BYTES => kernel.local,
            REGISTERS => self.kernel.registers.unwrap_or(occupancy::UNKNOWN_REGISTERS),
            MAX_DYNAMIC_SHARED => self.dynamic_limit,
            _ => return None,
        })
    }

    fn set_attribute(&mut self, number: c_int, value: c_int) -> Outcome {
        let size = usize::try_from(value).map_err(|_| INVALID_VALUE)?;
        match number {
            MAX_DYNAMIC_SHARED if size <= self.dynamic_room() => {
                self.dynamic_limit = size;
                Ok(())
            }
            MAX_DYNAMIC_SHARED => {
                let kernel = &self.kernel.kernel;
                eprintln!(
                    "ptx-driver: {} may have {} bytes of dynamic shared memory beside its {}, not {size}",
                    kernel.name,
                    self.dynamic_room(),
                    kernel.static_shared
                );
                Err(INVALID_VALUE)
            }
            PREFERRED_CARVEOUT => Ok(()),
            _ => Err(INVALID_VALUE),
        }
    }
}

exported! {
    fn cuModuleLoadData(module: Out<Handle>, image: *const c_void) {
        let mut state = state();
        state.check()?;
        let program = images::load(image)?;
        let handle = state.handle();
        state.modules.insert(handle, program);
        module.give(handle)
    }

    fn cuModuleUnload(module: Handle) {
        let mut state = state();
        let work_result = state.drain_all();
        state.modules.remove(&module).ok_or(INVALID_HANDLE)?;
        work_result
    }

    fn cuModuleGetFunction(function: Out<Handle>, module: Handle, name: *const c_char) {
        let name = text(name)?;
        let mut state = state();
        let program = Arc::clone(state.modules.get(&module).ok_or(INVALID_HANDLE)?);
        let kernel = images::kernel(&program, &name)?.ok_or(NOT_FOUND)?;
        let dynamic_limit = SHARED_UNASKED.saturating_sub(kernel.kernel.static_shared);
        let handle = state.handle();
        state.functions.insert(handle, Function { kernel, dynamic_limit });
        function.give(handle)
    }

    fn cuFuncGetAttribute(value: Out<c_int>, number: c_int, function: Handle) {
        let own = state().function(function)?.attribute(number).ok_or(INVALID_VALUE)?;
        value.give(own as c_int)
    }

    fn cuFuncSetAttribute(function: Handle, number: c_int, value: c_int) {
        state().function(function)?.set_attribute(number, value)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: Out<c_int>,
        function: Handle,
        threads: c_int,
        dynamic_shared: usize,
    ) {
        let mut state = state();
        let own = state.function(function)?;
        if threads < 1 {
            return Err(INVALID_VALUE);
        }
        let shared = own.kernel.kernel.static_shared + dynamic_shared;
        let count = occupancy::blocks(&options().gpu, own.kernel.registers, threads as usize, shared);
        blocks.give(count as c_int)
    }
}
