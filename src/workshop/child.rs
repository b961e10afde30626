//! Runs a kernel file in a process of its own, which a wild kernel may take down.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::compiler::{Optimisation, compile};
use super::report::{Failure, Fault, Report};
use super::source::KernelFile;
use crate::error::{Error, Result};

/// The most time for all shapes of a file, in all ways.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The most memory that the process may write, in bytes. Guards around arrays take addresses alone.
const MEMORY_LIMIT: u64 = 16 << 30;

/// The most lines and bytes that kernels may print.
const MOST_LINES: usize = 100;
const MOST_BYTES: usize = 64 << 10;

/// How long to wait for the last printed lines after the process has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two looks at the process.
const ROUND: Duration = Duration::from_millis(2);

/// Compiles a file, and runs it by `program workshop trial FILE LIBRARY REPORT` with limits on time and memory. What the kernels
/// print goes to standard error, up to [`MOST_LINES`] lines.
///
/// # Errors
/// [`Error::Input`] with the compiler's first errors, or if the launches do not fit the kernels; [`Error::Device`] without a compiler or
/// where the simulator cannot be started.
pub fn run(file: &KernelFile, program: &Path) -> Result<Report> {
    let report = run_compiled(file, program, Optimisation::On)?;
    if !is_endless(&report) {
        return Ok(report);
    }
    // Of an endless loop that does nothing, an optimised program keeps a jump without a line.
    match run_compiled(file, program, Optimisation::Off) {
        Ok(again) if is_endless(&again) => Ok(again),
        _ => Ok(report),
    }
}

/// Whether a block did not end. Where all shapes together take too long, the failure has no shape, and the unoptimised build would take even
/// longer.
fn is_endless(report: &Report) -> bool {
    let is_of_block =
        |failure: &Failure| failure.fault == Fault::Endless && !failure.shape.is_empty();
    report.failure.as_ref().is_some_and(is_of_block)
}

fn run_compiled(file: &KernelFile, program: &Path, optimisation: Optimisation) -> Result<Report> {
    let failed = |error: std::io::Error| Error::write(Path::new("temporary folder"), error);
    let folder = tempfile::tempdir().map_err(failed)?;
    let library = compile(file, folder.path(), optimisation)?;
    // The file may exist in this program alone.
    let own = folder.path().join(file.name());
    fs::write(&own, &file.text).map_err(failed)?;
    let [report, errors] = ["report.json", "errors.txt"].map(|name| folder.path().join(name));
    let mut child = Command::new(program)
        .args(["workshop", "trial"])
        .args([&own, &library, &report])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors).map_err(failed)?)
        .spawn()
        .map_err(|error| Error::device("simulator", format!("{}: {error}", program.display())))?;
    let printed = child.stdout.take();
    let forwarding = thread::spawn(move || {
        if let Some(printed) = printed {
            match optimisation {
                Optimisation::On => forward(printed, std::io::stderr()),
                // The same has been printed before.
                Optimisation::Off => forward(printed, std::io::sink()),
            }
        }
    });
    let status = wait(&mut child).map_err(failed)?;
    // A process that the kernels have started could keep the pipe open for ever.
    let ended = Instant::now();
    while !forwarding.is_finished() && ended.elapsed() < PATIENCE {
        thread::sleep(ROUND);
    }
    let Some(status) = status else {
        let message = format!("all shapes together take more than {} s", TIME_LIMIT.as_secs());
        return Ok(failure(Fault::Endless, message));
    };
    if let Some(report) =
        fs::read(&report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    {
        return Ok(report);
    }
    let errors = fs::read_to_string(&errors).unwrap_or_default();
    let refusal = format!("error: {}: ", own.display());
    match errors.lines().find_map(|line| line.strip_prefix(&refusal)) {
        Some(message) => Err(Error::file(&file.path, message)),
        None => ended_early(status, &errors),
    }
}

/// Passes on the first lines of what kernels print, and says how many were left out.
fn forward(mut from: impl Read, mut to: impl Write) {
    let (mut lines, mut bytes, mut left_out, mut is_cut) = (0, 0, 0, false);
    let mut buffer = [0; 4096];
    loop {
        let chunk = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut end = 0;
        while end < chunk.len() && lines < MOST_LINES && bytes < MOST_BYTES {
            lines += usize::from(chunk[end] == b'\n');
            (end, bytes) = (end + 1, bytes + 1);
        }
        // The kernels go on if standard error is closed.
        let _ = to.write_all(&chunk[..end]);
        left_out += chunk[end..].iter().filter(|own| **own == b'\n').count();
        is_cut |= end < chunk.len();
    }
    if is_cut {
        let _ = writeln!(to, "(printf: {left_out} more lines are not shown)");
    }
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
        thread::sleep(ROUND);
    }
}

/// The result of a process that has left no report.
fn ended_early(status: ExitStatus, errors: &str) -> Result<Report> {
    let how = match (status.signal(), status.code(), errors.trim()) {
        (Some(libc::SIGABRT), ..) => {
            "by abort, or by a failed check of the host's library".to_owned()
        }
        (Some(libc::SIGKILL), ..) => {
            "by the system, which kills processes that take too much memory".to_owned()
        }
        (Some(signal), ..) => format!("by signal {signal}"),
        (None, Some(1 | 2), text) if text.starts_with("error: ") => {
            let message = text.trim_start_matches("error: ").to_owned();
            return Err(Error::device("simulator", message));
        }
        // A panic of the program, not of a kernel.
        (None, Some(101), text) => return Err(Error::device("simulator", text)),
        (None, code, _) => format!("by exit, with status {}", code.unwrap_or(0)),
    };
    Ok(failure(Fault::Crash, format!("the kernels' process was ended {how}")))
}

fn failure(fault: Fault, message: String) -> Report {
    let failure = Failure { fault, shape: String::new(), way: String::new(), message };
    Report { failure: Some(failure), ..Report::default() }
}

/// Limits the memory of this process, before it loads kernels.
pub fn limit_resources() {
    let limit = libc::rlimit { rlim_cur: MEMORY_LIMIT, rlim_max: MEMORY_LIMIT };
    // SAFETY: the call only reads the struct. Without the limit, kernels can use all memory, as any program can.
    unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(text: &str) -> String {
        let mut to = Vec::new();
        forward(text.as_bytes(), &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn what_kernels_print_is_cut_after_a_hundred_lines() {
        let all = "0123456789\n".repeat(MOST_LINES);
        assert_eq!(forwarded(&all), all);
        let cut = forwarded(&(all.clone() + "x\ny\n"));
        assert_eq!(cut, all + "(printf: 2 more lines are not shown)\n");
        let endless = forwarded(&"x".repeat(2 * MOST_BYTES));
        assert!(
            endless.len() < MOST_BYTES + 50 && endless.contains("0 more lines"),
            "{}",
            endless.len()
        );
    }
}
