//! A device that does nothing but take launches: for counting them.

use std::cell::Cell;

/// Where its memory begins: no pointer is null.
const FIRST_ADDRESS: u64 = 1 << 20;

/// What every block starts at a multiple of, as a GPU's do.
const ALIGNMENT: u64 = 512;

/// Gives addresses without memory behind them; whatever is read back is zero.
pub(crate) struct Counter {
    next: Cell<u64>,
}

impl Counter {
    pub fn new() -> Self {
        Counter { next: Cell::new(FIRST_ADDRESS) }
    }

    /// An address that no other block has.
    pub fn allocate(&self, bytes: usize) -> u64 {
        let address = self.next.get();
        self.next.set((address + bytes.max(1) as u64).next_multiple_of(ALIGNMENT));
        address
    }
}
