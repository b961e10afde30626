//! A device that does nothing but take calls: for counting launches, and for finding calls that CUDA's driver refuses.

use std::cell::Cell;

/// Where its memory begins: no pointer is null.
const FIRST_ADDRESS: u64 = 1 << 20;

/// What every block starts at a multiple of, as a GPU's do.
const ALIGNMENT: u64 = 512;

/// Gives addresses without memory behind them; whatever is read back is zero.
pub(crate) struct Counter {
    next: Cell<u64>,
    room_for_data: usize,
    /// What is launched becomes a part of a graph: the host may neither wait nor copy.
    is_capturing: Cell<bool>,
}

impl Counter {
    /// One that says it has room for so many bytes of a data set.
    pub fn new(room_for_data: usize) -> Self {
        Counter { next: Cell::new(FIRST_ADDRESS), room_for_data, is_capturing: Cell::new(false) }
    }

    pub fn room_for_data(&self) -> usize {
        self.room_for_data
    }

    /// An address that no other block has.
    pub fn allocate(&self, bytes: usize) -> u64 {
        let address = self.next.get();
        self.next.set((address + bytes.max(1) as u64).next_multiple_of(ALIGNMENT));
        address
    }

    /// Checks a copy.
    pub fn copy(&self, bytes: usize) -> Result<(), String> {
        refuse_no_bytes(bytes)?;
        self.wait()
    }

    /// Checks a call that sets memory to zero.
    pub fn set_zero(&self, bytes: usize) -> Result<(), String> {
        refuse_no_bytes(bytes)
    }

    /// What a stream does not bear while it is captured.
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
