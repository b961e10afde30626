//! Batches on their way to the device.

use std::rc::Rc;

use super::Gpu;
use super::driver::Staging;

/// Places for batches in page-locked host memory. The host fills one while another is copied and the device works on what
/// came before.
pub(crate) struct Ring {
    /// Nothing on a device that has failed.
    staging: Option<Staging>,
    gpu: Rc<Gpu>,
}

impl Ring {
    /// So many places of so many bytes. The memory that batches are to be copied to must be there already.
    pub fn new(gpu: &Rc<Gpu>, places: usize, bytes: usize) -> Ring {
        let staging = gpu.staging(places, bytes);
        Ring { staging, gpu: Rc::clone(gpu) }
    }

    /// Puts `parts`, each from its own byte on, into a place, and has them copied to an address in one piece, once the device
    /// is done with the batch that came the same way before. What is launched from now on finds the new one.
    pub fn send(&self, place: usize, address: u64, parts: &[(usize, &[u8])]) {
        let Some(staging) = &self.staging else { return };
        self.gpu.count(|work| work.sends += 1);
        self.gpu.attempt(|driver| {
            self.gpu.refuse_while_capturing("a copy from the host")?;
            driver.send(staging, place, address, parts)
        });
    }
}

/// Where the last of the parts ends.
pub(super) fn end_of(parts: &[(usize, &[u8])]) -> usize {
    parts.iter().map(|(start, part)| start + part.len()).max().unwrap_or(0)
}

/// Writes parts, each from its own byte on.
pub(in crate::device) fn fill(to: &mut [u8], parts: &[(usize, &[u8])]) {
    for (start, part) in parts {
        to[*start..start + part.len()].copy_from_slice(part);
    }
}
