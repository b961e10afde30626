//! Streams: work is done when somebody waits for it, as late as a GPU may do it, so that a missing wait shows.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};

use super::entry::{Out, Outcome, exported};
use super::errors::{
    CAPTURE_INVALIDATED, CAPTURE_ISOLATION, CAPTURE_UNSUPPORTED, INVALID_HANDLE, INVALID_VALUE,
};
use super::state::{Handle, Mark, State, state};
use super::work::Work;
use crate::options::options;

/// A stream.
#[derive(Default)]
pub struct Stream {
    queue: VecDeque<Work>,
    /// Works that were queued and works that are done.
    queued: u64,
    done: u64,
    pub capture: Option<Capture>,
    /// It waits for the null stream, which no stream of this driver's users does.
    pub is_blocking: bool,
}

/// A running capture.
pub struct Capture {
    pub nodes: Vec<Work>,
    pub is_valid: bool,
    /// Calls that wait or allocate are allowed outside the stream itself.
    pub is_relaxed: bool,
}

impl State {
    /// Queues a work, or adds it to the capture.
    ///
    /// # Errors
    /// If the stream's capture is invalid, or the work fails.
    pub fn submit(&mut self, stream: Handle, work: Work) -> Outcome {
        self.check()?;
        let own = self.stream(stream)?;
        if let Some(capture) = &mut own.capture {
            if !capture.is_valid {
                return Err(CAPTURE_INVALIDATED);
            }
            capture.nodes.push(work);
            return Ok(());
        }
        own.queue.push_back(work);
        own.queued += 1;
        if options().eager_streams || stream == 0 { self.drain_all() } else { Ok(()) }
    }

    /// The end of a stream's work so far.
    pub fn mark(&mut self, stream: Handle) -> Outcome<Mark> {
        Ok(Mark { stream, position: self.stream(stream)?.queued })
    }

    /// Does a stream's work up to a mark. Work of a stream that is gone is done.
    ///
    /// # Errors
    /// If a work fails.
    pub fn drain_to(&mut self, mark: Mark) -> Outcome {
        loop {
            let Some(stream) = self.streams.get_mut(&mark.stream) else { return self.check() };
            if stream.done >= mark.position {
                return self.check();
            }
            let Some(work) = stream.queue.pop_front() else { return self.check() };
            stream.done += 1;
            self.perform(&work)?;
        }
    }

    /// Does all work of all streams.
    ///
    /// # Errors
    /// If a work fails.
    pub fn drain_all(&mut self) -> Outcome {
        let mut handles: Vec<Handle> = self.streams.keys().copied().collect();
        handles.sort_unstable();
        for handle in handles {
            let mark = self.mark(handle)?;
            self.drain_to(mark)?;
        }
        self.check()
    }

    /// Refuses what must not happen in a stream that is capturing, and spoils the capture.
    ///
    /// # Errors
    /// If the stream is capturing.
    pub fn refuse_in_capture(&mut self, stream: Handle, call: &str) -> Outcome {
        match &mut self.stream(stream)?.capture {
            Some(capture) => {
                capture.is_valid = false;
                eprintln!("ptx-driver: {call} is refused during a capture, and spoils it");
                Err(CAPTURE_UNSUPPORTED)
            }
            None => Ok(()),
        }
    }

    /// Refuses what waits for all streams while one is capturing, and spoils the captures.
    ///
    /// # Errors
    /// If a stream is capturing.
    pub fn refuse_in_any_capture(&mut self, call: &str, but_relaxed: bool) -> Outcome {
        let captures = self.streams.values_mut().filter_map(|stream| stream.capture.as_mut());
        let mut found = captures.filter(|capture| !(but_relaxed && capture.is_relaxed)).peekable();
        if found.peek().is_none() {
            return Ok(());
        }
        found.for_each(|capture| capture.is_valid = false);
        eprintln!("ptx-driver: {call} is refused during a capture, and spoils it");
        Err(CAPTURE_UNSUPPORTED)
    }
}

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;

exported! {
    fn cuStreamCreate(stream: Out<Handle>, flags: c_uint) {
        let mut state = state();
        state.check()?;
        if flags & !NON_BLOCKING != 0 {
            return Err(INVALID_VALUE);
        }
        let handle = state.handle();
        let own = Stream { is_blocking: flags & NON_BLOCKING == 0, ..Stream::default() };
        state.streams.insert(handle, own);
        stream.give(handle)
    }

    fn cuStreamCreateWithPriority(stream: Out<Handle>, flags: c_uint, _priority: c_int) {
        match cuStreamCreate(stream, flags) {
            0 => Ok(()),
            error => Err(error),
        }
    }

    fn cuStreamDestroy_v2(stream: Handle) {
        let mut state = state();
        if stream == 0 {
            return Err(INVALID_HANDLE);
        }
        let mark = state.mark(stream)?;
        let result = state.drain_to(mark);
        state.streams.remove(&stream);
        result
    }

    fn cuStreamSynchronize(stream: Handle) {
        let mut state = state();
        state.refuse_in_capture(stream, "cuStreamSynchronize")?;
        let mark = state.mark(stream)?;
        state.drain_to(mark)
    }

    fn cuStreamQuery(stream: Handle) {
        let mut state = state();
        state.refuse_in_capture(stream, "cuStreamQuery")?;
        let mark = state.mark(stream)?;
        state.drain_to(mark)
    }

    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) {
        let mut state = state();
        state.check()?;
        let own = *state.event(event)?;
        let is_capturing = state.stream(stream)?.capture.is_some();
        if own.is_captured && !is_capturing {
            // It would join the capture, which the project never does.
            eprintln!("ptx-driver: a second stream in a capture is not supported");
            return Err(CAPTURE_UNSUPPORTED);
        }
        if is_capturing && !own.is_captured && own.mark.is_some() {
            return Err(CAPTURE_ISOLATION);
        }
        match own.mark {
            // An event that was never recorded has happened.
            None => Ok(()),
            Some(_) if is_capturing => Ok(()),
            Some(mark) => state.submit(stream, Work::Wait(mark)),
        }
    }
}
