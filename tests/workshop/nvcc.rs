//! The kernel files of the workshop as nvcc compiles them; needs nvcc in `NVCC`, `CUDA_HOME` or on the path.

use std::fs;
use std::path::Path;

use alrao::workshop::{EXERCISES, KernelFile, LADDERS, NvccKernel, compile_with_nvcc};

use crate::place::source;

/// Registers and shared memory of the ladders' kernels by nvcc 13.0.88; `ALRAO_WRITE_RESOURCES=1` writes it anew.
const PINNED: &str = "workshop/resources.txt";

/// A file's kernels; `None`, and a word about it, where there is no nvcc.
fn compiled(file: &KernelFile) -> Option<Vec<NvccKernel>> {
    let kernels = compile_with_nvcc(file).unwrap_or_else(|error| panic!("{error}"));
    if kernels.is_none() {
        assert!(std::env::var_os("NVCC").is_none(), "NVCC is set, and is no file");
        eprintln!("skipped: no nvcc");
    }
    kernels
}

#[test]
fn nvcc_makes_of_the_ladders_what_is_pinned() {
    let mut lines = String::new();
    for ladder in &LADDERS {
        for file in ladder.files().unwrap() {
            let Some(kernels) = compiled(&file) else { return };
            for NvccKernel { name, registers, shared } in kernels {
                let version = format!("{}/{}", ladder.name, file.name());
                lines += &format!("{version} {name} registers {registers} shared {shared}\n");
            }
        }
    }
    let path = source().join(PINNED);
    if std::env::var_os("ALRAO_WRITE_RESOURCES").is_some() {
        fs::write(&path, &lines).unwrap();
    }
    let pinned = fs::read_to_string(&path).unwrap();
    assert!(
        lines == pinned,
        "{PINNED} is not what nvcc makes; ALRAO_WRITE_RESOURCES=1 writes it:\n{lines}"
    );
}

#[test]
fn nvcc_compiles_the_solutions_of_all_exercises() {
    for exercise in &EXERCISES {
        let file = exercise.solution_file().unwrap();
        let Some(kernels) = compiled(&file) else { return };
        assert_eq!(kernels.len(), file.text.matches("__global__").count(), "{}", exercise.name);
    }
    let wrong = "//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(int n) { g(n); }\n";
    let file = KernelFile::parse(Path::new("wrong.cu"), wrong.into()).unwrap();
    let message = compile_with_nvcc(&file).unwrap_err().to_string();
    assert!(message.starts_with("wrong.cu: nvcc refuses it:\nwrong.cu(3): error"), "{message}");
}
