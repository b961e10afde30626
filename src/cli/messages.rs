//! Results go to standard output, everything else to standard error.

use std::io::{self, Write};

use anyhow::Context;

/// Writes a result.
///
/// # Errors
/// Where it cannot be written; [`super::failure::report`] keeps silent about a closed pipe.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("standard output")
}

/// Writes a line for people; whether it can be read is no reason to stop.
pub(super) fn note(text: &str) {
    // Standard error is where a failure would have to be reported.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says in one line what went wrong.
pub(super) fn error(text: &str) {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    note(&format!("error: {line}"));
}

/// A mean loss, in four decimals.
pub(super) fn loss(loss: f64) -> String {
    format!("{loss:.4}")
}

/// An accuracy in percent.
pub(super) fn percent(accuracy: f64) -> String {
    format!("{:.2}%", 100.0 * accuracy)
}
