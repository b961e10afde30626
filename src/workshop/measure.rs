//! Kernel files on a GPU: compiled by nvcc, compared with the reference, and timed.

use super::compiler::{Optimisation, compile};
use super::launches::{check, launches, start};
use super::nvcc::{Ptx, compile_to_ptx};
use super::reference::{Array, Problem, Value};
use super::report::Measured;
use super::source::KernelFile;
use super::tolerance::Tolerance;
use super::trial::{bits, compare, tensor};
use crate::device::Gpu;
use crate::device::simulator::Library;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::{DType, Device};

/// The time of a measurement, in seconds, unless that takes more than [`MOST_REPETITIONS`].
const TIME: f64 = 0.02;

/// The most repetitions of the launches in a captured graph.
const MOST_REPETITIONS: usize = 1000;

/// The largest product of a shape's extents: the reference's plain loops take a minute or two for it.
const LARGEST: usize = 1 << 36;

/// The first GPU.
///
/// # Errors
/// [`Error::Input`] with the reason why there is none.
pub fn open_gpu() -> Result<Device> {
    let opened = Device::open_gpu(0, None);
    opened.map_err(|reason| Error::field("measure", format!("needs a GPU: {reason}")))
}

/// Runs a file on a GPU for a shape, compares the results with the reference's, and measures the mean time of its launches, one after
/// another without the host.
///
/// # Errors
/// [`Error::Input`] if the device is no GPU, the shape does not fit the reference, there is no nvcc, a compiler refuses the file, or a
/// result is wrong; [`Error::Device`] without a C++ compiler, which tells the kernels' parameters, or if the driver refuses the PTX;
/// [`Error::DeviceLost`] if a kernel fails.
pub fn measure(file: &KernelFile, shape: &[usize], device: &Device) -> Result<Measured> {
    check_measured(file, shape)?;
    let no_gpu = || Error::field("measure", "needs a GPU");
    let Device::Gpu(gpu) = device else { return Err(no_gpu()) };
    let capability = gpu.compute_capability().ok_or_else(no_gpu)?;
    let no_nvcc = || {
        let message = "needs nvcc, which is in none of NVCC, CUDA_HOME, PATH, /usr/local/cuda/bin";
        Error::field("measure", message)
    };
    let ptx = compile_to_ptx(file, capability)?.ok_or_else(no_nvcc)?;
    let folder = tempfile::tempdir();
    let folder = folder.map_err(|error| Error::write("temporary folder".as_ref(), error))?;
    let library = Library::load(&compile(file, folder.path(), Optimisation::On)?)?;
    check(file, library)?;
    load(gpu, file, &ptx, library)?;

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

    let mut ended = Ok(());
    let once = device.time(|| ended = run(&own, 1))?.as_secs_f64();
    ended?;
    let repetitions = ((TIME / once.max(1e-9)) as usize).clamp(1, MOST_REPETITIONS);
    let mut ended = Ok(());
    let graph = Gpu::capture(gpu, || ended = run(&own, repetitions));
    ended?;
    let time = device.time(|| graph.replay())?.as_secs_f64() / repetitions as f64;
    Ok(Measured {
        gpu: device.description().trim_start_matches("cuda: ").to_owned(),
        shape: file.reference.describe(shape),
        us: 1e6 * time,
    })
}

/// Checks that a file can be measured for a shape.
///
/// # Errors
/// [`Error::Input`] if the shape does not fit the reference, or is too large for it.
pub fn check_measured(file: &KernelFile, shape: &[usize]) -> Result<()> {
    let wrong = |message: String| Err(Error::field("measure", message));
    if let Err(message) = file.reference.check_shape(shape) {
        return wrong(message);
    }
    let product = shape.iter().try_fold(1, |all: usize, own| all.checked_mul(*own));
    match product.is_some_and(|product| product <= LARGEST) {
        true => Ok(()),
        false => {
            wrong(format!("has {shape:?}, too large for the reference, which the CPU computes"))
        }
    }
}

/// Loads a file's PTX, once its kernels have the parameters that the host's compiler saw, from which launches are made.
fn load(gpu: &Gpu, file: &KernelFile, ptx: &Ptx, library: &Library) -> Result<()> {
    for kernel in &ptx.kernels {
        let Some(known) = library.parameters(&kernel.name) else { continue };
        let known: Vec<usize> = known.iter().map(|own| own.kind.bytes()).collect();
        if kernel.parameters != known {
            let message = format!(
                "{}'s parameters have {:?} bytes for nvcc, and {known:?} for the host's compiler",
                kernel.name, kernel.parameters
            );
            return Err(Error::file(&file.path, message));
        }
    }
    let symbols = ptx.kernels.iter().map(|own| (own.name.clone(), own.symbol.clone()));
    gpu.load(&ptx.text, &symbols.collect::<Vec<_>>())
}

fn tensors(device: &Device, problem: &Problem) -> Vec<Option<Tensor>> {
    let own = |value: &Value| match value {
        Value::Array(array) if array.initial.is_none() => Some(unwritten(device, array)),
        value => tensor(device, value),
    };
    problem.arguments.iter().map(|(_, value)| own(value)).collect()
}

/// Memory that no result equals, as the simulator's fresh memory: a GPU's may hold the results of an earlier kernel.
fn unwritten(device: &Device, array: &Array) -> Tensor {
    let (shape, length) = (&array.shape[..], array.len());
    match array.dtype {
        DType::F32 => Tensor::from_slice(device, shape, &vec![f32::from_bits(u32::MAX); length]),
        DType::F64 => Tensor::from_slice(device, shape, &vec![f64::from_bits(u64::MAX); length]),
        DType::BF16 => {
            Tensor::from_slice(device, shape, &vec![half::bf16::from_bits(u16::MAX); length])
        }
        DType::I32 => Tensor::from_slice(device, shape, &vec![-1i32; length]),
        DType::I64 => Tensor::from_slice(device, shape, &vec![-1i64; length]),
        DType::U8 => Tensor::from_slice(device, shape, &vec![u8::MAX; length]),
    }
}
