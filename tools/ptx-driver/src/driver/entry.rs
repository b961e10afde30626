//! What all exported calls have in common: failures on request, and no panic that leaves the library.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::errors::{INVALID_VALUE, UNKNOWN};
use super::state::state;
use crate::options::options;

/// The result of a call: an error's number.
pub type Outcome<T = ()> = Result<T, c_int>;

/// A place that a call writes its result to.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result.
    ///
    /// # Errors
    /// If the place is null.
    pub fn give(self, value: T) -> Outcome {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the driver's manual demands a valid place, and null has been refused.
        unsafe { self.0.write(value) }
        Ok(())
    }

    /// The place, for a text of some bytes.
    pub fn as_ptr(self) -> *mut T {
        self.0
    }

    /// A place.
    pub fn new(place: &mut T) -> Self {
        Out(place)
    }
}

/// Bytes in the caller's memory.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Host(pub *mut c_void);

impl Host {
    /// Copies the bytes from the caller.
    pub fn read(self, bytes: usize) -> Vec<u8> {
        // SAFETY: the driver's manual demands `bytes` readable bytes.
        unsafe { std::slice::from_raw_parts(self.0.cast::<u8>(), bytes) }.to_vec()
    }
}

/// A text of the caller.
///
/// # Errors
/// If it is null.
pub fn text(text: *const c_char) -> Outcome<String> {
    if text.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the driver's manual demands a text that ends with zero.
    Ok(unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Errors of a kernel, after which the device is lost.
const LOST: [c_int; 9] = [700, 702, 710, 714, 715, 716, 717, 718, 719];

/// Runs a call's body.
pub fn enter(name: &'static str, body: impl FnOnce() -> Outcome) -> c_int {
    if let Some(error) = requested_failure(name) {
        eprintln!("ptx-driver: {name} fails on request: error {error}");
        if LOST.contains(&error) {
            state().lost = Some(error);
        }
        return error;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => error,
        Err(_) => UNKNOWN,
    }
}

/// How often each call was made.
static CALLS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// How often each call was made.
pub fn calls() -> BTreeMap<&'static str, u64> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Counts a call, and returns the error that the options ask for in it.
fn requested_failure(name: &'static str) -> Option<c_int> {
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = calls.entry(name).or_default();
    *count += 1;
    let failure = options().failure.as_ref().filter(|failure| failure.call == name)?;
    (*count == failure.number).then_some(failure.error)
}

/// Declares calls with the names that programs look for.
macro_rules! exported {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            #[allow(non_snake_case, clippy::too_many_arguments)]
            pub extern "C" fn $name($($argument: $type),*) -> std::ffi::c_int {
                $crate::driver::entry::enter(stringify!($name), move || $body)
            }
        )*
    };
}
pub(crate) use exported;
