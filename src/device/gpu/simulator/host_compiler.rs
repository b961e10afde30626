//! The host's C++ compiler, for kernels that are compiled while the program runs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::flags;

/// The compilers that are looked for, besides `CXX`.
const COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];

const NO_COMPILER: &str = "no C++ compiler was found (CXX, c++, g++, clang++): install one, for example by `apt install g++` or `dnf \
                           install gcc-c++`, or use scripts/Containerfile";

/// A C++ compiler.
pub struct HostCompiler {
    path: PathBuf,
    is_clang: bool,
}

impl HostCompiler {
    /// The compiler that `CXX` names, or one on the `PATH`.
    ///
    /// # Errors
    /// How to get one.
    pub fn find() -> Result<HostCompiler, String> {
        let named = env::var_os("CXX").filter(|name| !name.is_empty()).map(PathBuf::from);
        let Some(named) = named else {
            let found = COMPILERS.iter().find_map(|name| HostCompiler::at(name.into()));
            return found.ok_or_else(|| NO_COMPILER.into());
        };
        let missing = format!("CXX={} cannot be run; give a C++ compiler", named.display());
        HostCompiler::at(named).ok_or(missing)
    }

    fn at(path: PathBuf) -> Option<HostCompiler> {
        let version = Command::new(&path).arg("--version").output().ok()?;
        let is_clang = String::from_utf8_lossy(&version.stdout).contains("clang");
        version.status.success().then_some(HostCompiler { path, is_clang })
    }

    /// A command that compiles kernels which report their accesses; sources, outputs and `-c` or [`HostCompiler::link`]'s flags are added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        // Messages in English.
        command.env("LC_ALL", "C");
        // A cross compiler does not know `native`.
        let cpu = env::var("ALRAO_HOST_CPU").ok().filter(|cpu| !cpu.is_empty());
        let of_processor =
            flags::of_processor(env::consts::ARCH, cpu.as_deref().unwrap_or("native"));
        let own = of_processor.iter().map(String::as_str).chain(flags::REPORTING);
        command.args(flags::ALL).arg("-fvisibility=hidden");
        command.args(own.filter(|flag| !(self.is_clang && flags::is_of_gcc(flag))));
        match self.is_clang {
            true => command.args(["-mllvm", "-tsan-instrument-func-entry-exit=0"]),
            false => command.arg("-fdiagnostics-color=never"),
        };
        command
    }

    /// Adds the flags for a shared library, without the sanitizer's own library.
    pub fn link(command: &mut Command, library: &Path) {
        command.args(["-shared", "-nodefaultlibs", "-o"]).arg(library);
        match cfg!(target_os = "macos") {
            true => command.args(["-undefined", "dynamic_lookup", "-lSystem"]),
            false => command.args(["-lm", "-lc"]),
        };
    }

    /// Links objects to a shared library.
    ///
    /// # Errors
    /// The compiler's output.
    pub fn link_objects(&self, objects: &[PathBuf], library: &Path) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        command.args(objects.iter().map(|path| path.as_os_str()).collect::<Vec<&OsStr>>());
        HostCompiler::link(&mut command, library);
        HostCompiler::run(&mut command)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// Its standard error.
    pub fn run(command: &mut Command) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let done = command.output().map_err(|error| format!("{program}: {error}"))?;
        let text = || String::from_utf8_lossy(&done.stderr).into_owned();
        done.status.success().then_some(()).ok_or_else(text)
    }
}
