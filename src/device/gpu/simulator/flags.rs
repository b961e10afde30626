//! The flags by which the host's C++ compiler makes kernels for the simulator. build.rs includes this file too.

/// The flags of all kernels.
pub(crate) const ALL: [&str; 12] = [
    "-x",
    "c++",
    "-std=c++17",
    "-g1",
    "-gno-column-info",
    "-fPIC",
    "-fno-strict-aliasing",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-ftls-model=initial-exec",
    // A stack overflow touches the guard page below the stack.
    "-fstack-clash-protection",
];

/// The flags for a processor of this architecture; `cpu` is its name in the compiler's words, or `native`.
pub(crate) fn of_processor(architecture: &str, cpu: &str) -> Vec<String> {
    match architecture {
        // Kernels are linked without the compiler's library, which has atomics; return addresses are read, so none is signed; nvcc's
        // `char` has a sign; aarch64 does not trap on a division by zero, so the compiler checks; and the guard of a stack is one page, which
        // may be 4 KiB.
        "aarch64" => {
            let flags = [
                "-mno-outline-atomics",
                "-mbranch-protection=none",
                "-fsigned-char",
                "-fsanitize=integer-divide-by-zero",
                "-fsanitize-undefined-trap-on-error",
                "--param=stack-clash-protection-guard-size=12",
            ];
            [format!("-mcpu={cpu}")].into_iter().chain(flags.map(String::from)).collect()
        }
        _ => vec![format!("-march={cpu}")],
    }
}

/// Whether clang lacks a flag.
pub(crate) fn is_of_gcc(flag: &str) -> bool {
    flag.starts_with("--param") || flag == "-fno-tree-sra"
}

/// Makes the compiler insert a call before each memory access. The functions are ours, not the thread sanitizer's. Neither products and
/// sums are fused nor functions as inexact as a GPU's: kernels must be right with both arithmetics.
#[allow(dead_code)]
pub(crate) const REPORTING: [&str; 6] = [
    "-DSIMULATOR_HOST_ARITHMETIC",
    "-ffp-contract=off",
    "-fsanitize=thread",
    "--param=tsan-instrument-func-entry-exit=0",
    // A vector that is read in one piece counts as one access.
    "-fno-tree-sra",
    "-w",
];
