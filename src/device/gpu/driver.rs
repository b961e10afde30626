//! Who runs the kernels: CUDA's driver, or the simulator.

use std::time::{Duration, Instant};

use super::counter::Counter;
use super::occupancy::{self, Limits, Resources};
use super::{Launch, SiteTraffic, ring};
use crate::device::cuda::{self, Cuda, Graph, PinnedRing};
#[cfg(has_simulator)]
use crate::device::simulator::Simulator;

/// Who does the work. What fails says why, for people.
pub(crate) enum Driver {
    /// A GPU.
    Cuda(Cuda),
    /// The host's processor.
    #[cfg(has_simulator)]
    Simulator(Simulator),
    /// Nobody.
    Counter(Counter),
}

/// Where batches wait to be copied.
pub(crate) enum Staging {
    /// Page-locked memory, copied from while the GPU works.
    Pinned(PinnedRing),
    /// The host's own memory, where copies are made at once.
    Host,
}

/// The same call on whichever driver does it, or what the counter does.
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
            Driver::Counter(_) => "counter: launches that nobody runs".into(),
        }
    }

    /// A block with unknown content; its address.
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

    /// A block goes to another owner, who knows nothing of its content.
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

    /// Waits for what was launched before.
    pub fn download(&self, address: u64, bytes: &mut [u8]) -> Result<(), String> {
        each!(self, backend => backend.download(address, bytes), counter => {
            bytes.fill(0);
            counter.copy(bytes.len())
        })
    }

    /// Places for batches that are to be copied while the device works.
    pub fn staging(&self, places: usize, bytes: usize) -> Result<Staging, String> {
        match self {
            Driver::Cuda(cuda) => cuda.pinned_ring(places, bytes).map(Staging::Pinned),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(Staging::Host),
            Driver::Counter(counter) => counter.wait().map(|()| Staging::Host),
        }
    }

    /// Copies parts, each from its own byte on, to an address by a place of a ring.
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

    /// Bytes of a data set that may lie on the device for a whole training: half of what is free.
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

    /// Nobody may touch these bytes from now on: the simulator tells who does.
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

    /// From now on what is launched is not run but kept, where the device can do that.
    pub fn begin_capture(&self) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.begin_capture(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(()),
            Driver::Counter(counter) => counter.begin_capture(),
        }
    }

    /// What was launched since the capture began; `None` where it was run at once.
    pub fn end_capture(&self) -> Result<Option<Graph>, String> {
        match self {
            Driver::Cuda(cuda) => cuda.end_capture().map(Some),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(None),
            Driver::Counter(counter) => counter.end_capture().map(|()| None),
        }
    }

    /// A clock that runs from when everything before is done.
    pub fn start_clock(&self) -> Result<Clock, String> {
        match self {
            Driver::Cuda(cuda) => cuda.start_clock().map(Clock::Device),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Ok(Clock::Host(Instant::now())),
            Driver::Counter(counter) => counter.wait().map(|()| Clock::Host(Instant::now())),
        }
    }

    /// Copies within the device, where it is one.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), String> {
        match self {
            Driver::Cuda(cuda) => cuda.copy(to, from, bytes),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => Err("the simulator has no copies of its own".into()),
            Driver::Counter(counter) => counter.copy(bytes),
        }
    }

    /// What the GPU has of what kernels share; `None` without one.
    pub fn limits(&self) -> Option<Limits> {
        match self {
            Driver::Cuda(cuda) => cuda.limits().ok(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => None,
            Driver::Counter(_) => None,
        }
    }

    /// What a launch of a kernel takes: the driver's word, or the compiler's where there is no GPU.
    pub fn resources(&self, kernel: &str, threads: usize, shared: usize) -> Option<Resources> {
        match self {
            Driver::Cuda(cuda) => cuda.resources(kernel, threads, shared).ok(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => occupancy::compiled(kernel, threads, shared),
            Driver::Counter(_) => occupancy::compiled(kernel, threads, shared),
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

    /// Where threads have waited for each other, as `FILE:LINE`; a GPU does not tell.
    pub fn barriers(&self) -> Vec<String> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Vec::new(),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.barriers(),
        }
    }

    /// What the warps' accesses came to; only the simulator's checked build tells.
    pub fn traffic(&self) -> Vec<SiteTraffic> {
        match self {
            Driver::Cuda(_) | Driver::Counter(_) => Vec::new(),
            #[cfg(has_simulator)]
            Driver::Simulator(simulator) => simulator.traffic(),
        }
    }

    /// Bytes that are free and bytes in all, where the device knows.
    pub fn memory(&self) -> Option<(usize, usize)> {
        match self {
            Driver::Cuda(cuda) => cuda.memory().ok(),
            #[cfg(has_simulator)]
            Driver::Simulator(_) => None,
            Driver::Counter(_) => None,
        }
    }
}

/// A running clock: the GPU's own, or the host's where kernels run on the host.
pub(crate) enum Clock {
    Device(cuda::Clock),
    Host(Instant),
}

impl Clock {
    /// The time since it was started, after everything that was asked for is done.
    pub fn stop(self) -> Result<Duration, String> {
        match self {
            Clock::Device(clock) => clock.stop(),
            Clock::Host(start) => Ok(start.elapsed()),
        }
    }
}
