//! Every kernel in the simulator, under all its checks.
#![cfg(has_simulator)]

use std::collections::{BTreeMap, BTreeSet};

use super::kernels::kernels_of;
use super::workloads::{Size, Workload};
use crate::device::simulator::{Guard, Order, SimulatorOptions};
use crate::device::{DType, Device};
use crate::error::Result;

/// How far a number may be from the CPU's in f64, relative to the largest: all that is stored has 8 bits, as an LSTM's gates
/// at every time; factors of 10 bits; and all others.
const OF_BF16: f64 = 2e-2;
const OF_TENSOR_CORES: f64 = 1e-2;
const OF_OTHERS: f64 = 1e-4;

/// How a kernel is run: threads forwards, backwards and shuffled; asynchronous copies as late and as early as they may be;
/// the untouchable page behind each buffer and in front of it. The outputs must be equal to the bit.
pub fn ways() -> [SimulatorOptions; 3] {
    let usual = SimulatorOptions::default();
    [
        usual,
        SimulatorOptions {
            order: Order::Reverse,
            late_copies: false,
            guard: Guard::InFront,
            ..usual
        },
        SimulatorOptions { order: Order::Shuffled(5), ..usual },
    ]
}

/// What is wrong with each kernel with `wanted` in its name, over all small workloads that launch it: `None` for nothing.
/// `observe` is told each workload before it is run.
///
/// # Errors
/// Where the simulator cannot be opened.
pub fn reports(
    workloads: &[Workload],
    dtype: DType,
    threads: Option<usize>,
    wanted: &str,
    observe: &mut dyn FnMut(&str),
) -> Result<BTreeMap<String, Option<String>>> {
    let mut reports: BTreeMap<String, Option<String>> = BTreeMap::new();
    for workload in workloads {
        let kernels = kernels_of(workload, dtype, Size::Small);
        let kernels: BTreeSet<String> =
            kernels.into_iter().filter(|kernel| kernel.contains(wanted)).collect();
        // Others' work has been seen already.
        if kernels
            .iter()
            .all(|kernel| reports.contains_key(kernel) && workload.cost_of(kernel).is_none())
        {
            continue;
        }
        observe(&workload.name);
        let tolerance = match dtype {
            DType::BF16 => OF_BF16,
            _ if kernels_are_rounded(workload, dtype) => OF_TENSOR_CORES,
            _ => OF_OTHERS,
        };
        let fault = fault(workload, dtype, threads, tolerance)?;
        for kernel in kernels {
            // What only helps here is not to blame; it has a workload of its own.
            if fault.is_none() || workload.cost_of(&kernel).is_some() {
                let own = reports.entry(kernel).or_default();
                *own = own.take().or_else(|| fault.clone());
            }
        }
    }
    Ok(reports)
}

/// Whether a workload multiplies on tensor cores.
fn kernels_are_rounded(workload: &Workload, dtype: DType) -> bool {
    kernels_of(workload, dtype, Size::Small).iter().any(|kernel| kernel.contains("tf32"))
}

/// What is wrong with a workload, if anything.
fn fault(
    workload: &Workload,
    dtype: DType,
    threads: Option<usize>,
    tolerance: f64,
) -> Result<Option<String>> {
    let reference = workload.prepare(&Device::cpu(), DType::F64, Size::Small)();
    let reference: Vec<Vec<f64>> = reference.iter().map(|output| output.to_f64s()).collect();
    let mut first: Option<Vec<Vec<f64>>> = None;
    for way in ways() {
        let device = Device::simulator(threads, way)?;
        let outputs = workload.prepare(&device, dtype, Size::Small)();
        if let Err(error) = device.check() {
            return Ok(Some(error.to_string()));
        }
        let outputs: Vec<Vec<f64>> = outputs.iter().map(|output| output.to_f64s()).collect();
        let bits = |outputs: &[Vec<f64>]| -> Vec<u64> {
            outputs.iter().flatten().map(|own| own.to_bits()).collect()
        };
        if first.as_deref().is_some_and(|first| bits(first) != bits(&outputs)) {
            return Ok(Some(format!("{:?} gives other bits", way.order)));
        }
        first = Some(outputs);
    }
    let own = first.unwrap_or_default();
    Ok(difference(&own, &reference, tolerance))
}

/// Where an output is not the CPU's.
fn difference(own: &[Vec<f64>], reference: &[Vec<f64>], tolerance: f64) -> Option<String> {
    if own.iter().map(Vec::len).ne(reference.iter().map(Vec::len)) {
        return Some("other outputs than the cpu's".into());
    }
    for (number, (own, reference)) in own.iter().zip(reference).enumerate() {
        let largest = reference.iter().fold(1e-6, |largest: f64, value| largest.max(value.abs()));
        for (index, (own, reference)) in own.iter().zip(reference).enumerate() {
            // What is not a number is no agreement.
            let agrees = (own - reference).abs() <= tolerance * largest;
            if !agrees {
                return Some(format!("output {number}[{index}] is {own}, the cpu's {reference}"));
            }
        }
    }
    None
}
