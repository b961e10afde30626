//! Capture and graphs.

use std::ffi::{c_int, c_ulonglong};
use std::sync::Arc;

use super::entry::{Out, exported};
use super::errors::{
    CAPTURE_INVALIDATED, CAPTURE_UNMATCHED, CAPTURE_UNSUPPORTED, ILLEGAL_STATE, INVALID_HANDLE,
    INVALID_VALUE,
};
use super::state::{Handle, state};
use super::streams::Capture;
use super::work::Work;

/// `CU_STREAM_CAPTURE_MODE_RELAXED`.
const RELAXED: c_int = 2;

exported! {
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) {
        let mut state = state();
        state.check()?;
        if !(0..=RELAXED).contains(&mode) {
            return Err(INVALID_VALUE);
        }
        // The null stream cannot be captured.
        if stream == 0 {
            return Err(CAPTURE_UNSUPPORTED);
        }
        let own = state.stream(stream)?;
        if own.capture.is_some() {
            return Err(ILLEGAL_STATE);
        }
        let is_relaxed = mode == RELAXED;
        own.capture = Some(Capture { nodes: Vec::new(), is_valid: true, is_relaxed });
        Ok(())
    }

    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) {
        let mut state = state();
        graph.give(0)?;
        let capture = state.stream(stream)?.capture.take().ok_or(CAPTURE_UNMATCHED)?;
        for event in state.events.values_mut() {
            event.is_captured = false;
        }
        if !capture.is_valid {
            return Err(CAPTURE_INVALIDATED);
        }
        let handle = state.handle();
        state.graphs.insert(handle, Arc::new(capture.nodes));
        graph.give(handle)
    }

    fn cuStreamIsCapturing(stream: Handle, status: Out<c_int>) {
        let mut state = state();
        let capture = state.stream(stream)?.capture.as_ref();
        status.give(capture.map_or(0, |capture| if capture.is_valid { 1 } else { 2 }))
    }

    fn cuGraphInstantiateWithFlags(executable: Out<Handle>, graph: Handle, _flags: c_ulonglong) {
        let mut state = state();
        state.check()?;
        let nodes = Arc::clone(state.graphs.get(&graph).ok_or(INVALID_VALUE)?);
        let handle = state.handle();
        state.executables.insert(handle, nodes);
        executable.give(handle)
    }

    fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: Out<usize>) {
        let state = state();
        let own = state.graphs.get(&graph).ok_or(INVALID_VALUE)?;
        match nodes.is_null() {
            true => count.give(own.len()),
            false => Err(INVALID_VALUE),
        }
    }

    fn cuGraphDestroy(graph: Handle) {
        state().graphs.remove(&graph).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    fn cuGraphExecDestroy(executable: Handle) {
        let mut state = state();
        state.drain_all()?;
        state.executables.remove(&executable).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    fn cuGraphUpload(executable: Handle, _stream: Handle) {
        state().executables.get(&executable).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    fn cuGraphLaunch(executable: Handle, stream: Handle) {
        let mut state = state();
        let nodes = Arc::clone(state.executables.get(&executable).ok_or(INVALID_HANDLE)?);
        state.submit(stream, Work::Graph(nodes))
    }
}
