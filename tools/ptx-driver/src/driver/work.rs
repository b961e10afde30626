//! What streams and graphs do.

use std::sync::Arc;
use std::time::Instant;

use super::entry::Outcome;
use super::images::Loaded;
use super::state::{Handle, Mark, State};
use super::trials;
use crate::machine::fault::ILLEGAL_ADDRESS;
use crate::machine::warp::Launch;
use crate::options::options;

/// A kernel's launch with its parameters.
#[derive(Clone)]
pub struct KernelLaunch {
    pub kernel: Arc<Loaded>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: u32,
    pub dynamic_shared: usize,
    pub parameters: Vec<u8>,
}

/// One step of a stream or node of a graph.
#[derive(Clone)]
pub enum Work {
    Launch(Arc<KernelLaunch>),
    /// Sets bytes of device memory.
    Set {
        to: u64,
        byte: u8,
        bytes: usize,
    },
    /// Copies within device memory.
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    /// Copies bytes to device memory that were the host's at the call.
    Upload {
        to: u64,
        bytes: Arc<Vec<u8>>,
    },
    /// Copies between device memory and pinned memory, which the host may have changed since the call.
    Pinned {
        to: u64,
        from: u64,
        bytes: usize,
    },
    /// All earlier work is done: an event's time.
    Record(Handle),
    /// Waits for work of another stream.
    Wait(Mark),
    Graph(Arc<Vec<Work>>),
}

impl State {
    /// Does one work.
    ///
    /// # Errors
    /// A kernel's fault, which stays: the device is lost.
    pub fn perform(&mut self, work: &Work) -> Outcome {
        self.check()?;
        match work {
            Work::Launch(launch) => return self.run_kernel(launch),
            Work::Set { to, byte, bytes } => {
                self.check_target(*to, *bytes)?;
                // SAFETY: the range is allocated, and kernels do not run meanwhile.
                unsafe { std::ptr::write_bytes(*to as *mut u8, *byte, *bytes) }
            }
            Work::Copy { to, from, bytes } => {
                self.check_target(*to, *bytes)?;
                self.check_target(*from, *bytes)?;
                // SAFETY: the ranges are allocated, and kernels do not run meanwhile.
                unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) }
            }
            Work::Pinned { to, from, bytes } => {
                // SAFETY: the call has checked the ranges, and memory is freed only after all work.
                unsafe { std::ptr::copy(*from as *const u8, *to as *mut u8, *bytes) }
            }
            Work::Upload { to, bytes } => {
                self.check_target(*to, bytes.len())?;
                // SAFETY: the range is allocated, and kernels do not run meanwhile.
                unsafe {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), *to as *mut u8, bytes.len())
                }
            }
            Work::Record(event) => {
                if let Some(event) = self.events.get_mut(event) {
                    event.time = Some(Instant::now());
                }
            }
            Work::Wait(mark) => return self.drain_to(*mark),
            Work::Graph(nodes) => {
                for node in nodes.iter() {
                    self.perform(node)?;
                }
            }
        }
        Ok(())
    }

    /// A graph's memory may be gone when the graph is launched.
    fn check_target(&mut self, at: u64, bytes: usize) -> Outcome {
        if self.is_device(at, bytes) {
            return Ok(());
        }
        eprintln!("ptx-driver: {bytes} bytes at {at:#x} are freed memory");
        self.lost = Some(ILLEGAL_ADDRESS);
        Err(ILLEGAL_ADDRESS)
    }

    fn run_kernel(&mut self, work: &KernelLaunch) -> Outcome {
        let ranges = self.ranges();
        let launch = Launch {
            kernel: &work.kernel.kernel,
            grid: work.grid,
            block: work.block,
            cluster: work.cluster,
            dynamic_shared: work.dynamic_shared,
            parameters: &work.parameters,
            memory: &ranges,
            executed: &work.kernel.executed,
            execution: &options().execution,
        };
        let start = Instant::now();
        let result = trials::run(&launch, &work.kernel);
        work.kernel.count(start.elapsed());
        result.map_err(|fault| {
            eprintln!("ptx-driver: {}", fault.text);
            self.lost = Some(fault.error);
            fault.error
        })
    }
}
