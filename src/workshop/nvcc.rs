//! Kernel files compiled by nvcc: registers and shared memory, and PTX.

use std::env;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::compiler::KERNEL_HEADERS;
use super::source::KernelFile;
use crate::error::{Error, Result};

/// A kernel as nvcc compiles it for sm_90.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvccKernel {
    /// Its name.
    pub name: String,
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of shared memory of a block, without dynamic shared memory.
    pub shared: usize,
}

/// Compiles a file with nvcc, every warning as an error; `None` where there is no nvcc in `NVCC`, `CUDA_HOME`, on the path or in
/// `/usr/local/cuda`.
///
/// # Errors
/// [`Error::Input`] with nvcc's output, or if `NVCC` is no file.
pub fn compile_with_nvcc(file: &KernelFile) -> Result<Option<Vec<NvccKernel>>> {
    let flags = ["-cubin", "-arch=sm_90", "--resource-usage", "-Werror", "all-warnings"];
    Ok(compile(file, &flags)?.map(|own| kernels(&own.report)))
}

/// A file as PTX.
pub(super) struct Ptx {
    pub text: CString,
    pub kernels: Vec<PtxKernel>,
}

/// A kernel in PTX.
#[derive(Debug, PartialEq)]
pub(super) struct PtxKernel {
    /// Its name in the source.
    pub name: String,
    pub symbol: String,
    /// The bytes of each parameter.
    pub parameters: Vec<usize>,
}

/// Whether nvcc is at hand, in `NVCC`, `CUDA_HOME`, on the path or in `/usr/local/cuda`.
///
/// # Errors
/// [`Error::Input`] if `NVCC` is no file.
pub fn has_nvcc() -> Result<bool> {
    Ok(find()?.is_some())
}

/// Compiles a file with nvcc to PTX for a compute capability, such as 90, or for the newest before it that nvcc knows; `None` as for
/// [`compile_with_nvcc`].
///
/// # Errors
/// As [`compile_with_nvcc`].
pub(super) fn compile_to_ptx(file: &KernelFile, compute_capability: u32) -> Result<Option<Ptx>> {
    let Some(nvcc) = find()? else { return Ok(None) };
    let architecture = newest_known(&nvcc, compute_capability).unwrap_or(compute_capability);
    let architecture = format!("-arch=compute_{architecture}");
    let Some(compiled) = compile(file, &["-ptx", &architecture])? else { return Ok(None) };
    let kernels = ptx_kernels(&String::from_utf8_lossy(&compiled.code));
    let text = CString::new(compiled.code)
        .map_err(|_| Error::file(&file.path, "nvcc's PTX has a zero byte"))?;
    Ok(Some(Ptx { text, kernels }))
}

/// The largest of nvcc's architectures that is at most `compute_capability`.
fn newest_known(nvcc: &Path, compute_capability: u32) -> Option<u32> {
    let output = Command::new(nvcc).arg("--list-gpu-arch").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let known = text.lines().filter_map(|line| line.trim().strip_prefix("compute_")?.parse().ok());
    known.filter(|own| *own <= compute_capability).max()
}

/// The kernels of PTX: each begins with `.entry` and its symbol, and has a line for each parameter.
fn ptx_kernels(ptx: &str) -> Vec<PtxKernel> {
    let kernel = |entry: &str| {
        let (symbol, rest) = entry.split_once('(')?;
        let parameters = rest.split(')').next()?.lines();
        let parameters = parameters.filter(|line| line.contains(".param ")).map(parameter_bytes);
        let symbol = symbol.trim().to_owned();
        Some(PtxKernel { name: plain(&symbol), symbol, parameters: parameters.collect() })
    };
    ptx.split(".entry ").skip(1).filter_map(kernel).collect()
}

/// The bytes of a parameter: `.param .u64 name` has 8, `.param .align 8 .b8 name[24]` has 24.
fn parameter_bytes(line: &str) -> usize {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    match line.split_once('[') {
        Some((_, extent)) => number(extent),
        None => {
            let types = line
                .split_whitespace()
                .filter_map(|word| word.strip_prefix(['.'])?.strip_prefix(['u', 's', 'b', 'f']));
            types.map(number).max().unwrap_or(0) / 8
        }
    }
}

/// nvcc's output.
struct Compiled {
    code: Vec<u8>,
    report: String,
}

fn compile(file: &KernelFile, flags: &[&str]) -> Result<Option<Compiled>> {
    let Some(nvcc) = find()? else { return Ok(None) };
    let failed = |error: std::io::Error| Error::write(Path::new("temporary folder"), error);
    let folder = tempfile::tempdir().map_err(failed)?;
    for (name, text) in KERNEL_HEADERS {
        fs::write(folder.path().join(name), text).map_err(failed)?;
    }
    // A name of its own, since the file may exist in this program alone.
    let [source, code] = ["kernel.cu", "kernel.code"].map(|name| folder.path().join(name));
    fs::write(&source, &file.text).map_err(failed)?;
    let mut command = Command::new(&nvcc);
    command.args(flags).args(["-std=c++17", "-O3", "-I"]).arg(folder.path());
    let beside = file.path.parent().filter(|own| !own.as_os_str().is_empty());
    command.arg("-I").arg(beside.unwrap_or(Path::new(".")));
    command.arg(&source).arg("-o").arg(&code);
    let output = command
        .output()
        .map_err(|error| Error::file(&nvcc, format!("cannot be started: {error}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let report = text(&output.stderr) + &text(&output.stdout);
    match output.status.success() {
        true => Ok(Some(Compiled { code: fs::read(&code).map_err(failed)?, report })),
        false => {
            let report = report.replace(&source.display().to_string(), &file.name());
            Err(Error::file(&file.path, format!("nvcc refuses it:\n{}", report.trim())))
        }
    }
}

/// As in `build.rs`.
fn find() -> Result<Option<PathBuf>> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let installed = set("CUDA_HOME").map(|home| home.join("bin/nvcc"));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    let usual = PathBuf::from("/usr/local/cuda/bin/nvcc");
    match set("NVCC") {
        Some(named) if !named.is_file() => {
            Err(Error::file(&named, "NVCC is no file; give nvcc's path, or unset it"))
        }
        Some(named) => Ok(Some(named)),
        None => Ok(installed.into_iter().chain(on_path).chain([usual]).find(|own| own.is_file())),
    }
}

/// The kernels that ptxas reports.
fn kernels(report: &str) -> Vec<NvccKernel> {
    let mut kernels: Vec<NvccKernel> = Vec::new();
    for line in report.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mangled = rest.split('\'').next().unwrap_or_default();
            let (registers, shared) = (0, 0);
            kernels.push(NvccKernel { name: plain(mangled), registers, shared });
        }
        let before = |unit: &str| -> Option<usize> {
            let (numbers, _) = line.split_once(unit)?;
            numbers.split_whitespace().last()?.parse().ok()
        };
        if let (Some(own), Some(registers)) = (kernels.last_mut(), before(" registers")) {
            (own.registers, own.shared) = (registers, before(" bytes smem").unwrap_or(0));
        }
    }
    kernels
}

/// The name of a function from its symbol: `_Z3addPKf` is `add`.
fn plain(symbol: &str) -> String {
    let rest = symbol.strip_prefix("_ZL").or_else(|| symbol.strip_prefix("_Z"));
    let Some(rest) = rest else { return symbol.into() };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let length = rest[..digits].parse().unwrap_or(0);
    rest.get(digits..digits + length).unwrap_or(symbol).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_ptxas_tells_registers_and_shared_memory() {
        let report = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function '_Z6add_upPKfPf' for 'sm_90'\n\
            ptxas info    : Used 12 registers, used 0 barriers\n\
            ptxas info    : Compiling entry function 'add_parts' for 'sm_90'\n\
            ptxas info    : Used 66 registers, used 1 barriers, 18432 bytes smem, 400 bytes cmem[0]\n";
        let own =
            |name: &str, registers, shared| NvccKernel { name: name.into(), registers, shared };
        assert_eq!(kernels(report), [own("add_up", 12, 0), own("add_parts", 66, 18432)]);
    }

    #[test]
    fn ptx_tells_the_symbols_and_the_bytes_of_parameters() {
        let ptx = ".visible .entry _Z6add_upPKfS0_7Numbers(\n\t.param .u64 .ptr .align 1 a,\n\t.param .f32 b,\n\
            \t.param .align 8 .b8 c[24]\n)\n.maxntid 128\n{\n\tld.param.u64 %rd1, [a];\n}\n.entry _ZL9add_partsv()\n{\n}\n";
        let own = |name: &str, symbol: &str, parameters: &[usize]| PtxKernel {
            name: name.into(),
            symbol: symbol.into(),
            parameters: parameters.to_vec(),
        };
        let expected = [
            own("add_up", "_Z6add_upPKfS0_7Numbers", &[8, 4, 24]),
            own("add_parts", "_ZL9add_partsv", &[]),
        ];
        assert_eq!(ptx_kernels(ptx), expected);
    }
}
