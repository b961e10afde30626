//! The first SIGINT, SIGTERM or SIGHUP asks the run to stop, the second ends the process at once. A write beyond the
//! limit on file sizes fails as on a full disk, and does not end the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use alrao::device::threads;
use alrao::learn::StopFlag;

/// The first signal that came.
#[derive(Clone, Default)]
pub(super) struct Received(Arc<AtomicI32>);

impl Received {
    pub fn signal(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|&signal| signal > 0)
    }
}

/// Listens from now on. `announce` is called once, from another thread, after `stop` is set.
pub(super) fn listen(
    stop: &StopFlag,
    announce: impl FnOnce() + Send + 'static,
) -> anyhow::Result<Received> {
    let mut signals = handler()?;
    let (received, stop) = (Received::default(), stop.clone());
    let first = received.clone();
    start_thread(move || {
        let mut announce = Some(announce);
        for signal in signals.forever() {
            match announce.take() {
                Some(announce) => {
                    first.0.store(signal, Ordering::Relaxed);
                    stop.set();
                    announce();
                }
                None => std::process::exit(128 + signal),
            }
        }
    })?;
    Ok(received)
}

/// Ends the process at the first of these signals, after a clean-up.
pub(super) fn clean_up_with(clean_up: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let mut signals = handler()?;
    start_thread(move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            std::process::exit(128 + signal);
        }
    })
}

fn start_thread(work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    threads::start("signals", work)?;
    Ok(())
}

/// Lets a write beyond the limit on a file's size (`ulimit -f`) fail as one on a full disk does. Without this a signal
/// would end the process.
pub(super) fn survive_file_size_limit() {
    #[cfg(unix)]
    // SAFETY: ignoring a signal runs no code of this program.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

fn handler() -> anyhow::Result<Signals> {
    let mut signals = vec![SIGINT, SIGTERM];
    signals.extend(hangup());
    Signals::new(signals).context("the signal handler could not be installed")
}

/// The signal of a terminal that closes, unless nohup has told the process to ignore it.
#[cfg(unix)]
fn hangup() -> Option<i32> {
    // SAFETY: without a new action, the call only fills in the current one, for which zeros are a valid value.
    let is_ignored = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut current) == 0
            && current.sa_sigaction == libc::SIG_IGN
    };
    (!is_ignored).then_some(libc::SIGHUP)
}

#[cfg(not(unix))]
fn hangup() -> Option<i32> {
    None
}
