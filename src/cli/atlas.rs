//! `alrao kernels --html`.

use std::path::{Path, absolute};

use alrao::bench::atlas::{Atlas, atlas};
use alrao::bench::estimate::gpus::GpuModel;
use alrao::bench::estimate::kernels;
use alrao::bench::kernels::{describe, measure};
use alrao::bench::peaks::Peaks;
use alrao::bench::workloads;
use alrao::device::{DType, Device};

/// The atlas of the kernels with `wanted` in their names, for a page at `path`. Kernels are timed if the device is a GPU.
pub(super) fn atlas_of(
    gpu: &GpuModel,
    wanted: &str,
    device: &Device,
    path: &Path,
) -> anyhow::Result<String> {
    let workloads = workloads::all();
    let is_gpu = device.name() == "cuda";
    let peaks = is_gpu.then(|| Peaks::measure(device)).transpose()?.flatten();
    let (mut rows, mut estimates) = (Vec::new(), Vec::new());
    // A kernel that both launch keeps the row of f32, which comes last.
    for dtype in [DType::BF16, DType::F32] {
        rows.extend(match &peaks {
            Some(peaks) => measure(&workloads, device, dtype, wanted, peaks, &mut |_| {})?,
            None => describe(&workloads, dtype, wanted)?,
        });
        estimates.extend(kernels(gpu, &workloads, dtype, wanted)?);
    }
    let repository = way_to_the_repository(path);
    let made = format!("alrao kernels --html; written by alrao {}", env!("CARGO_PKG_VERSION"));
    Ok(atlas(&Atlas {
        gpu,
        rows: &rows,
        estimates: &estimates,
        repository: repository.as_deref(),
        wanted,
        made: &made,
    }))
}

/// The `../` that lead from a page's folder to the repository; `None` outside of one.
fn way_to_the_repository(page: &Path) -> Option<String> {
    let page = absolute(page).ok()?;
    let mut folders = page.parent()?.ancestors().enumerate();
    let is_repository = |folder: &Path| {
        folder.join("kernels/target.cuh").exists() && folder.join("docs/kernels").is_dir()
    };
    folders.find(|(_, folder)| is_repository(folder)).map(|(depth, _)| "../".repeat(depth))
}
