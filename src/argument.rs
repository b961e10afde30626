//! How the command line reads a value: one parser for each type, in every command.

use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{
    BoolValueParser, PathBufValueParser, PossibleValue, PossibleValuesParser, StringValueParser,
    TypedValueParser,
};
use clap::{Arg, Command};

use crate::error::Error;

/// A type that a flag can have.
pub trait Argument: Sized + Clone + Send + Sync + 'static {
    /// Reads a value from a flag's text.
    fn parser() -> impl TypedValueParser<Value = Self>;
}

/// One of several names, which help and completions list.
pub fn choice<T>(all: &'static [T]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = Error> + Display + Clone + Send + Sync + 'static,
{
    let names = all.iter().map(|choice| &*choice.to_string().leak());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// A value by its `FromStr`; help and completions list some of its texts.
pub(crate) fn examples<T>(texts: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = Error> + Clone + Send + Sync + 'static,
{
    Examples { texts, read: message::<T> }
}

#[derive(Clone)]
struct Examples<T> {
    texts: &'static [&'static str],
    read: fn(&str) -> Result<T, String>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Examples<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.texts.iter().map(PossibleValue::new)))
    }
}

/// A whole number without a sign.
///
/// # Errors
/// A message for the user.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().map_err(|_| match is_whole {
        true => "the number is too large".into(),
        false => "a whole number is wanted, without a sign".into(),
    })
}

/// Any number. Its range is checked later, since it may come from a file too.
///
/// # Errors
/// A message for the user.
pub fn real(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "a number is wanted, such as 0.01 or 1e-5".into())
}

/// A value by its `FromStr`. The message leaves out the field, since clap names the flag.
///
/// # Errors
/// A message for the user.
pub fn message<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| match error {
        Error::Input { message, .. } => message,
        other => other.to_string(),
    })
}

macro_rules! argument {
    ($($type:ty => $parser:expr),* $(,)?) => {
        $(impl Argument for $type {
            fn parser() -> impl TypedValueParser<Value = Self> {
                $parser
            }
        })*
    };
}
argument! {
    f64 => real,
    usize => whole::<usize>,
    u64 => whole::<u64>,
    bool => BoolValueParser::new(),
    String => StringValueParser::new(),
    PathBuf => PathBufValueParser::new(),
}
