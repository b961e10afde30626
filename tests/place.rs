//! Where tests find what they need: in the source tree, or in a folder that was carried to another machine.

use std::path::PathBuf;
use std::process::Command;

use alrao::{Device, DeviceKind};

/// The program; `ALRAO_PROGRAM` where the tests were carried.
#[cfg(feature = "cli")]
pub(crate) fn program() -> PathBuf {
    std::env::var_os("ALRAO_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_alrao").into()).into()
}

/// The folder with `src` and `tests`; `ALRAO_SOURCE` where the tests were carried.
pub(crate) fn source() -> PathBuf {
    std::env::var_os("ALRAO_SOURCE").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// The GPU; `None`, and a word about it, where there is none to be used. `ALRAO_REQUIRE_CUDA=1` makes that a failure.
pub(crate) fn gpu() -> Option<Device> {
    match Device::open(DeviceKind::Cuda(0)) {
        Ok(device) => Some(device),
        Err(error) if std::env::var("ALRAO_REQUIRE_CUDA").is_ok_and(|value| value != "0") => {
            panic!("ALRAO_REQUIRE_CUDA is set: {error}")
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// Python, `ALRAO_PYTHON` or else `python3`, that has these modules; `None`, and a word about it, where there is none. The variable
/// `required` makes that a failure.
pub(crate) fn python_with(modules: &str, required: &str) -> Option<Command> {
    let program = std::env::var("ALRAO_PYTHON").ok().filter(|program| !program.is_empty());
    let program = program.unwrap_or_else(|| "python3".into());
    let output = Command::new(&program).args(["-c", &format!("import {modules}")]).output();
    let missing = match output {
        Ok(output) if output.status.success() => return Some(Command::new(program)),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let is_required = std::env::var(required).is_ok_and(|value| value != "0");
    assert!(!is_required, "{required} is set: {program}: {missing}");
    eprintln!("skipped: {program} cannot import {modules}");
    None
}
