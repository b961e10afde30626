//! The device that a user asks for.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which device a user asked for.
///
/// ```
/// use alrao::DeviceKind;
/// assert_eq!("cuda:1".parse::<DeviceKind>()?, DeviceKind::Cuda(1));
/// assert_eq!(DeviceKind::Cuda(0).to_string(), "cuda");
/// # Ok::<(), alrao::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The first NVIDIA GPU if it can be opened, else the CPU.
    #[default]
    Auto,
    /// The host's processor.
    Cpu,
    /// The NVIDIA GPU with this number, from 0, among those that `CUDA_VISIBLE_DEVICES` shows.
    Cuda(usize),
    /// The CUDA kernels, run on the host's processor.
    Simulator,
}

const SECOND: &str = "cuda:1";

impl DeviceKind {
    /// The names in help and completions.
    #[cfg(feature = "cli")]
    const NAMES: [&str; 5] = ["auto", "cpu", "cuda", SECOND, "simulator"];
}

impl FromStr for DeviceKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let number = || {
            let digits = name.strip_prefix("cuda:")?;
            let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_whole)
        };
        match name {
            "auto" => Ok(DeviceKind::Auto),
            "cpu" => Ok(DeviceKind::Cpu),
            "cuda" => Ok(DeviceKind::Cuda(0)),
            "simulator" => Ok(DeviceKind::Simulator),
            _ => number().map(DeviceKind::Cuda).ok_or_else(|| {
                let message = format!(
                    "there is no device '{name}'; give auto, cpu, simulator, cuda, or {SECOND} for the second GPU, and so on"
                );
                Error::field("device", message)
            }),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceKind::Auto => f.write_str("auto"),
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda(0) => f.write_str("cuda"),
            DeviceKind::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceKind::Simulator => f.write_str("simulator"),
        }
    }
}

crate::named::as_text!(DeviceKind);

#[cfg(feature = "cli")]
impl crate::argument::Argument for DeviceKind {
    fn parser() -> impl clap::builder::TypedValueParser<Value = Self> {
        crate::argument::examples(&DeviceKind::NAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let kinds = [DeviceKind::Auto, DeviceKind::Cpu, DeviceKind::Simulator];
        for kind in kinds.into_iter().chain([0, 1, 12].map(DeviceKind::Cuda)) {
            assert_eq!(kind.to_string().parse::<DeviceKind>().unwrap(), kind);
        }
        assert_eq!("cuda:0".parse::<DeviceKind>().unwrap(), DeviceKind::Cuda(0));
        for wrong in
            ["", "gpu", "cuda:", "cuda:x", "cuda:+1", "cuda:-1", "cuda:99999999999999999999"]
        {
            let error = wrong.parse::<DeviceKind>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{wrong}'")) && error.contains("cuda:1"), "{error}");
        }
    }
}
