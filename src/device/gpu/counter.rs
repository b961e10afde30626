//! A driver that computes nothing: it counts launches and finds calls that CUDA's driver would refuse.

use std::cell::Cell;

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

    pub fn room_for_data(&self) -> usize {
        self.room_for_data
    }

    /// The address of a new block.
    pub fn allocate(&self, bytes: usize) -> u64 {
        let address = self.next.get();
        self.next.set((address + bytes.max(1) as u64).next_multiple_of(ALIGNMENT));
        address
    }

    /// Fails for a copy that CUDA's driver would refuse.
    pub fn copy(&self, bytes: usize) -> Result<(), String> {
        refuse_no_bytes(bytes)?;
        self.wait()
    }

    /// Fails for a call that CUDA's driver would refuse.
    pub fn set_zero(&self, bytes: usize) -> Result<(), String> {
        refuse_no_bytes(bytes)
    }

    /// Fails during a capture, as a wait in the captured stream does.
    pub fn wait(&self) -> Result<(), String> {
        match self.is_capturing.get() {
            true => Err("operation not permitted when stream is capturing".into()),
            false => Ok(()),
        }
    }

    pub fn begin_capture(&self) -> Result<(), String> {
        self.wait()?;
        self.is_capturing.set(true);
        Ok(())
    }

    pub fn end_capture(&self) -> Result<(), String> {
        match self.is_capturing.replace(false) {
            true => Ok(()),
            false => Err("the stream is not capturing".into()),
        }
    }
}

fn refuse_no_bytes(bytes: usize) -> Result<(), String> {
    match bytes {
        0 => Err("invalid argument: no bytes".into()),
        _ => Ok(()),
    }
}
