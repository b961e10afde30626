//! The kernel files of the workshop as nvcc compiles them; needs nvcc in `NVCC`, `CUDA_HOME` or on the path.

use std::fs;
use std::path::Path;

use alrao::workshop::{EXERCISES, KernelFile, LADDERS, NvccKernel, compile_with_nvcc, measure};

use crate::place::{gpu, source};

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

/// Its name has no `gpu`, so that tools/ptx-driver/run.sh does not count it among the tests of the engine's kernels.
#[test]
fn kernel_files_run_on_cuda_as_in_the_simulator() {
    let Some(device) = gpu() else { return };
    let solutions = EXERCISES.iter().map(|exercise| exercise.solution_file().unwrap());
    let versions = LADDERS.iter().flat_map(|ladder| ladder.files().unwrap());
    let mut measured = 0;
    for file in versions.chain(solutions) {
        if compiled(&file).is_none() {
            return;
        }
        let own = measure(&file, file.shapes.last().unwrap(), &device);
        let own = own.unwrap_or_else(|error| panic!("{}: {error}", file.path.display()));
        assert!(own.us > 0.0 && !own.gpu.is_empty(), "{own:?}");
        measured += 1;
    }
    assert!(measured > 40, "{measured}");
    let wrong = "//@ computes = \"reverse\"\n//@ block = 32\n//@ tile = 32\n\
                 __global__ void f(const float* x, float* out, int n) {\n    \
                 int i = blockIdx.x * 32 + threadIdx.x;\n    if (i < n) out[i] = x[i];\n}\n";
    let file = KernelFile::parse(Path::new("wrong.cu"), wrong.into()).unwrap();
    let message = measure(&file, &[100], &device).unwrap_err().to_string();
    assert!(message.starts_with("wrong.cu: on the GPU: 100 of 100 elements of out"), "{message}");
    // A GPU's memory still holds the right results, from which this kernel leaves out the last.
    let right = wrong.replace("= x[i]", "= x[n - 1 - i]");
    for (text, is_right) in [(right.clone(), true), (right.replace("i < n", "i < n - 1"), false)] {
        let file = KernelFile::parse(Path::new("other.cu"), text).unwrap();
        let own = measure(&file, &[100], &device).map_err(|error| error.to_string());
        let is_told = |error: &String| error.contains("out[99] was never written");
        assert!(own.as_ref().map_or_else(is_told, |_| is_right), "{own:?}");
    }
    let changed =
        "#ifdef __CUDACC__\ntypedef long long Count;\n#else\ntypedef int Count;\n#endif\n";
    let text = right.replace("__global__", &format!("{changed}__global__"));
    let more = KernelFile::parse(Path::new("more.cu"), text.replace("int n)", "Count n)"));
    let message = measure(&more.unwrap(), &[100], &device).unwrap_err().to_string();
    assert!(message.contains("[8, 8, 8] bytes for nvcc, and [8, 8, 4]"), "{message}");
    let message = measure(&file, &[1 << 40], &device).unwrap_err().to_string();
    assert!(message.contains("too large for the reference"), "{message}");
    let message = measure(&file, &[100, 2], &device).unwrap_err().to_string();
    assert!(message.contains("give the extents [n]"), "{message}");
}
