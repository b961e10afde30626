//! What runs the CUDA kernels: a GPU, or the simulator. Ops do not know which.

mod driver;
mod launch;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
pub(crate) use driver::Driver;
#[cfg(has_simulator)]
pub(crate) use launch::Kind;
pub(crate) use launch::{Argument, Launch, Parameters, Pointer};

/// How often a kernel was launched, and how long the launches took the host: in the simulator, the kernel's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelTime {
    /// Number of launches.
    pub launches: u64,
    /// Their time together.
    pub time: Duration,
}

/// A device that runs kernels. It stays on one thread.
///
/// Launches return nothing: the first failure is kept, everything after it is left undone, and whoever reads a result
/// back asks [`Gpu::check`] before.
pub struct Gpu {
    driver: Driver,
    failure: RefCell<Option<String>>,
    /// Blocks that are in use, by their size: number of blocks.
    owners: RefCell<BTreeMap<usize, usize>>,
    in_use: Cell<usize>,
    peak: Cell<usize>,
    times: RefCell<BTreeMap<String, KernelTime>>,
}

impl Gpu {
    pub(crate) fn new(driver: Driver) -> Self {
        Gpu {
            driver,
            failure: RefCell::default(),
            owners: RefCell::default(),
            in_use: Cell::new(0),
            peak: Cell::new(0),
            times: RefCell::default(),
        }
    }

    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        self.driver.name()
    }

    pub(crate) fn description(&self) -> String {
        self.driver.description()
    }

    /// The most bytes that were in use at any time.
    pub fn peak_bytes(&self) -> usize {
        self.peak.get()
    }

    /// How often each kernel was launched since the device was opened, and for how long, by name.
    pub fn kernel_times(&self) -> BTreeMap<String, KernelTime> {
        self.times.borrow().clone()
    }

    /// The barriers that threads of the launched kernels came to, as `FILE:LINE`; none on a GPU, which does not tell.
    pub fn barriers(&self) -> Vec<String> {
        self.driver.barriers()
    }

    /// Waits for everything launched so far.
    ///
    /// # Errors
    /// The first thing that went wrong on this device since it was opened. Nothing was done after it.
    pub fn check(&self) -> Result<()> {
        self.attempt(Driver::synchronize);
        match &*self.failure.borrow() {
            None => Ok(()),
            Some(message) => {
                Err(Error::DeviceLost { device: self.name().into(), message: message.clone() })
            }
        }
    }

    /// Does something unless the device has failed; keeps the failure.
    fn attempt<T>(
        &self,
        work: impl FnOnce(&Driver) -> std::result::Result<T, String>,
    ) -> Option<T> {
        if self.failure.borrow().is_some() {
            return None;
        }
        work(&self.driver).map_err(|message| *self.failure.borrow_mut() = Some(message)).ok()
    }

    /// A block of memory with unknown content. Once the device has failed, one that nobody gets to touch.
    pub(crate) fn allocate(gpu: &Rc<Gpu>, bytes: usize) -> Rc<Block> {
        let address = gpu.attempt(|driver| {
            driver.allocate(bytes).map_err(|what| format!("{what}: {}", gpu.memory_report(bytes)))
        });
        if address.is_some() {
            gpu.in_use.set(gpu.in_use.get() + bytes);
            gpu.peak.set(gpu.peak.get().max(gpu.in_use.get()));
            *gpu.owners.borrow_mut().entry(bytes).or_default() += 1;
        }
        Rc::new(Block { address, bytes, gpu: Rc::clone(gpu) })
    }

    /// Who holds the memory, for somebody who wanted `bytes` more.
    fn memory_report(&self, bytes: usize) -> String {
        let owners = self.owners.borrow();
        let mut largest: Vec<(usize, usize)> =
            owners.iter().map(|(size, count)| (size * count, *count)).collect();
        largest.sort_by(|a, b| b.cmp(a));
        let largest: Vec<String> = largest
            .iter()
            .take(4)
            .map(|(bytes, count)| format!("{} in {count} of one size", mebibytes(*bytes)))
            .collect();
        let free = self.driver.memory().map_or(String::new(), |(free, all)| {
            format!(", {} of {} free", mebibytes(free), mebibytes(all))
        });
        format!(
            "{} asked for, {} in use{free}; the largest owners: {}. A smaller --batch-size needs less",
            mebibytes(bytes),
            mebibytes(self.in_use.get()),
            largest.join(", ")
        )
    }

    /// Launches a kernel. A grid without blocks is no launch at all.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        arguments: &[&dyn Argument],
    ) {
        self.launch_with_shared(kernel, grid, block, 0, arguments);
    }

    /// The same with so many bytes of dynamic shared memory.
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
        let start = Instant::now();
        let launch = Launch { kernel, grid, block, shared, arguments };
        self.attempt(|driver| driver.launch(&launch));
        let mut times = self.times.borrow_mut();
        let own = match times.get_mut(kernel) {
            Some(own) => own,
            None => times.entry(kernel.to_owned()).or_default(),
        };
        own.launches += 1;
        own.time += start.elapsed();
    }
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Device memory that goes back to its device when the last tensor lets go of it.
pub(crate) struct Block {
    address: Option<u64>,
    bytes: usize,
    gpu: Rc<Gpu>,
}

impl Block {
    /// The address of a byte, for a kernel. On a device that has failed it means nothing, and no kernel sees it.
    pub fn pointer(&self, offset: usize) -> Pointer {
        self.address.map_or(Pointer::NULL, |address| Pointer(address + offset as u64))
    }

    /// Overwrites the bytes from `offset` on.
    pub fn upload(&self, offset: usize, bytes: &[u8]) {
        self.assert_inside(offset, bytes.len());
        if let Some(address) = self.address {
            self.gpu.attempt(|driver| driver.upload(address + offset as u64, bytes));
        }
    }

    /// Reads the bytes from `offset` on. Panics on a device that has failed: who can go on asks [`Gpu::check`] before.
    pub fn download(&self, offset: usize, bytes: &mut [u8]) {
        self.assert_inside(offset, bytes.len());
        if let Some(address) = self.address {
            self.gpu.attempt(|driver| driver.download(address + offset as u64, bytes));
        }
        if let Err(error) = self.gpu.check() {
            panic!("{error}");
        }
    }

    /// Sets `bytes` bytes from `offset` on to zero.
    pub fn set_zero(&self, offset: usize, bytes: usize) {
        self.assert_inside(offset, bytes);
        if let Some(address) = self.address {
            self.gpu.attempt(|driver| driver.set_zero(address + offset as u64, bytes));
        }
    }

    fn assert_inside(&self, offset: usize, bytes: usize) {
        assert!(
            offset + bytes <= self.bytes,
            "bytes {offset}+{bytes} lie outside a block of {} bytes",
            self.bytes
        );
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        self.gpu.driver.free(address, self.bytes);
        self.gpu.in_use.set(self.gpu.in_use.get() - self.bytes);
        if let Some(count) = self.gpu.owners.borrow_mut().get_mut(&self.bytes) {
            *count -= 1;
        }
    }
}
