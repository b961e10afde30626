//! The shared memory of the block that a thread runs: poisoned for every block, each array against a guard page.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::abi::SharedArray;
use super::memory::{self, GuardedPages, POISON, outside};
use super::races::Owner;

/// The most shared memory of a block, declared and dynamic together, unless its kernel was allowed more.
pub(super) const SHARED_WITHOUT_ASKING: usize = 48 << 10;

/// The alignment of dynamic shared memory.
const ALIGNMENT: usize = 128;

/// The alignment of an array.
const ARRAY_ALIGNMENT: usize = 16;

const NO_MEMORY: &str = "the host has no memory left for its shared memory";

/// An array's memory on one thread of the operating system.
struct Array {
    pages: GuardedPages,
    address: usize,
    bytes: usize,
    /// The number of the block that it was last poisoned for.
    block: u64,
    name: &'static str,
}

/// All shared memory of one thread of the operating system.
#[derive(Default)]
pub(super) struct SharedMemory {
    /// The arrays, by number.
    arrays: Vec<Option<Array>>,
    dynamic: Option<GuardedPages>,
    dynamic_bytes: usize,
    /// Bytes of the arrays that the running block has used.
    declared_bytes: usize,
    /// The most bytes of arrays and dynamic shared memory together.
    most_bytes: usize,
    /// The number of the running block, counted from this thread's start.
    block: u64,
}

impl SharedMemory {
    /// Begins a block with `dynamic_bytes` of dynamic shared memory and at most `most_bytes` of shared memory in total.
    /// Returns the address of the dynamic part.
    pub fn begin_block(
        &mut self,
        dynamic_bytes: usize,
        most_bytes: usize,
    ) -> Result<usize, String> {
        self.block += 1;
        (self.dynamic_bytes, self.most_bytes, self.declared_bytes) = (dynamic_bytes, most_bytes, 0);
        self.check_bytes()?;
        if dynamic_bytes == 0 {
            return Ok(0);
        }
        let rounded = dynamic_bytes.next_multiple_of(ALIGNMENT);
        let pages = match self.dynamic.take().filter(|pages| pages.usable_bytes() >= rounded) {
            Some(pages) => pages,
            None => GuardedPages::new(rounded).ok_or(NO_MEMORY)?,
        };
        let address = self.dynamic.insert(pages).end() - rounded;
        // SAFETY: the range is the end of the usable pages made above.
        unsafe { std::ptr::write_bytes(address as *mut u8, POISON, rounded) };
        Ok(address)
    }

    /// Poisons all arrays and the dynamic part.
    pub fn poison(&self) {
        self.arrays.iter().flatten().for_each(|array| array.pages.poison());
        let Some(pages) = self.dynamic.as_ref().filter(|_| self.dynamic_bytes > 0) else { return };
        let rounded = self.dynamic_bytes.next_multiple_of(ALIGNMENT);
        // SAFETY: the range is the end of the usable pages, as in `begin_block`.
        unsafe { std::ptr::write_bytes((pages.end() - rounded) as *mut u8, POISON, rounded) };
    }

    /// Fails where the driver would: for more shared memory than the kernel was allowed, or than a block can have.
    fn check_bytes(&self) -> Result<(), String> {
        let SharedMemory { declared_bytes, dynamic_bytes, most_bytes, .. } = *self;
        if declared_bytes + dynamic_bytes <= most_bytes {
            return Ok(());
        }
        let why = match most_bytes {
            SHARED_WITHOUT_ASKING => "a kernel that was not allowed more",
            _ => "a block of this GPU",
        };
        Err(format!(
            "its block has {declared_bytes} declared and {dynamic_bytes} dynamic bytes of shared memory; {why} gets \
             {most_bytes}"
        ))
    }

    /// The address of an array in the running block.
    pub fn array(&mut self, record: &'static SharedArray) -> Result<usize, String> {
        let number = number_of(record) as usize;
        if self.arrays.len() <= number {
            self.arrays.resize_with(number + 1, || None);
        }
        let array = match &mut self.arrays[number] {
            Some(array) => array,
            empty => empty.insert(Array::new(record).ok_or(NO_MEMORY)?),
        };
        let address = array.address;
        if array.block != self.block {
            array.block = self.block;
            array.pages.poison();
            self.declared_bytes += record.bytes.next_multiple_of(ARRAY_ALIGNMENT);
            self.check_bytes()?;
        }
        Ok(address)
    }

    /// The kind of a page; `None` if it is neither the running block's shared memory nor device memory.
    pub fn owner_of_page(&self, start: usize) -> Option<Owner> {
        let shared = self.forbidden(start).map(Owner::Shared);
        shared.or_else(|| memory::forbidden(start).map(Owner::Device))
    }

    /// The accessible ranges of the page at `page_start` that belong to no array; `None` if the page is not shared
    /// memory.
    fn forbidden(&self, page_start: usize) -> Option<Vec<Range<usize>>> {
        if let Some(pages) = self.dynamic.as_ref().filter(|pages| pages.holds(page_start)) {
            let start = pages.end() - self.dynamic_bytes.next_multiple_of(ALIGNMENT);
            return Some(outside(page_start, start..start + self.dynamic_bytes));
        }
        let mut arrays = self.arrays.iter().flatten();
        let array = arrays.find(|array| array.pages.holds(page_start))?;
        Some(outside(page_start, array.address..array.address + array.bytes))
    }

    /// The name and the address of the array that an address lies in.
    pub fn array_of(&self, address: usize) -> Option<(&'static str, usize)> {
        if let Some(pages) = self.dynamic.as_ref().filter(|pages| pages.holds(address)) {
            let start = pages.end() - self.dynamic_bytes.next_multiple_of(ALIGNMENT);
            return Some(("dynamic shared memory", start));
        }
        let array = self.arrays.iter().flatten().find(|array| array.pages.holds(address))?;
        Some((array.name, array.address))
    }

    /// Describes an address in shared memory or on its guard pages.
    pub fn describe(&self, address: usize) -> Option<String> {
        if let Some(pages) = self.dynamic.as_ref().filter(|pages| pages.holds(address)) {
            let start = pages.end() - self.dynamic_bytes.next_multiple_of(ALIGNMENT);
            let place = match address < start {
                true => format!("{} bytes before the start", start - address),
                false => format!("at byte {}", address - start),
            };
            return Some(format!(
                "{place} of {} bytes of dynamic shared memory",
                self.dynamic_bytes
            ));
        }
        let mut arrays = self.arrays.iter().flatten();
        let array = arrays.find(|array| array.pages.holds(address))?;
        let place = match address < array.address {
            true => format!("{} bytes before the start", array.address - address),
            false => format!("at byte {}", address - array.address),
        };
        Some(format!("{place} of the shared array `{}` of {} bytes", array.name, array.bytes))
    }
}

impl Array {
    fn new(record: &'static SharedArray) -> Option<Self> {
        let rounded = record.bytes.next_multiple_of(ARRAY_ALIGNMENT);
        let pages = GuardedPages::new(rounded)?;
        let address = pages.end() - rounded;
        Some(Array { pages, address, bytes: record.bytes, block: 0, name: record.name() })
    }
}

/// The number of an array, assigned on first use by any thread.
fn number_of(record: &'static SharedArray) -> u32 {
    static NUMBERS: std::sync::Mutex<Option<HashMap<usize, u32>>> = std::sync::Mutex::new(None);
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = record.number.load(Ordering::Acquire);
    if number != 0 {
        return number;
    }
    let mut numbers = NUMBERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let number = *numbers
        .get_or_insert_default()
        .entry(std::ptr::from_ref(record) as usize)
        .or_insert_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    record.number.store(number, Ordering::Release);
    number
}
