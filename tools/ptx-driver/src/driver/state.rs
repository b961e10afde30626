//! Everything that the driver holds.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use super::entry::Outcome;
use super::errors::INVALID_HANDLE;
use super::images::Loaded;
use super::streams::Stream;
use super::work::Work;
use crate::machine::global::Ranges;
use crate::ptx::Program;

/// A handle as the program sees it; never 0, but for the stream that every program has.
pub type Handle = usize;

/// A place in a stream's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub stream: Handle,
    /// The number of works in front of it.
    pub position: u64,
}

/// An event.
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub has_time: bool,
    /// Where it was recorded last.
    pub mark: Option<Mark>,
    /// When the work in front of it was done.
    pub time: Option<Instant>,
    /// It was recorded last in a stream that is capturing.
    pub is_captured: bool,
}

/// A kernel that a program has asked for.
#[derive(Clone)]
pub struct Function {
    pub kernel: Arc<Loaded>,
    /// The most dynamic shared memory of a launch.
    pub dynamic_limit: usize,
}

/// The driver's state.
#[derive(Default)]
pub struct State {
    pub is_initialised: bool,
    /// Device memory, by address.
    pub allocations: BTreeMap<u64, usize>,
    pub allocated: usize,
    /// The same ranges as kernels see them, until the next change.
    pub ranges: Option<Arc<Ranges>>,
    /// Pinned memory of the host.
    pub pinned: BTreeMap<u64, usize>,
    pub modules: HashMap<Handle, Arc<Program>>,
    pub functions: HashMap<Handle, Function>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Event>,
    pub graphs: HashMap<Handle, Arc<Vec<Work>>>,
    pub executables: HashMap<Handle, Arc<Vec<Work>>>,
    last_handle: Handle,
    /// The error of a kernel that failed: from then on every call returns it.
    pub lost: Option<c_int>,
}

impl State {
    /// A handle that was never used.
    pub fn handle(&mut self) -> Handle {
        // Looks like an address to a debugger, and is none that could be touched.
        self.last_handle += 16;
        self.last_handle
    }

    /// The error of a failed kernel, if there was one.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Outcome {
        self.lost.map_or(Ok(()), Err)
    }

    /// A stream.
    ///
    /// # Errors
    /// If the handle is not one of a stream.
    pub fn stream(&mut self, handle: Handle) -> Outcome<&mut Stream> {
        if handle == 0 {
            return Ok(self.streams.entry(0).or_default());
        }
        self.streams.get_mut(&handle).ok_or(INVALID_HANDLE)
    }

    /// An event.
    ///
    /// # Errors
    /// If the handle is not one of an event.
    pub fn event(&mut self, handle: Handle) -> Outcome<&mut Event> {
        self.events.get_mut(&handle).ok_or(INVALID_HANDLE)
    }

    /// A kernel.
    ///
    /// # Errors
    /// If the handle is not one of a kernel.
    pub fn function(&mut self, handle: Handle) -> Outcome<&mut Function> {
        self.functions.get_mut(&handle).ok_or(INVALID_HANDLE)
    }

    /// The ranges of device memory.
    pub fn ranges(&mut self) -> Arc<Ranges> {
        let allocations = &self.allocations;
        let all =
            || Ranges(allocations.iter().map(|(at, bytes)| (*at, at + *bytes as u64)).collect());
        Arc::clone(self.ranges.get_or_insert_with(|| Arc::new(all())))
    }

    /// Whether the bytes lie in one allocation of device memory.
    pub fn is_device(&self, at: u64, bytes: usize) -> bool {
        holds(&self.allocations, at, bytes)
    }

    /// Whether the bytes lie in pinned memory of the host.
    pub fn is_pinned(&self, at: u64, bytes: usize) -> bool {
        holds(&self.pinned, at, bytes)
    }
}

fn holds(ranges: &BTreeMap<u64, usize>, at: u64, bytes: usize) -> bool {
    let below = ranges.range(..=at).next_back();
    below.is_some_and(|(start, size)| {
        at - start <= *size as u64 && bytes as u64 <= *size as u64 - (at - start)
    })
}

/// The process's state. Calls run one after the other.
pub fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    // A call that panicked has returned an error; the maps are whole at every step.
    STATE.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
