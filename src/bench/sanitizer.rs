//! The simulator's sanitizer report on every kernel: all checks on small workloads.
#![cfg(has_simulator)]

use std::collections::{BTreeMap, BTreeSet};

use super::kernels::kernels_of;
use super::workloads::{Size, Workload};
use crate::device::simulator::{Guard, Order, SimulatorOptions};
use crate::device::{DType, Device};
use crate::error::Result;

/// Tolerances relative to the largest number of the CPU's f64 result: where every stored number has 8 significant bits,
/// as an LSTM's gates at every time step; for operands of 10 bits; for all others.
const OF_BF16: f64 = 2e-2;
const OF_TENSOR_CORES: f64 = 1e-2;
const OF_OTHERS: f64 = 1e-4;

/// The simulator's settings for the runs of a kernel: threads in forward, reverse and shuffled order; asynchronous
/// copies completing as late or as early as allowed; the guard page behind each buffer or in front. Outputs must agree
/// to the bit.
pub fn settings() -> [SimulatorOptions; 3] {
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

/// The first fault of each kernel with `wanted` in its name, over all small workloads that launch it: `None` if it has
/// none. `observe` is called with each workload's name before it is run.
///
/// # Errors
/// If the simulator cannot be opened.
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
        // Skip a workload that only launches kernels already checked elsewhere.
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
            // A fault is reported for the kernels that the workload is about; helpers have workloads of their own.
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

/// A workload's first fault, if any.
fn fault(
    workload: &Workload,
    dtype: DType,
    threads: Option<usize>,
    tolerance: f64,
) -> Result<Option<String>> {
    let reference = workload.prepare(&Device::cpu(), DType::F64, Size::Small)();
    let reference: Vec<Vec<f64>> = reference.iter().map(|output| output.to_f64s()).collect();
    let mut first: Option<Vec<Vec<f64>>> = None;
    for options in settings() {
        let device = Device::simulator(threads, options)?;
        let outputs = workload.prepare(&device, dtype, Size::Small)();
        if let Err(error) = device.check() {
            return Ok(Some(error.to_string()));
        }
        let outputs: Vec<Vec<f64>> = outputs.iter().map(|output| output.to_f64s()).collect();
        let bits = |outputs: &[Vec<f64>]| -> Vec<u64> {
            outputs.iter().flatten().map(|own| own.to_bits()).collect()
        };
        if first.as_deref().is_some_and(|first| bits(first) != bits(&outputs)) {
            return Ok(Some(format!("{:?} gives different bits", options.order)));
        }
        first = Some(outputs);
    }
    let own = first.unwrap_or_default();
    Ok(difference(&own, &reference, tolerance))
}

/// Describes the first element that differs from the CPU's.
fn difference(own: &[Vec<f64>], reference: &[Vec<f64>], tolerance: f64) -> Option<String> {
    if own.iter().map(Vec::len).ne(reference.iter().map(Vec::len)) {
        return Some("other outputs than the cpu's".into());
    }
    for (number, (own, reference)) in own.iter().zip(reference).enumerate() {
        let largest = reference.iter().fold(1e-6, |largest: f64, value| largest.max(value.abs()));
        for (index, (own, reference)) in own.iter().zip(reference).enumerate() {
            // NaN must not count as agreement.
            let agrees = (own - reference).abs() <= tolerance * largest;
            if !agrees {
                return Some(format!("output {number}[{index}] is {own}, the cpu's {reference}"));
            }
        }
    }
    None
}
