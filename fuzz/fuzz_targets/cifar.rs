//! Any bytes as a file of CIFAR-10: an error or whole samples, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::{Targets, cifar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(split) = cifar::parse(bytes, Path::new("fuzzed.bin")) {
        assert_eq!(split.len(), bytes.len() / 3073);
        assert_eq!(split.inputs.elements(), split.len() * 3072);
        let Targets::Classes(labels) = &split.targets else { panic!("no classes") };
        assert!(labels.iter().all(|label| (0..10).contains(label)));
    }
});
