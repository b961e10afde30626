//! Runs a kernel file in a process of its own, which a wild kernel may take down.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::compiler::compile;
use super::report::{Failure, Fault, Report};
use super::source::KernelFile;
use crate::error::{Error, Result};

/// The most time for all shapes of a file, in all ways.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The most memory of the process, in bytes of addresses.
const MEMORY_LIMIT: u64 = 16 << 30;

/// The time between two looks at the process.
const ROUND: Duration = Duration::from_millis(2);

/// Compiles a file, and runs it by `program workshop trial FILE LIBRARY REPORT` with limits on time and memory. What the kernels
/// print goes to standard error.
///
/// # Errors
/// [`Error::Input`] with the compiler's first error, [`Error::Device`] without a compiler or where the simulator cannot be started.
pub fn run(file: &KernelFile, program: &Path) -> Result<Report> {
    let failed = |error: std::io::Error| Error::write(Path::new("temporary folder"), error);
    let folder = tempfile::tempdir().map_err(failed)?;
    let library = compile(file, folder.path())?;
    // The file may exist in this program alone.
    let own = folder.path().join(file.name());
    fs::write(&own, &file.text).map_err(failed)?;
    let [report, errors] = ["report.json", "errors.txt"].map(|name| folder.path().join(name));
    let printed = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let mut child = Command::new(program)
        .args(["workshop", "trial"])
        .args([&own, &library, &report])
        .stdin(Stdio::null())
        .stdout(printed)
        .stderr(File::create(&errors).map_err(failed)?)
        .spawn()
        .map_err(|error| Error::device("simulator", format!("{}: {error}", program.display())))?;
    let Some(status) = wait(&mut child).map_err(failed)? else {
        let message = format!("all shapes together take more than {} s", TIME_LIMIT.as_secs());
        return Ok(failure(Fault::Endless, message));
    };
    if let Some(report) =
        fs::read(&report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    {
        return Ok(report);
    }
    ended(status, &fs::read_to_string(&errors).unwrap_or_default())
}

/// The status of a process that has ended; `None` if it was killed after the time limit.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(ROUND);
    }
}

/// The result of a process that has left no report.
fn ended(status: ExitStatus, errors: &str) -> Result<Report> {
    let ended = match (status.signal(), errors.trim()) {
        (Some(signal), _) => format!("by signal {signal}"),
        (None, "") => "without a report".to_owned(),
        (None, text) => {
            let message = text.trim_start_matches("error: ").to_owned();
            return Err(Error::device("simulator", message));
        }
    };
    Ok(failure(Fault::Crash, format!("the kernels' process ended {ended}")))
}

fn failure(fault: Fault, message: String) -> Report {
    let failure = Failure { fault, shape: String::new(), way: String::new(), message };
    Report { failure: Some(failure), ..Report::default() }
}

/// Limits the memory of this process, before it loads kernels.
pub fn limit_resources() {
    let limit = libc::rlimit { rlim_cur: MEMORY_LIMIT, rlim_max: MEMORY_LIMIT };
    // SAFETY: the call only reads the struct. Without the limit, kernels can use all memory, as any program can.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}
