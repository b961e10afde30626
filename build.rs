//! Compiles the kernels twice: by nvcc for GPUs, and by the host's C++ compiler for the simulator. Passes the commit to the
//! program.
//!
//! - `NVCC`, `CUDA_HOME`: the place of nvcc. `ALRAO_CUDA_ARCHS`: the GPUs' compute capabilities, by default `80,90`.
//! - `ALRAO_SKIP_KERNELS=1`: no kernels for GPUs, even if there is nvcc.
//! - `ALRAO_LINEINFO=1`: line numbers in the kernels for GPUs, for Nsight Compute.
//! - `ALRAO_REQUIRE_SIMULATOR=1`: a C++ compiler that is missing or fails is an error.
//! - `ALRAO_HOST_CPU`: the processor of the simulator, by default `native`.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

#[cfg(feature = "simulator")]
#[path = "src/device/gpu/simulator/flags.rs"]
mod flags;

/// The result of a step of the build, or a message about its failure.
type Outcome<T> = Result<T, String>;

const SIMULATOR: &str = "src/device/gpu/simulator";
const KERNEL_OF_THE_GUIDE: &str = "tests/adding_an_op/softplus.cu";

/// Operating systems and processors that the simulator is written for. It is not tested on macOS.
#[cfg(feature = "simulator")]
const SIMULATOR_TARGETS: [[&str; 2]; 3] =
    [["linux", "x86_64"], ["linux", "aarch64"], ["macos", "aarch64"]];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=ALRAO_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    println!("cargo:rustc-check-cfg=cfg(has_simulator, fuzzing)");
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed={SIMULATOR}");
    println!("cargo:rerun-if-changed={KERNEL_OF_THE_GUIDE}");
    for name in ["NVCC", "CUDA_HOME", "CXX", "DOCS_RS"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let is_documentation = env::var_os("DOCS_RS").is_some();
    let fat_binaries = if is_documentation { Vec::new() } else { build_for_gpus() };
    embed(&fat_binaries);
    let has_simulator = cfg!(feature = "simulator") && !is_documentation && build_for_simulator();
    let kernels = match fat_binaries.is_empty() {
        true => "no kernels for GPUs".to_owned(),
        false => format!("kernels for sm_{}", architectures().join(", sm_")),
    };
    let simulator = if has_simulator { "simulator" } else { "no simulator" };
    println!("cargo:rustc-env=ALRAO_KERNELS={kernels}; {simulator}");
}

// ---- GPUs ----------------------------------------------------------------------------------------------------------

/// One fat binary for each kernel file; none without nvcc. If nvcc fails, the build fails.
fn build_for_gpus() -> Vec<PathBuf> {
    if is_set("ALRAO_SKIP_KERNELS") {
        return Vec::new();
    }
    let Some(nvcc) = find_nvcc() else {
        println!(
            "cargo:warning=no nvcc in NVCC, CUDA_HOME/bin, PATH or /usr/local/cuda/bin: built without kernels for GPUs. \
             The CPU is used. Once nvcc is installed, `touch build.rs`"
        );
        return Vec::new();
    };
    // Compressed, a binary has a tenth of the size; nvcc has the option from 12.8 on.
    let help = Command::new(&nvcc).arg("--help").output();
    let compresses =
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--compress-mode"));
    let jobs = kernel_files().into_iter().map(|source| {
        let mut command = Command::new(&nvcc);
        command.args(compresses.then_some("--compress-mode=size"));
        command.args(["-fatbin", "-O3", "-std=c++17", "-Werror", "all-warnings"]);
        // With line numbers each cubin holds its PTX as well, which doubles its size.
        command.args(is_set("ALRAO_LINEINFO").then_some("-lineinfo"));
        for arch in architectures() {
            command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
        }
        command.arg("-gencode=arch=compute_90,code=compute_90");
        // ptxas reports each kernel's registers and shared memory; the report is stored beside the output.
        command.args(["-Xptxas", "-v"]);
        Job { output: output(&source, "fatbin", &command), source, command }
    });
    run(jobs.collect()).unwrap_or_else(|message| {
        eprintln!(
            "{message}\n\nnvcc failed. ALRAO_SKIP_KERNELS=1 builds without kernels for GPUs."
        );
        std::process::exit(1);
    })
}

/// The compute capabilities that kernels are compiled for.
fn architectures() -> Vec<String> {
    let given = setting("ALRAO_CUDA_ARCHS").unwrap_or_else(|| "80,90".into());
    given.split(',').map(|arch| arch.trim().to_owned()).collect()
}

fn find_nvcc() -> Option<PathBuf> {
    let named = setting("NVCC").map(PathBuf::from);
    if let Some(named) = named.as_ref().filter(|named| !named.is_file()) {
        panic!("NVCC={} is no file; give nvcc's path, or unset it", named.display());
    }
    let installed = setting("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    let usual = PathBuf::from("/usr/local/cuda/bin/nvcc");
    named.into_iter().chain(installed).chain(on_path).chain([usual]).find(|nvcc| nvcc.is_file())
}

/// nvcc's version, major and minor.
fn version(nvcc: &Path) -> Option<[i32; 2]> {
    let output = Command::new(nvcc).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, release) = text.split_once("release ")?;
    let (major, rest) = release.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some([major.trim().parse().ok()?, minor.parse().ok()?])
}

/// Writes the source file that embeds the fat binaries in the program.
fn embed(fat_binaries: &[PathBuf]) {
    let entries: String = fat_binaries
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let family = name.rsplit_once('-').map_or(name.as_str(), |(family, _)| family);
            format!(
                "    ({family:?}, &Image(*include_bytes!({:?}))),\n",
                path.display().to_string()
            )
        })
        .collect();
    let resources: String = fat_binaries.iter().flat_map(|path| resources(path)).collect();
    let compiler = find_nvcc().filter(|_| !fat_binaries.is_empty()).and_then(|nvcc| version(&nvcc));
    let text = format!(
        "/// nvcc's version, major and minor.\n\
         pub(super) static COMPILER: Option<[i32; 2]> = {compiler:?};\n\n\
         pub(super) static FAT_BINARIES: &[(&str, &Image<[u8]>)] = &[\n{entries}];\n\n\
         static COMPILED: &[Compiled] = &[\n{resources}];\n"
    );
    let path = out_dir().join("fat_binaries.rs");
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The table entries of a fat binary's kernels, from ptxas's report.
fn resources(fat_binary: &Path) -> Vec<String> {
    let path = report(fat_binary);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut kernel, mut arch) = ("", "");
    let mut entries = Vec::new();
    for line in text.lines() {
        let quoted: Vec<&str> = line.split('\'').collect();
        if let [before, own, _, own_arch, _] = *quoted
            && before.contains("Compiling entry function")
        {
            (kernel, arch) = (own, own_arch.trim_start_matches("sm_"));
        }
        let number_before = |unit: &str| -> Option<u32> {
            line.split(unit)
                .next()
                .filter(|before| *before != line)?
                .split_whitespace()
                .last()?
                .parse()
                .ok()
        };
        if let Some(registers) = number_before(" registers") {
            let shared = number_before(" bytes smem").unwrap_or(0);
            let arch: String = arch.chars().filter(char::is_ascii_digit).collect();
            entries.push(format!(
                "    Compiled {{ kernel: {kernel:?}, arch: {arch}, registers: {registers}, shared: {shared} }},\n"
            ));
        }
    }
    entries
}

/// The path of a compiler's messages.
fn report(output: &Path) -> PathBuf {
    output.with_extension("report")
}

// ---- simulator -----------------------------------------------------------------------------------------------------

/// Builds the kernels as a library of the program, and returns whether that succeeded. Without a working C++ compiler there
/// is no simulator.
fn build_for_simulator() -> bool {
    match simulator_library() {
        Ok(()) => {
            println!("cargo:rustc-cfg=has_simulator");
            true
        }
        Err(message) if is_set("ALRAO_REQUIRE_SIMULATOR") => {
            eprintln!(
                "{message}\n\nALRAO_REQUIRE_SIMULATOR is set, and the simulator cannot be built."
            );
            std::process::exit(1);
        }
        Err(message) => {
            let first = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            println!("cargo:warning=built without the simulator: {first}");
            false
        }
    }
}

#[cfg(not(feature = "simulator"))]
fn simulator_library() -> Outcome<()> {
    Ok(())
}

#[cfg(feature = "simulator")]
fn simulator_library() -> Outcome<()> {
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ARCH"]
        .map(|name| env::var(name).unwrap_or_default());
    let [system, architecture] = target;
    if !SIMULATOR_TARGETS.contains(&[&*system, &architecture]) {
        return Err(format!(
            "it does not run on {system} on {architecture}; scripts/Containerfile describes a Linux container in which it does"
        ));
    }
    let compiler = cc::Build::new()
        .cpp(true)
        .cargo_metadata(false)
        .warnings(false)
        .opt_level(3)
        .try_get_compiler();
    let compiler = compiler.map_err(|error| format!("no C++ compiler: {error}"))?;
    let host = Path::new(SIMULATOR);
    let objects = |sources: Vec<PathBuf>| {
        let jobs = sources.into_iter().map(|source| {
            let mut command = compiler.to_command();
            simulator_flags(&mut command, &architecture, compiler.is_like_clang());
            // As nvcc fuses multiplications and additions.
            command.arg("-ffp-contract=fast");
            Job { output: output(&source, "o", &command), source, command }
        });
        run(jobs.collect())
    };
    let mut sources = kernel_files();
    sources.push(host.join("cuda_on_host.cpp"));
    archive("alrao_kernels", &objects(sources)?)?;
    println!("cargo:rustc-link-lib=static:+whole-archive=alrao_kernels");
    // Kernels with one error each, and the kernel of docs/adding-an-op.md: only the library's tests link them.
    let mut of_tests = files(SIMULATOR, &["cu"]);
    of_tests.push(KERNEL_OF_THE_GUIDE.into());
    archive("alrao_test_kernels", &objects(of_tests)?)?;
    println!("cargo:rustc-link-search=native={}", out_dir().display());
    // Kernels that are compiled while the program runs call the simulator.
    let flags: &[&str] = match &*system {
        "macos" => &["-export_dynamic"],
        _ => &[
            "--export-dynamic-symbol=simulator_*",
            "--export-dynamic-symbol=_ZN9simulator*",
            // Names of files and lines, of which the kernels have many, in a third of the bytes.
            "--compress-debug-sections=zlib",
            // Drops the names of local symbols, a megabyte: faults are named by file and line.
            "--discard-all",
        ],
    };
    flags.iter().for_each(|flag| println!("cargo:rustc-link-arg=-Wl,{flag}"));
    Ok(())
}

#[cfg(feature = "simulator")]
fn simulator_flags(command: &mut Command, architecture: &str, is_clang: bool) {
    let cpu = setting("ALRAO_HOST_CPU").unwrap_or_else(|| "native".into());
    let of_processor = flags::of_processor(architecture, &cpu);
    command.args(of_processor.iter().filter(|flag| !(is_clang && flags::is_of_gcc(flag))));
    command.args(flags::ALL).args([
        // A third of -O3's compile time. Without the second flag g++ does not fuse multiplications and additions.
        "-O1",
        "-fexpensive-optimizations",
        "-finline-small-functions",
        "-c",
        "-I",
        "kernels",
        "-I",
        SIMULATOR,
    ]);
}

#[cfg(feature = "simulator")]
fn archive(name: &str, objects: &[PathBuf]) -> Outcome<()> {
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .cargo_metadata(false)
        .objects(objects)
        .try_compile(name)
        .map_err(|error| error.to_string())
}

// ---- compiling -----------------------------------------------------------------------------------------------------

/// A file to compile; the output's path is added to the command.
struct Job {
    source: PathBuf,
    output: PathBuf,
    command: Command,
}

/// Runs the jobs without an output, two at a time, and returns all outputs in order.
fn run(jobs: Vec<Job>) -> Outcome<Vec<PathBuf>> {
    let outputs = jobs.iter().map(|job| job.output.clone()).collect();
    let waiting =
        Mutex::new(jobs.into_iter().filter(|job| !job.output.exists()).collect::<Vec<_>>());
    let failure = Mutex::new(None);
    let work = || {
        while let Some(job) = waiting.lock().expect("no job panics").pop() {
            if let Err(message) = job.run() {
                failure.lock().expect("no job panics").get_or_insert(message);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    match failure.into_inner().expect("no job panics") {
        Some(message) => Err(message),
        None => Ok(outputs),
    }
}

impl Job {
    fn run(mut self) -> Outcome<()> {
        // Written under another name and renamed, so that an interrupted compiler leaves no incomplete output.
        let unfinished = self.output.with_extension("unfinished");
        self.command.arg("-o").arg(&unfinished).arg(&self.source);
        let program = self.command.get_program().to_string_lossy().into_owned();
        let result = self.command.output().map_err(|error| format!("{program}: {error}"))?;
        if !result.status.success() {
            let text = [result.stdout, result.stderr].concat();
            return Err(String::from_utf8_lossy(&text).into_owned());
        }
        let path = report(&self.output);
        fs::write(&path, &result.stderr).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::rename(&unfinished, &self.output)
            .map_err(|error| format!("{}: {error}", self.output.display()))
    }
}

/// The output's path. Its name is a hash of the command and of every file that the compiler could read, so that an existing
/// output is never stale.
fn output(source: &Path, extension: &str, command: &Command) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    format!("{command:?}").hash(&mut hasher);
    let mut read: Vec<PathBuf> =
        ["kernels", SIMULATOR].iter().flat_map(|folder| files(folder, &["cuh", "h"])).collect();
    read.push(source.to_owned());
    for path in read {
        path.hash(&mut hasher);
        fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .hash(&mut hasher);
    }
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    out_dir().join(format!("{stem}-{:016x}.{extension}", hasher.finish()))
}

fn kernel_files() -> Vec<PathBuf> {
    files("kernels", &["cu"])
}

/// The files of a folder with one of these extensions, by name.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wanted = |path: &PathBuf| extensions.iter().any(|extension| has_extension(path, extension));
    let mut paths: Vec<PathBuf> = paths.filter(wanted).collect();
    paths.sort();
    paths
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own == extension)
}

fn out_dir() -> PathBuf {
    env::var_os("OUT_DIR").expect("cargo sets OUT_DIR").into()
}

/// The value of an environment variable that the build depends on.
fn setting(name: &str) -> Option<String> {
    println!("cargo:rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether an environment variable is set, to other than 0.
fn is_set(name: &str) -> bool {
    setting(name).is_some_and(|value| value != "0")
}

// ---- commit --------------------------------------------------------------------------------------------------------

/// The commit of this crate's own repository, not of one that the crate was unpacked in. A debug build has none, since it
/// would be rebuilt at every commit.
fn commit() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let own = env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&own).canonicalize().ok()? != Path::new(&top).canonicalize().ok()? {
        return None;
    }
    // A commit on the same branch changes the branch's file or the log, a checkout changes HEAD.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    for name in ["HEAD", "logs/HEAD", "packed-refs", &branch] {
        let path = git(&["rev-parse", "--git-path", name])?;
        // Cargo runs this script at every build if a watched file is missing.
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
