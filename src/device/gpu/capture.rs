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
pub(super) struct Capture {
    commands: Vec<Command>,
    /// Everything the commands touch, by address: it must not be given to others as long as they may be repeated.
    held: BTreeMap<u64, Rc<Memory>>,
    /// Of the memory that was first asked for while recording this or other work, what its tensors have let go of, by size.
    free: BTreeMap<usize, Vec<Rc<Memory>>>,
    /// Other memory that tensors have let go of. It goes back when the recording is over: a driver that captures is not to
    /// be asked.
    released: Vec<Rc<Memory>>,
    /// Addresses of all memory that was first asked for while recording.
    adopted: BTreeSet<u64>,
    /// Whether memory that a tensor has let go of stays as it is.
    reuses_nothing: bool,
}

impl Capture {
    /// One that may use what other recorded work needs only while it runs.
    pub fn new(scratch: Vec<Rc<Memory>>) -> Self {
        let mut capture = Capture::default();
        for memory in scratch {
            capture.adopted.insert(memory.address);
            capture.give_back(memory);
        }
        capture
    }

    /// What nothing that was recorded needs once it is done.
    pub fn scratch(&self) -> impl Iterator<Item = &Rc<Memory>> {
        self.free.values().filter(|_| !self.reuses_nothing).flatten()
    }

    /// One that gives no memory to a second tensor.
    pub fn without_reuse() -> Self {
        Capture { reuses_nothing: true, ..Capture::default() }
    }

    /// Memory of exactly this size that an earlier command is done with.
    pub fn reuse(&mut self, bytes: usize) -> Option<Rc<Memory>> {
        if self.reuses_nothing {
            return None;
        }
        let memory = self.free.get_mut(&bytes)?.pop()?;
        self.hold(&memory);
        Some(memory)
    }

    /// Memory that was asked for while recording.
    pub fn adopt(&mut self, memory: &Rc<Memory>) {
        self.adopted.insert(memory.address);
        self.hold(memory);
    }

    /// A tensor lets go of memory.
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

/// Recorded work. It owns every block it touches.
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

    /// What launches one kernel as each of these recordings does, one after the other and so `rounds` times, and nothing
    /// else. Each must have been recorded with no memory in use twice.
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

    /// Threads of a block and bytes of dynamic shared memory in the first launch of a kernel.
    pub(crate) fn block_of(&self, kernel: &str) -> Option<(usize, usize)> {
        let launch = self.launches_of(kernel).next()?;
        Some(launch.with(|launch| {
            (launch.block.iter().map(|extent| *extent as usize).product(), launch.shared)
        }))
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
