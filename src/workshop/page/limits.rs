//! A kernel file on the roofline of a GPU.

use crate::bench::estimate::gpus::GpuModel;
use crate::plots::roofline::{Point, Roofs, with_prefix};
use crate::workshop::estimate::{busy_time, load_store_bytes, operations};
use crate::workshop::factors::Factors;
use crate::workshop::report::Counts;

/// What a reader should see.
pub(super) const CAPTION: &str = "Across: operations for each byte. Up: operations per second at the estimated time. The full dot counts the bytes \
    that the SMs move, whole sectors, and cannot rise above the line of load/store; below that line, shared memory or arithmetic takes the time. The empty dot counts each \
    byte of the arrays once, and cannot rise above the line of device memory. How far it lies to the right of the full dot shows how often bytes are moved again. Estimated, not measured: launches and latency are left out.";

/// The lines of a GPU, with the arithmetic of kernels that have these factors.
pub(super) fn roofs(gpu: &GpuModel, kernels: impl IntoIterator<Item = Factors>) -> Roofs {
    let mut all = vec![Factors::Whole];
    for factors in kernels {
        if !all.contains(&factors) {
            all.push(factors);
        }
    }
    Roofs {
        memories: vec![
            ("load/store".into(), load_store_bytes(gpu)),
            ("device memory".into(), gpu.bytes_per_second),
        ],
        units: all.iter().map(|own| (own.name().into(), operations(gpu, *own))).collect(),
    }
}

/// A kernel among them.
pub(super) fn point(name: &str, label: &str, counts: &Counts, gpu: &GpuModel) -> Point {
    let (nanoseconds, bound) = busy_time(gpu, counts);
    let operations_per_second = 1e9 * counts.operations / nanoseconds.max(1e-9);
    Point {
        label: label.to_owned(),
        title: format!(
            "{name}: {:.2} operations per byte, {}op/s, limit: {}",
            counts.operations_per_byte(),
            with_prefix(operations_per_second),
            bound.name()
        ),
        operations_per_byte: counts.operations_per_byte(),
        at_best: Some(counts.operations / counts.array_bytes.max(1) as f64),
        operations_per_second,
    }
}
