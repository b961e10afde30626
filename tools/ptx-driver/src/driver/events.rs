//! Events.

use std::ffi::{c_int, c_uint};

use super::entry::{Out, Outcome, exported};
use super::errors::{CAPTURED_EVENT, INVALID_HANDLE, INVALID_VALUE, NOT_READY};
use super::state::{Event, Handle, State, state};
use super::work::Work;

/// `CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS`.
const KNOWN_FLAGS: c_uint = 7;
const DISABLE_TIMING: c_uint = 2;

impl State {
    /// Waits for the work in front of an event.
    fn wait_for(&mut self, event: Handle) -> Outcome {
        let own = *self.event(event)?;
        if own.is_captured {
            return Err(CAPTURED_EVENT);
        }
        match own.mark {
            Some(mark) => self.drain_to(mark),
            None => self.check(),
        }
    }

    fn elapsed(&mut self, start: Handle, end: Handle) -> Outcome<f32> {
        let (start, end) = (*self.event(start)?, *self.event(end)?);
        let is_recorded = start.mark.is_some() && end.mark.is_some();
        if !(start.has_time && end.has_time && is_recorded) {
            return Err(INVALID_HANDLE);
        }
        match (start.time, end.time) {
            (Some(start), Some(end)) => {
                Ok(end.saturating_duration_since(start).as_secs_f32() * 1e3)
            }
            _ => Err(NOT_READY),
        }
    }
}

exported! {
    fn cuEventCreate(event: Out<Handle>, flags: c_uint) {
        let mut state = state();
        state.check()?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(INVALID_VALUE);
        }
        let handle = state.handle();
        let own = Event { has_time: flags & DISABLE_TIMING == 0, ..Event::default() };
        state.events.insert(handle, own);
        event.give(handle)
    }

    fn cuEventRecord(event: Handle, stream: Handle) {
        let mut state = state();
        state.event(event)?;
        let is_captured = state.stream(stream)?.capture.is_some();
        state.submit(stream, Work::Record(event))?;
        let mark = state.mark(stream)?;
        let own = state.event(event)?;
        own.is_captured = is_captured;
        // With eager streams its time has come already.
        own.time = own.time.filter(|_| crate::options::options().eager_streams);
        own.mark = Some(mark);
        Ok(())
    }

    fn cuEventSynchronize(event: Handle) {
        state().wait_for(event)
    }

    fn cuEventQuery(event: Handle) {
        state().wait_for(event)
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) {
        let elapsed = state().elapsed(start, end)?;
        milliseconds.give(elapsed)
    }

    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) {
        let elapsed = state().elapsed(start, end)?;
        milliseconds.give(elapsed)
    }

    fn cuEventDestroy_v2(event: Handle) {
        let removed = state().events.remove(&event);
        removed.map(|_| ()).ok_or(INVALID_HANDLE as c_int)
    }
}
