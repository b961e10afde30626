//! Kernel files that are refused, or that do something wild.

use std::fs;
use std::process::Command;

use alrao::workshop::{EXERCISES, Fault, Report};

use super::report;
use crate::command_line::{alrao, refused, text};
use crate::place::program;

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let head = "//@ computes = \"reverse\"\n//@ block = 32\n";
    let write =
        |name: &str, body: &str| fs::write(folder.join(name), format!("{head}{body}")).unwrap();
    write(
        "missing.cu",
        "__global__ void f(const float* x, float* out, int n) {\n    out[0] = y;\n}\n",
    );
    fs::write(folder.join("plain.cu"), "int x;\n").unwrap();
    let run = |file: &'static str| ["workshop", "run", file];
    let output = alrao(folder, &run("missing.cu"));
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("missing.cu:4:") && stderr.contains("'y' was not declared"),
        "{stderr}"
    );
    assert!(stderr.ends_with("error: missing.cu: does not compile\n"), "{stderr}");
    refused(folder, &run("plain.cu"), "plain.cu: has no header");
    let header = |name: &str, lines: &str| {
        let kernel = "__global__ void f(const float* x, float* out, int n) {}\n";
        fs::write(folder.join(name), format!("{lines}{kernel}")).unwrap();
    };
    let reverse = "//@ computes = \"reverse\"\n";
    header("key.cu", &format!("{reverse}//@ blok = 32\n"));
    refused(folder, &run("key.cu"), "key.cu: line 2: unknown field `blok`");
    header("zero.cu", &format!("{reverse}//@ block = 0\n"));
    refused(folder, &run("zero.cu"), "zero.cu: line 2: [0]: `block`");
    header("reference.cu", "//@ computes = \"dance\"\n//@ block = 1\n");
    refused(folder, &run("reference.cu"), "reference.cu: line 1: `computes` is one of");
    write("parameter.cu", "\n__global__ void f(const float* x, float* out, int m) {}\n");
    refused(
        folder,
        &run("parameter.cu"),
        "parameter.cu: line 4: f has a parameter m; the arguments are x, out, n",
    );
    write("type.cu", "__global__ void f(const double* x, float* out, int n) {}\n");
    refused(
        folder,
        &run("type.cu"),
        "type.cu: line 3: f declares const double* x, but x is an array of float",
    );
    write("none.cu", "int x;\n");
    refused(folder, &run("none.cu"), "none.cu: line 2: the file has no kernel");
    write(
        "repeat.cu",
        "//@ repeat = { t = \"steps\" }\n__global__ void f(const float* x, float* out, int n) {}\n",
    );
    refused(
        folder,
        &run("repeat.cu"),
        "repeat.cu: line 3: repeat: steps is not the name of a whole number",
    );
    for (word, line) in [("exit", "exit(3);"), ("abort", "std::abort();"), ("throw", "throw 3;")] {
        write(
            "ends.cu",
            &format!("__global__ void f(const float* x, float* out, int n) {{\n    {line}\n}}\n"),
        );
        refused(folder, &run("ends.cu"), &format!("ends.cu: line 4: {word}: a kernel "));
    }
    write("returns.cu", "\n__global__ int f(const float* x, float* out, int n) { return n; }\n");
    refused(folder, &run("returns.cu"), "returns.cu: line 4: a kernel is written `__global__ void");
    write("host.cu", "#include <cstdlib>\nint main() { f<<<1, 32>>>(); }\n");
    refused(folder, &run("host.cu"), "host.cu: line 4: main: leave it out");
    write("calls.cu", "__global__ void f(float* out) {\n    system(\"ls\");\n}\n");
    refused(
        folder,
        &run("calls.cu"),
        "calls.cu: line 4: system: this function runs on the host only",
    );
    refused(folder, &run("nosuch.cu"), "nosuch.cu");
    refused(
        folder,
        &["workshop", "ladder", "dance"],
        "is no ladder and no folder of versions; ladders are update, head",
    );
    refused(folder, &["workshop", "check", "plain.cu"], "is not named as an exercise");
    let measured = ["workshop", "ladder", "switch", "--measure", "10,2"];
    refused(folder, &measured, "--measure: has [10, 2]: give the extents [classifiers]");
    refused(folder, &["workshop", "hint", "99"], "is no exercise");
    refused(folder, &["workshop", "check", "99"], "99: is not named as an exercise");
    refused(
        folder,
        &["workshop", "check", "3"],
        "03_rows_and_columns.cu: is not there; `alrao workshop next 03`",
    );
    let without = Command::new(program())
        .current_dir(folder)
        .args(run("missing.cu"))
        .env("PATH", "")
        .env_remove("CXX")
        .output()
        .unwrap();
    let stderr = text(&without.stderr);
    assert!(
        stderr.contains("apt install g++") && stderr.contains("scripts/Containerfile"),
        "{stderr}"
    );
    assert_eq!(without.status.code(), Some(2));
}

/// The errors stand at the user's lines, each with its own line breaks.
#[test]
fn a_file_that_does_not_compile_shows_its_first_three_errors() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let body = "    out[0] = y;\n    f1(n);\n    f2(n);\n    f3(n);\n";
    let text_of_file = format!(
        "//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(const float* x, float* out, int n) {{\n{body}}}\n"
    );
    fs::write(folder.join("four.cu"), text_of_file).unwrap();
    let output = alrao(folder, &["workshop", "run", "four.cu"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""));
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("four.cu:")).collect();
    assert!(errors.len() == 3 && errors[2].starts_with("four.cu:6:"), "{stderr}");
    assert!(stderr.lines().any(|line| line.trim() == "4 |     out[0] = y;"), "{stderr}");
    assert!(stderr.ends_with("\nerror: four.cu: does not compile, with 4 errors\n"), "{stderr}");
    let output = alrao(folder, &["workshop", "run", "--json", "four.cu"]);
    assert_eq!(output.status.code(), Some(2));
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    let failure = report.failure.unwrap();
    assert_eq!(failure.fault, Fault::Refused);
    assert!(failure.message.contains("\nfour.cu:4:"), "{failure:?}");
    fs::write(folder.join("plain.cu"), "int x;\n").unwrap();
    let output = alrao(folder, &["workshop", "run", "--json", "plain.cu"]);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.failure.unwrap().message.starts_with("has no header"));
}

#[test]
fn a_right_file_shows_its_counts_and_the_estimate() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.cu"), EXERCISES[0].solution).unwrap();
    let busy = |gpu: &[&str]| {
        let output = alrao(folder.path(), &[&["workshop", "run", "own.cu"], gpu].concat());
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{stdout}");
        stdout.lines().last().unwrap().to_owned()
    };
    assert!(busy(&[]).starts_with("busy: ns of a full NVIDIA H200, an estimate"), "{}", busy(&[]));
    assert!(busy(&["--gpu", "a100"]).contains("A100"), "{}", busy(&["--gpu", "a100"]));
}

#[test]
fn wild_kernels_take_nothing_down() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let own = |body: &str| {
        let text = format!(
            "//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(const float* x, float* out, int n) {{\n{body}\n}}\n"
        );
        let path = folder.join("wild.cu");
        fs::write(&path, text).unwrap();
        report(&path).failure.unwrap()
    };
    let wild = own("    *reinterpret_cast<float*>(0x123456789000) = n;");
    assert_eq!(wild.fault, Fault::OutOfBounds, "{wild:?}");
    assert!(wild.message.contains("wild.cu:4"), "{wild:?}");
    // Far outside of an array no other one is reached.
    for (body, array) in [
        ("    out[threadIdx.x + 50000] = n;", "`out`"),
        ("    out[(int)threadIdx.x - 3000000] = n;", "`out`"),
        ("    out[threadIdx.x] = x[threadIdx.x + 10000000];", "`x`"),
        ("    __shared__ float s[64]; s[threadIdx.x + 200000] = n;", "`s`"),
    ] {
        let far = own(body);
        assert!(
            far.fault == Fault::OutOfBounds
                && far.message.contains("wild.cu:4")
                && far.message.contains(array),
            "{body} {far:?}"
        );
    }
    let null = own("    extern __shared__ float s[]; s[threadIdx.x] = n;");
    assert!(null.explanation().starts_with("The pointer is null"), "{null:?}");
    let endless = own("    while (n > 0) out[0] = n;");
    assert_eq!(endless.fault, Fault::Endless, "{endless:?}");
    assert!(endless.message.contains("wild.cu:4"), "{endless:?}");
    for body in [
        "    while (n > 0) ;",
        "    int i = 0; while (i >= 0) i = (i * 3 + 1) & 1023;",
        "    float s = 0; for (int i = 0; i >= 0; i += 0) s += 0.5f * s;",
        "    float s = 0; for (int i = 0; i >= 0; i += 0) s += sinf(s);",
        "    while (n > 0) __syncwarp();",
        "    float s = n; do { s = __shfl_xor_sync(0xffffffff, s, 1); } while (s > 0);",
    ] {
        let empty = own(body);
        assert!(
            empty.fault == Fault::Endless && empty.message.contains("wild.cu:4"),
            "{body} {empty:?}"
        );
    }
    let deep = own(
        "    char all[1 << 20];\n    for (int i = 0; i < n; i++) all[i] = n;\n    out[0] = all[n - 1];",
    );
    assert!(deep.message.contains("local variables"), "{deep:?}");
    let died = own(
        "    asm volatile(\"mov $231, %%eax; mov $3, %%edi; syscall\" ::: \"eax\", \"edi\", \"rcx\", \"r11\", \"memory\");",
    );
    assert_eq!(died.fault, Fault::Crash, "{died:?}");
    assert!(died.message.contains("by exit, with status 3"), "{died:?}");
    let killed = own(
        "    asm volatile(\"mov $39, %%eax; syscall; mov %%eax, %%edi; mov $6, %%esi; mov $62, %%eax; syscall\" ::: \"eax\", \"edi\", \"esi\", \"rcx\", \"r11\", \"memory\");",
    );
    assert!(killed.fault == Fault::Crash && killed.message.contains("by abort"), "{killed:?}");
    let asserted = own("    assert(n < 0);");
    assert!(
        asserted.fault == Fault::Trapped && asserted.message.contains("assert(n < 0) at wild.cu:4"),
        "{asserted:?}"
    );
    let included = folder.join("included.cu");
    fs::write(&included, "#include <cassert>\n//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(const float* x, float* out, int n) {\n    assert(false);\n}\n").unwrap();
    let asserted = report(&included).failure.unwrap();
    assert!(
        asserted.fault == Fault::Trapped
            && asserted.message.contains("assert(false) at included.cu:5"),
        "{asserted:?}"
    );
    let printed = folder.join("printed.cu");
    fs::write(&printed, "//@ computes = \"reverse\"\n//@ block = 32\n//@ shapes = [[1]]\n__global__ void f(const float* x, float* out, int n) {\n    if (threadIdx.x == 0) { printf(\"hello %d\\n\", n); out[0] = x[0]; }\n}\n").unwrap();
    let output = alrao(folder, &["workshop", "run", "printed.cu"]);
    assert!(output.status.success() && text(&output.stderr).contains("hello 1"));
    let many = "//@ computes = \"reverse\"\n//@ block = 32\n//@ shapes = [[1]]\n__global__ void f(const float* x, float* out, int n) {\n    for (int i = 0; i < 50; i++) printf(\"hello\\n\");\n    if (threadIdx.x == 0) out[0] = x[0];\n}\n";
    fs::write(&printed, many).unwrap();
    let output = alrao(folder, &["workshop", "run", "printed.cu"]);
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().filter(|line| *line == "hello").count(), 100);
    // Four runs of 32 threads.
    assert!(stderr.contains("(printf: 6300 more lines are not shown)"), "{stderr}");
}
