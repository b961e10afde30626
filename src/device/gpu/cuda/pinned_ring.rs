//! Streams batches to the GPU: buffers in pinned memory, and a stream that copies from them while the GPU works.

use std::cell::Cell;
use std::sync::Arc;

use cudarc::driver::{CudaStream, result, sys};

use super::text;
use crate::device::gpu::driver::{Outcome, Parts, Staging, fill};

/// A ring of buffers in pinned memory, and the stream that copies from them.
pub(super) struct PinnedRing {
    places: Vec<PinnedPlace>,
    stream: Arc<CudaStream>,
    /// The stream in which the batches are used.
    work: Arc<CudaStream>,
    /// The buffer of the last batch.
    last: Cell<Option<usize>>,
}

impl PinnedRing {
    /// `places` buffers of `bytes` bytes, for batches that are used in the stream `work`.
    pub fn new(work: &Arc<CudaStream>, places: usize, bytes: usize) -> Outcome<PinnedRing> {
        let stream = work.context().new_stream().map_err(text)?;
        let work = Arc::clone(work);
        let mut ring = PinnedRing { places: Vec::new(), stream, work, last: Cell::new(None) };
        for _ in 0..places {
            let place = PinnedPlace::new(bytes.max(1))?;
            // An event behind all earlier work, which may still use the target of the copies. SAFETY: the event and the
            // stream live.
            unsafe { result::event::record(place.consumed, ring.work.cu_stream()) }
                .map_err(text)?;
            ring.places.push(place);
        }
        Ok(ring)
    }
}

impl Staging for PinnedRing {
    /// Copies in a second stream, while the first one computes. The host waits only for the last copy from the same buffer of the
    /// ring.
    fn send(&self, place: usize, address: u64, parts: &Parts) -> Outcome<()> {
        let (work, copies) = (self.work.cu_stream(), self.stream.cu_stream());
        let slot = &self.places[place];
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        if let Some(last) = self.last.replace(Some(place)) {
            // All reads of the batch before this one have been launched. SAFETY: the event and the stream live.
            unsafe { result::event::record(self.places[last].consumed, work) }.map_err(text)?;
        }
        // SAFETY: the event lives.
        unsafe { result::event::synchronize(slot.copied) }.map_err(text)?;
        // SAFETY: the buffer has this length, this is the only reference to it, and the last copy from it is over.
        let bytes = unsafe { std::slice::from_raw_parts_mut(slot.host, slot.bytes) };
        fill(bytes, parts);
        // SAFETY: events and streams live; the target lies in a block, and the bytes stay as they are until `copied`.
        unsafe {
            result::stream::wait_event(copies, slot.consumed, flags).map_err(text)?;
            result::memcpy_htod_async(address, bytes, copies).map_err(text)?;
            result::event::record(slot.copied, copies).map_err(text)?;
            result::stream::wait_event(work, slot.copied, flags).map_err(text)
        }
    }
}

struct PinnedPlace {
    host: *mut u8,
    bytes: usize,
    /// Recorded after the copy to the device: the host may write the next batch then.
    copied: sys::CUevent,
    /// Recorded after the device's last read of the batch: the next one may be copied over it then.
    consumed: sys::CUevent,
}

impl PinnedPlace {
    fn new(bytes: usize) -> Outcome<PinnedPlace> {
        let event =
            || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(text);
        let (copied, consumed) = (event()?, event()?);
        // SAFETY: it only asks for memory, which is written before it is read.
        let host = unsafe { result::malloc_host(bytes, 0) }.map_err(text)?.cast();
        Ok(PinnedPlace { host, bytes, copied, consumed })
    }
}

impl Drop for PinnedRing {
    fn drop(&mut self) {
        // SAFETY: the stream lives. On a lost device there is nothing to wait for.
        let _ = unsafe { result::stream::synchronize(self.stream.cu_stream()) };
        for place in &self.places {
            // SAFETY: no copy is running, and this is the only owner of the memory and the events. On a lost device the calls fail.
            unsafe {
                let _ = result::free_host(place.host.cast());
                let _ = result::event::destroy(place.copied);
                let _ = result::event::destroy(place.consumed);
            }
        }
    }
}
