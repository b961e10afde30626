//! Any bytes as the checkpoint of a run that is resumed: an error or a run that can go on, never a panic.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use alrao::Device;
use alrao::supervised::Run;
use alrao::supervised::settings::Settings;
use libfuzzer_sys::fuzz_target;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");

/// A run's directory of this process.
static RUN: LazyLock<PathBuf> = LazyLock::new(|| {
    let run = std::env::temp_dir().join(format!("alrao-fuzz-resume-{}", std::process::id()));
    fs::create_dir_all(&run).expect("a temporary folder");
    run
});

fuzz_target!(|bytes: &[u8]| {
    let from = Path::new(FIXTURES).join("classes");
    for name in ["config.toml", "metrics.jsonl"] {
        fs::copy(from.join(name), RUN.join(name)).expect("the fixture can be copied");
    }
    fs::write(RUN.join("last.safetensors"), bytes).expect("a temporary file");
    let data = format!("{FIXTURES}/classes.safetensors");
    let _ = Run::resume(&RUN, &Settings::default(), Some(&data), &Device::cpu());
});
