//! A running capture: the commands of a graph, and the memory that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::launch::{Launch, OwnedLaunch};
use super::memory::Memory;

/// One command to the device.
pub(super) enum Command {
    /// Run a kernel.
    Launch(OwnedLaunch),
    /// Set `bytes` bytes from an address on to zero.
    SetZero { address: u64, bytes: usize },
}

/// A running capture.
#[derive(Default)]
pub(super) struct Capture {
    commands: Vec<Command>,
    /// All memory that the commands use, by address. The captured graph owns it, since a replay uses it again.
    held: BTreeMap<u64, Rc<Memory>>,
    /// Released memory that this or an earlier capture allocated, by size: later commands may use it.
    free: BTreeMap<usize, Vec<Rc<Memory>>>,
    /// Other released memory. It is given back after the capture, since the driver must not be called during one.
    released: Vec<Rc<Memory>>,
    /// The addresses of all memory that a capture allocated.
    adopted: BTreeSet<u64>,
    /// Whether released memory is never used again.
    reuses_nothing: bool,
}

impl Capture {
    /// A capture that may use the scratch memory of earlier captured graphs.
    pub fn new(scratch: Vec<Rc<Memory>>) -> Self {
        let mut capture = Capture::default();
        for memory in scratch {
            capture.adopted.insert(memory.address);
            capture.give_back(memory);
        }
        capture
    }

    /// Memory that no captured graph needs after it has run.
    pub fn scratch(&self) -> impl Iterator<Item = &Rc<Memory>> {
        self.free.values().filter(|_| !self.reuses_nothing).flatten()
    }

    /// A capture in which no two tensors share memory.
    pub fn without_reuse() -> Self {
        Capture { reuses_nothing: true, ..Capture::default() }
    }

    /// Released memory of exactly this size.
    pub fn reuse(&mut self, bytes: usize) -> Option<Rc<Memory>> {
        if self.reuses_nothing {
            return None;
        }
        let memory = self.free.get_mut(&bytes)?.pop()?;
        self.hold(&memory);
        Some(memory)
    }

    /// Takes in memory that was allocated during the capture.
    pub fn adopt(&mut self, memory: &Rc<Memory>) {
        self.adopted.insert(memory.address);
        self.hold(memory);
    }

    /// Takes in memory that a tensor has released.
    pub fn give_back(&mut self, memory: Rc<Memory>) {
        if self.adopted.contains(&memory.address) {
            self.free.entry(memory.bytes).or_default().push(memory);
        } else {
            self.released.push(memory);
        }
    }

    pub fn hold(&mut self, memory: &Rc<Memory>) {
        self.held.entry(memory.address).or_insert_with(|| Rc::clone(memory));
    }

    /// Ends the capture.
    pub fn end(self) -> Captured {
        Captured { commands: self.commands, held: self.held.into_values().collect() }
    }

    pub fn launch(&mut self, launch: &Launch) {
        self.commands.push(Command::Launch(OwnedLaunch::new(launch)));
    }

    pub fn set_zero(&mut self, address: u64, bytes: usize) {
        self.commands.push(Command::SetZero { address, bytes });
    }
}

/// The content of a captured graph.
pub(super) struct Captured {
    pub commands: Vec<Command>,
    /// All memory that the commands use.
    pub held: Vec<Rc<Memory>>,
}
