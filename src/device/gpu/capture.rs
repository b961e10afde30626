//! Captured graphs: work that a device replays without the host; on a GPU, in one launch.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::launch::OwnedLaunch;
use super::memory::Memory;
use super::{Gpu, Launch};
use crate::device::cuda::Graph;

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

    pub fn launch(&mut self, launch: &Launch) {
        self.commands.push(Command::Launch(OwnedLaunch::new(launch)));
    }

    pub fn set_zero(&mut self, address: u64, bytes: usize) {
        self.commands.push(Command::SetZero { address, bytes });
    }
}

/// A captured graph. It owns all memory that it uses.
pub struct CapturedGraph {
    gpu: Rc<Gpu>,
    commands: Vec<Command>,
    graph: Option<Graph>,
    _held: Vec<Rc<Memory>>,
}

impl CapturedGraph {
    pub(super) fn new(gpu: &Rc<Gpu>, capture: Capture, graph: Option<Graph>) -> Self {
        let held = capture.held.into_values().collect();
        CapturedGraph { gpu: Rc::clone(gpu), commands: capture.commands, graph, _held: held }
    }

    /// Replays the graph on the present content of its inputs.
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

    /// Runs a graph that the driver captured: unlike in the simulator, its launches have not run yet.
    pub(super) fn run_captured(&self) {
        if self.graph.is_some() {
            self.run();
        }
    }

    /// A graph of one kernel's launches in `graphs`, graph after graph, `rounds` times over. The graphs must come from
    /// [`Gpu::capture_without_reuse`].
    pub(crate) fn of_kernel(
        graphs: &[&CapturedGraph],
        kernel: &str,
        rounds: usize,
    ) -> Option<CapturedGraph> {
        let gpu = &graphs.first()?.gpu;
        let mut all = Gpu::capture(gpu, || {
            for graph in (0..rounds).flat_map(|_| graphs) {
                for launch in graph.launches_of(kernel) {
                    launch.with(|launch| gpu.launch_kernel(launch));
                }
            }
        });
        all._held.extend(graphs.iter().flat_map(|graph| &graph._held).map(Rc::clone));
        Some(all)
    }

    fn launches_of(&self, kernel: &str) -> impl Iterator<Item = &OwnedLaunch> {
        self.commands.iter().filter_map(move |command| match command {
            Command::Launch(launch) if launch.kernel() == kernel => Some(launch),
            _ => None,
        })
    }

    /// The threads of a block and the bytes of dynamic shared memory in a kernel's first launch.
    pub(crate) fn block_of(&self, kernel: &str) -> Option<(usize, usize)> {
        let launch = self.launches_of(kernel).next()?;
        Some(launch.with(|launch| {
            (launch.block.iter().map(|extent| *extent as usize).product(), launch.shared)
        }))
    }

    /// The number of launches of each kernel, by name; "memset" counts settings of memory to zero.
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
