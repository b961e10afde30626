//! The device and its context.

use std::ffi::{c_char, c_int, c_uint};

use super::coverage;
use super::entry::{Out, Outcome, exported};
use super::errors::{INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, NOT_INITIALIZED};
use super::state::{Handle, state};
use crate::options::options;

/// The only context.
const CONTEXT: Handle = 1;

fn check_device(device: c_int) -> Outcome {
    if !state().is_initialised {
        return Err(NOT_INITIALIZED);
    }
    if (0..shown()).contains(&device) { Ok(()) } else { Err(INVALID_DEVICE) }
}

/// The number of GPUs that `CUDA_VISIBLE_DEVICES` shows: those before the first number that is no GPU's.
fn shown() -> c_int {
    let count = options().gpus;
    std::env::var("CUDA_VISIBLE_DEVICES").map_or(count, |list| {
        let is_gpu = |text: &&str| text.trim().parse().is_ok_and(|own| (0..count).contains(&own));
        list.split(',').take_while(is_gpu).count() as c_int
    })
}

/// A device attribute, by CUDA's number.
fn attribute(number: c_int) -> Option<c_int> {
    let gpu = &options().gpu;
    Some(match number {
        // Threads of a block, and the extents of blocks and grids.
        1..=3 => 1024,
        4 => 64,
        5 => c_int::MAX,
        6 | 7 => 65_535,
        // Shared memory of a block, without and with the attribute, and of an SM.
        8 => 48 << 10,
        97 => gpu.shared_of_block as c_int,
        81 => gpu.shared_of_sm as c_int,
        10 => 32,
        // Registers of a block and of an SM.
        12 | 82 => 64 << 10,
        16 => gpu.sm_count,
        38 => gpu.l2_bytes,
        39 => 2048,
        // Compute capability.
        75 => gpu.major,
        76 => 0,
        106 => 32,
        // Memory pools: none.
        115 => 0,
        _ => return None,
    })
}

exported! {
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(INVALID_VALUE);
        }
        if shown() == 0 {
            return Err(NO_DEVICE);
        }
        coverage::write_at_exit();
        state().is_initialised = true;
        Ok(())
    }

    fn cuDriverGetVersion(version: Out<c_int>) {
        version.give(options().version)
    }

    fn cuDeviceGetCount(count: Out<c_int>) {
        if !state().is_initialised {
            return Err(NOT_INITIALIZED);
        }
        count.give(shown())
    }

    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) {
        check_device(ordinal)?;
        device.give(ordinal)
    }

    fn cuDeviceGetName(name: Out<c_char>, bytes: c_int, device: c_int) {
        check_device(device)?;
        let own = options().gpu.name.to_bytes_with_nul();
        if name.as_ptr().is_null() || (bytes as usize) < own.len() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller's text has room for `bytes` bytes, and the name is shorter.
        unsafe { std::ptr::copy_nonoverlapping(own.as_ptr().cast(), name.as_ptr(), own.len()) }
        Ok(())
    }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) {
        check_device(device)?;
        bytes.give(options().memory)
    }

    fn cuDeviceGetAttribute(value: Out<c_int>, number: c_int, device: c_int) {
        check_device(device)?;
        match attribute(number) {
            Some(own) => value.give(own),
            None => {
                eprintln!("ptx-driver: device attribute {number} is not known");
                Err(INVALID_VALUE)
            }
        }
    }

    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) {
        check_device(device)?;
        context.give(CONTEXT)
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) {
        check_device(device)
    }

    fn cuCtxSetCurrent(_context: Handle) {
        Ok(())
    }

    fn cuCtxGetCurrent(context: Out<Handle>) {
        context.give(CONTEXT)
    }

    fn cuCtxSynchronize() {
        let mut state = state();
        state.refuse_in_any_capture("cuCtxSynchronize", false)?;
        state.drain_all()
    }
}
