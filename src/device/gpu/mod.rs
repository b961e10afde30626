//! A device that runs the CUDA kernels: a GPU or the simulator. Ops do not know which.

mod capture;
mod counter;
mod driver;
mod host_work;
mod launch;
mod memory;
pub(crate) mod occupancy;
mod ring;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::profile::Profiler;
use crate::error::{Error, Result};
use capture::Capture;
pub use capture::CapturedGraph;
pub(crate) use counter::Counter;
pub(in crate::device) use driver::Clock;
pub(crate) use driver::Driver;
pub use host_work::HostWork;
#[cfg(has_simulator)]
pub(crate) use launch::Kind;
pub(crate) use launch::{Argument, Launch, Parameters, Pointer};
pub(crate) use memory::Block;
use memory::{FreeBlocks, Memory};
pub use occupancy::{Limits, Resources};
pub(crate) use ring::Ring;
pub(in crate::device) use ring::fill;

/// The owner of memory that is allocated outside of [`Gpu::owned_by`].
const ACTIVATIONS: &str = "activations and their gradients";

/// The launches of a kernel and the host's time for them; in the simulator this is the kernel's run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTime {
    /// Number of launches.
    pub launches: u64,
    /// Their total time.
    pub time: Duration,
}

/// What one launch left in the memory of its buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchTrace {
    /// The kernel's name.
    pub kernel: String,
    /// The kernel's place in the source, `FILE:LINE`.
    pub place: String,
    /// Each buffer's name among the kernel's parameters, and a hash of its bytes.
    pub buffers: Vec<(String, u64)>,
}

/// The memory traffic that one line of a kernel's source would cause on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteTraffic {
    /// The kernel's name.
    pub kernel: String,
    /// `FILE:LINE`, followed by the places it was inlined into.
    pub place: String,
    /// Whether the memory is the block's shared memory, not the device's.
    pub is_shared: bool,
    /// Whether the access is a write, not a read.
    pub is_write: bool,
    /// The number of warp-wide accesses.
    pub requests: u64,
    /// Their transactions: 32-byte sectors in device memory; in shared memory wavefronts, more than one where there are
    /// bank conflicts.
    pub transactions: u64,
    /// The fewest transactions that could move the same bytes.
    pub least: u64,
}

/// A device that runs kernels. It stays on one thread.
///
/// Launches return nothing. The device keeps its first failure and skips all work after it; [`Gpu::check`] must be
/// called before a result is read back.
pub struct Gpu {
    driver: Driver,
    failure: RefCell<Option<String>>,
    /// Bytes in use by each owner.
    owners: RefCell<BTreeMap<&'static str, usize>>,
    /// The owner of memory that is allocated now.
    owner: Cell<&'static str>,
    in_use: Cell<usize>,
    peak: Cell<usize>,
    free_blocks: FreeBlocks,
    /// All memory in use, by address, so that a capture finds the memory behind a pointer.
    live: RefCell<BTreeMap<u64, Weak<Memory>>>,
    /// The running capture.
    capture: RefCell<Option<Capture>>,
    /// Memory that captured graphs need only while they run. Graphs run one after another, so they share it.
    scratch: RefCell<Vec<Weak<Memory>>>,
    host_work: Cell<HostWork>,
    times: RefCell<BTreeMap<String, KernelTime>>,
    /// The dynamic shared memory that each kernel has been allowed.
    allowed_shared: RefCell<BTreeMap<String, usize>>,
    tf32: Cell<bool>,
    host_threads: Option<usize>,
    pub(super) profiler: Profiler,
}

impl Gpu {
    pub(crate) fn new(driver: Driver, host_threads: Option<usize>) -> Self {
        Gpu {
            driver,
            failure: RefCell::default(),
            owners: RefCell::default(),
            owner: Cell::new(ACTIVATIONS),
            in_use: Cell::new(0),
            peak: Cell::new(0),
            free_blocks: FreeBlocks::default(),
            live: RefCell::default(),
            capture: RefCell::default(),
            scratch: RefCell::default(),
            host_work: Cell::default(),
            times: RefCell::default(),
            allowed_shared: RefCell::default(),
            tf32: Cell::new(false),
            host_threads,
            profiler: Profiler::default(),
        }
    }

    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        self.driver.name()
    }

    pub(crate) fn description(&self) -> String {
        self.driver.description()
    }

    /// The number of threads that the host was told to use.
    pub(super) fn host_threads(&self) -> Option<usize> {
        self.host_threads
    }

    /// Whether matrix products of f32 round their factors to tf32 (10 bits of fraction) for tensor cores.
    pub fn uses_tf32(&self) -> bool {
        self.tf32.get()
    }

    pub(super) fn set_tf32(&self, tf32: bool) {
        self.tf32.set(tf32);
    }

    /// The peak of the bytes in use.
    pub fn peak_bytes(&self) -> usize {
        self.peak.get()
    }

    /// The launches and time of each kernel since the device was opened, by name.
    pub fn kernel_times(&self) -> BTreeMap<String, KernelTime> {
        self.times.borrow().clone()
    }

    /// The host's work for the device since it was opened.
    pub fn host_work(&self) -> HostWork {
        self.host_work.get()
    }

    fn count(&self, add: impl FnOnce(&mut HostWork)) {
        let mut work = self.host_work.get();
        add(&mut work);
        self.host_work.set(work);
    }

    /// Bytes of a data set that may stay on the device for a whole run.
    pub(crate) fn room_for_data(&self) -> usize {
        self.driver.room_for_data()
    }

    /// The barriers that threads have reached, as `FILE:LINE`; empty on a GPU, which does not report them.
    pub fn barriers(&self) -> Vec<String> {
        self.driver.barriers()
    }

    /// The memory traffic of the launched kernels, line by line. Empty unless the simulator's checked build was asked
    /// to count it.
    pub fn traffic(&self) -> Vec<SiteTraffic> {
        self.driver.traffic()
    }

    /// What each launch left in its buffers, in the order of the launches. Empty unless the simulator was asked for it.
    pub fn traces(&self) -> Vec<LaunchTrace> {
        self.driver.traces()
    }

    /// Waits for everything launched so far.
    ///
    /// # Errors
    /// The first failure on this device since it was opened. No work was done after it.
    pub fn check(&self) -> Result<()> {
        self.count(|work| work.waits += 1);
        self.attempt(|driver| {
            self.refuse_while_capturing("the host's waiting")?;
            driver.synchronize()
        });
        self.check_so_far()
    }

    /// [`Gpu::check`] without waiting: reports only failures that the host already knows of.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub fn check_so_far(&self) -> Result<()> {
        match &*self.failure.borrow() {
            None => Ok(()),
            Some(message) => {
                Err(Error::DeviceLost { device: self.name().into(), message: message.clone() })
            }
        }
    }

    /// Starts the device's clock; `None` once the device has failed.
    pub(super) fn start_clock(&self) -> Option<Clock> {
        self.attempt(|driver| {
            self.refuse_while_capturing("a clock")?;
            driver.start_clock()
        })
    }

    /// The time since the clock was started, once all work is done.
    pub(super) fn stop_clock(&self, clock: Clock) -> Duration {
        self.attempt(|_| clock.stop()).unwrap_or_default()
    }

    /// The GPU's resources; `None` without a GPU.
    pub fn limits(&self) -> Option<Limits> {
        self.driver.limits()
    }

    /// The resources of a launch with `threads` threads a block and `shared` bytes of dynamic shared memory; `None` for
    /// a program built without GPU kernels.
    pub fn resources(&self, kernel: &str, threads: usize, shared: usize) -> Option<Resources> {
        self.driver.resources(kernel, threads, shared)
    }

    /// Copies `bytes` bytes with the driver's own copy, the yardstick for a kernel that copies.
    pub(crate) fn copy(&self, to: Pointer, from: Pointer, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.attempt(|driver| {
            self.refuse_while_capturing("the driver's own copy")?;
            driver.copy(to.0, from.0, bytes)
        });
    }

    /// Does `work` unless the device has failed before; keeps a failure.
    fn attempt<T>(
        &self,
        work: impl FnOnce(&Driver) -> std::result::Result<T, String>,
    ) -> Option<T> {
        if self.failure.borrow().is_some() {
            return None;
        }
        work(&self.driver).map_err(|message| *self.failure.borrow_mut() = Some(message)).ok()
    }

    /// Does work whose memory belongs to `owner`.
    pub(crate) fn owned_by<T>(&self, owner: &'static str, work: impl FnOnce() -> T) -> T {
        let before = self.owner.replace(owner);
        let result = work();
        self.owner.set(before);
        result
    }

    /// A message for a failed allocation of `bytes` bytes: who owns the memory in use.
    fn memory_report(&self, bytes: usize) -> String {
        let owners = self.owners.borrow();
        let mut largest: Vec<_> = owners.iter().filter(|(_, bytes)| **bytes > 0).collect();
        largest.sort_by(|a, b| b.1.cmp(a.1));
        let largest: Vec<String> = largest
            .iter()
            .map(|(owner, bytes)| format!("{owner} {}", mebibytes(**bytes)))
            .collect();
        let free = self.driver.memory().map_or(String::new(), |(free, all)| {
            format!(", {} of {} free", mebibytes(free), mebibytes(all))
        });
        let owner = self.owner.get();
        let advice = if owner == ACTIVATIONS { ". A smaller `batch_size` needs less" } else { "" };
        format!(
            "{} asked for ({owner}), {} in use{free}; the largest owners: {}{advice}",
            mebibytes(bytes),
            mebibytes(self.in_use.get()),
            largest.join(", ")
        )
    }

    /// Launches a kernel. An empty grid launches nothing.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        arguments: &[&dyn Argument],
    ) {
        self.launch_with_shared(kernel, grid, block, 0, arguments);
    }

    /// [`Gpu::launch`] with `shared` bytes of dynamic shared memory.
    pub(crate) fn launch_with_shared(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: usize,
        arguments: &[&dyn Argument],
    ) {
        if grid.contains(&0) {
            return;
        }
        self.launch_kernel(&Launch { kernel, grid, block, shared, arguments });
    }

    /// Launches a kernel and adds it to the running capture.
    fn launch_kernel(&self, launch: &Launch) {
        self.count(|work| work.launches += 1);
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            for pointer in launch.arguments.iter().filter_map(|argument| argument.pointer()) {
                self.hold(capture, pointer.0);
            }
            capture.launch(launch);
        }
        self.run(launch);
    }

    fn run(&self, launch: &Launch) {
        let start = Instant::now();
        self.attempt(|driver| {
            self.allow_shared(driver, launch)?;
            driver.launch(launch)
        });
        let mut times = self.times.borrow_mut();
        let kernel = match times.get_mut(launch.kernel) {
            Some(kernel) => kernel,
            None => times.entry(launch.kernel.to_owned()).or_default(),
        };
        kernel.launches += 1;
        kernel.time += start.elapsed();
    }

    /// Raises a kernel's limit of dynamic shared memory to that of a launch. Even a small amount may need it: with the
    /// kernel's declared shared memory it may exceed the 48 KiB that a block gets by default.
    fn allow_shared(&self, driver: &Driver, launch: &Launch) -> std::result::Result<(), String> {
        let mut allowed = self.allowed_shared.borrow_mut();
        if launch.shared <= allowed.get(launch.kernel).copied().unwrap_or(0) {
            return Ok(());
        }
        driver.allow_shared(launch.kernel, launch.shared)?;
        allowed.insert(launch.kernel.to_owned(), launch.shared);
        Ok(())
    }

    fn set_zero(&self, address: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            self.hold(capture, address);
            capture.set_zero(address, bytes);
        }
        self.count(|work| work.zeroings += 1);
        self.attempt(|driver| driver.set_zero(address, bytes));
    }

    fn upload(&self, address: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count(|work| work.uploads += 1);
        self.attempt(|driver| {
            self.refuse_while_capturing("a copy from the host")?;
            driver.upload(address, bytes)
        });
    }

    fn download(&self, address: u64, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count(|work| work.downloads += 1);
        self.attempt(|driver| {
            self.refuse_while_capturing("a copy to the host")?;
            driver.download(address, bytes)
        });
    }

    /// Staging buffers for batches that are copied while the device works.
    fn staging(&self, places: usize, bytes: usize) -> Option<driver::Staging> {
        self.attempt(|driver| {
            self.refuse_while_capturing("memory for batches")?;
            driver.staging(places, bytes)
        })
    }

    /// Fails during a capture: a graph cannot replay work that needs the host.
    fn refuse_while_capturing(&self, what: &str) -> std::result::Result<(), String> {
        match &*self.capture.borrow() {
            Some(_) => Err(format!("{what} in the middle of a capture")),
            None => Ok(()),
        }
    }

    /// Keeps the memory block that contains an address, if there is one, for as long as the captured graph lives.
    fn hold(&self, capture: &mut Capture, address: u64) {
        let live = self.live.borrow();
        let memory = live.range(..=address).next_back().and_then(|(_, memory)| memory.upgrade());
        if let Some(memory) = memory.filter(|m| address < m.address + m.bytes.max(1) as u64) {
            capture.hold(&memory);
        }
    }

    /// Does `work` and returns its captured graph. The work may not copy to or from the host, and a replay reads and
    /// writes the same addresses. Panics while another capture runs.
    pub(crate) fn capture(gpu: &Rc<Gpu>, work: impl FnOnce()) -> CapturedGraph {
        let scratch = gpu.scratch.borrow().iter().filter_map(Weak::upgrade).collect();
        Gpu::capture_into(gpu, Capture::new(scratch), work)
    }

    /// [`Gpu::capture`] without memory reuse: every launch's inputs are intact afterwards, so that each can be replayed
    /// alone.
    pub(crate) fn capture_without_reuse(gpu: &Rc<Gpu>, work: impl FnOnce()) -> CapturedGraph {
        Gpu::capture_into(gpu, Capture::without_reuse(), work)
    }

    fn capture_into(gpu: &Rc<Gpu>, capture: Capture, work: impl FnOnce()) -> CapturedGraph {
        let before = gpu.capture.borrow_mut().replace(capture);
        assert!(before.is_none(), "capture: another one runs");
        gpu.attempt(Driver::begin_capture);
        work();
        let graph = gpu.attempt(Driver::end_capture).flatten();
        let capture = gpu.capture.borrow_mut().take().expect("it was put there");
        *gpu.scratch.borrow_mut() = capture.scratch().map(Rc::downgrade).collect();
        let captured = CapturedGraph::new(gpu, capture, graph);
        captured.run_captured();
        captured
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.free_blocks.release(&self.driver);
    }
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Call = fn(&Gpu);

    fn counter() -> Rc<Gpu> {
        Rc::new(Gpu::new(Driver::Counter(Counter::new(0)), None))
    }

    /// CUDA's driver refuses them, and so does the counter.
    #[test]
    fn no_call_is_made_for_no_bytes() {
        let gpu = counter();
        gpu.upload(1 << 20, &[]);
        gpu.download(1 << 20, &mut []);
        gpu.set_zero(1 << 20, 0);
        gpu.copy(Pointer(1 << 20), Pointer(1 << 20), 0);
        gpu.check().unwrap();
    }

    /// The driver refuses these calls during a capture, and they spoil the capture.
    #[test]
    fn the_host_does_not_wait_during_a_capture() {
        let calls: [(&str, Call); 6] = [
            ("waiting", |gpu| drop(gpu.check())),
            ("clock", |gpu| drop(gpu.start_clock())),
            ("copy from the host", |gpu| gpu.upload(1 << 20, &[0])),
            ("copy to the host", |gpu| gpu.download(1 << 20, &mut [0])),
            ("driver's own copy", |gpu| gpu.copy(Pointer(1 << 20), Pointer(1 << 20), 1)),
            ("memory for batches", |gpu| drop(gpu.staging(1, 1))),
        ];
        for (what, call) in calls {
            let gpu = counter();
            Gpu::capture(&gpu, || call(&gpu));
            let message = gpu.check().unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
            assert!(message.contains("in the middle of a capture"), "{message}");
        }
        let gpu = counter();
        Gpu::capture(&gpu, || gpu.set_zero(1 << 20, 1));
        gpu.check().unwrap();
    }
}
