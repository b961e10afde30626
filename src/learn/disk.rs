//! The operations on a run's files. Any of them may fail, and a test makes each one fail once.

use std::io;

/// Does an operation on a file.
pub(super) fn operation<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    failing::count()?;
    work()
}

/// Lets an operation of this thread fail.
#[cfg(test)]
pub(crate) mod failing {
    use std::cell::Cell;
    use std::io;
    use std::path::Path;

    use crate::error::{Error, Result};

    thread_local! {
        /// Operations until the one that fails; `None` if none is to fail.
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Lets this thread's operation of this number fail, counted from 0 from now on.
    pub(crate) fn fail_at(number: usize) {
        LEFT.set(Some(number));
    }

    pub(super) fn count() -> io::Result<()> {
        let left = LEFT.get();
        LEFT.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Trains runs by `train`, which begins or continues the run in a directory and stops after `phase` 0 or 1. In each run
    /// one operation fails, another one each time, and the run goes on where it can. Whichever it is, the run ends with the
    /// files of a run without failures.
    pub(crate) fn assert_no_failure_loses_anything(train: &dyn Fn(&Path, usize) -> Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole");
        [0, 1].iter().for_each(|phase| train(&whole, *phase).unwrap());
        for number in 0.. {
            let run = folder.path().join(number.to_string());
            LEFT.set(Some(number));
            let mut has_failed = false;
            for phase in [0, 1] {
                while let Err(error) = train(&run, phase) {
                    assert!(!has_failed, "{number}: {error}");
                    has_failed = true;
                    // At the start nothing is left behind.
                    let is_start = matches!(error, Error::Input { .. }) && !run.exists();
                    assert!(is_start || matches!(error, Error::Write { .. }), "{number}: {error}");
                }
            }
            assert_eq!(contents(&run), contents(&whole), "operation {number}");
            if !has_failed {
                assert!(LEFT.take().is_some(), "the failure of operation {number} was ignored");
                assert!(number > 40, "only {number} operations");
                return;
            }
        }
    }

    /// The names of a run's files and their contents, without those that depend on time or place.
    fn contents(run: &Path) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
        let mut contents: Vec<_> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let bytes = std::fs::read(path).unwrap();
                let bytes = if name.ends_with(".jsonl") { timeless(&bytes) } else { bytes };
                (name, bytes)
            })
            .collect();
        contents.sort();
        contents
    }

    fn timeless(metrics: &[u8]) -> Vec<u8> {
        let lines = std::str::from_utf8(metrics).unwrap().lines().map(|line| {
            let mut line: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).unwrap();
            line.retain(|key, _| key != "seconds" && !key.ends_with("_per_second"));
            serde_json::to_string(&line).unwrap()
        });
        lines.collect::<Vec<_>>().join("\n").into_bytes()
    }
}
