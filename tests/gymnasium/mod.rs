//! The bridge to Gymnasium: against a stand-in that speaks the same frames, and against the real one where it is installed.

mod real;
pub(crate) mod stand_in;

use std::process::Command;
use std::time::Duration;

use alrao::Result;
use alrao::rl::Gymnasium;

const PATIENCE: Duration = Duration::from_secs(300);

fn open(command: Command, name: &str, count: usize) -> Result<Gymnasium> {
    Gymnasium::open_with(vec![command], PATIENCE, name, count)
}

fn refused(command: Command, name: &str) -> alrao::Error {
    open(command, name, 2).err().unwrap_or_else(|| panic!("{name} was opened"))
}

/// Whether a process is running, by its number; one that has ended and that nobody has asked after is not.
#[cfg(target_os = "linux")]
fn is_running(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    status.is_ok_and(|text| text.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
}
