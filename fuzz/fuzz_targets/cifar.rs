//! Any bytes as a file of CIFAR-10 or CIFAR-100: an error or whole samples, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::{Targets, cifar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (variant, record, classes) in
        [(cifar::Variant::Ten, 3073, 10), (cifar::Variant::Hundred, 3074, 100)]
    {
        if let Ok(split) = cifar::parse(bytes, Path::new("fuzzed.bin"), variant) {
            assert_eq!(split.len(), bytes.len() / record);
            assert_eq!(split.inputs.elements(), split.len() * 3072);
            let Targets::Classes(labels) = &split.targets else { panic!("no classes") };
            assert!(labels.iter().all(|label| (0..classes).contains(label)));
        }
    }
});
