//! Captured graphs: work that a device replays without the host; on a GPU, in one launch.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::capture::{Capture, Captured, Command};
use super::device::Gpu;
use super::driver::Graph;
use super::launch::OwnedLaunch;
use super::memory::Memory;
use crate::device::profile::ProfiledLaunch;

impl Gpu {
    /// Does `work` and returns its captured graph. The work may not copy to or from the host, and a replay reads and
    /// writes the same addresses. Panics while another capture runs.
    pub(crate) fn capture(gpu: &Rc<Gpu>, work: impl FnOnce()) -> CapturedGraph {
        Gpu::capture_into(gpu, Capture::new(gpu.scratch()), work)
    }

    /// [`Gpu::capture`] without memory reuse: every launch's inputs are intact afterwards, so that each can be replayed
    /// alone.
    pub(crate) fn capture_without_reuse(gpu: &Rc<Gpu>, work: impl FnOnce()) -> CapturedGraph {
        Gpu::capture_into(gpu, Capture::without_reuse(), work)
    }

    fn capture_into(gpu: &Rc<Gpu>, capture: Capture, work: impl FnOnce()) -> CapturedGraph {
        gpu.begin_capture(capture);
        work();
        let (Captured { commands, held }, graph) = gpu.end_capture();
        let captured = CapturedGraph { gpu: Rc::clone(gpu), commands, graph, _held: held };
        captured.run_captured();
        captured
    }
}

/// A captured graph. It owns all memory that it uses.
pub struct CapturedGraph {
    commands: Vec<Command>,
    graph: Option<Box<dyn Graph>>,
    _held: Vec<Rc<Memory>>,
    /// Last, since the device must outlive its graph and its memory.
    gpu: Rc<Gpu>,
}

impl CapturedGraph {
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
    fn run_captured(&self) {
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
                Command::SetZero { .. } => ProfiledLaunch::ZEROS,
            };
            *launches.entry(name).or_default() += 1;
        }
        launches
    }
}
