//! A device can fail while results are read from it. Reads return numbers, so the failure unwinds to [`catch_failure`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::Error;

thread_local! {
    /// Whether this thread is inside [`catch_failure`].
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`. If a read finds that the device has failed, stops the work and returns the failure.
///
/// # Errors
/// The work's own, and the failure of a device.
pub fn catch_failure<T, E: From<Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    result.unwrap_or_else(|payload| match payload.downcast::<Error>() {
        Ok(error) => Err((*error).into()),
        Err(payload) => resume_unwind(payload),
    })
}

/// Stops the running work with a device's failure.
pub(super) fn fail(error: Error) -> ! {
    if IS_CAUGHT.get() {
        // No panic message: the caller reports the error.
        resume_unwind(Box::new(error));
    }
    panic!("{error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_caught_and_a_panic_is_not() {
        let failure = || Error::device("cuda", "it is gone".to_owned());
        let caught = catch_failure(|| -> Result<(), Error> {
            let inner = catch_failure(|| -> Result<(), Error> { fail(failure()) });
            assert!(inner.is_err());
            fail(failure())
        });
        assert_eq!(caught.unwrap_err().to_string(), failure().to_string());
        let outside = catch_unwind(|| fail(failure()));
        assert!(outside.unwrap_err().downcast_ref::<String>().is_some());
        let bug = catch_unwind(|| catch_failure(|| -> Result<(), Error> { panic!("a bug") }));
        assert_eq!(*bug.unwrap_err().downcast_ref::<&str>().unwrap(), "a bug");
    }
}
