//! A device that does nothing but take launches: for counting them.

use std::cell::Cell;

/// Where its memory begins: no pointer is null.
const FIRST_ADDRESS: u64 = 1 << 20;

/// What every block starts at a multiple of, as a GPU's do.
const ALIGNMENT: u64 = 512;

/// Gives addresses without memory behind them; whatever is read back is zero.
pub(crate) struct Counter {
    next: Cell<u64>,
    room_for_data: usize,
}

impl Counter {
    /// One that says it has room for so many bytes of a data set.
    pub fn new(room_for_data: usize) -> Self {
        Counter { next: Cell::new(FIRST_ADDRESS), room_for_data }
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
}
