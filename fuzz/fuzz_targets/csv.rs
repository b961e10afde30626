//! Any bytes as a CSV: an error, or inputs and targets that agree with its columns, never a panic. A model that was trained on
//! it reads the same inputs.
#![no_main]

use std::path::Path;

use alrao::data::{Inputs, LoadOptions, Missing, Part, TableOptions, csv};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for missing in [Missing::Refuse, Missing::Mean] {
        let target = Some("1".into());
        let table = TableOptions { target, missing, ..TableOptions::default() };
        let options = LoadOptions { table, ..LoadOptions::default() };
        let Ok(arrays) = csv::parse(bytes.to_vec(), Path::new("fuzzed.csv"), &options) else {
            continue;
        };
        let inputs = arrays.table.as_ref().expect("a CSV is a table").inputs();
        for split in [Part::Train, Part::Valid].iter().filter_map(|part| arrays.part(*part)) {
            let Inputs::Floats(floats) = &split.inputs else { panic!("a CSV has floats") };
            assert_eq!(floats.len(), split.len() * inputs);
            assert!(floats.iter().all(|float| float.is_finite()));
        }
        let known = arrays.table.as_deref().cloned();
        let table = TableOptions { known, missing, ..TableOptions::default() };
        let options = LoadOptions { table, ..LoadOptions::default() };
        let again = csv::parse(bytes.to_vec(), Path::new("again.csv"), &options);
        assert_eq!(again.expect("the same columns").train.inputs, arrays.train.inputs);
    }
});
