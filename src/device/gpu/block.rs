//! Blocks of device memory, which tensors share.

use std::rc::Rc;

use super::device::Gpu;
use super::driver::{Parts, end_of};
use super::launch::Pointer;
use super::memory::Memory;
use super::ring::Ring;

/// The storage of tensors: memory, or none if the device had failed before.
pub(crate) struct Block {
    memory: Option<Rc<Memory>>,
    bytes: usize,
    gpu: Rc<Gpu>,
}

impl Block {
    /// A block of memory with unknown content; on a device that has failed, one without memory.
    pub fn new(gpu: &Rc<Gpu>, bytes: usize) -> Rc<Block> {
        let reused = gpu.in_capture(|capture| capture.reuse(bytes)).flatten();
        reused.iter().for_each(|memory| gpu.refresh(memory));
        let memory = reused.or_else(|| {
            let memory = gpu.allocate(bytes)?;
            gpu.in_capture(|capture| capture.adopt(&memory));
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
    pub fn receive(&self, ring: &Ring, place: usize, parts: &Parts) {
        self.assert_inside(0, end_of(parts));
        if let Some(address) = self.address(0) {
            ring.send(place, address, parts);
        }
    }

    /// Reads the bytes from `offset` on. On a device that fails it does not return: see [`catch_failure`].
    ///
    /// [`catch_failure`]: crate::device::catch_failure
    pub fn download(&self, offset: usize, bytes: &mut [u8]) {
        self.assert_inside(offset, bytes.len());
        if let Some(address) = self.address(offset) {
            self.gpu.download(address, bytes);
        }
        if let Err(error) = self.gpu.check() {
            crate::device::readback::fail(error);
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
        // Outside a capture, memory is freed when its last holder is dropped.
        if let Some(memory) = self.memory.take() {
            self.gpu.in_capture(|capture| capture.give_back(memory));
        }
    }
}
