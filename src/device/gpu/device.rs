//! Memory, launches and clocks of a device that takes kernel launches.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::capture::{Capture, Captured};
use super::driver::{Clock, Driver, Graph, Outcome, Staging};
use super::host_work::HostWork;
use super::launch::{Argument, Launch, LaunchWork, Pointer};
use super::memory::{Heap, Memory};
use super::occupancy::{Limits, Resources};
use super::reports::{LaunchSample, LaunchTrace, SiteTraffic};
use crate::device::DeviceKind;
use crate::device::profile::{ProfiledLaunch, Profiler};
use crate::error::{Error, Result};

/// The launches of a kernel and the host's time for them; in the simulator this is the kernel's run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTime {
    /// Number of launches.
    pub launches: u64,
    /// Their total time.
    pub time: Duration,
}

/// A device that runs kernels. It stays on one thread.
///
/// Launches return nothing. The device keeps its first failure and skips all work after it; [`Gpu::check`] returns it, and a
/// read stops the work that reads (see [`crate::device::catch_failure`]).
pub struct Gpu {
    driver: Box<dyn Driver>,
    failure: RefCell<Option<String>>,
    heap: Rc<Heap>,
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
    pub(in crate::device) profiler: Profiler,
}

impl Gpu {
    pub(in crate::device) fn new(
        driver: impl Driver + 'static,
        host_threads: Option<usize>,
    ) -> Self {
        Gpu {
            driver: Box::new(driver),
            failure: RefCell::default(),
            heap: Rc::default(),
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

    pub(in crate::device) fn kind(&self) -> Option<DeviceKind> {
        self.driver.kind()
    }

    pub(crate) fn description(&self) -> String {
        self.driver.description()
    }

    /// The number of threads that the host was told to use.
    pub(in crate::device) fn host_threads(&self) -> Option<usize> {
        self.host_threads
    }

    /// Whether matrix products of f32 round their factors to tf32 (10 bits of fraction) for tensor cores.
    pub fn uses_tf32(&self) -> bool {
        self.tf32.get()
    }

    pub(in crate::device) fn set_tf32(&self, tf32: bool) {
        self.tf32.set(tf32);
    }

    /// The peak of the bytes in use.
    pub fn peak_bytes(&self) -> usize {
        self.heap.peak()
    }

    /// Bytes in use and in free blocks, which stay allocated.
    pub fn held_bytes(&self) -> usize {
        self.heap.held()
    }

    /// The launches and time of each kernel since the device was opened, by name.
    pub fn kernel_times(&self) -> BTreeMap<String, KernelTime> {
        self.times.borrow().clone()
    }

    /// The host's work for the device since it was opened.
    pub fn host_work(&self) -> HostWork {
        HostWork { allocations: self.heap.allocations(), ..self.host_work.get() }
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut HostWork)) {
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

    /// How often all threads of a block have passed a barrier together, over all blocks; 0 unless the simulator checks accesses.
    pub fn passed_barriers(&self) -> u64 {
        self.driver.passed_barriers()
    }

    /// The last write of the byte at an address by the launch before: line, thread and block; `None` unless the simulator checks
    /// accesses.
    pub fn last_write(&self, address: u64) -> Option<String> {
        self.driver.last_write(address)
    }

    /// The memory traffic of the launched kernels, line by line. Empty unless the simulator was asked
    /// to count it.
    pub fn traffic(&self) -> Vec<SiteTraffic> {
        self.driver.traffic()
    }

    /// A sample of the accesses of each launch, in the order of the launches. Empty unless the simulator was asked for it.
    pub fn samples(&self) -> Vec<LaunchSample> {
        self.driver.samples()
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
    pub(in crate::device) fn start_clock(&self) -> Option<Box<dyn Clock>> {
        self.attempt(|driver| {
            self.refuse_while_capturing("a clock")?;
            driver.start_clock()
        })
    }

    /// The time since the clock was started, once all work is done.
    pub(in crate::device) fn stop_clock(&self, clock: Box<dyn Clock>) -> Duration {
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

    /// Whether launches may have clusters of several blocks.
    pub(crate) fn has_clusters(&self) -> bool {
        self.driver.has_clusters()
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
    pub(super) fn attempt<T>(&self, work: impl FnOnce(&dyn Driver) -> Outcome<T>) -> Option<T> {
        if self.failure.borrow().is_some() {
            return None;
        }
        work(&*self.driver).map_err(|message| *self.failure.borrow_mut() = Some(message)).ok()
    }

    /// The compute capability, such as 90 for 9.0; `None` without a GPU.
    #[cfg(all(has_simulator, feature = "cli"))]
    pub(crate) fn compute_capability(&self) -> Option<u32> {
        self.driver.compute_capability()
    }

    /// Loads PTX, whose kernels have these names, each with its symbol.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses it, [`Error::DeviceLost`] if the device has failed before.
    #[cfg(all(has_simulator, feature = "cli"))]
    pub(crate) fn load(&self, ptx: &std::ffi::CStr, symbols: &[(String, String)]) -> Result<()> {
        self.check_so_far()?;
        // Another kernel may have had the name.
        let mut allowed = self.allowed_shared.borrow_mut();
        allowed.retain(|own, _| symbols.iter().all(|(name, _)| name != own));
        self.driver.load(ptx, symbols).map_err(|why| Error::device(self.driver.name(), why))
    }

    /// Does work whose memory belongs to `owner`.
    pub(crate) fn owned_by<T>(&self, owner: &'static str, work: impl FnOnce() -> T) -> T {
        self.heap.owned_by(owner, work)
    }

    /// Memory with unknown content; `None` if the device has failed.
    pub(super) fn allocate(&self, bytes: usize) -> Option<Rc<Memory>> {
        self.attempt(|driver| self.heap.allocate(driver, bytes))
    }

    /// Tells the driver that memory has a new owner.
    pub(super) fn refresh(&self, memory: &Memory) {
        self.driver.refresh(memory.address);
    }

    /// Calls `change` with the running capture, if there is one.
    pub(super) fn in_capture<T>(&self, change: impl FnOnce(&mut Capture) -> T) -> Option<T> {
        self.capture.borrow_mut().as_mut().map(change)
    }

    /// Memory that captured graphs need only while they run.
    pub(super) fn scratch(&self) -> Vec<Rc<Memory>> {
        self.scratch.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Starts a capture. Panics while another one runs.
    pub(super) fn begin_capture(&self, capture: Capture) {
        let before = self.capture.borrow_mut().replace(capture);
        assert!(before.is_none(), "capture: another one runs");
        self.attempt(|driver| driver.begin_capture());
    }

    /// Ends the capture. The graph is `None` where the work was run at once.
    pub(super) fn end_capture(&self) -> (Captured, Option<Box<dyn Graph>>) {
        let graph = self.attempt(|driver| driver.end_capture()).flatten();
        let capture = self.capture.borrow_mut().take().expect("it was put there");
        *self.scratch.borrow_mut() = capture.scratch().map(Rc::downgrade).collect();
        (capture.end(), graph)
    }

    /// Launches a kernel.
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
        self.launch_kernel(&Launch {
            kernel,
            grid,
            block,
            cluster: 1,
            shared,
            work: LaunchWork::default(),
            arguments,
        });
    }

    /// Launches a kernel and adds it to the running capture. An empty grid launches nothing.
    pub(crate) fn launch_kernel(&self, launch: &Launch) {
        if launch.grid.contains(&0) {
            return;
        }
        self.count(|work| work.launches += 1);
        self.profiler.note(|| self.describe(launch));
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            let pointers = launch.arguments.iter().filter_map(|argument| argument.pointer());
            pointers
                .filter_map(|pointer| self.heap.behind(pointer.0))
                .for_each(|memory| capture.hold(&memory));
            capture.launch(launch);
        }
        self.run(launch);
    }

    /// A launch for a profile.
    fn describe(&self, launch: &Launch) -> ProfiledLaunch {
        let pointers = launch.arguments.iter().filter_map(|argument| argument.pointer());
        let left = |pointer: Pointer| {
            let memory = self.heap.behind(pointer.0)?;
            Some(memory.address + memory.bytes as u64 - pointer.0)
        };
        ProfiledLaunch {
            kernel: launch.kernel.to_owned(),
            blocks: launch.grid.iter().map(|extent| *extent as usize).product(),
            threads: launch.block.iter().map(|extent| *extent as usize).product(),
            shared: launch.shared,
            work: launch.work,
            buffers: pointers.filter_map(left).sum::<u64>() as usize,
            call: None,
        }
    }

    pub(super) fn run(&self, launch: &Launch) {
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
    fn allow_shared(&self, driver: &dyn Driver, launch: &Launch) -> Outcome<()> {
        let mut allowed = self.allowed_shared.borrow_mut();
        if launch.shared <= allowed.get(launch.kernel).copied().unwrap_or(0) {
            return Ok(());
        }
        driver.allow_shared(launch.kernel, launch.shared)?;
        allowed.insert(launch.kernel.to_owned(), launch.shared);
        Ok(())
    }

    pub(super) fn set_zero(&self, address: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if let Some(capture) = &mut *self.capture.borrow_mut() {
            self.heap.behind(address).iter().for_each(|memory| capture.hold(memory));
            capture.set_zero(address, bytes);
        }
        self.count(|work| work.zeroings += 1);
        self.profiler.note(|| ProfiledLaunch::of_zeros(bytes));
        self.attempt(|driver| driver.set_zero(address, bytes));
    }

    pub(super) fn upload(&self, address: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count(|work| work.uploads += 1);
        self.attempt(|driver| {
            self.refuse_while_capturing("a copy from the host")?;
            driver.upload(address, bytes)
        });
    }

    pub(super) fn download(&self, address: u64, bytes: &mut [u8]) {
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
    pub(super) fn staging(&self, places: usize, bytes: usize) -> Option<Box<dyn Staging>> {
        self.attempt(|driver| {
            self.refuse_while_capturing("memory for batches")?;
            driver.staging(places, bytes)
        })
        .flatten()
    }

    /// Does `copy`, a copy of a batch to the device.
    pub(super) fn send(&self, copy: impl FnOnce(&dyn Driver) -> Outcome<()>) {
        self.count(|work| work.sends += 1);
        self.attempt(|driver| {
            self.refuse_while_capturing("a copy from the host")?;
            copy(driver)
        });
    }

    /// Fails during a capture: a graph cannot replay work that needs the host.
    pub(super) fn refuse_while_capturing(&self, what: &str) -> Outcome<()> {
        match &*self.capture.borrow() {
            Some(_) => Err(format!("{what} in the middle of a capture")),
            None => Ok(()),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // A capture that a panic left unfinished holds memory.
        drop(self.capture.take());
        self.heap.release(&*self.driver);
    }
}
