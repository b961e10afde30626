//! `metrics.jsonl`: one object a line, as a run goes.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::train::{EpochReport, StepReport, TestReport};

/// A line of the metrics. Numbers that are not finite are written as `null`.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Line<'a> {
    Step(&'a StepReport),
    Epoch(&'a EpochReport),
    Test(&'a TestReport),
}

/// The open file. While it is open no other process can open it: it is the lock of its run.
pub(crate) struct Metrics {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Metrics {
    /// Opens a run's metrics, empty in a new run.
    ///
    /// # Errors
    /// Where the file cannot be written, or another process has it.
    pub fn open(path: &Path) -> Result<Self> {
        let opened =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file =
            opened.map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
        file.try_lock().map_err(|_| {
            Error::file(path, "another process is at this run; wait for it or stop it")
        })?;
        Ok(Metrics { file, path: path.to_owned(), length: 0 })
    }

    /// Cuts the file to what a checkpoint knows of; lines after it will be written again.
    ///
    /// # Errors
    /// Where the file is shorter than that.
    pub fn cut(&mut self, length: u64) -> Result<()> {
        let own =
            self.file.metadata().map_err(|error| Error::file(&self.path, error.to_string()))?.len();
        if own < length {
            let message = format!(
                "has {own} bytes, but the checkpoint was written after {length}; it was changed since"
            );
            return Err(Error::file(&self.path, message));
        }
        self.file.set_len(length).map_err(|error| Error::write(&self.path, error))?;
        self.length = length;
        Ok(())
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds a line. What could not be written whole is taken back.
    pub fn append(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // The failed write is what is reported; whether its remains can be cut off does not matter on resume.
            let _ = self.file.set_len(self.length);
            return Err(Error::write(&self.path, error));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// Waits until every line is on the disk: a checkpoint must not know of lines that are not.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::write(&self.path, error))
    }
}
