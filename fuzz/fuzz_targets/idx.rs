//! Any bytes as one of MNIST's files: an error, or as many bytes as the header says, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::idx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed");
    if let Ok((sample, pixels)) = idx::images(bytes, path) {
        assert!(!pixels.is_empty() && pixels.len() % sample.elements() == 0);
    }
    if let Ok(labels) = idx::labels(bytes, path) {
        assert!(!labels.is_empty() && labels.iter().all(|label| (0..256).contains(label)));
    }
});
