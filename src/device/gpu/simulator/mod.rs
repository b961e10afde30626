//! The CUDA kernels, compiled by the host's C++ compiler and run on its processor block by block, through the launches
//! that a GPU is given. It finds out-of-bounds accesses, reads of uninitialised memory, missing and divergent barriers,
//! endless loops and wrong launches, and names kernel, block, thread, file and line.

mod abi;
mod access;
mod checked;
mod cluster;
mod fault;
mod flags;
mod hooks;
mod host_compiler;
mod job;
mod launch_accesses;
mod library;
mod limits;
mod machine;
mod memory;
#[cfg(target_arch = "x86_64")]
mod processor;
#[cfg(test)]
mod race_tests;
mod races;
mod requests;
mod sample;
mod sample_report;
mod shared_memory;
mod signals;
mod source;
mod stacks;
#[cfg(test)]
mod tests;
mod traffic;
mod waiting;
mod watchdog;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rayon::prelude::*;

use self::abi::Kernel;
use self::job::{Failure, Job, Mode, PlaceTraffic, Seen};
use self::limits::check_launch;
use self::requests::Transactions;
use self::shared_memory::SHARED_WITHOUT_ASKING;
use self::worker::Worker;
use super::driver::{Driver, Outcome};
use super::launch::Launch;
use super::reports::{LaunchSample, LaunchTrace, SiteTraffic};
use crate::device::DeviceKind;
use crate::device::threads::start_pool;
use crate::error::Result;
pub use checked::{checked_kernels, is_checked};
pub use host_compiler::HostCompiler;
pub use job::Order;
pub use launch_accesses::TOO_MANY_ACCESSES;
pub use library::Library;
#[cfg(feature = "cli")]
pub use library::Parameter;
pub use limits::Limits;
pub use memory::Guard;

/// The most threads that run blocks: each waiting CUDA thread takes two of a process's 65,530 mappings.
const MOST_WORKERS: usize = 16;

/// The number of parts of a grid for each worker, on average.
const PARTS: u64 = 8;

/// How kernels are run. A kernel's results may not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatorOptions {
    /// The order of threads and blocks.
    pub order: Order,
    /// Whether asynchronous copies happen as late as possible, or as early as possible.
    pub late_copies: bool,
    /// The side of each buffer on which its guard page lies.
    pub guard: Guard,
    /// The GPU whose limits apply.
    pub limits: Limits,
    /// The time limit of one block.
    pub time_limit: Duration,
    /// A barrier, `FILE:LINE`, to leave out, for a test that the tests notice a missing barrier.
    pub without_barrier: Option<&'static str>,
    /// Kernels that come before the program's own of the same names. If there are none and [`is_checked`], [`checked_kernels`] do.
    pub library: Option<&'static Library>,
    /// Whether to look for races. Has no effect on the program's own kernels, which do not report accesses; those of a library do.
    pub races: bool,
    /// Whether to look for reads of unwritten memory; needs `races`.
    pub unwritten: bool,
    /// The most accesses of a launch that are checked for races; the device fails with [`TOO_MANY_ACCESSES`] after
    /// them.
    pub most_accesses: u64,
    /// Whether to count the memory traffic of the warps' accesses; needs `races`.
    pub traffic: bool,
    /// Whether to keep a sample of the accesses, with their addresses; needs `traffic`, and one thread, since each keeps its own.
    pub sample: bool,
    /// Whether to keep a hash of each buffer after each launch that has it, to find the first one that differs.
    pub trace: bool,
    /// Bytes of a data set that may stay on the device; larger ones are streamed.
    pub room_for_data: usize,
    /// The number of launches after which the device is lost, for tests of a lost device.
    pub lost_after: Option<u64>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        SimulatorOptions {
            order: Order::Forward,
            late_copies: true,
            guard: Guard::Behind,
            // The strictest limits among the GPUs that the kernels are compiled for.
            limits: Limits::Sm80,
            time_limit: Duration::from_secs(10),
            without_barrier: None,
            library: None,
            races: is_checked(),
            unwritten: false,
            most_accesses: u64::MAX,
            traffic: false,
            sample: false,
            trace: false,
            room_for_data: 1 << 30,
            lost_after: None,
        }
    }
}

/// A simulated GPU.
pub(in crate::device) struct Simulator {
    pool: rayon::ThreadPool,
    options: SimulatorOptions,
    /// `FILE:LINE` of every barrier that threads have reached.
    barriers: Mutex<BTreeSet<String>>,
    /// The number of accesses checked so far.
    accesses: AtomicU64,
    /// How often blocks have passed a barrier, in checked launches.
    passed_barriers: AtomicU64,
    traffic: Mutex<TrafficByPlace>,
    samples: Mutex<Vec<LaunchSample>>,
    launches: AtomicU64,
    traces: Mutex<Vec<LaunchTrace>>,
    /// The dynamic shared memory that each kernel has been allowed.
    allowed_shared: Mutex<BTreeMap<String, usize>>,
}

/// Transactions by kernel, place, whether the memory is shared, and whether the access is a write.
type TrafficByPlace = BTreeMap<(&'static str, String, bool, bool), Transactions>;

fn add_traffic(sums: &mut TrafficByPlace, kernel: &'static str, seen: Vec<PlaceTraffic>) {
    for (place, access, count) in seen {
        *sums.entry((kernel, place, access.is_shared, access.is_write)).or_default() += count;
    }
}

impl Simulator {
    pub fn new(threads: Option<usize>, options: SimulatorOptions) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        processor::check()?;
        #[cfg(test)]
        checked::load_all();
        let is_to_check = options.library.is_none() && is_checked();
        let library = if is_to_check { Some(checked_kernels()?) } else { options.library };
        let options = SimulatorOptions { library, ..options };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let workers = threads.unwrap_or(cores).min(MOST_WORKERS);
        let pool = start_pool("alrao-simulator", Some(workers))?;
        signals::install();
        Ok(Simulator {
            pool,
            options,
            barriers: Mutex::default(),
            accesses: AtomicU64::new(0),
            passed_barriers: AtomicU64::new(0),
            traffic: Mutex::default(),
            samples: Mutex::default(),
            launches: AtomicU64::new(0),
            traces: Mutex::default(),
            allowed_shared: Mutex::default(),
        })
    }

    fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The most shared memory of a block of a launch, declared and dynamic together.
    fn most_shared(&self, launch: &Launch) -> usize {
        let allowed = locked(&self.allowed_shared).get(launch.kernel).copied();
        match allowed.is_some_and(|allowed| launch.shared <= allowed) {
            true => self.options.limits.shared_bytes(),
            false => SHARED_WITHOUT_ASKING,
        }
    }

    /// The kernel with this name, and whether it reports its accesses.
    fn kernel(&self, name: &str) -> Option<(&'static Kernel, bool)> {
        let loaded = self.options.library.and_then(|library| library.kernel(name));
        loaded.map(|kernel| (kernel, true)).or_else(|| Some((abi::kernel(name)?, false)))
    }

    fn run_grid(&self, job: &Job) -> Outcome<()> {
        let clusters = job.clusters();
        let length = match job.mode.races {
            // Accesses are tracked on one thread.
            true => clusters,
            false => (clusters / (self.threads() as u64 * PARTS)).clamp(1, 4096),
        };
        let parts = clusters.div_ceil(length);
        let shared = SharedJob(*job);
        let (is_over, first) = (AtomicBool::new(false), Mutex::new(None::<Failure>));
        let Simulator { barriers, accesses, passed_barriers, traffic, .. } = self;
        let run_part = |part: u64| {
            let numbers = part * length..clusters.min((part + 1) * length);
            let (outcome, seen) = shared.run(numbers, &is_over);
            locked(barriers).extend(seen.barriers);
            accesses.fetch_add(seen.accesses, Ordering::Relaxed);
            passed_barriers.fetch_add(seen.passed_barriers, Ordering::Relaxed);
            add_traffic(&mut locked(traffic), job.kernel.name(), seen.traffic);
            locked(&self.samples).extend(seen.sample);
            if let Err(failure) = outcome {
                is_over.store(true, Ordering::Relaxed);
                let mut first = locked(&first);
                if first.as_ref().is_none_or(|first| failure.block < first.block) {
                    *first = Some(failure);
                }
            }
        };
        if parts == 1 {
            run_part(0);
        } else {
            self.pool.install(|| (0..parts).into_par_iter().for_each(run_part));
        }
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), |failure| Err(failure.message))
    }
}

impl Driver for Simulator {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn kind(&self) -> Option<DeviceKind> {
        Some(DeviceKind::Simulator)
    }

    fn description(&self) -> String {
        let threads = self.threads();
        format!("simulator: the GPU's kernels on {threads} threads of the processor")
    }

    fn room_for_data(&self) -> usize {
        self.options.room_for_data
    }

    /// Whatever GPU's limits apply.
    fn has_clusters(&self) -> bool {
        true
    }

    fn copy(&self, _: u64, _: u64, _: usize) -> Outcome<()> {
        Err("the simulator has no copies of its own".into())
    }

    /// The block is filled with NaN.
    fn allocate(&self, bytes: usize) -> Outcome<u64> {
        // On a GPU a block begins with a sector. A check of each access needs no guard at the block's end.
        let alignment = if self.options.traffic { traffic::SECTOR } else { memory::ALIGNMENT };
        let address = memory::allocate(bytes, self.options.guard, alignment);
        address.map(|address| address as u64).ok_or_else(|| "the host has no memory left".into())
    }

    /// Fills the block with NaN.
    fn refresh(&self, address: u64) {
        memory::poison(address as usize);
    }

    fn forbid(&self, address: u64, bytes: usize) -> Outcome<()> {
        checked(address, bytes)?;
        memory::forbid(address as usize, bytes);
        Ok(())
    }

    fn free(&self, address: u64) {
        memory::free(address as usize);
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Outcome<()> {
        let target = checked(address, bytes.len())?;
        // SAFETY: the range lies in a block, and no kernel is running.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    fn download(&self, address: u64, bytes: &mut [u8]) -> Outcome<()> {
        let source = checked(address, bytes.len())?;
        // SAFETY: as for `upload`.
        unsafe { std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn set_zero(&self, address: u64, bytes: usize) -> Outcome<()> {
        let target = checked(address, bytes)?;
        // SAFETY: as for `upload`.
        unsafe { std::ptr::write_bytes(target, 0, bytes) };
        Ok(())
    }

    fn allow_shared(&self, kernel: &str, bytes: usize) -> Outcome<()> {
        locked(&self.allowed_shared).insert(kernel.to_owned(), bytes);
        Ok(())
    }

    /// Runs the kernel over its grid; the error says what it did wrong.
    fn launch(&self, launch: &Launch) -> Outcome<()> {
        let before = self.launches.fetch_add(1, Ordering::Relaxed);
        if self.options.lost_after.is_some_and(|launches| before >= launches) {
            return Err(format!("{}: the device is lost", launch.kernel));
        }
        let (kernel, reports) = self
            .kernel(launch.kernel)
            .ok_or_else(|| format!("there is no kernel `{}`", launch.kernel))?;
        check_launch(kernel, launch).map_err(|what| format!("{}: {what}", kernel.name()))?;
        let mut pointers: Vec<*mut c_void> = launch
            .arguments
            .iter()
            .map(|argument| argument.as_bytes().as_ptr().cast_mut().cast())
            .collect();
        let options = &self.options;
        let job = Job {
            kernel,
            grid: launch.grid.into(),
            block: launch.block.into(),
            cluster: launch.cluster,
            dynamic_shared: launch.shared,
            most_shared: self.most_shared(launch),
            arguments: pointers.as_mut_ptr(),
            mode: Mode {
                order: options.order,
                late_copies: options.late_copies,
                time_limit: options.time_limit,
                without_barrier: options.without_barrier,
                races: reports && options.races,
                unwritten: options.unwritten,
                traffic: options.traffic,
                sample: options.sample,
                most_accesses: options
                    .most_accesses
                    .saturating_sub(self.accesses.load(Ordering::Relaxed)),
            },
        };
        self.run_grid(&job)?;
        if options.trace {
            locked(&self.traces).push(trace(&job));
        }
        for (block, name) in job.buffers() {
            memory::check_surroundings(block)
                .map_err(|what| format!("{}: {what}, `{name}`", kernel.name()))?;
        }
        Ok(())
    }

    fn last_write(&self, address: u64) -> Option<String> {
        // A checked launch runs on the thread that asks for it.
        // SAFETY: the worker is this thread's, and no block is running on it.
        Worker::with(|worker| unsafe { (*worker).describe_write(address as usize) })
    }

    fn passed_barriers(&self) -> u64 {
        self.passed_barriers.load(Ordering::Relaxed)
    }

    fn barriers(&self) -> Vec<String> {
        locked(&self.barriers).iter().cloned().collect()
    }

    fn traces(&self) -> Vec<LaunchTrace> {
        locked(&self.traces).clone()
    }

    fn samples(&self) -> Vec<LaunchSample> {
        locked(&self.samples).clone()
    }

    fn traffic(&self) -> Vec<SiteTraffic> {
        let sums = locked(&self.traffic);
        let rows = sums.iter().map(|((kernel, place, is_shared, is_write), sum)| SiteTraffic {
            kernel: (*kernel).to_owned(),
            place: place.clone(),
            is_shared: *is_shared,
            is_write: *is_write,
            requests: sum.requests,
            transactions: sum.done,
            least: sum.least,
            lanes: sum.lanes,
            bytes: sum.bytes,
        });
        rows.collect()
    }
}

fn trace(job: &Job) -> LaunchTrace {
    let buffers = job.buffers().into_iter();
    LaunchTrace {
        kernel: job.kernel.name().to_owned(),
        place: job.kernel.place(),
        buffers: buffers.map(|(block, name)| (name.to_owned(), memory::hash(block))).collect(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pointer to `bytes` bytes of a block, for the host; an error if they lie outside of all blocks.
fn checked(address: u64, bytes: usize) -> Outcome<*mut u8> {
    let inside = bytes == 0 || memory::is_inside(address as usize, bytes);
    inside
        .then_some(address as *mut u8)
        .ok_or_else(|| format!("a copy of {bytes} bytes lies outside of every buffer"))
}

/// A job that all workers share.
struct SharedJob(Job);

// SAFETY: the arguments are only read, and they outlive the launch.
unsafe impl Sync for SharedJob {}

impl SharedJob {
    fn run(
        &self,
        clusters: std::ops::Range<u64>,
        is_over: &AtomicBool,
    ) -> (std::result::Result<(), Failure>, Seen) {
        Worker::with(|worker| {
            // SAFETY: the worker is this thread's, and no block is running on it.
            unsafe { (*worker).begin(self.0) };
            let outcome = clusters.into_iter().try_for_each(|cluster| {
                if is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let cluster = self.0.mode.order.place(cluster, self.0.clusters());
                // SAFETY: `begin` was called, with arguments that `check_launch` found to fit.
                unsafe { Worker::run_cluster(worker, cluster) }
            });
            // SAFETY: as above.
            (outcome, unsafe { (*worker).end() })
        })
    }
}

/// The names of all kernels in this program, sorted.
pub fn kernel_names() -> Vec<&'static str> {
    abi::kernels().iter().map(|kernel| kernel.name()).collect()
}

/// The place of a kernel in the source, `FILE:LINE`.
pub fn place_of(kernel: &str) -> Option<String> {
    abi::kernel(kernel).map(Kernel::place)
}

/// The file in `kernels/` that defines a kernel, without its ending.
pub fn source_of(kernel: &str) -> Option<&'static str> {
    abi::kernel(kernel).map(|kernel| kernel.source())
}
