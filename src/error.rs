//! What can go wrong with files, devices and what a user asked for.
//!
//! A wrong shape is a programming error and panics instead; see [`crate::shape`].

use std::path::{Path, PathBuf};

/// Every failure the library reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the user gave is at fault: a file, a setting, a key of a file. `subject` names it.
    #[error("{subject}: {message}")]
    Input {
        /// The file, setting or key at fault.
        subject: String,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// A device cannot be opened.
    #[error("`device` {device}: {message}")]
    Device {
        /// Name of the device.
        device: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A device failed while running: it was lost, has no memory left, or a kernel did something wrong.
    #[error("{device} failed: {message}")]
    DeviceLost {
        /// Name of the device.
        device: String,
        /// What is wrong.
        message: String,
    },
    /// The operating system starts no more threads or processes.
    #[error(
        "{what} could not be started: {cause}; allow more threads and processes (`ulimit -u`, or a container's limit on \
         pids)"
    )]
    Threads {
        /// What was to be started.
        what: String,
        /// What the operating system said.
        cause: String,
    },
    /// A file could not be written while running.
    #[error("{}: could not be written: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said. It is in the message already, so it is no source.
        cause: std::io::Error,
    },
    /// Data that a run needs went away, or turned out broken, while it was running.
    #[error("{}: {message}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// An environment failed while running, such as one in a process of its own that ended.
    #[error("{environment} failed: {message}")]
    Environment {
        /// Name of the environment.
        environment: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A run is at its end, and no epoch can be called the best.
    #[error("no epoch had a finite {measure}, so there is no best model")]
    NoBestEpoch {
        /// The value by which the best epoch is chosen.
        measure: &'static str,
    },
    /// No step had a finite loss for a long time.
    #[error("diverged: no finite loss in the last {steps} steps, up to step {step}")]
    Diverged {
        /// Number of steps in a row without a finite loss.
        steps: u64,
        /// The step at which the run ended.
        step: u64,
    },
}

/// A result of the library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error about something the user gave.
    pub fn input(subject: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Error::Input { subject: subject.to_string(), message: message.into() }
    }

    /// An error about a setting. Its name stands in backticks, here as within any message, and the command line writes the
    /// flag instead.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        Error::input(format!("`{name}`"), message)
    }

    /// An error about a file the user gave.
    pub fn file(path: &Path, message: impl Into<String>) -> Self {
        Error::input(path.display(), message)
    }

    /// The error, about what a setting names: a file's name alone does not tell which setting named it.
    pub(crate) fn of_setting(self, name: &str) -> Self {
        match self {
            Error::Input { subject, message } if !subject.starts_with('`') => {
                Error::input(format!("`{name}` {subject}"), message)
            }
            other => other,
        }
    }

    /// A device that cannot be opened.
    pub fn device(device: &str, message: impl Into<String>) -> Self {
        Error::Device { device: device.into(), message: message.into() }
    }

    /// A thread or process that could not be started.
    pub(crate) fn threads(what: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        Error::Threads { what: what.into(), cause: cause.to_string() }
    }

    /// A file that could not be written while running.
    pub fn write(path: &Path, cause: std::io::Error) -> Self {
        Error::Write { path: path.to_owned(), cause }
    }

    /// Data that is at fault while running.
    pub fn data(path: &Path, message: impl Into<String>) -> Self {
        Error::Data { path: path.to_owned(), message: message.into() }
    }

    /// An environment that failed while running.
    pub fn environment(name: &str, message: impl Into<String>) -> Self {
        Error::Environment { environment: name.into(), message: message.into() }
    }

    /// The process's exit code for this error: 2 for what the user gave or a device that cannot be
    /// opened, 1 for a failure while running.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input { .. } | Error::Device { .. } => 2,
            Error::DeviceLost { .. }
            | Error::Threads { .. }
            | Error::Write { .. }
            | Error::Data { .. }
            | Error::Environment { .. }
            | Error::NoBestEpoch { .. }
            | Error::Diverged { .. } => 1,
        }
    }
}

/// Names in a message, each in quotation marks, since a name may have commas and spaces.
pub(crate) fn quoted<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let quoted = names.into_iter().map(|name| format!("'{name}'"));
    quoted.collect::<Vec<_>>().join(", ")
}
