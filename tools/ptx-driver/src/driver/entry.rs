//! What all exported calls have in common: failures on request, and no panic that leaves the library.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use super::errors::{INVALID_VALUE, UNKNOWN};
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

/// Runs a call's body.
pub fn enter(name: &str, body: impl FnOnce() -> Outcome) -> c_int {
    if let Some(error) = requested_failure(name) {
        eprintln!("ptx-driver: {name} fails on request: error {error}");
        return error;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => error,
        Err(_) => UNKNOWN,
    }
}

/// The error that the options ask for in this call.
fn requested_failure(name: &str) -> Option<c_int> {
    static CALLS: Mutex<Option<HashMap<String, usize>>> = Mutex::new(None);
    let failure = options().failure.as_ref().filter(|failure| failure.call == name)?;
    let mut calls = CALLS.lock().ok()?;
    let count = calls.get_or_insert_default().entry(name.to_owned()).or_default();
    *count += 1;
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
