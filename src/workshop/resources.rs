//! Registers, shared memory and occupancy of a file's launches.

use serde::Serialize;

use super::ladder::LADDERS;
use super::nvcc::{NvccKernel, compile_with_nvcc};
use super::source::KernelFile;
use crate::bench::estimate::gpus::GpuModel;
use crate::error::Result;

/// What nvcc 13.0.88 makes of the ladders' kernels for sm_90, a line for each.
const PINNED: &str = include_str!("../../workshop/resources.txt");

/// The resources of a file's launches: the most registers and shared memory, and the least occupancy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: usize,
    /// Bytes of shared memory of a block, dynamic shared memory included.
    pub shared: usize,
    /// The resident warps of an SM relative to the most it can have, from 0 to 1, if there are blocks enough.
    pub occupancy: f64,
    /// Whether the figures are those of the ladder as it was written, since there is no nvcc.
    pub is_pinned: bool,
}

impl Resources {
    /// Where the figures of a ladder come from; `first` are those of a version that has some.
    pub fn source(first: Option<Resources>) -> &'static str {
        match first {
            None => "unknown without nvcc",
            Some(own) if own.is_pinned => {
                "pinned: by nvcc 13.0.88 for sm_90 when the ladder was written, as no nvcc is at hand"
            }
            Some(_) => "by the nvcc at hand, for sm_90",
        }
    }
}

/// The resources of a file, from nvcc where it is at hand; `None` without nvcc for a file that is no version of a ladder.
///
/// # Errors
/// [`crate::error::Error::Input`] if nvcc refuses the file.
pub fn resources(file: &KernelFile, gpu: &GpuModel) -> Result<Option<Resources>> {
    let compiled = compile_with_nvcc(file)?;
    let is_pinned = compiled.is_none();
    let kernels = compiled.unwrap_or_else(|| pinned(&file.text));
    Ok(of_launches(file, &kernels, gpu).map(|own| Resources { is_pinned, ..own }))
}

/// The pinned kernels of a ladder's version with this text; empty for other files.
fn pinned(text: &str) -> Vec<NvccKernel> {
    let is_own = |(_, own): &&(&str, &str)| *own == text;
    let rung = |ladder: &super::ladder::Ladder| {
        ladder.rungs.iter().find(is_own).map(|(name, _)| format!("{}/{name} ", ladder.name))
    };
    let Some(start) = LADDERS.iter().find_map(rung) else { return Vec::new() };
    let kernel = |line: &str| {
        let words: Vec<&str> = line.strip_prefix(&start)?.split(' ').collect();
        let [name, "registers", registers, "shared", shared] = words[..] else { return None };
        let (registers, shared) = (registers.parse().ok()?, shared.parse().ok()?);
        Some(NvccKernel { name: name.into(), registers, shared })
    };
    PINNED.lines().filter_map(kernel).collect()
}

fn of_launches(file: &KernelFile, kernels: &[NvccKernel], gpu: &GpuModel) -> Option<Resources> {
    let mut all: Option<Resources> = None;
    for launch in &file.launches {
        let is_own =
            |kernel: &&NvccKernel| launch.kernel.as_ref().is_none_or(|own| *own == kernel.name);
        let kernel = kernels.iter().find(is_own)?;
        let threads: u32 = launch.block.iter().product();
        let shared = kernel.shared + launch.shared;
        let occupancy = gpu.occupancy(kernel.registers, shared, threads as usize);
        let registers = kernel.registers;
        let own = Resources { registers, shared, occupancy, is_pinned: false };
        all = Some(all.map_or(own, |all| Resources {
            registers: all.registers.max(own.registers),
            shared: all.shared.max(own.shared),
            occupancy: all.occupancy.min(own.occupancy),
            is_pinned: false,
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::estimate::gpus::named;

    #[test]
    fn every_version_of_a_ladder_has_pinned_figures() {
        let mut lines = 0;
        for ladder in &LADDERS {
            for file in ladder.files().unwrap() {
                let kernels = pinned(&file.text);
                lines += kernels.len();
                let own = of_launches(&file, &kernels, named("h200").unwrap());
                assert!(own.is_some_and(|own| own.occupancy > 0.0), "{}", file.path.display());
            }
        }
        assert_eq!(lines, PINNED.lines().count());
        assert!(pinned("// another file").is_empty());
    }
}
