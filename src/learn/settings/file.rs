//! Settings as TOML.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::Settings;
use crate::error::{Error, Result};

/// Flags that a file cannot set: they say where, not what.
const FLAGS_ONLY: &[&str] = &["out", "resume", "config", "quiet"];

impl Settings {
    /// Reads a TOML file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file, the line and the key: text that is no TOML, an unknown key, a value of a wrong
    /// type.
    pub fn from_toml(text: &str, path: &Path) -> Result<Settings> {
        let settings: Settings = parse(text, path, Settings::KEYS, "alrao train")?;
        Ok(settings.read_from(path))
    }

    /// As TOML, one key a line.
    pub fn to_toml(&self) -> String {
        to_toml(self)
    }
}

/// Settings as TOML, one key a line.
pub(crate) fn to_toml(settings: &impl Serialize) -> String {
    toml::to_string(settings).expect("numbers, texts and lists of numbers can be written as TOML")
}

/// Reads settings from a TOML file's text in which no key but `keys` may stand; `command` is whose they are.
pub(crate) fn parse<S: DeserializeOwned>(
    text: &str,
    path: &Path,
    keys: &[&'static str],
    command: &str,
) -> Result<S> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line(text, span.start));
        Error::file(path, format!("line {line}: {}", one_line(error.message())))
    })?;
    let written = || table.get_ref().iter();
    if let Some((key, _)) = written().find(|(key, _)| !keys.contains(&&**key.get_ref())) {
        let line = line(text, key.span().start);
        return Err(unknown_key((key.get_ref(), line), path, keys, command));
    }
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let key = written()
            // A table's span begins before its key, with the bracket.
            .filter(|(key, _)| line(text, key.span().start) <= line(text, start))
            .max_by_key(|(key, _)| key.span().start);
        let message = format!("line {}: {}", line(text, start), one_line(error.message()));
        match key {
            Some((key, _)) => Error::input(subject(key.get_ref(), path), message),
            None => Error::file(path, message),
        }
    })
}

fn subject(key: &str, path: &Path) -> String {
    format!("key '{}' in {}", one_line(key), path.display())
}

fn unknown_key(
    (key, line): (&str, usize),
    path: &Path,
    keys: &[&'static str],
    command: &str,
) -> Error {
    let advice = if FLAGS_ONLY.contains(&key) {
        format!("is a flag only: give {} on the command line", super::flag(key))
    } else {
        match nearest(key, keys) {
            Some(near) => format!("there is no such key; did you mean '{near}'?"),
            None => format!(
                "there is no such key; {command} --help lists the flags, whose names they have"
            ),
        }
    };
    Error::input(subject(key, path), format!("line {line}: {advice}"))
}

/// The key that takes the fewest changes to reach, if that is few for its length.
fn nearest(wrong: &str, keys: &[&'static str]) -> Option<&'static str> {
    let wrong = wrong.replace('-', "_").to_lowercase();
    let distances = keys.iter().map(|&key| (distance(&wrong, key), key));
    distances.min().filter(|&(changes, key)| changes <= key.len().div_ceil(3)).map(|(_, key)| key)
}

/// Levenshtein's distance: characters to add, drop or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in b.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The number of the line that a byte is in, from 1.
fn line(text: &str, byte: usize) -> usize {
    1 + text.as_bytes().iter().take(byte).filter(|&&byte| byte == b'\n').count()
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

/// A list of whole numbers, or a text such as `"256,256"`.
pub(crate) fn hidden<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Vec<usize>>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "expected a list of layer widths such as [256, 256], or \"256,256\""
    )]
    enum Hidden {
        List(Vec<usize>),
        Text(String),
    }
    match serde::Deserialize::deserialize(deserializer)? {
        Hidden::List(layers) => Ok(Some(layers)),
        Hidden::Text(text) => {
            super::hidden_layers(&text).map(Some).map_err(serde::de::Error::custom)
        }
    }
}

/// A choice as its name.
pub(crate) mod named {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::error::Error;

    pub fn serialize<T: Display, S: Serializer>(
        choice: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match choice {
            Some(choice) => serializer.collect_str(choice),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err = Error>,
        D: Deserializer<'de>,
    {
        let name = String::deserialize(deserializer)?;
        name.parse().map(Some).map_err(|error| match error {
            Error::Input { message, .. } => serde::de::Error::custom(message),
            other => serde::de::Error::custom(other),
        })
    }
}
