//! Work that is done once and can be repeated by the device alone: on a GPU as one captured graph.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::launch::OwnedLaunch;
use super::memory::Memory;
use super::{Gpu, Launch};
use crate::device::cuda::Graph;

/// One thing that a device was asked to do.
pub(super) enum Command {
    /// Run a kernel.
    Launch(OwnedLaunch),
    /// Set so many bytes from an address on to zero.
    SetZero { address: u64, bytes: usize },
}

/// What is noted down while work is recorded.
#[derive(Default)]
pub(super) struct Recorder {
    commands: Vec<Command>,
    /// Everything the commands touch, by address: it must not be given to others as long as they may be repeated.
    held: BTreeMap<u64, Rc<Memory>>,
    /// Of the memory that was first asked for while recording this or other work, what its tensors have let go of, by size.
    free: BTreeMap<usize, Vec<Rc<Memory>>>,
    /// Other memory that tensors have let go of. It goes back when the recording is over: a driver that captures is not to
    /// be asked.
    released: Vec<Rc<Memory>>,
    /// Addresses of all memory that was first asked for while recording.
    own: BTreeSet<u64>,
}

impl Recorder {
    /// One that may use what other recorded work needs only while it runs.
    pub fn new(scratch: Vec<Rc<Memory>>) -> Self {
        let mut recorder = Recorder::default();
        for memory in scratch {
            recorder.own.insert(memory.address);
            recorder.give_back(memory);
        }
        recorder
    }

    /// What nothing that was recorded needs once it is done.
    pub fn scratch(&self) -> impl Iterator<Item = &Rc<Memory>> {
        self.free.values().flatten()
    }

    /// Memory of exactly this size that an earlier command is done with.
    pub fn reuse(&mut self, bytes: usize) -> Option<Rc<Memory>> {
        let memory = self.free.get_mut(&bytes)?.pop()?;
        self.hold(&memory);
        Some(memory)
    }

    /// Memory that was asked for while recording.
    pub fn adopt(&mut self, memory: &Rc<Memory>) {
        self.own.insert(memory.address);
        self.hold(memory);
    }

    /// A tensor lets go of memory.
    pub fn give_back(&mut self, memory: Rc<Memory>) {
        if self.own.contains(&memory.address) {
            self.free.entry(memory.bytes).or_default().push(memory);
        } else {
            self.released.push(memory);
        }
    }

    pub fn hold(&mut self, memory: &Rc<Memory>) {
        self.held.entry(memory.address).or_insert_with(|| Rc::clone(memory));
    }

    pub fn launch(&mut self, launch: &Launch) {
        self.commands.push(Command::Launch(OwnedLaunch::new(launch)));
    }

    pub fn set_zero(&mut self, address: u64, bytes: usize) {
        self.commands.push(Command::SetZero { address, bytes });
    }
}

/// Recorded work. It owns every block it touches.
pub struct Recording {
    gpu: Rc<Gpu>,
    commands: Vec<Command>,
    graph: Option<Graph>,
    _held: Vec<Rc<Memory>>,
}

impl Recording {
    pub(super) fn new(gpu: &Rc<Gpu>, recorder: Recorder, graph: Option<Graph>) -> Self {
        let held = recorder.held.into_values().collect();
        Recording { gpu: Rc::clone(gpu), commands: recorder.commands, graph, _held: held }
    }

    /// Does the work again, on what its inputs hold now.
    pub(crate) fn replay(&self) {
        self.gpu.count(|work| work.replays += 1);
        self.run();
    }

    fn run(&self) {
        if let Some(graph) = &self.graph {
            self.gpu.attempt(|_| graph.launch());
            return;
        }
        for command in &self.commands {
            match command {
                Command::Launch(launch) => launch.with(|launch| self.gpu.run(launch)),
                Command::SetZero { address, bytes } => {
                    self.gpu.attempt(|driver| driver.set_zero(*address, *bytes));
                }
            }
        }
    }

    /// A captured graph has not been run yet, unlike commands that were merely noted down.
    pub(super) fn run_captured(&self) {
        if self.graph.is_some() {
            self.run();
        }
    }

    /// How often each kernel is launched, by name, and under "memset" how often memory is set to zero.
    pub fn launches(&self) -> BTreeMap<&str, usize> {
        let mut launches = BTreeMap::new();
        for command in &self.commands {
            let name = match command {
                Command::Launch(launch) => launch.kernel(),
                Command::SetZero { .. } => "memset",
            };
            *launches.entry(name).or_default() += 1;
        }
        launches
    }
}
