//! Device memory: its owners, and free blocks for later use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Driver, Gpu, Pointer, Ring, ring};

/// A stretch of device memory, given back when its last holder is dropped.
pub(super) struct Memory {
    pub address: u64,
    pub bytes: usize,
    /// Its owner in memory reports.
    owner: &'static str,
    gpu: Rc<Gpu>,
}

impl Memory {
    /// Memory with unknown content; `None` if the device has failed.
    pub fn new(gpu: &Rc<Gpu>, bytes: usize) -> Option<Rc<Memory>> {
        let address = gpu.attempt(|driver| {
            gpu.free_blocks
                .take(gpu, driver, bytes)
                .map_err(|what| format!("{what}: {}", gpu.memory_report(bytes)))
        })?;
        gpu.in_use.set(gpu.in_use.get() + bytes);
        gpu.peak.set(gpu.peak.get().max(gpu.in_use.get()));
        let owner = gpu.owner.get();
        *gpu.owners.borrow_mut().entry(owner).or_default() += bytes;
        let memory = Rc::new(Memory { address, bytes, owner, gpu: Rc::clone(gpu) });
        gpu.live.borrow_mut().insert(address, Rc::downgrade(&memory));
        Some(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.gpu.live.borrow_mut().remove(&self.address);
        self.gpu.free_blocks.give_back(self.address, self.bytes);
        self.gpu.in_use.set(self.gpu.in_use.get() - self.bytes);
        if let Some(bytes) = self.gpu.owners.borrow_mut().get_mut(self.owner) {
            *bytes -= self.bytes;
        }
    }
}

/// Free blocks, by exact size. They save calls to the driver, which would make the host wait. Launches run in order, so
/// a block's new owner runs after its earlier ones.
#[derive(Default)]
pub(super) struct FreeBlocks(RefCell<BTreeMap<usize, Vec<u64>>>);

impl FreeBlocks {
    fn take(&self, gpu: &Gpu, driver: &Driver, bytes: usize) -> Result<u64, String> {
        if let Some(address) = self.0.borrow_mut().get_mut(&bytes).and_then(Vec::pop) {
            driver.refresh(address);
            return Ok(address);
        }
        gpu.count(|work| work.allocations += 1);
        driver.allocate(bytes).or_else(|_| {
            self.release(driver);
            driver.allocate(bytes)
        })
    }

    fn give_back(&self, address: u64, bytes: usize) {
        self.0.borrow_mut().entry(bytes).or_default().push(address);
    }

    /// Gives all free blocks back to the driver.
    pub fn release(&self, driver: &Driver) {
        let blocks = std::mem::take(&mut *self.0.borrow_mut());
        blocks.into_values().flatten().for_each(|address| driver.free(address));
    }
}

/// The storage of tensors: memory, or none if the device had failed before.
pub(crate) struct Block {
    memory: Option<Rc<Memory>>,
    bytes: usize,
    gpu: Rc<Gpu>,
}

impl Block {
    /// A block of memory with unknown content; on a device that has failed, one without memory.
    pub fn new(gpu: &Rc<Gpu>, bytes: usize) -> Rc<Block> {
        let reused = gpu.capture.borrow_mut().as_mut().and_then(|capture| capture.reuse(bytes));
        reused.iter().for_each(|memory| gpu.driver.refresh(memory.address));
        let memory = reused.or_else(|| {
            let memory = Memory::new(gpu, bytes)?;
            if let Some(capture) = &mut *gpu.capture.borrow_mut() {
                capture.adopt(&memory);
            }
            Some(memory)
        });
        Rc::new(Block { memory, bytes, gpu: Rc::clone(gpu) })
    }

    /// The address of a byte, for a kernel. Null on a device that has failed, where no kernel is launched.
    pub fn pointer(&self, offset: usize) -> Pointer {
        self.address(offset).map_or(Pointer::NULL, Pointer)
    }

    fn address(&self, offset: usize) -> Option<u64> {
        self.memory.as_ref().map(|memory| memory.address + offset as u64)
    }

    /// Overwrites the bytes from `offset` on.
    pub fn upload(&self, offset: usize, bytes: &[u8]) {
        self.assert_inside(offset, bytes.len());
        if let Some(address) = self.address(offset) {
            self.gpu.upload(address, bytes);
        }
    }

    /// Overwrites the first bytes with `parts`, through one buffer of a ring.
    pub fn receive(&self, ring: &Ring, place: usize, parts: &[(usize, &[u8])]) {
        self.assert_inside(0, ring::end_of(parts));
        if let Some(address) = self.address(0) {
            ring.send(place, address, parts);
        }
    }

    /// Reads the bytes from `offset` on. Panics on a device that has failed; a caller that can go on calls
    /// [`Gpu::check`] before.
    pub fn download(&self, offset: usize, bytes: &mut [u8]) {
        self.assert_inside(offset, bytes.len());
        if let Some(address) = self.address(offset) {
            self.gpu.download(address, bytes);
        }
        if let Err(error) = self.gpu.check() {
            panic!("{error}");
        }
    }

    /// Sets `bytes` bytes from `offset` on to zero.
    pub fn set_zero(&self, offset: usize, bytes: usize) {
        self.assert_inside(offset, bytes);
        if let Some(address) = self.address(offset) {
            self.gpu.set_zero(address, bytes);
        }
    }

    /// Forbids all access to `bytes` bytes from `offset` on.
    pub fn forbid(&self, offset: usize, bytes: usize) {
        self.assert_inside(offset, bytes);
        if let Some(address) = self.address(offset) {
            self.gpu.attempt(|driver| driver.forbid(address, bytes));
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
        if let (Some(capture), Some(memory)) =
            (&mut *self.gpu.capture.borrow_mut(), self.memory.take())
        {
            capture.give_back(memory);
        }
    }
}
