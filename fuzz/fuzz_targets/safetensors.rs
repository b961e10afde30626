//! Any bytes as a safetensors file: an error or parts that agree with each other, never a panic.
#![no_main]

use std::path::Path;

use alrao::data::{LoadOptions, Part, Targets, Task, arrays};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(arrays) = arrays::parse(bytes, Path::new("fuzzed.safetensors"), &LoadOptions::default())
    else {
        return;
    };
    for split in
        [Part::Train, Part::Valid, Part::Test].into_iter().filter_map(|part| arrays.part(part))
    {
        assert!(!split.is_empty());
        assert_eq!(split.inputs.elements(), split.len() * arrays.sample.elements());
        match (&split.targets, arrays.task) {
            (Targets::Classes(labels), Task::Classification { classes }) => {
                assert!(labels.iter().all(|&label| (0..classes as i32).contains(&label)));
            }
            (Targets::Values { values, columns }, Task::Regression { outputs }) => {
                assert_eq!((*columns, values.len()), (outputs, split.len() * outputs));
            }
            _ => panic!("targets unlike the task"),
        }
    }
});
