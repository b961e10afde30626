//! A driver that computes nothing: it counts launches and finds calls that CUDA's driver would refuse.

use std::cell::Cell;
use std::time::Instant;

use super::driver::{Clock, Driver, Graph, Outcome, Staging};
use super::launch::Launch;

/// The first address it gives, so that no pointer is null.
const FIRST_ADDRESS: u64 = 1 << 20;

/// The alignment of its blocks, as on a GPU.
const ALIGNMENT: u64 = 512;

/// Gives addresses without memory behind them; bytes read back are zero.
pub(crate) struct Counter {
    next: Cell<u64>,
    room_for_data: usize,
    /// Whether a capture runs: the host may neither wait nor copy.
    is_capturing: Cell<bool>,
}

impl Counter {
    /// A counter that reports room for `room_for_data` bytes of a data set.
    pub fn new(room_for_data: usize) -> Self {
        Counter { next: Cell::new(FIRST_ADDRESS), room_for_data, is_capturing: Cell::new(false) }
    }

    /// Fails for a copy that CUDA's driver would refuse.
    fn refuse_copy(&self, bytes: usize) -> Outcome<()> {
        refuse_no_bytes(bytes)?;
        self.refuse_wait()
    }

    /// Fails during a capture, as a wait in the captured stream does.
    fn refuse_wait(&self) -> Outcome<()> {
        match self.is_capturing.get() {
            true => Err("operation not permitted when stream is capturing".into()),
            false => Ok(()),
        }
    }
}

impl Driver for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn description(&self) -> String {
        "counter: launches are counted, not run".into()
    }

    fn allocate(&self, bytes: usize) -> Outcome<u64> {
        let address = self.next.get();
        self.next.set((address + bytes.max(1) as u64).next_multiple_of(ALIGNMENT));
        Ok(address)
    }

    fn free(&self, _: u64) {}

    fn upload(&self, _: u64, bytes: &[u8]) -> Outcome<()> {
        self.refuse_copy(bytes.len())
    }

    fn download(&self, _: u64, bytes: &mut [u8]) -> Outcome<()> {
        bytes.fill(0);
        self.refuse_copy(bytes.len())
    }

    fn staging(&self, _: usize, _: usize) -> Outcome<Option<Box<dyn Staging>>> {
        self.refuse_wait().map(|()| None)
    }

    fn room_for_data(&self) -> usize {
        self.room_for_data
    }

    /// As an H100 has.
    fn has_clusters(&self) -> bool {
        true
    }

    fn set_zero(&self, _: u64, bytes: usize) -> Outcome<()> {
        refuse_no_bytes(bytes)
    }

    fn launch(&self, _: &Launch) -> Outcome<()> {
        Ok(())
    }

    fn begin_capture(&self) -> Outcome<()> {
        self.refuse_wait()?;
        self.is_capturing.set(true);
        Ok(())
    }

    fn end_capture(&self) -> Outcome<Option<Box<dyn Graph>>> {
        match self.is_capturing.replace(false) {
            true => Ok(None),
            false => Err("the stream is not capturing".into()),
        }
    }

    fn start_clock(&self) -> Outcome<Box<dyn Clock>> {
        self.refuse_wait()?;
        Ok(Box::new(Instant::now()))
    }

    fn copy(&self, _: u64, _: u64, bytes: usize) -> Outcome<()> {
        self.refuse_copy(bytes)
    }

    fn synchronize(&self) -> Outcome<()> {
        self.refuse_wait()
    }
}

fn refuse_no_bytes(bytes: usize) -> Result<(), String> {
    match bytes {
        0 => Err("invalid argument: no bytes".into()),
        _ => Ok(()),
    }
}
