//! `--estimate GPU`: times that are counted and not measured, of a step and of single kernels.

use std::fmt::Write;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use alrao::bench::estimate::gpus::{GPUS, GpuModel, named};
use alrao::bench::estimate::{KernelRow, StepEstimate};

/// The value of `--estimate`.
pub(super) fn gpu_model() -> impl TypedValueParser<Value = &'static GpuModel> {
    PossibleValuesParser::new(GPUS.iter().map(|gpu| gpu.name))
        .map(|name| named(&name).expect("it is one of them"))
}

const PAGE: &str = "estimated, not measured: docs/kernels/cost-model.md";

pub(super) fn step_json(step: &StepEstimate) -> String {
    json!({ "estimate": step }).to_string() + "\n"
}

pub(super) fn step_table(step: &StepEstimate) -> String {
    let mut text = format!(
        "{:<44} {:>8} {:>12} {:>7} {:>10}  limit\n",
        "kernel", "launches", "estimate us", "share", "MB"
    );
    for own in &step.kernels {
        let _ = writeln!(
            text,
            "{:<44} {:>8} {:>12.1} {:>6.1}% {:>10.2}  {}",
            own.kernel,
            own.launches,
            own.us,
            100.0 * own.us / (1e3 * step.ms),
            own.megabytes,
            own.limit.name()
        );
    }
    let title = format!("one step on {}", step.gpu);
    text + &format!("{title:<44} {:>8} {:>12.1}\n{PAGE}\n", step.nodes, 1e3 * step.ms)
}

pub(super) fn kernels_json(gpu: &GpuModel, rows: &[KernelRow]) -> String {
    json!({ "gpu": gpu.title, "kernels": rows }).to_string() + "\n"
}

pub(super) fn kernels_table(gpu: &GpuModel, rows: &[KernelRow]) -> String {
    let mut text = format!(
        "{:<42} {:>9} {:>7} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>6} {:>8} {:>6} {:>11}  limit; for\n",
        "kernel",
        "registers",
        "shared",
        "slots",
        "tensor",
        "fp32",
        "fp64",
        "integer",
        "spec.",
        "smem",
        "bytes",
        "passes",
        "waves",
        "estimate us"
    );
    for row in rows {
        let (pass, own) = (&row.pass, &row.estimate);
        let _ = writeln!(
            text,
            "{:<42} {:>9} {:>7} {:>6} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>6} {:>8.1} {:>6} {:>11.2}  {}; {}",
            row.kernel,
            row.registers,
            row.shared,
            pass.slots(),
            pass.tensor,
            pass.fp32,
            pass.fp64,
            pass.integer,
            pass.special,
            pass.shared,
            pass.bytes,
            own.passes,
            own.waves,
            own.us,
            own.limit.name(),
            row.workload
        );
    }
    text + &format!(
        "one launch on {}; slots, tensor .. smem: instructions of a warp in one pass of the main loop; {PAGE}\n",
        gpu.title
    )
}
