//! Broken image files: those found and left out at the start, and those found later, during training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::others::Others;
use super::shown;
use crate::error::{Error, Result};

/// Broken files that even the smallest data set may have.
const FEW: usize = 10;

/// The most broken files that a message names.
const NAMED: usize = 10;

/// A broken image file.
#[derive(Clone, Debug)]
pub(in crate::data) struct Broken {
    /// Relative to the data set's folder.
    pub path: PathBuf,
    pub reason: String,
}

impl Broken {
    pub fn line(&self, root: &Path) -> String {
        format!("{}: {}", shown(root, &self.path), self.reason)
    }
}

/// The files and classes that were left out when the data set was opened.
#[derive(Debug, Default)]
pub(in crate::data) struct LeftOut {
    /// Number of files with an image's extension, the broken ones included.
    pub found: usize,
    pub broken: Vec<Broken>,
    /// Folders of classes without images, relative to the data set's folder.
    pub empty: Vec<PathBuf>,
    /// Files that are not decoded.
    pub others: Others,
}

impl LeftOut {
    /// Whether this many broken files are too many: more than ten, and more than 1 % of all.
    fn has_too_many(&self, broken: usize) -> bool {
        broken > FEW && broken * 100 > self.found
    }

    fn count(&self, broken: usize) -> String {
        format!("{broken} of {} images are broken", self.found)
    }

    /// # Errors
    /// If too many files are broken; the message names the first.
    pub fn check(&self, root: &Path) -> Result<()> {
        if !self.has_too_many(self.broken.len()) {
            return Ok(());
        }
        let first = named(self.broken.iter(), root);
        let message = format!(
            "{}, more than 1 % of them; remove or repair them. The first: {}",
            self.count(self.broken.len()),
            first.join("; ")
        );
        Err(Error::file(root, message))
    }

    /// How many files are left out; `None` if there are none.
    pub fn summary(&self) -> Option<String> {
        let broken = self.broken.len();
        (broken > 0).then(|| format!("{} and left out", self.count(broken)))
    }

    /// Lines for a message: how many files are broken, the first of them, the classes without images, and the kinds of
    /// files that are not decoded.
    pub fn notes(&self, root: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(summary) = self.summary() {
            notes.push(format!("{summary}:"));
            notes.extend(
                named(self.broken.iter(), root).into_iter().map(|line| format!("  {line}")),
            );
            notes.extend(unnamed(self.broken.len()));
        }
        let empty = self.empty.iter().take(NAMED);
        notes.extend(empty.map(|folder| format!("{} has no images", shown(root, folder))));
        notes.extend(unnamed(self.empty.len()));
        notes.extend(self.others.notes());
        notes
    }
}

fn named<'a>(broken: impl Iterator<Item = &'a Broken>, root: &Path) -> Vec<String> {
    broken.take(NAMED).map(|broken| broken.line(root)).collect()
}

fn unnamed(count: usize) -> Option<String> {
    (count > NAMED).then(|| format!("  and {} more", count - NAMED))
}

/// The failures while images are decoded.
#[derive(Debug, Default)]
pub(super) struct DecodeFailures {
    /// Reasons by file, so that the order of a report does not depend on the threads.
    damaged: BTreeMap<PathBuf, String>,
    /// The damaged files that have not been reported yet.
    unreported: BTreeMap<PathBuf, String>,
    unreadable: Option<Broken>,
}

impl DecodeFailures {
    /// Adds a file that cannot be decoded.
    pub fn damaged(&mut self, broken: Broken) {
        let Broken { path, reason } = broken;
        if self.damaged.insert(path.clone(), reason.clone()).is_none() {
            self.unreported.insert(path, reason);
        }
    }

    /// Adds a file that can no longer be read.
    pub fn unreadable(&mut self, broken: Broken) {
        self.unreadable.get_or_insert(broken);
    }

    pub fn take_unreported(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.unreported)
            .into_iter()
            .map(|(path, reason)| Broken { path, reason })
            .collect()
    }

    pub fn check(&self, root: &Path, left_out: &LeftOut) -> Result<()> {
        if let Some(Broken { path, reason }) = &self.unreadable {
            return Err(Error::data(&root.join(path), reason.clone()));
        }
        let broken = left_out.broken.len() + self.damaged.len();
        // The files that were left out at the start have been reported, and were few enough.
        if self.damaged.is_empty() || !left_out.has_too_many(broken) {
            return Ok(());
        }
        let damaged = self.damaged.iter().take(NAMED);
        let lines: Vec<String> =
            damaged.map(|(path, reason)| format!("{}: {reason}", shown(root, path))).collect();
        let message = format!(
            "{}, more than 1 % of them; remove or repair them. Found while decoding: {}",
            left_out.count(broken),
            lines.join("; ")
        );
        Err(Error::data(root, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(number: usize) -> Broken {
        Broken { path: format!("train/a/{number:03}.jpg").into(), reason: "is empty".into() }
    }

    fn left_out(found: usize, count: usize) -> LeftOut {
        LeftOut { found, broken: (0..count).map(broken).collect(), ..LeftOut::default() }
    }

    #[test]
    fn ten_or_one_in_a_hundred_are_left_out() {
        let root = Path::new("data");
        for (found, count, is_right) in [
            (20, 10, true),
            (20, 11, false),
            (2000, 20, true),
            (2000, 21, false),
            (1099, 11, false),
        ] {
            assert_eq!(left_out(found, count).check(root).is_ok(), is_right, "{count} of {found}");
        }
        let error = left_out(20, 12).check(root).unwrap_err().to_string();
        assert!(error.starts_with("data: 12 of 20 images are broken"), "{error}");
        assert!(error.contains("data/train/a/009.jpg: is empty") && !error.contains("010.jpg"));
        let notes = left_out(2000, 12).notes(root);
        assert_eq!((notes.len(), notes[11].as_str()), (12, "  and 2 more"));
    }

    #[test]
    fn what_turns_out_broken_is_told_once_and_counted() {
        let (root, left_out) = (Path::new("data"), left_out(100, 1));
        let mut failures = DecodeFailures::default();
        for number in [7, 5, 7, 6] {
            failures.damaged(broken(number));
        }
        let news: Vec<String> =
            failures.take_unreported().iter().map(|own| own.line(root)).collect();
        assert!(news[0].contains("005.jpg") && news[2].contains("007.jpg") && news.len() == 3);
        failures.damaged(broken(5));
        assert!(failures.take_unreported().is_empty() && failures.check(root, &left_out).is_ok());
        (10..17).for_each(|number| failures.damaged(broken(number)));
        let error = failures.check(root, &left_out).unwrap_err();
        assert!(error.to_string().starts_with("data: 11 of 100 images are broken"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
