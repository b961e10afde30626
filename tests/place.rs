//! Where tests find what they need: in the source tree, or in a folder that was carried to another machine.

use std::path::PathBuf;

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
