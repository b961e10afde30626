//! `metrics.jsonl`: one object per line, appended during a run.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::disk::operation;
use super::observer::{Reports, StepReport};
use crate::error::{Error, Result};
use crate::file::irregular;

/// A line of the metrics. Numbers that are not finite are written as `null`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", bound = "")]
pub(crate) enum Line<'a, T: Reports> {
    Step(&'a StepReport),
    Epoch(&'a T::EpochReport),
    Test(&'a T::TestReport),
}

/// The open file. Its lock keeps other processes away from the run.
pub(crate) struct Metrics {
    file: File,
    path: PathBuf,
    /// Bytes of the lines written so far.
    length: u64,
    lines: u64,
}

impl Metrics {
    /// Opens a run's metrics, empty in a new run.
    ///
    /// # Errors
    /// Where the file cannot be written, or another process has locked it.
    pub fn open(path: &Path) -> Result<Self> {
        // A named pipe could be opened, and would never end.
        if let Some(what) = std::fs::metadata(path).ok().and_then(|own| irregular(own.file_type()))
        {
            return Err(Error::file(path, format!("is a {what}, not a file")));
        }
        let is_new = !path.exists();
        let opened =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file =
            opened.map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
        match file.try_lock() {
            Ok(()) => {}
            // Some file systems have no locks. There the user has to keep other processes away.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                if is_new {
                    // Report the first error.
                    let _ = std::fs::remove_file(path);
                }
                return Err(Error::file(path, format!("cannot be locked: {error}")));
            }
            Err(TryLockError::WouldBlock) => {
                let message = "another process is using this run; wait for it or stop it";
                return Err(Error::file(path, message));
            }
        }
        Ok(Metrics { file, path: path.to_owned(), length: 0, lines: 0 })
    }

    /// Whether the file has no whole line yet.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(!self.bytes()?.contains(&b'\n'))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read =
            self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_end(&mut bytes));
        read.map_err(|error| Error::file(&self.path, format!("cannot be read: {error}")))?;
        Ok(bytes)
    }

    /// The length of the first `lines` lines, in bytes.
    ///
    /// # Errors
    /// Where the file has fewer lines.
    pub fn end_of(&mut self, lines: u64) -> Result<u64> {
        let bytes = self.bytes()?;
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let mut ends = std::iter::once(0).chain(ends.map(|(index, _)| index as u64 + 1));
        ends.nth(lines as usize).ok_or_else(|| {
            let own = bytes.iter().filter(|byte| **byte == b'\n').count();
            let message = format!(
                "has {own} lines, but the checkpoint was written after {lines}; it was changed since"
            );
            Error::file(&self.path, message)
        })
    }

    /// Cuts the file to the lines that a checkpoint counts. The run will write the later ones again.
    ///
    /// # Errors
    /// Where the file has fewer lines.
    pub fn cut(&mut self, lines: u64) -> Result<()> {
        let length = self.end_of(lines)?;
        operation(|| self.file.set_len(length)).map_err(|error| Error::write(&self.path, error))?;
        (self.length, self.lines) = (length, lines);
        Ok(())
    }

    /// Lines written so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Appends a line. If the write fails, the part that was written is cut off.
    pub fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
        let written = operation(|| {
            self.file.seek(SeekFrom::Start(self.length))?;
            self.file.write_all(text.as_bytes())
        });
        if let Err(error) = written {
            // Report the failed write. A rest that cannot be cut off does no harm, since a resumed run cuts the file.
            let _ = self.file.set_len(self.length);
            return Err(Error::write(&self.path, error));
        }
        self.length += text.len() as u64;
        self.lines += 1;
        Ok(())
    }

    /// Waits until every line is on the disk: a checkpoint must not count lines that can still be lost.
    pub fn sync(&self) -> Result<()> {
        operation(|| self.file.sync_data()).map_err(|error| Error::write(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::disk::failing;

    #[test]
    fn lines_are_synced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let metrics = Metrics::open(&folder.path().join("metrics.jsonl")).expect("a fresh file");
        failing::fail_at(0);
        metrics.sync().expect_err("the operation fails");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_in_place_of_the_metrics_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("metrics.jsonl");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo runs").success());
        let error = Metrics::open(&path).err().expect("a pipe has no lines").to_string();
        assert!(error.contains("is a named pipe, not a file"), "{error}");
    }
}
