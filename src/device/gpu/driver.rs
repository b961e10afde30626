//! The interface of a device that runs kernels. The drivers are CUDA's, the simulator and the launch counter.

use std::time::{Duration, Instant};

use super::launch::Launch;
use super::occupancy::{self, Limits, Resources};
use super::reports::{LaunchSample, LaunchTrace, SiteTraffic};
use crate::device::DeviceKind;

/// The result of a driver's call, with a message for people.
pub(in crate::device) type Outcome<T> = Result<T, String>;

/// Bytes for the device, each part with its offset.
pub(in crate::device) type Parts<'a> = [(usize, &'a [u8])];

/// A driver. Addresses are those of device memory; a range lies in one block from [`Driver::allocate`].
pub(in crate::device) trait Driver {
    /// The device's name on the command line.
    fn name(&self) -> &'static str;

    /// The kind of device that opens this one; `None` for a device that users cannot choose, such as the launch counter.
    fn kind(&self) -> Option<DeviceKind> {
        None
    }

    /// One line that describes the device to people.
    fn description(&self) -> String;

    /// Allocates a block with unknown content and returns its address.
    fn allocate(&self, bytes: usize) -> Outcome<u64>;

    /// Gives a block back to the system, once all earlier launches are done.
    fn free(&self, address: u64);

    /// Tells the driver that a block has a new owner: its content is unknown from now on.
    fn refresh(&self, _address: u64) {}

    /// Copies to the device. The bytes may change once it has returned.
    fn upload(&self, address: u64, bytes: &[u8]) -> Outcome<()>;

    /// Waits for all earlier launches, and copies to the host.
    fn download(&self, address: u64, bytes: &mut [u8]) -> Outcome<()>;

    /// A ring of `places` staging buffers of `bytes` bytes, for copying batches to blocks that are already allocated;
    /// `None`
    /// where every copy happens at once.
    fn staging(&self, _places: usize, _bytes: usize) -> Outcome<Option<Box<dyn Staging>>> {
        Ok(None)
    }

    /// Bytes of a data set that may stay on the device for a whole run.
    fn room_for_data(&self) -> usize;

    /// Sets bytes to zero.
    fn set_zero(&self, address: u64, bytes: usize) -> Outcome<()>;

    /// Forbids all access to these bytes from now on; the simulator reports a kernel that touches them.
    fn forbid(&self, _address: u64, _bytes: usize) -> Outcome<()> {
        Ok(())
    }

    /// Allows a kernel `bytes` bytes of dynamic shared memory.
    fn allow_shared(&self, _kernel: &str, _bytes: usize) -> Outcome<()> {
        Ok(())
    }

    /// Whether launches may have clusters of several blocks.
    fn has_clusters(&self) -> bool;

    /// The compute capability, such as 90 for 9.0; `None` without a GPU.
    #[cfg(all(has_simulator, feature = "cli"))]
    fn compute_capability(&self) -> Option<u32> {
        None
    }

    /// Loads PTX. Its kernels are known by their names in the source; PTX has a symbol for each.
    #[cfg(all(has_simulator, feature = "cli"))]
    fn load(&self, _ptx: &std::ffi::CStr, _symbols: &[(String, String)]) -> Outcome<()> {
        Err("only a GPU loads PTX".into())
    }

    /// Launches a kernel, behind all earlier launches.
    fn launch(&self, launch: &Launch) -> Outcome<()>;

    /// Starts a capture. On a GPU later launches are captured and not run; other drivers run them at once.
    fn begin_capture(&self) -> Outcome<()> {
        Ok(())
    }

    /// Ends the capture and returns its graph; `None` where the launches were run at once.
    fn end_capture(&self) -> Outcome<Option<Box<dyn Graph>>> {
        Ok(None)
    }

    /// Starts a clock, once all earlier work is done.
    fn start_clock(&self) -> Outcome<Box<dyn Clock>> {
        Ok(Box::new(Instant::now()))
    }

    /// Copies within device memory, between ranges that do not overlap, with the driver's own copy.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Outcome<()>;

    /// The GPU's resources; `None` without a GPU.
    fn limits(&self) -> Option<Limits> {
        None
    }

    /// The resources of a launch: as the driver reports them, or as the compiler did where there is no GPU.
    fn resources(&self, kernel: &str, threads: usize, shared: usize) -> Option<Resources> {
        occupancy::compiled(kernel, threads, shared)
    }

    /// Waits for everything launched so far.
    fn synchronize(&self) -> Outcome<()> {
        Ok(())
    }

    /// The barriers that threads have reached, as `FILE:LINE`; only the simulator reports them.
    fn barriers(&self) -> Vec<String> {
        Vec::new()
    }

    /// How often the threads of a block have passed a barrier, over all blocks; 0 unless accesses are checked.
    fn passed_barriers(&self) -> u64 {
        0
    }

    /// The last write of a byte by the launch before: line, thread and block; `None` unless accesses are checked.
    fn last_write(&self, _address: u64) -> Option<String> {
        None
    }

    /// The memory traffic of the launched kernels; only the simulator counts it, of kernels that report their accesses.
    fn traffic(&self) -> Vec<SiteTraffic> {
        Vec::new()
    }

    /// A sample of the accesses of each launch; only the simulator keeps it, of kernels that report their accesses.
    fn samples(&self) -> Vec<LaunchSample> {
        Vec::new()
    }

    /// What each launch left in its buffers; only the simulator records it.
    fn traces(&self) -> Vec<LaunchTrace> {
        Vec::new()
    }

    /// Free and total bytes, if the device knows them.
    fn memory(&self) -> Option<(usize, usize)> {
        None
    }
}

/// Staging buffers in pinned memory, which batches are copied from while the device works.
pub(in crate::device) trait Staging {
    /// Writes parts into buffer number `place`, and queues their copy to `address`; the copy waits until the device has read the
    /// previous batch. A block of at least the ring's `bytes` bytes begins at the address.
    fn send(&self, place: usize, address: u64, parts: &Parts) -> Outcome<()>;
}

/// A captured graph, run by one launch.
pub(in crate::device) trait Graph {
    /// Runs it.
    fn launch(&self) -> Outcome<()>;
}

/// A running clock.
pub(in crate::device) trait Clock {
    /// The time since the clock was started, once all work is done.
    fn stop(self: Box<Self>) -> Outcome<Duration>;
}

/// The host's clock, where kernels run on the host.
impl Clock for Instant {
    fn stop(self: Box<Self>) -> Outcome<Duration> {
        Ok(self.elapsed())
    }
}

/// The end of the last part.
pub(super) fn end_of(parts: &Parts) -> usize {
    parts.iter().map(|(start, part)| start + part.len()).max().unwrap_or(0)
}

/// Writes parts, each at its offset.
pub(super) fn fill(to: &mut [u8], parts: &Parts) {
    for (start, part) in parts {
        to[*start..start + part.len()].copy_from_slice(part);
    }
}
