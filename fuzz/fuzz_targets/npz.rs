//! Any bytes as an archive of NumPy's arrays: an error, or inputs as many as the samples need, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::{LoadOptions, Part, numpy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let options = LoadOptions::default();
    let Ok(arrays) = numpy::parse(bytes, Path::new("fuzzed.npz"), &options) else { return };
    for part in [Part::Train, Part::Valid, Part::Test] {
        let Some(split) = arrays.part(part) else { continue };
        assert_eq!(split.inputs.elements(), split.len() * arrays.sample.elements());
    }
});
