//! Files that are no images after all: found at the start and left out, or found while a model is trained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::shown;
use crate::error::{Error, Result};

/// So many broken files are left out in any data set.
const FEW: usize = 10;

/// Broken files that a message names.
const NAMED: usize = 10;

/// A file that is no image.
#[derive(Clone, Debug)]
pub(in crate::data) struct Broken {
    /// From the data set's folder on.
    pub path: PathBuf,
    pub reason: String,
}

impl Broken {
    pub fn line(&self, root: &Path) -> String {
        format!("{}: {}", shown(root, &self.path), self.reason)
    }
}

/// What was left out when the data set was opened.
#[derive(Debug, Default)]
pub(in crate::data) struct Left {
    /// Files with an image's ending, the broken ones included.
    pub found: usize,
    pub broken: Vec<Broken>,
    /// Classes' folders without a single image, from the data set's folder on.
    pub empty: Vec<PathBuf>,
}

impl Left {
    /// Whether so many broken files are more than a data set may have: more than ten, and more than 1 % of all.
    fn has_too_many(&self, broken: usize) -> bool {
        broken > FEW && broken * 100 > self.found
    }

    fn count(&self, broken: usize) -> String {
        format!("{broken} of {} images are broken", self.found)
    }

    /// # Errors
    /// Where too many files are broken, naming the first.
    pub fn check(&self, root: &Path) -> Result<()> {
        if !self.has_too_many(self.broken.len()) {
            return Ok(());
        }
        let first = named(self.broken.iter(), root);
        let message = format!(
            "{}, more than 1 % of them; remove or mend them. The first: {}",
            self.count(self.broken.len()),
            first.join("; ")
        );
        Err(Error::file(root, message))
    }

    /// How many are left out, if some are.
    pub fn told(&self) -> Option<String> {
        let broken = self.broken.len();
        (broken > 0).then(|| format!("{} and left out", self.count(broken)))
    }

    /// Lines for people: how many are left out and the first of them, and the classes without images.
    pub fn notes(&self, root: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(told) = self.told() {
            notes.push(format!("{told}:"));
            notes.extend(
                named(self.broken.iter(), root).into_iter().map(|line| format!("  {line}")),
            );
            notes.extend(unnamed(self.broken.len()));
        }
        let empty = self.empty.iter().take(NAMED);
        notes.extend(empty.map(|folder| format!("{} has no images", shown(root, folder))));
        notes.extend(unnamed(self.empty.len()));
        notes
    }
}

fn named<'a>(broken: impl Iterator<Item = &'a Broken>, root: &Path) -> Vec<String> {
    broken.take(NAMED).map(|broken| broken.line(root)).collect()
}

fn unnamed(count: usize) -> Option<String> {
    (count > NAMED).then(|| format!("  and {} more", count - NAMED))
}

/// What goes wrong while images are decoded.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Reasons, by file: told in the same order whichever thread found them.
    damaged: BTreeMap<PathBuf, String>,
    /// Those of them that have not been told yet.
    news: BTreeMap<PathBuf, String>,
    unreadable: Option<Broken>,
}

impl Trouble {
    /// Notes a file that cannot be decoded.
    pub fn damaged(&mut self, broken: Broken) {
        let Broken { path, reason } = broken;
        if self.damaged.insert(path.clone(), reason.clone()).is_none() {
            self.news.insert(path, reason);
        }
    }

    /// Notes a file that is not there any more.
    pub fn unreadable(&mut self, broken: Broken) {
        self.unreadable.get_or_insert(broken);
    }

    pub fn take_news(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.news)
            .into_iter()
            .map(|(path, reason)| Broken { path, reason })
            .collect()
    }

    pub fn check(&self, root: &Path, left: &Left) -> Result<()> {
        if let Some(Broken { path, reason }) = &self.unreadable {
            return Err(Error::data(&root.join(path), reason.clone()));
        }
        let broken = left.broken.len() + self.damaged.len();
        // Those that were left out have been told, and were few enough.
        if self.damaged.is_empty() || !left.has_too_many(broken) {
            return Ok(());
        }
        let damaged = self.damaged.iter().take(NAMED);
        let lines: Vec<String> =
            damaged.map(|(path, reason)| format!("{}: {reason}", shown(root, path))).collect();
        let message = format!(
            "{}, more than 1 % of them; remove or mend them. Found while decoding: {}",
            left.count(broken),
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

    fn left(found: usize, count: usize) -> Left {
        Left { found, broken: (0..count).map(broken).collect(), empty: Vec::new() }
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
            assert_eq!(left(found, count).check(root).is_ok(), is_right, "{count} of {found}");
        }
        let error = left(20, 12).check(root).unwrap_err().to_string();
        assert!(error.starts_with("data: 12 of 20 images are broken"), "{error}");
        assert!(error.contains("data/train/a/009.jpg: is empty") && !error.contains("010.jpg"));
        let notes = left(2000, 12).notes(root);
        assert_eq!((notes.len(), notes[11].as_str()), (12, "  and 2 more"));
    }

    #[test]
    fn what_turns_out_broken_is_told_once_and_counted() {
        let (root, left) = (Path::new("data"), left(100, 1));
        let mut trouble = Trouble::default();
        for number in [7, 5, 7, 6] {
            trouble.damaged(broken(number));
        }
        let news: Vec<String> = trouble.take_news().iter().map(|own| own.line(root)).collect();
        assert!(news[0].contains("005.jpg") && news[2].contains("007.jpg") && news.len() == 3);
        trouble.damaged(broken(5));
        assert!(trouble.take_news().is_empty() && trouble.check(root, &left).is_ok());
        (10..17).for_each(|number| trouble.damaged(broken(number)));
        let error = trouble.check(root, &left).unwrap_err();
        assert!(error.to_string().starts_with("data: 11 of 100 images are broken"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
