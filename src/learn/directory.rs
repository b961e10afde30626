//! A run's directory: configuration, metrics, checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::disk::operation;
use super::metrics::Metrics;
use super::record::Record;
use super::tensor_file::replace;
use crate::error::{Error, Result};
use crate::file;

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const LAST: &str = "last.safetensors";
const BEST: &str = "best.safetensors";

/// Copy of the best whole epoch's model, kept while an unfinished epoch is the best.
const BEST_WHOLE: &str = "best-whole.safetensors";

/// Files that are replaced atomically during a run.
const OWN_FILES: &[&str] = &[CONFIG, LAST, BEST, BEST_WHOLE];

/// The folder of default run directories.
const RUNS: &str = "runs";

/// A run's directory, locked against other processes until this value is dropped.
pub struct RunDirectory {
    path: PathBuf,
    metrics: Metrics,
}

impl RunDirectory {
    /// Checks that `out` can become a run's directory: it must be absent, or empty but for the files of a run that was killed
    /// at its start.
    pub fn check_free(path: &Path) -> Result<()> {
        let occupied = |what: &str| {
            let advice = "give another `out`, or continue the run there with `resume`";
            Error::input(format!("`out` {}", path.display()), format!("{what}; {advice}"))
        };
        match fs::read_dir(path).map(|entries| entries.flatten().all(|entry| is_unstarted(&entry)))
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(occupied("is not empty")),
            Err(_) if path.exists() && !path.is_dir() => Err(occupied("is not a directory")),
            Err(error) if path.exists() => Err(cannot_write(path, &error)),
            Err(_) => Ok(()),
        }
    }

    /// Creates a new run's directory and writes `config` to its `config.toml`. Where `out` is `None`, the directory is
    /// `runs/NAME-N` with the next free N.
    ///
    /// # Errors
    /// Where it is not empty or cannot be written; nothing is left behind then.
    pub fn create(out: Option<&Path>, name: &str, config: &str) -> Result<Self> {
        let mut made = Made::default();
        let path = match out {
            Some(path) => {
                RunDirectory::check_free(path)?;
                made.folders(path)?;
                path.to_owned()
            }
            None => next_free(name, &mut made)?,
        };
        let directory = RunDirectory::locked(&path)?;
        if out.is_some() {
            // Another process may have finished its run there since the first look.
            RunDirectory::check_free(&path)?;
        }
        directory.write_config(config).map_err(|error| {
            // Report the first error, not those of removing the files. The lock shows that they are this process's.
            let _ = fs::remove_file(path.join(METRICS));
            let _ = fs::remove_file(path.join(CONFIG));
            match error {
                Error::Write { cause, .. } => cannot_write(&path, &cause),
                other => other,
            }
        })?;
        made.keep();
        Ok(directory)
    }

    /// Removes temporary files of interrupted writes, also of pictures.
    pub(crate) fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if name.ends_with(".tmp") && RunDirectory::is_file_of_run(name) {
                // Usually there is none. If one cannot be removed, the next write replaces it.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A directory with a file of metrics that this process has locked.
    fn locked(path: &Path) -> Result<Self> {
        let metrics = Metrics::open(&path.join(METRICS)).map_err(|error| match error {
            Error::Input { message, .. } => {
                Error::input(format!("`out` {}", path.display()), message)
            }
            other => other,
        })?;
        Ok(RunDirectory { path: path.to_owned(), metrics })
    }

    /// Whether a file of this name in a run's directory belongs to the run.
    pub(crate) fn is_file_of_run(name: &str) -> bool {
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        name == METRICS || OWN_FILES.contains(&name) || name.ends_with(".svg")
    }

    /// Paths of the files of a run in a directory.
    pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
        OWN_FILES.iter().chain([&METRICS]).map(|name| path.join(name)).collect()
    }

    /// Whether `path` contains a run. A run that was killed before it wrote its configuration does not count.
    pub fn has_begun(path: &Path) -> bool {
        path.join(CONFIG).is_file()
    }

    /// Opens an existing run.
    ///
    /// # Errors
    /// Where it is not a run, its metrics are gone, or another process is using it.
    pub fn open(path: &Path) -> Result<Self> {
        if !RunDirectory::has_begun(path) {
            let message = format!("is not a run: it has no {CONFIG}");
            return Err(Error::input(format!("`resume` {}", path.display()), message));
        }
        let metrics = path.join(METRICS);
        if !metrics.exists() {
            let message = "is gone, and the run cannot be continued without it; put it back";
            return Err(Error::file(&metrics, message));
        }
        Ok(RunDirectory { path: path.to_owned(), metrics: Metrics::open(&metrics)? })
    }

    /// Whether the run has a checkpoint to continue from. A run that was killed before its first checkpoint has none, and
    /// starts from the beginning; it has no metrics and no other model either. `advice` says what can be done with the
    /// best epoch's model of a run that has lost its checkpoint.
    ///
    /// # Errors
    /// Where the checkpoint, or the best model that it counts on, is lost.
    pub(crate) fn has_checkpoint(&mut self, advice: &str) -> Result<bool> {
        let [last, best] = [LAST, BEST].map(|name| self.path.join(name));
        if last.exists() {
            return Ok(true);
        }
        let is_link = last.symlink_metadata().is_ok();
        if !is_link && !best.exists() && self.metrics.is_empty()? {
            return Ok(false);
        }
        let what = if is_link { "is a link to a file that is gone" } else { "is gone" };
        let advice = match best.is_file() {
            true => format!("put it back, or {advice}"),
            false => "put it back, or start a new run".into(),
        };
        Err(Error::file(
            &last,
            format!("{what}, and the run cannot be continued without it; {advice}"),
        ))
    }

    /// Replaces `config.toml`.
    pub(crate) fn write_config(&self, config: &str) -> Result<()> {
        replace(&self.path.join(CONFIG), config.as_bytes())
    }

    /// An error about a key of `config.toml`.
    pub(crate) fn error_in_config(&self, key: &str, message: String) -> Error {
        Error::input(format!("key '{key}' in {}", self.path.join(CONFIG).display()), message)
    }

    /// The text and the path of an existing run's `config.toml`.
    pub(crate) fn config_text(path: &Path) -> Result<(String, PathBuf)> {
        let file = path.join(CONFIG);
        let text = file::read_text(&file).map_err(|error| {
            Error::input(path.display(), format!("is not a run: {CONFIG}: {error}"))
        })?;
        Ok((text, file))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the last checkpoint, from which a run continues.
    pub fn last(path: &Path) -> PathBuf {
        path.join(LAST)
    }

    /// Path of the best epoch's model.
    pub fn best(path: &Path) -> PathBuf {
        path.join(BEST)
    }

    /// Path of the metrics.
    pub fn metrics_file(path: &Path) -> PathBuf {
        path.join(METRICS)
    }

    pub(crate) fn metrics(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// Replaces the last checkpoint, once the metrics lines that it counts are on the disk.
    pub(crate) fn write_last(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.metrics.sync()?;
        checkpoint.write(&RunDirectory::last(&self.path))
    }

    /// Replaces the best epoch's model.
    pub(crate) fn write_best(&self, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.write(&RunDirectory::best(&self.path))
    }

    /// Checks that the best epoch's model is there and of this run, if there has been a best epoch. Returns a remark on a file
    /// that is not as it was written.
    ///
    /// # Errors
    /// Where it is gone, cannot be read, or is of another run than `last`.
    pub(crate) fn check_best(&self, last: &Record) -> Result<Option<String>> {
        let Some(epoch) = last.progress.best_epoch else { return Ok(None) };
        let best = RunDirectory::best(&self.path);
        if !best.is_file() {
            let message = format!(
                "is gone, and with it the best model, of epoch {epoch}; put it back, or start a new run"
            );
            return Err(Error::file(&best, message));
        }
        let checkpoint = Checkpoint::read(&best)?;
        if !checkpoint.record.is_best_of(last) {
            let message = format!(
                "is not the best model of this run, which is of epoch {epoch}: its model, its settings or its epoch differ from \
                 those of last.safetensors; put the run's own back, or start a new run"
            );
            return Err(Error::file(&best, message));
        }
        Ok(checkpoint.note_of_alteration(&best))
    }

    /// Checks that the copy of the best whole epoch's model is there, to which a run goes back if it is given more steps.
    ///
    /// # Errors
    /// Where it is gone or cannot be read.
    pub(crate) fn check_best_whole(&self, epoch: u64) -> Result<()> {
        let path = self.path.join(BEST_WHOLE);
        if !path.is_file() {
            let message = format!(
                "is gone; with more steps, the run goes back to this model of its best whole epoch, {epoch}: put it back, or \
                 start a new run"
            );
            return Err(Error::file(&path, message));
        }
        Checkpoint::read(&path).map(drop)
    }

    /// Copies the best whole epoch's model before an unfinished epoch's model replaces it.
    pub(crate) fn keep_best(&self) -> Result<()> {
        let path = RunDirectory::best(&self.path);
        let bytes = file::read(&path);
        let bytes =
            bytes.map_err(|error| Error::file(&path, format!("cannot be read: {error}")))?;
        replace(&self.path.join(BEST_WHOLE), &bytes)
    }

    /// The copy made by [`RunDirectory::keep_best`], if there is one.
    pub(crate) fn best_before_part(&self) -> Result<Option<Checkpoint>> {
        let path = self.path.join(BEST_WHOLE);
        path.exists().then(|| Checkpoint::read(&path)).transpose()
    }

    /// Moves the copy back to its place.
    pub(crate) fn restore_best(&self) -> Result<()> {
        let (copy, best) = (self.path.join(BEST_WHOLE), RunDirectory::best(&self.path));
        match operation(|| fs::rename(copy, &best)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::write(&best, error))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a run that was killed before it wrote its configuration leaves such a file.
fn is_unstarted(entry: &fs::DirEntry) -> bool {
    let is_empty = || entry.metadata().is_ok_and(|metadata| metadata.len() == 0);
    match entry.file_name().to_str() {
        Some(METRICS) => is_empty(),
        Some(name) => name.strip_suffix(".tmp") == Some(CONFIG),
        None => false,
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::input(format!("`out` {}", path.display()), format!("cannot be written: {error}"))
}

/// Folders created for a new run. They are removed again if it cannot start.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Creates a folder and its missing parents.
    fn folders(&mut self, path: &Path) -> Result<()> {
        let missing =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        for folder in missing.collect::<Vec<_>>().into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => self.add(folder),
                // The path is `a/..` without an `a`, or another process was faster.
                Err(_) if folder.is_dir() => {}
                Err(error) => return Err(cannot_write(path, &error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &Path) {
        self.0.push(folder.to_owned());
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // A folder that is no longer empty belongs to another process.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn next_free(name: &str, made: &mut Made) -> Result<PathBuf> {
    let runs = Path::new(RUNS);
    made.folders(runs)?;
    for number in 1_u64.. {
        let path = runs.join(format!("{name}-{number}"));
        match fs::create_dir(&path) {
            Ok(()) => {
                made.add(&path);
                return Ok(path);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_write(&path, &error)),
        }
    }
    unreachable!("some number below 2^64 is free")
}
