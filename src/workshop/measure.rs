//! Kernel files on a GPU: compiled by nvcc, compared with the reference, and timed.

use super::compiler::{Optimisation, compile};
use super::launches::{check, launches, start};
use super::nvcc::compile_to_ptx;
use super::reference::Value;
use super::report::Measured;
use super::source::KernelFile;
use super::tolerance::Tolerance;
use super::trial::{bits, compare, tensors};
use crate::Device;
use crate::device::Gpu;
use crate::device::simulator::Library;
use crate::error::{Error, Result};

/// The least time of a measurement, in seconds.
const LEAST_TIME: f64 = 0.02;

/// The most repetitions of the launches in a captured graph.
const MOST_REPETITIONS: usize = 1000;

/// Runs a file on a GPU for a shape, compares the results with the reference's, and measures the mean time of its launches, one behind
/// the other without the host.
///
/// # Errors
/// [`Error::Device`] without nvcc or a C++ compiler, which tells the kernels' parameters, or where the GPU fails; [`Error::Input`] if the
/// shape is none of the reference, a compiler refuses the file, or a result is wrong.
pub fn measure(file: &KernelFile, shape: &[usize], device: &Device) -> Result<Measured> {
    file.reference.check_shape(shape).map_err(|message| Error::field("measure", message))?;
    let none = || Error::field("measure", "needs a GPU");
    let Device::Gpu(gpu) = device else { return Err(none()) };
    let capability = gpu.compute_capability().ok_or_else(none)?;
    let ptx = compile_to_ptx(file, capability)?.ok_or_else(|| {
        Error::field(
            "measure",
            "needs nvcc, which is in none of NVCC, CUDA_HOME, PATH, /usr/local/cuda/bin",
        )
    })?;
    let folder = tempfile::tempdir();
    let folder = folder.map_err(|error| Error::write("temporary folder".as_ref(), error))?;
    let library = Library::load(&compile(file, folder.path(), Optimisation::On)?)?;
    check(file, library)?;
    gpu.load(&ptx.text, &ptx.symbols)?;

    let problem = (file.reference.problem)(shape);
    let launches = launches(file, &problem);
    let wrong = |message: String| Error::file(&file.path, format!("on the GPU: {message}"));
    let run = |tensors: &[_], repetitions: usize| -> Result<()> {
        for _ in 0..repetitions {
            for launch in &launches {
                start(gpu, library, launch, &problem, tensors).map_err(wrong)?;
            }
        }
        Ok(())
    };
    let own = tensors(device, &problem);
    run(&own, 1)?;
    device.check()?;
    for ((name, value), tensor) in problem.arguments.iter().zip(&own) {
        if let (Value::Array(array), Some(tensor)) = (value, tensor) {
            let tolerance = Tolerance::of(array, problem.terms, file.factors);
            compare(name, array, &bits(tensor), &tolerance).map_err(|own| wrong(own.message))?;
        }
    }

    let once = device.time(|| drop(run(&own, 1)))?.as_secs_f64();
    let repetitions = ((LEAST_TIME / once.max(1e-9)) as usize).clamp(1, MOST_REPETITIONS);
    let graph = Gpu::capture(gpu, || drop(run(&own, repetitions)));
    let time = device.time(|| graph.replay())?.as_secs_f64() / repetitions as f64;
    Ok(Measured {
        gpu: device.description().trim_start_matches("cuda: ").to_owned(),
        shape: file.reference.describe(shape),
        us: 1e6 * time,
    })
}
