//! Compiles a kernel file with the host's C++ compiler, as a shared library for the simulator.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::KernelFile;
use crate::device::simulator::HostCompiler;
use crate::error::{Error, Result};

/// The headers of the engine's kernels that a kernel file may include.
pub(super) const KERNEL_HEADERS: [(&str, &str); 2] = [
    ("target.cuh", include_str!("../../kernels/target.cuh")),
    ("common.cuh", include_str!("../../kernels/common.cuh")),
];

/// The headers that a kernel file may include, and what is included before it. An installed program carries them.
const HEADERS: [(&str, &str); 11] = [
    ("cuda_on_host.h", include_str!("../device/gpu/simulator/cuda_on_host.h")),
    ("gpu_arithmetic.h", include_str!("../device/gpu/simulator/gpu_arithmetic.h")),
    ("instrumented.cpp", include_str!("../device/gpu/simulator/instrumented.cpp")),
    ("workshop.h", include_str!("workshop.h")),
    KERNEL_HEADERS[0],
    KERNEL_HEADERS[1],
    // CUDA's own headers have nothing to add.
    ("cuda_runtime.h", ""),
    ("cuda_bf16.h", ""),
    ("device_launch_parameters.h", ""),
    // The system's `assert` would end the process in place of the launch.
    ("assert.h", ""),
    ("cassert", ""),
];

/// The most errors that are shown.
const MOST_ERRORS: usize = 3;

/// The most lines of an error, its own included.
const LINES_OF_ERROR: usize = 4;

/// What stands before a kernel file.
const BEFORE: &str =
    "#include \"cuda_on_host.h\"\n#include \"instrumented.cpp\"\n#include \"workshop.h\"\n";

/// Whether a file is optimised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Optimisation {
    /// Of a loop that does nothing, a jump may be left that has no line of the source.
    On,
    /// Every instruction has a line.
    Off,
}

impl Optimisation {
    fn flag(self) -> &'static str {
        match self {
            Optimisation::On => "-O1",
            Optimisation::Off => "-O0",
        }
    }
}

/// Compiles a file to a shared library in `folder`.
///
/// # Errors
/// [`Error::Input`] with the compiler's first errors, each on lines of its own, if it refuses the file; [`Error::Device`] without a C++ compiler.
pub(super) fn compile(
    file: &KernelFile,
    folder: &Path,
    optimisation: Optimisation,
) -> Result<PathBuf> {
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
    command.args([optimisation.flag(), "-I"]).arg(folder);
    // Headers beside the file are found too.
    let own = file.path.parent().filter(|own| !own.as_os_str().is_empty());
    command.arg("-I").arg(own.unwrap_or(Path::new(".")));
    command.arg(folder.join("kernel.cpp"));
    HostCompiler::link(&mut command, &library);
    HostCompiler::run(&mut command)
        .map_err(|output| Error::file(&file.path, first_errors(&output)))?;
    Ok(library)
}

/// How many errors there are, and the first ones of a compiler's output, with the lines that show their places.
fn first_errors(output: &str) -> String {
    let is_error = |line: &str| line.contains("error:");
    let count = output.lines().filter(|line| is_error(line)).count();
    if count == 0 {
        return format!("the compiler failed: {}", output.trim());
    }
    let mut text = match count {
        1 => "does not compile".to_owned(),
        _ => format!("does not compile, with {count} errors"),
    };
    let (mut errors, mut shown) = (0, 0);
    for line in output.lines() {
        if is_error(line) {
            if errors == MOST_ERRORS {
                break;
            }
            (errors, shown) = (errors + 1, LINES_OF_ERROR);
        } else if line.contains("note:") || line.contains("In function") {
            shown = 0;
        }
        if shown > 0 {
            text += &format!("\n{line}");
            shown -= 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_errors_are_shown_with_their_lines() {
        let error = |line: usize| {
            format!(
                "a.cu:{line}:5: error: 'x' was not declared in this scope\n    {line} |     x = 1;\n      |     ^\n"
            )
        };
        let note = "a.cu:1:1: note: seen\n    1 | f\n";
        let inside = "a.cu: In function 'void f()':\n";
        let output = [inside, &error(3), note, &error(4), inside, &error(5), &error(6)].concat();
        let expected =
            format!("does not compile, with 4 errors\n{}", [error(3), error(4), error(5)].concat());
        assert_eq!(first_errors(&output), expected.trim_end());
        assert!(first_errors(&error(3)).starts_with("does not compile\na.cu:3:5"));
        assert_eq!(
            first_errors("cannot execute cc1plus\n"),
            "the compiler failed: cannot execute cc1plus"
        );
    }
}
