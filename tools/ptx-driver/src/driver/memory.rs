//! Device memory, pinned memory and copies.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_uint;
use std::sync::Arc;

use super::entry::{Host, Out, Outcome, exported};
use super::errors::{CAPTURE_IMPLICIT, INVALID_VALUE, OUT_OF_MEMORY};
use super::state::{Handle, State, state};
use super::work::Work;
use crate::options::options;

/// A GPU's allocations begin at such multiples.
const DEVICE_ALIGN: usize = 256;
const PAGE: usize = 4096;

/// Unwritten memory is NaN.
const POISON: u8 = 0xff;

/// The host's memory for an allocation, with some space behind it, so that no two ranges touch.
fn layout(bytes: usize, align: usize) -> Outcome<Layout> {
    let size = bytes.checked_add(align).ok_or(OUT_OF_MEMORY)?;
    Layout::from_size_align(size, align).map_err(|_| OUT_OF_MEMORY)
}

fn allocate(bytes: usize, align: usize) -> Outcome<u64> {
    let layout = layout(bytes, align)?;
    // SAFETY: the size is not zero.
    let place = unsafe { alloc(layout) };
    if place.is_null() {
        return Err(OUT_OF_MEMORY);
    }
    // SAFETY: the range lies inside the allocation.
    unsafe { place.write_bytes(POISON, layout.size()) }
    Ok(place as u64)
}

fn release(at: u64, bytes: usize, align: usize) -> Outcome {
    let layout = layout(bytes, align)?;
    // SAFETY: the place came from `allocate` with the same size.
    unsafe { dealloc(at as *mut u8, layout) }
    Ok(())
}

impl State {
    fn check_device(&self, at: u64, bytes: usize, call: &str) -> Outcome {
        if bytes > 0 && self.is_device(at, bytes) {
            return Ok(());
        }
        eprintln!("ptx-driver: {call} is refused: {bytes} bytes at {at:#x} lie in no allocation");
        Err(INVALID_VALUE)
    }

    /// Copies to the device. Pageable memory is read now, pinned memory when the copy is made.
    fn upload(&mut self, to: u64, from: Host, bytes: usize, stream: Handle) -> Outcome {
        self.check_device(to, bytes, "a copy to the device")?;
        let at = from.0 as u64;
        if self.is_pinned(at, bytes) {
            return self.submit(stream, Work::Pinned { to, from: at, bytes });
        }
        self.refuse_in_capture(stream, "a copy from pageable memory")?;
        self.submit(stream, Work::Upload { to, bytes: Arc::new(from.read(bytes)) })
    }

    /// Copies from the device. The call waits for a copy to pageable memory.
    fn download(&mut self, to: Host, from: u64, bytes: usize, stream: Handle) -> Outcome {
        self.check_device(from, bytes, "a copy from the device")?;
        let at = to.0 as u64;
        let work = Work::Pinned { to: at, from, bytes };
        if self.is_pinned(at, bytes) {
            return self.submit(stream, work);
        }
        self.refuse_in_capture(stream, "a copy to pageable memory")?;
        self.submit(stream, work)?;
        let mark = self.mark(stream)?;
        self.drain_to(mark)
    }

    /// Copies without a stream go through the null stream, which waits for all that do not refuse to wait.
    fn refuse_null_stream(&mut self) -> Outcome {
        let is_waited_for =
            |stream: &super::streams::Stream| stream.is_blocking && stream.capture.is_some();
        if self.streams.values().any(is_waited_for) {
            return Err(CAPTURE_IMPLICIT);
        }
        self.refuse_in_any_capture("a copy without a stream", true)
    }
}

exported! {
    fn cuMemAlloc_v2(place: Out<u64>, bytes: usize) {
        let mut state = state();
        state.check()?;
        state.refuse_in_any_capture("cuMemAlloc", true)?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if bytes > options().memory.saturating_sub(state.allocated) {
            return Err(OUT_OF_MEMORY);
        }
        let at = allocate(bytes, DEVICE_ALIGN)?;
        state.allocations.insert(at, bytes);
        state.allocated += bytes;
        state.ranges = None;
        place.give(at)
    }

    fn cuMemFree_v2(at: u64) {
        let mut state = state();
        state.refuse_in_any_capture("cuMemFree", true)?;
        let work_result = state.drain_all();
        let bytes = state.allocations.remove(&at).ok_or(INVALID_VALUE)?;
        state.allocated -= bytes;
        state.ranges = None;
        release(at, bytes, DEVICE_ALIGN)?;
        work_result
    }

    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let state = state();
        state.check()?;
        free.give(options().memory.saturating_sub(state.allocated))?;
        total.give(options().memory)
    }

    fn cuMemHostAlloc(place: Out<Host>, bytes: usize, _flags: c_uint) {
        let mut state = state();
        state.check()?;
        state.refuse_in_any_capture("cuMemHostAlloc", true)?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let at = allocate(bytes, PAGE)?;
        state.pinned.insert(at, bytes);
        place.give(Host(at as *mut _))
    }

    fn cuMemFreeHost(place: Host) {
        let mut state = state();
        let work_result = state.drain_all();
        let at = place.0 as u64;
        let bytes = state.pinned.remove(&at).ok_or(INVALID_VALUE)?;
        release(at, bytes, PAGE)?;
        work_result
    }

    fn cuMemcpyHtoD_v2(to: u64, from: Host, bytes: usize) {
        let mut state = state();
        state.refuse_null_stream()?;
        state.upload(to, from, bytes, 0)
    }

    fn cuMemcpyDtoH_v2(to: Host, from: u64, bytes: usize) {
        let mut state = state();
        state.refuse_null_stream()?;
        state.download(to, from, bytes, 0)
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: Host, bytes: usize, stream: Handle) {
        state().upload(to, from, bytes, stream)
    }

    fn cuMemcpyDtoHAsync_v2(to: Host, from: u64, bytes: usize, stream: Handle) {
        state().download(to, from, bytes, stream)
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        let mut state = state();
        state.check_device(to, bytes, "a copy on the device")?;
        state.check_device(from, bytes, "a copy on the device")?;
        state.submit(stream, Work::Copy { to, from, bytes })
    }

    fn cuMemsetD8Async(to: u64, byte: u8, bytes: usize, stream: Handle) {
        let mut state = state();
        state.check_device(to, bytes, "a memset")?;
        state.submit(stream, Work::Set { to, byte, bytes })
    }
}
