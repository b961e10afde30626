//! Settings as TOML.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use crate::error::{Error, Result};

/// Flags of the command line that a file cannot set.
const FLAGS_ONLY: &[&str] = &["out", "resume", "config", "quiet"];

/// Settings as TOML, one key per line.
pub(super) fn to_toml(settings: &impl Serialize) -> String {
    toml::to_string(settings).expect("numbers, texts and lists of numbers can be written as TOML")
}

/// Refuses text that is not TOML, and keys other than `keys` and `notes`.
pub(super) fn check_keys(
    text: &str,
    path: &Path,
    keys: &[&'static str],
    notes: &[&str],
) -> Result<()> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().unwrap_or_default();
        let line = line(text, place.start);
        match text.get(place).filter(|_| error.message().contains("duplicate key")) {
            Some(key) => {
                let message = format!("line {line}: there is one before it; leave one out");
                Error::input(subject(key.trim_matches(['"', '\'']), path), message)
            }
            None => Error::file(path, format!("line {line}: {}", plain(error.message()))),
        }
    })?;
    let mut written = table.get_ref().iter();
    let is_known = |key: &str| keys.contains(&key) || notes.contains(&key);
    match written.find(|(key, _)| !is_known(key.get_ref())) {
        Some((key, _)) => {
            let line = line(text, key.span().start);
            Err(unknown_key((key.get_ref(), line), path, keys))
        }
        None => Ok(()),
    }
}

/// Reads a group of settings from a TOML file's text and ignores its other keys.
pub(crate) fn parse<S: DeserializeOwned>(text: &str, path: &Path) -> Result<S> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let message = format!("line {}: {}", line(text, start), plain(error.message()));
        let table = DeTable::parse(text).ok();
        let keys = table.iter().flat_map(|table| table.get_ref().keys());
        // A table's span begins at its bracket, before its key.
        let before = keys.filter(|key| line(text, key.span().start) <= line(text, start));
        match before.max_by_key(|key| key.span().start) {
            Some(key) => Error::input(subject(key.get_ref(), path), message),
            None => Error::file(path, message),
        }
    })
}

fn subject(key: &str, path: &Path) -> String {
    format!("key '{}' in {}", one_line(key), path.display())
}

fn unknown_key((key, line): (&str, usize), path: &Path, keys: &[&'static str]) -> Error {
    let advice = match nearest(key, keys) {
        _ if FLAGS_ONLY.contains(&key) => {
            format!("is a flag only: give `{key}` on the command line")
        }
        Some(near) => format!("there is no such key; did you mean '{near}'?"),
        None => format!("there is no such key; the keys are {}", keys.join(", ")),
    };
    Error::input(subject(key, path), format!("line {line}: {advice}"))
}

/// The key with the fewest differences from `wrong`, if they are few for its length.
fn nearest(wrong: &str, keys: &[&'static str]) -> Option<&'static str> {
    let wrong = wrong.replace('-', "_").to_lowercase();
    let distances = keys.iter().map(|&key| (strsim::levenshtein(&wrong, key), key));
    distances.min().filter(|&(changes, key)| changes <= key.len().div_ceil(3)).map(|(_, key)| key)
}

/// The line number of a byte, from 1.
fn line(text: &str, byte: usize) -> usize {
    1 + text.as_bytes().iter().take(byte).filter(|&&byte| byte == b'\n').count()
}

/// TOML's message without Rust's names of types, and without backticks, which the command line would take for a setting's.
fn plain(message: &str) -> String {
    let mut message = one_line(message).replace('`', "'");
    for (rust, plain) in [
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected f64", "expected a number"),
        (" as i128", ""),
    ] {
        message = message.replace(rust, plain);
    }
    message
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}
