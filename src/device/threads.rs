//! Threads. Starting one may fail, since users and containers have limits.

use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Starts a thread.
///
/// # Errors
/// [`Error::Threads`].
pub fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let started = Builder::new().name(name.into()).spawn(work);
    started.map_err(|error| Error::threads(format!("the thread {name}"), error))
}

/// Starts a thread that may borrow from outside of its scope.
///
/// # Errors
/// [`Error::Threads`].
pub(crate) fn start_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let started = Builder::new().name(name.into()).spawn_scoped(scope, work);
    started.map_err(|error| Error::threads(format!("the thread {name}"), error))
}

/// Starts a pool of threads, as many as the processor has cores if `threads` is `None`.
///
/// # Errors
/// [`Error::Threads`].
pub(crate) fn start_pool(name: &'static str, threads: Option<usize>) -> Result<ThreadPool> {
    let builder = ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    let pool = builder.thread_name(move |index| format!("{name}-{index}")).build();
    pool.map_err(|error| Error::threads(format!("a pool of threads ({name})"), error))
}
