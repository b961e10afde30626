//! Staging buffers through which batches are copied to the device.

use std::rc::Rc;

use super::Gpu;
use super::driver::Staging;

/// A ring of staging buffers in pinned host memory. The host fills one while another is copied and the device works on
/// an earlier batch.
pub(crate) struct Ring {
    /// `None` on a device that has failed.
    staging: Option<Staging>,
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
    pub fn send(&self, place: usize, address: u64, parts: &[(usize, &[u8])]) {
        let Some(staging) = &self.staging else { return };
        self.gpu.count(|work| work.sends += 1);
        self.gpu.attempt(|driver| {
            self.gpu.refuse_while_capturing("a copy from the host")?;
            driver.send(staging, place, address, parts)
        });
    }
}

/// The end of the last part.
pub(super) fn end_of(parts: &[(usize, &[u8])]) -> usize {
    parts.iter().map(|(start, part)| start + part.len()).max().unwrap_or(0)
}

/// Writes parts, each at its offset.
pub(in crate::device) fn fill(to: &mut [u8], parts: &[(usize, &[u8])]) {
    for (start, part) in parts {
        to[*start..start + part.len()].copy_from_slice(part);
    }
}
