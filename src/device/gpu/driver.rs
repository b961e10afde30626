//! The drivers that run kernels: CUDA's, the simulator and the launch counter.

use std::time::{Duration, Instant};

use super::counter::Counter;
use super::occupancy::{self, Limits, Resources};
use super::{Launch, LaunchTrace, SiteTraffic, ring};
use crate::device::cuda::{self, Cuda, Graph, PinnedRing};
#[cfg(has_simulator)]
use crate::device::simulator::Simulator;

/// A driver. A failed call returns a message for people.
pub(crate) enum Driver {
    /// A GPU.
    Cuda(Cuda),
    /// The host's processor.
    #[cfg(has_simulator)]
    Simulator(Simulator),
    /// Nothing: launches are only counted.
    Counter(Counter),
}

/// Staging buffers for batches.
pub(crate) enum Staging {
    /// Pinned memory, copied from while the GPU works.
    Pinned(PinnedRing),
    /// Ordinary host memory; copies happen at once.
    Host,
}

/// The same call on the CUDA driver or the simulator, or the counter's part.
macro_rules! each {
    ($driver:expr, $backend:ident => $call:expr, $counter:ident => $count:expr) => {
        match $driver {
            Driver::Cuda($backend) => $call,
            #[cfg(has_simulator)]
            Driver::Simulator($backend) => $call,
            Driver::Counter($counter) => $count,
        }
    };
}

impl Driver {
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Cuda(_) => "cuda",
            #[cfg(has_simulator)]
            Driver::Simulator(_) => "simulator",
            Driver::Counter(_) => "counter",
        }
    }

    pub fn description(&self) -> String {
        match self {
            Driver::Cuda(cuda) => format!("cuda: {}", cuda.name()),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => {
                let threads = simulator.threads();
                format!("simulator: the GPU's kernels on {threads} threads of the processor")
            }
            Driver::Counter(_) => "counter: launches are counted, not run".into(),
        }
    }

    /// Allocates a block with unknown content and returns its address.
    pub fn allocate(&self, bytes: usize) -> Result<u64, String> {
        match self {
            Driver::Cuda(cuda) => cuda.allocate(bytes),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.allocate(bytes),
            Driver::Counter(counter) => Ok(counter.allocate(bytes)),
        }
    }

    pub fn free(&self, address: u64) {
        each!(self, backend => backend.free(address), _counter => ());
    }

    /// Tells the driver that a block has a new owner: its content is unknown from now on.
    #[cfg_attr(not(has_simulator), expect(unused_variables, reason = "only the simulator does"))]
    pub fn refresh(&self, address: u64) {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => {}
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.poison(address),
        }
    }

    pub fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), String> {
        each!(self, backend => backend.upload(address, bytes), counter => counter.copy(bytes.len()))
    }

    /// Waits for all earlier launches first.
    pub fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), String> {
        each!(self, backend => backend.download(address, bytes), counter => {
            bytes.fill(0);
            counter.copy(bytes.len())
        })
    }

    /// Staging buffers for batches that are copied while the device works.
    pub fn staging(&self, places: usize, bytes: usize) -> Result<Staging, String> {
        match self {
            Driver::Cuda(cuda) => cuda.pinned_ring(places, bytes).map(Staging::Pinned),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(Staging::Host),
            Driver::Counter(counter) => counter.wait().map(|()| Staging::Host),
        }
    }

    /// Copies parts, each with its offset, to an address through one buffer of a ring.
    pub fn send(
        &self,
        staging: &Staging,
        place: usize,
        address: u64,
        parts: &[(usize, &[u8])],
    ) -> Result<(), String> {
        match (self, staging) {
            (Driver::Cuda(cuda), Staging::Pinned(pinned)) => {
                cuda.send(pinned, place, address, parts)
            }
            _ => {
                let mut bytes = vec![0; ring::end_of(parts)];
                ring::fill(&mut bytes, parts);
                self.upload(address, &bytes)
            }
        }
    }

    /// Bytes of a data set that may stay on the device for a whole run: half of the free memory.
    pub fn room_for_data(&self) -> usize {
        match self {
            Driver::Cuda(cuda) => cuda.memory().map_or(0, |(free, _)| free / 2),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.room_for_data(),
            Driver::Counter(counter) => counter.room_for_data(),
        }
    }

    pub fn set_zero(&self, address: u64, bytes: usize) -> Result<(), String> {
        each!(self, backend => backend.set_zero(address, bytes), counter => counter.set_zero(bytes))
    }

    /// Forbids all access to these bytes from now on; the simulator reports a kernel that touches them.
    #[cfg_attr(not(has_simulator), expect(unused_variables, reason = "only the simulator does"))]
    pub fn forbid(&self, address: u64, bytes: usize) -> Result<(), String> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Ok(()),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.forbid(address, bytes),
        }
    }

    /// Allows a kernel `bytes` bytes of dynamic shared memory.
    pub fn allow_shared(&self, kernel: &str, bytes: usize) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.allow_shared(kernel, bytes),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => {
                simulator.allow_shared(kernel, bytes);
                Ok(())
            }
            Driver::Counter(_) => Ok(()),
        }
    }

    pub fn launch(&self, launch: &Launch) -> Result<(), String> {
        each!(self, backend => backend.launch(launch), _counter => Ok(()))
    }

    /// Starts a capture. On a GPU later launches are captured and not run; the simulator runs them at once.
    pub fn begin_capture(&self) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.begin_capture(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(()),
            Driver::Counter(counter) => counter.begin_capture(),
        }
    }

    /// Ends the capture and returns its graph; `None` where the launches were run at once.
    pub fn end_capture(&self) -> Result<Option<Graph>, String> {
        match self {
            Driver::Cuda(cuda) => cuda.end_capture().map(Some),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(None),
            Driver::Counter(counter) => counter.end_capture().map(|()| None),
        }
    }

    /// Starts a clock, once all earlier work is done.
    pub fn start_clock(&self) -> Result<Clock, String> {
        match self {
            Driver::Cuda(cuda) => cuda.start_clock().map(Clock::Device),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(Clock::Host(Instant::now())),
            Driver::Counter(counter) => counter.wait().map(|()| Clock::Host(Instant::now())),
        }
    }

    /// Copies within device memory, with the driver's copy; the simulator has none.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.copy(to, from, bytes),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Err("the simulator has no copies of its own".into()),
            Driver::Counter(counter) => counter.copy(bytes),
        }
    }

    /// The GPU's resources; `None` without a GPU.
    pub fn limits(&self) -> Option<Limits> {
        match self {
            Driver::Cuda(cuda) => cuda.limits().ok(),
            _ => None,
        }
    }

    /// The resources of a launch: as the driver reports them, or as the compiler did where there is no GPU.
    pub fn resources(&self, kernel: &str, threads: usize, shared: usize) -> Option<Resources> {
        match self {
            Driver::Cuda(cuda) => cuda.resources(kernel, threads, shared).ok(),
            _ => occupancy::compiled(kernel, threads, shared),
        }
    }

    /// Waits for everything launched so far.
    pub fn synchronize(&self) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.synchronize(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(()),
            Driver::Counter(counter) => counter.wait(),
        }
    }

    /// The barriers that threads have reached, as `FILE:LINE`; a GPU does not report them.
    pub fn barriers(&self) -> Vec<String> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Vec::new(),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.barriers(),
        }
    }

    /// The memory traffic of the launched kernels; only the simulator's checked build counts it.
    pub fn traffic(&self) -> Vec<SiteTraffic> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Vec::new(),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.traffic(),
        }
    }

    /// What each launch left in its buffers; only the simulator tells.
    pub fn traces(&self) -> Vec<LaunchTrace> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Vec::new(),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.traces(),
        }
    }

    /// Free and total bytes, if the device knows them.
    pub fn memory(&self) -> Option<(usize, usize)> {
        match self {
            Driver::Cuda(cuda) => cuda.memory().ok(),
            _ => None,
        }
    }
}

/// A running clock: the GPU's, or the host's where kernels run on the host.
pub(crate) enum Clock {
    Device(cuda::Clock),
    Host(Instant),
}

impl Clock {
    /// The time since the clock was started, once all work is done.
    pub fn stop(self) -> Result<Duration, String> {
        match self {
            Clock::Device(clock) => clock.stop(),
            Clock::Host(start) => Ok(start.elapsed()),
        }
    }
}
