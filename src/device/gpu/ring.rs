//! Staging buffers through which batches are copied to the device.

use std::rc::Rc;

use super::device::Gpu;
use super::driver::{Parts, Staging, end_of, fill};

/// A ring of staging buffers in pinned host memory. The host fills one while another is copied and the device works on
/// an earlier batch.
pub(crate) struct Ring {
    /// `None` where every copy happens at once, and on a device that has failed.
    staging: Option<Box<dyn Staging>>,
    gpu: Rc<Gpu>,
}

impl Ring {
    /// A ring of `places` buffers of `bytes` bytes. The target of the copies must be allocated before.
    pub fn new(gpu: &Rc<Gpu>, places: usize, bytes: usize) -> Ring {
        let staging = gpu.staging(places, bytes);
        Ring { staging, gpu: Rc::clone(gpu) }
    }

    /// Writes `parts`, each at its offset, into buffer number `place`, and queues their copy to an address, after the
    /// device's last read of the batch before. Later launches read the new batch.
    pub fn send(&self, place: usize, address: u64, parts: &Parts) {
        self.gpu.send(|driver| match &self.staging {
            Some(staging) => staging.send(place, address, parts),
            None => {
                let mut bytes = vec![0; end_of(parts)];
                fill(&mut bytes, parts);
                driver.upload(address, &bytes)
            }
        });
    }
}
