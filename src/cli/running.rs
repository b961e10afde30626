//! The messages at the end of a training run, for both tasks.

use std::path::Path;

use super::failure::Ending;
use super::signals::Received;
use super::{kernel_times, messages};
use alrao::device::Device;
use alrao::error::Error;
use alrao::learn::Outcome;

/// Ends a command on a run that is finished; `flags` are those that continue it.
pub(super) fn already_finished(directory: &Path, flags: &str, quiet: bool) -> Ending {
    if !quiet {
        let directory = directory.display();
        messages::note(&format!("{directory} is finished; a larger {flags} continues it"));
    }
    Ending::Done
}

/// The error of a run that did not reach its end, with the command that continues it if that can help.
pub(super) fn ended(error: Error, directory: &str, command: &str) -> anyhow::Error {
    let context = match error {
        Error::Diverged { .. } => format!("the run in {directory} ended"),
        Error::NoBestEpoch { .. } => {
            format!("the run in {directory} ended with its last model in last.safetensors")
        }
        _ => format!("the run in {directory} ended (to go on: {command})"),
    };
    anyhow::Error::from(error).context(context)
}

/// Prints the results of a run, or after a stop the command that continues it.
pub(super) fn conclude(
    outcome: Outcome,
    summary: &str,
    command: &str,
    received: &Received,
    device: &Device,
    quiet: bool,
) -> anyhow::Result<Ending> {
    if let Some(table) = kernel_times::table(device).filter(|_| !quiet) {
        messages::note(&table);
    }
    if outcome == Outcome::Finished {
        messages::result(summary)?;
        return Ok(Ending::Done);
    }
    if !quiet {
        messages::note(&format!("stopped, with a checkpoint; to go on: {command}"));
    }
    Ok(received.signal().map_or(Ending::Unwatched, Ending::Signalled))
}
