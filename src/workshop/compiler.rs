//! Compiles a kernel file with the host's C++ compiler, as a shared library for the simulator.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::KernelFile;
use crate::device::simulator::HostCompiler;
use crate::error::{Error, Result};

/// The headers that a kernel file may include, and what is included before it. An installed program carries them.
const HEADERS: [(&str, &str); 9] = [
    ("cuda_on_host.h", include_str!("../device/gpu/simulator/cuda_on_host.h")),
    ("gpu_arithmetic.h", include_str!("../device/gpu/simulator/gpu_arithmetic.h")),
    ("instrumented.cpp", include_str!("../device/gpu/simulator/instrumented.cpp")),
    ("workshop.h", include_str!("workshop.h")),
    ("target.cuh", include_str!("../../kernels/target.cuh")),
    ("common.cuh", include_str!("../../kernels/common.cuh")),
    // CUDA's own headers have nothing to add.
    ("cuda_runtime.h", ""),
    ("cuda_bf16.h", ""),
    ("device_launch_parameters.h", ""),
];

/// What stands before a kernel file.
const BEFORE: &str =
    "#include \"cuda_on_host.h\"\n#include \"instrumented.cpp\"\n#include \"workshop.h\"\n";

/// Compiles a file to a shared library in `folder`.
///
/// # Errors
/// [`Error::Input`] with the compiler's first error if it refuses the file; [`Error::Device`] without a C++ compiler.
pub(super) fn compile(file: &KernelFile, folder: &Path) -> Result<PathBuf> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| Error::write(&path, error))
    };
    for (name, text) in HEADERS {
        write(name, text)?;
    }
    // Messages name the file as the user does. A quote in a path would end the text.
    let name = file.path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    write("kernel.cpp", &format!("{BEFORE}#line 1 \"{name}\"\n{}", file.translated))?;
    let library = folder.join("kernel.so");
    let compiler = HostCompiler::find().map_err(|message| Error::device("simulator", message))?;
    let mut command = compiler.command();
    command.arg("-O1").arg("-I").arg(folder);
    // Headers beside the file are found too.
    let own = file.path.parent().filter(|own| !own.as_os_str().is_empty());
    command.arg("-I").arg(own.unwrap_or(Path::new(".")));
    command.arg(folder.join("kernel.cpp"));
    HostCompiler::link(&mut command, &library);
    HostCompiler::run(&mut command)
        .map_err(|output| Error::file(&file.path, first_error(&output)))?;
    Ok(library)
}

/// The first error of a compiler's output, with the lines that show its place.
fn first_error(output: &str) -> String {
    let is_error = |line: &str| line.contains("error:");
    let mut lines = output.lines().skip_while(|line| !is_error(line));
    let Some(first) = lines.next() else {
        return format!("the compiler failed: {}", output.trim());
    };
    let shown = lines.take_while(|line| {
        !is_error(line) && !line.contains("note:") && !line.contains("In function")
    });
    let rest: String = shown.take(3).map(|line| format!("\n{line}")).collect();
    format!("the compiler says: {first}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_error_is_shown() {
        let output = "a.cu: In function 'void f()':\na.cu:3:5: error: 'x' was not declared in this scope\n    3 |     x = 1;\n      |     ^\n\
                      a.cu:4:5: error: another\n";
        let first = first_error(output);
        assert_eq!(
            first,
            "the compiler says: a.cu:3:5: error: 'x' was not declared in this scope\n    3 |     x = 1;\n      |     ^"
        );
        assert_eq!(
            first_error("cannot execute cc1plus\n"),
            "the compiler failed: cannot execute cc1plus"
        );
    }
}
