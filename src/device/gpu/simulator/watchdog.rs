//! The watchdog sends a signal to threads whose block does not end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::machine::time_is_up;

/// The time between two rounds of the watchdog.
const ROUND: Duration = Duration::from_millis(50);

/// Milliseconds since the first call, plus one.
pub(super) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// A thread and the deadline of its block; 0 for no deadline.
struct Watched {
    thread: libc::pthread_t,
    deadline: Arc<AtomicU64>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// Makes the watchdog watch the calling thread.
pub(super) fn watch(deadline: &Arc<AtomicU64>) {
    static WATCHDOG: Once = Once::new();
    // SAFETY: it only returns the calling thread's handle.
    let thread = unsafe { libc::pthread_self() };
    let entry = Watched { thread, deadline: Arc::clone(deadline) };
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    WATCHDOG.call_once(|| {
        // If no watchdog can be started, an endless loop in a kernel never ends.
        let _ = std::thread::Builder::new().name("alrao-watchdog".into()).spawn(keep_watch);
    });
}

/// Stops watching a thread, before it or its worker ends.
pub(super) fn forget(deadline: &Arc<AtomicU64>) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.retain(|thread| !Arc::ptr_eq(&thread.deadline, deadline));
}

fn keep_watch() {
    loop {
        std::thread::sleep(ROUND);
        for watched in WATCHED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let deadline = watched.deadline.load(Ordering::Relaxed);
            if deadline != 0 && now() > deadline {
                // SAFETY: a thread removes itself from the list, under its lock, before it ends.
                unsafe { libc::pthread_kill(watched.thread, time_is_up()) };
            }
        }
    }
}
