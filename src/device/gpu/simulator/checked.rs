//! The program's kernels once more, compiled so that they report each access: for exact races and counts.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::thread;

use super::host_compiler::HostCompiler;
use super::library::Library;
use crate::error::{Error, Result};

/// The variable of the environment that makes every simulator check every access.
const VARIABLE: &str = "ALRAO_CHECKED_KERNELS";

const KERNELS: &str = "kernels";
const SIMULATOR: &str = "src/device/gpu/simulator";
const KERNEL_OF_THE_GUIDE: &str = "tests/adding_an_op/softplus.cu";

/// Whether `ALRAO_CHECKED_KERNELS=1` asks for kernels that report each access.
pub fn is_checked() -> bool {
    static IS_CHECKED: OnceLock<bool> = OnceLock::new();
    *IS_CHECKED.get_or_init(|| env::var(VARIABLE).is_ok_and(|value| !matches!(&*value, "" | "0")))
}

/// The kernels of this project's source, which report each access. They are compiled at the first call, which takes minutes; the result is
/// kept for as long as the sources are the same.
///
/// # Errors
/// [`Error::Device`] without the sources or a C++ compiler, or if it fails.
pub fn checked_kernels() -> Result<&'static Library> {
    static LIBRARY: OnceLock<std::result::Result<&'static Library, String>> = OnceLock::new();
    let compiled = LIBRARY.get_or_init(|| {
        let root = root();
        let mut sources = files(&root.join(KERNELS), &["cu"])?;
        sources.extend(files(&root.join(SIMULATOR), &["cu"])?);
        sources.push(root.join(KERNEL_OF_THE_GUIDE));
        load(&root, sources)
    });
    let failed = |message| Error::device("simulator", format!("{VARIABLE}: {message}"));
    compiled.clone().map_err(failed)
}

/// The kernels that are broken on purpose, for the tests of the checks.
#[cfg(test)]
pub(super) fn broken_kernels() -> &'static Library {
    static LIBRARY: OnceLock<&'static Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let root = root();
        let sources = files(&root.join(SIMULATOR), &["cu"]).unwrap();
        load(&root, sources).unwrap()
    })
}

/// Loads every library of the tests before a kernel fails: see [`Library::load`].
#[cfg(test)]
pub(super) fn load_all() {
    broken_kernels();
    if is_checked() {
        checked_kernels().unwrap();
    }
}

fn load(root: &Path, sources: Vec<PathBuf>) -> std::result::Result<&'static Library, String> {
    Library::load(&compile(root, sources)?).map_err(|error| error.to_string())
}

/// The project's folder.
fn root() -> PathBuf {
    env::var_os("ALRAO_SOURCE").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// The files of a folder with one of these endings, by name.
fn files(folder: &Path, endings: &[&str]) -> std::result::Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|own| endings.iter().any(|ending| own == *ending))
    });
    files.sort();
    Ok(files)
}

/// Compiles kernels to a shared library, unless it is there, and returns its path.
fn compile(root: &Path, mut sources: Vec<PathBuf>) -> std::result::Result<PathBuf, String> {
    let compiler = HostCompiler::find()?;
    let [kernels, simulator] = [KERNELS, SIMULATOR].map(|folder| root.join(folder));
    sources.push(simulator.join("instrumented.cpp"));
    let mut read = sources.clone();
    read.extend(files(&kernels, &["cuh"])?);
    read.extend(files(&simulator, &["h"])?);
    let mut hasher = DefaultHasher::new();
    for path in &read {
        fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?.hash(&mut hasher);
    }
    format!("{:?}", compiler.command()).hash(&mut hasher);
    let folder = Path::new(env!("OUT_DIR")).join(format!("checked-{:016x}", hasher.finish()));
    let library = folder.join("kernels.so");
    if library.exists() {
        return Ok(library);
    }
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let objects = compile_all(&compiler, &sources, &[&kernels, &simulator], &folder)?;
    // Another process may do the same: the library appears as a whole.
    let unfinished = folder.join(format!("kernels-{}.so", std::process::id()));
    compiler.link_objects(&objects, &unfinished)?;
    let renamed = fs::rename(&unfinished, &library);
    renamed.map_err(|error| format!("{}: {error}", library.display()))?;
    Ok(library)
}

/// Compiles files on all cores. The objects' names are those of this process.
fn compile_all(
    compiler: &HostCompiler,
    sources: &[PathBuf],
    headers: &[&PathBuf],
    folder: &Path,
) -> std::result::Result<Vec<PathBuf>, String> {
    let object = |source: &PathBuf| {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        folder.join(format!("{stem}-{}.o", std::process::id()))
    };
    let waiting = Mutex::new(sources.to_vec());
    let failure = Mutex::new(None);
    let work = || loop {
        let Some(source) = waiting.lock().expect("no compilation panics").pop() else { break };
        let mut command = compiler.command();
        // The calls take most of the time, so -O2 is enough.
        command.arg("-O2");
        for folder in headers {
            command.arg("-I").arg(folder);
        }
        command.arg("-c").arg(&source).arg("-o").arg(object(&source));
        if let Err(message) = HostCompiler::run(&mut command) {
            failure.lock().expect("no compilation panics").get_or_insert(message);
        }
    };
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    match failure.into_inner().expect("no compilation panics") {
        Some(message) => Err(message),
        None => Ok(sources.iter().map(object).collect()),
    }
}
