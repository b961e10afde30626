//! Global memory: the host's own, of which only allocated ranges may be touched.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// The allocated ranges, each with its start and end, by address.
#[derive(Clone, Debug, Default)]
pub struct Ranges(pub Vec<(u64, u64)>);

impl Ranges {
    /// The range that holds these bytes.
    pub fn find(&self, at: u64, bytes: u64) -> Option<(u64, u64)> {
        let behind = self.0.partition_point(|(start, _)| *start <= at);
        let (start, end) = *self.0.get(behind.checked_sub(1)?)?;
        (at.checked_add(bytes)? <= end).then_some((start, end))
    }

    /// The distance to the end of the range in front of an address, for messages.
    pub fn describe(&self, at: u64) -> String {
        let behind = self.0.partition_point(|(start, _)| *start <= at);
        match behind.checked_sub(1).map(|index| self.0[index]) {
            Some((start, end)) if at - start < 1 << 32 => {
                format!("{} bytes into an allocation of {} bytes", at - start, end - start)
            }
            _ => format!("at {at:#x}, near no allocation"),
        }
    }
}

/// Reads an element of 1, 2, 4 or 8 bytes. Blocks run on several threads, and a kernel may have races on global memory, so
/// that every access is atomic.
///
/// # Safety
/// The address is aligned to the element's size, and the element lies in allocated memory.
#[inline(always)]
pub unsafe fn load(at: u64, bytes: u8) -> u64 {
    // SAFETY: by the function's own conditions.
    unsafe {
        match bytes {
            1 => u64::from(AtomicU8::from_ptr(at as *mut u8).load(Ordering::Relaxed)),
            2 => u64::from(AtomicU16::from_ptr(at as *mut u16).load(Ordering::Relaxed)),
            4 => u64::from(AtomicU32::from_ptr(at as *mut u32).load(Ordering::Relaxed)),
            _ => AtomicU64::from_ptr(at as *mut u64).load(Ordering::Relaxed),
        }
    }
}

/// Writes an element.
///
/// # Safety
/// As of [`load`].
#[inline(always)]
pub unsafe fn store(at: u64, bytes: u8, bits: u64) {
    // SAFETY: by the function's own conditions.
    unsafe {
        match bytes {
            1 => AtomicU8::from_ptr(at as *mut u8).store(bits as u8, Ordering::Relaxed),
            2 => AtomicU16::from_ptr(at as *mut u16).store(bits as u16, Ordering::Relaxed),
            4 => AtomicU32::from_ptr(at as *mut u32).store(bits as u32, Ordering::Relaxed),
            _ => AtomicU64::from_ptr(at as *mut u64).store(bits, Ordering::Relaxed),
        }
    }
}

/// Replaces an element of 4 or 8 bytes by a function of itself, in one step, and returns what it was.
///
/// # Safety
/// As of [`load`].
pub unsafe fn update(at: u64, bytes: u8, f: impl Fn(u64) -> u64) -> u64 {
    // SAFETY: by the function's own conditions.
    unsafe {
        if bytes == 4 {
            let place = AtomicU32::from_ptr(at as *mut u32);
            let new = |old: u32| Some(f(u64::from(old)) as u32);
            let old = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new);
            u64::from(old.unwrap_or_else(|old| old))
        } else {
            let place = AtomicU64::from_ptr(at as *mut u64);
            let old = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(f(old)));
            old.unwrap_or_else(|old| old)
        }
    }
}
