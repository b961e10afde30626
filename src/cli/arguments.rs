//! How flags are read, the same in every command.

use std::fmt::Display;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use alrao::device::{Device, DeviceKind};
use alrao::error::Error;

/// Where to run.
#[derive(Args, Clone, Debug)]
pub(super) struct DeviceArguments {
    /// Where to run; auto takes cuda if it can be opened, else cpu; simulator runs cuda's kernels on the cpu [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = choice(DEVICES), help_heading = "Device")]
    pub device: Option<DeviceKind>,
    /// Threads of the cpu or the simulator; results do not depend on them [default: all cores]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, help_heading = "Device")]
    pub threads: Option<usize>,
}

pub(super) const DEVICES: &[DeviceKind] =
    &[DeviceKind::Auto, DeviceKind::Cpu, DeviceKind::Cuda, DeviceKind::Simulator];

impl DeviceArguments {
    pub fn open(&self) -> anyhow::Result<Device> {
        if self.threads == Some(0) {
            return Err(Error::input("--threads", "0 is not possible; give at least 1").into());
        }
        Ok(Device::open_with_threads(self.device.unwrap_or_default(), self.threads)?)
    }
}

/// One of several names, which help and completions list.
pub(super) fn choice<T>(all: &'static [T]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = Error> + Display + Clone + Send + Sync + 'static,
{
    let names = all.iter().map(|choice| &*choice.to_string().leak());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

/// A number that counts something.
pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    let is_whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().map_err(|_| match is_whole {
        true => "the number is too large".into(),
        false => "a whole number is wanted, without a sign".into(),
    })
}

/// Any number; whether it makes sense is checked later, since it may come from a file too.
pub(super) fn real(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "a number is wanted, such as 0.01 or 1e-5".into())
}

/// What a `FromStr` of the library says, without the flag that clap names itself.
pub(super) fn message<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| match error {
        Error::Input { message, .. } => message,
        other => other.to_string(),
    })
}
