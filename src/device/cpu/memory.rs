//! Host memory: a caching allocator, and blocks that check their borrows at run time, as `RefCell` does.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::device::Element;

/// The alignment of a block: one cache line, which is also the widest vector.
const ALIGNMENT: usize = 64;

/// Free blocks, by size, for the next tensor of about that size.
#[derive(Default)]
pub(crate) struct Memory {
    free: RefCell<BTreeMap<usize, Vec<NonNull<u8>>>>,
    in_use: Cell<usize>,
    peak: Cell<usize>,
}

impl Memory {
    /// A block of at least `bytes` bytes: the smallest free one of at most 9/8 of the size, else a new one.
    pub fn allocate(memory: &Rc<Memory>, bytes: usize) -> Rc<Block> {
        let wanted = bytes.max(1).next_multiple_of(ALIGNMENT);
        let (pointer, capacity) = memory.take(wanted).unwrap_or_else(|| (fresh(wanted), wanted));
        memory.in_use.set(memory.in_use.get() + capacity);
        memory.peak.set(memory.peak.get().max(memory.in_use.get()));
        Rc::new(Block {
            pointer,
            capacity,
            bytes,
            borrows: RefCell::default(),
            memory: Rc::clone(memory),
        })
    }

    pub fn peak_bytes(&self) -> usize {
        self.peak.get()
    }

    fn take(&self, wanted: usize) -> Option<(NonNull<u8>, usize)> {
        let mut free = self.free.borrow_mut();
        let (&capacity, blocks) = free.range_mut(wanted..=wanted + wanted / 8).next()?;
        let pointer = blocks.pop();
        if blocks.is_empty() {
            free.remove(&capacity);
        }
        pointer.map(|pointer| (pointer, capacity))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (capacity, blocks) in self.free.get_mut() {
            for block in blocks {
                // SAFETY: every pointer in `free` came from `fresh` with this capacity and has no other owner.
                unsafe { dealloc(block.as_ptr(), layout(*capacity)) };
            }
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGNMENT).expect("a block's size fits the address space")
}

fn fresh(bytes: usize) -> NonNull<u8> {
    let layout = layout(bytes);
    // SAFETY: `bytes` is at least one cache line, so the layout is not of size zero.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Host memory that returns to its device's free blocks when its last tensor is dropped.
pub(crate) struct Block {
    pointer: NonNull<u8>,
    capacity: usize,
    bytes: usize,
    /// The borrowed byte ranges. Views of one block that do not overlap, such as parameters in a flat buffer, may be
    /// written at the same time.
    borrows: RefCell<Vec<Borrow>>,
    memory: Rc<Memory>,
}

/// A byte range that is being read or written.
#[derive(Clone, Copy, PartialEq)]
struct Borrow {
    start: usize,
    end: usize,
    writes: bool,
}

impl Block {
    /// Borrows elements `start` to `start + length` for reading. Panics while any of them is being written.
    pub fn read<T: Element>(&self, start: usize, length: usize) -> ReadGuard<'_, T> {
        let (pointer, borrow) = self.borrow::<T>(start, length, false);
        // SAFETY: the range lies in the block and is aligned (checked by `borrow`), every byte was initialised when
        // the block was made, any bytes are a valid `T` (Pod), and the list of borrows keeps writers out of it.
        let slice = unsafe { std::slice::from_raw_parts(pointer, length) };
        ReadGuard { slice, block: self, borrow }
    }

    /// Borrows elements `start` to `start + length` for writing. Panics while any of them is borrowed.
    pub fn write<T: Element>(&self, start: usize, length: usize) -> WriteGuard<'_, T> {
        let (pointer, borrow) = self.borrow::<T>(start, length, true);
        // SAFETY: as for `read`; the list of borrows keeps every other borrow out of the range.
        let slice = unsafe { std::slice::from_raw_parts_mut(pointer, length) };
        WriteGuard { slice, block: self, borrow }
    }

    fn borrow<T: Element>(&self, start: usize, length: usize, writes: bool) -> (*mut T, Borrow) {
        let end = (start + length) * size_of::<T>();
        assert!(
            end <= self.bytes,
            "elements {start}+{length} lie outside a block of {} bytes",
            self.bytes
        );
        let borrow = Borrow { start: start * size_of::<T>(), end, writes };
        let mut borrows = self.borrows.borrow_mut();
        for other in borrows.iter() {
            let meet = borrow.start < other.end && other.start < borrow.end;
            let verb = if other.writes { "written" } else { "read" };
            assert!(!(meet && (writes || other.writes)), "this tensor's memory is being {verb}");
        }
        borrows.push(borrow);
        // SAFETY: `start` elements are at most `end` bytes, which lie in the block; blocks are aligned to 64 bytes.
        (unsafe { self.pointer.as_ptr().cast::<T>().add(start) }, borrow)
    }

    fn give_back(&self, borrow: Borrow) {
        let mut borrows = self.borrows.borrow_mut();
        if let Some(index) = borrows.iter().rposition(|other| *other == borrow) {
            borrows.swap_remove(index);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.in_use.set(self.memory.in_use.get() - self.capacity);
        self.memory.free.borrow_mut().entry(self.capacity).or_default().push(self.pointer);
    }
}

/// A tensor's elements, borrowed for reading.
pub struct ReadGuard<'a, T> {
    slice: &'a [T],
    block: &'a Block,
    borrow: Borrow,
}

// SAFETY: a shared guard gives access to its slice only. Only its drop uses the block, and the drop stays on the
// guard's thread, since the guard is not `Send`.
unsafe impl<T: Sync> Sync for ReadGuard<'_, T> {}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.slice
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        self.block.give_back(self.borrow);
    }
}

/// A tensor's elements, borrowed for writing.
pub struct WriteGuard<'a, T> {
    slice: &'a mut [T],
    block: &'a Block,
    borrow: Borrow,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.slice
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.slice
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        self.block.give_back(self.borrow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_given_back_is_used_again() {
        let memory = Rc::new(Memory::default());
        let first = Memory::allocate(&memory, 1000);
        let address = first.pointer;
        drop(first);
        assert_eq!(Memory::allocate(&memory, 990).pointer, address);
        assert_ne!(Memory::allocate(&memory, 400).pointer, address);
    }

    #[test]
    fn parts_of_a_block_are_borrowed_apart() {
        let memory = Rc::new(Memory::default());
        let block = Memory::allocate(&memory, 64);
        let (mut low, mut high) = (block.write::<f32>(0, 4), block.write::<f32>(4, 4));
        low[3] = 1.0;
        high[0] = 2.0;
        drop((low, high));
        assert_eq!(block.read::<f32>(3, 2)[..], [1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "is being read")]
    fn memory_that_is_read_cannot_be_written() {
        let memory = Rc::new(Memory::default());
        let block = Memory::allocate(&memory, 64);
        let _reader = block.read::<f32>(0, 4);
        block.write::<f32>(3, 4);
    }

    #[test]
    #[should_panic(expected = "is being written")]
    fn memory_that_is_written_cannot_be_read() {
        let memory = Rc::new(Memory::default());
        let block = Memory::allocate(&memory, 64);
        let _writer = block.write::<f32>(0, 4);
        block.read::<f32>(3, 1);
    }

    #[test]
    #[should_panic(expected = "lie outside")]
    fn a_borrow_past_the_end_panics() {
        let memory = Rc::new(Memory::default());
        Memory::allocate(&memory, 16).read::<f32>(1, 4);
    }
}
