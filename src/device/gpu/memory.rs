//! Device memory: what is in use, its owners, and free blocks for later use.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::driver::{Driver, Outcome};

/// The owner of memory that is allocated outside of [`Heap::owned_by`].
const ACTIVATIONS: &str = "activations and their gradients";

/// A stretch of device memory, given back when its last holder is dropped.
pub(super) struct Memory {
    pub address: u64,
    pub bytes: usize,
    /// Its owner in memory reports.
    owner: &'static str,
    heap: Rc<Heap>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.heap.take_back(self);
    }
}

/// All memory of a device. Free blocks are kept by their exact size: they save calls to the driver, which would make the host
/// wait. Launches run in order, so a block's new owner runs after its earlier ones.
pub(super) struct Heap {
    /// All memory in use, by address, so that a capture finds the memory behind a pointer.
    live: RefCell<BTreeMap<u64, Weak<Memory>>>,
    free: RefCell<BTreeMap<usize, Vec<u64>>>,
    /// Bytes in use by each owner.
    owners: RefCell<BTreeMap<&'static str, usize>>,
    /// The owner of memory that is allocated now.
    owner: Cell<&'static str>,
    in_use: Cell<usize>,
    peak: Cell<usize>,
    /// Bytes in use and in free blocks.
    held: Cell<usize>,
    allocations: Cell<u64>,
}

impl Default for Heap {
    fn default() -> Self {
        Heap {
            live: RefCell::default(),
            free: RefCell::default(),
            owners: RefCell::default(),
            owner: Cell::new(ACTIVATIONS),
            in_use: Cell::default(),
            peak: Cell::default(),
            held: Cell::default(),
            allocations: Cell::default(),
        }
    }
}

impl Heap {
    /// Memory with unknown content.
    pub fn allocate(self: &Rc<Self>, driver: &dyn Driver, bytes: usize) -> Outcome<Rc<Memory>> {
        let address = self
            .block(driver, bytes)
            .map_err(|what| format!("{what}: {}", self.report(driver, bytes)))?;
        self.in_use.set(self.in_use.get() + bytes);
        self.peak.set(self.peak.get().max(self.in_use.get()));
        let owner = self.owner.get();
        *self.owners.borrow_mut().entry(owner).or_default() += bytes;
        let memory = Rc::new(Memory { address, bytes, owner, heap: Rc::clone(self) });
        self.live.borrow_mut().insert(address, Rc::downgrade(&memory));
        Ok(memory)
    }

    /// A free block, or a new one.
    fn block(&self, driver: &dyn Driver, bytes: usize) -> Outcome<u64> {
        if let Some(address) = self.free.borrow_mut().get_mut(&bytes).and_then(Vec::pop) {
            driver.refresh(address);
            return Ok(address);
        }
        self.allocations.set(self.allocations.get() + 1);
        let address = driver.allocate(bytes).or_else(|_| {
            self.release(driver);
            driver.allocate(bytes)
        })?;
        self.held.set(self.held.get() + bytes);
        Ok(address)
    }

    fn take_back(&self, memory: &Memory) {
        self.live.borrow_mut().remove(&memory.address);
        self.free.borrow_mut().entry(memory.bytes).or_default().push(memory.address);
        self.in_use.set(self.in_use.get() - memory.bytes);
        if let Some(bytes) = self.owners.borrow_mut().get_mut(memory.owner) {
            *bytes -= memory.bytes;
        }
    }

    /// Gives all free blocks back to the driver.
    pub fn release(&self, driver: &dyn Driver) {
        for (bytes, addresses) in std::mem::take(&mut *self.free.borrow_mut()) {
            self.held.set(self.held.get() - bytes * addresses.len());
            addresses.into_iter().for_each(|address| driver.free(address));
        }
    }

    /// The memory that contains an address, if there is one.
    pub fn behind(&self, address: u64) -> Option<Rc<Memory>> {
        let live = self.live.borrow();
        let memory = live.range(..=address).next_back().and_then(|(_, memory)| memory.upgrade());
        memory.filter(|memory| address < memory.address + memory.bytes.max(1) as u64)
    }

    /// The peak of the bytes in use.
    pub fn peak(&self) -> usize {
        self.peak.get()
    }

    /// Bytes in use and in free blocks.
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Blocks that the driver allocated.
    pub fn allocations(&self) -> u64 {
        self.allocations.get()
    }

    /// Does work whose memory belongs to `owner`.
    pub fn owned_by<T>(&self, owner: &'static str, work: impl FnOnce() -> T) -> T {
        let before = self.owner.replace(owner);
        let result = work();
        self.owner.set(before);
        result
    }

    /// A message for a failed allocation of `bytes` bytes: who owns the memory in use.
    fn report(&self, driver: &dyn Driver, bytes: usize) -> String {
        let owners = self.owners.borrow();
        let mut largest: Vec<_> = owners.iter().filter(|(_, bytes)| **bytes > 0).collect();
        largest.sort_by(|a, b| b.1.cmp(a.1));
        let largest: Vec<String> = largest
            .iter()
            .map(|(owner, bytes)| format!("{owner} {}", mebibytes(**bytes)))
            .collect();
        let free = driver.memory().map_or(String::new(), |(free, all)| {
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
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
