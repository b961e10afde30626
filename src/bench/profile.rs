//! The time of a training step, op by op, beside the device's peaks.

use std::time::Duration;

use serde::Serialize;

use super::peaks::Peaks;
use super::step::{Contestant, Mode};
use crate::device::{Device, OpTime, Profile};
use crate::error::Result;
use crate::learn::Precision;
use crate::supervised::RunConfig;

/// The one of the device's two peaks that an op comes nearer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Arithmetic throughput in the step's precision.
    Arithmetic,
    /// The bandwidth of a copy.
    Memory,
}

impl Bound {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Arithmetic => "arithmetic",
            Bound::Memory => "memory",
        }
    }
}

/// One op of a step, summed over its calls.
#[derive(Clone, Debug, Serialize)]
pub struct OpRow {
    /// Its name.
    pub op: &'static str,
    /// Calls in a step.
    pub calls: f64,
    /// Milliseconds per step, without the ops that it calls.
    pub ms: f64,
    /// Its part of the step's time, from 0 to 1.
    pub share: f64,
    /// 10^9 operations per second; a multiply-add is two.
    pub gflops: f64,
    /// 10^9 bytes per second, each input read once and each output written once.
    pub gigabytes_per_second: f64,
    /// The larger of its parts of the two peaks; above 1 if its data is cached.
    pub of_peak: Option<f64>,
    /// The peak of `of_peak`.
    pub bound: Option<Bound>,
}

/// The device's peaks in a step's precision.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PrecisionPeaks {
    /// 10^9 operations per second.
    pub gflops: f64,
    /// 10^9 bytes per second, read and written.
    pub gigabytes_per_second: f64,
}

impl PrecisionPeaks {
    /// Picks the peaks of a precision.
    pub fn new(peaks: &Peaks, precision: Precision) -> Self {
        let operations = match precision {
            Precision::F32 | Precision::F64 => peaks.f32,
            Precision::Tf32 => peaks.tf32,
            Precision::Bf16 => peaks.bf16,
        };
        PrecisionPeaks { gflops: operations / 1e9, gigabytes_per_second: peaks.bytes / 1e9 }
    }
}

/// A training step, op by op.
#[derive(Clone, Debug, Serialize)]
pub struct StepProfile {
    /// The model.
    pub model: String,
    /// The optimiser.
    pub optimizer: String,
    /// The precision.
    pub precision: String,
    /// Factor on the model's number of channels or units.
    pub width: f64,
    /// Images, or tokens, in a step.
    pub samples: usize,
    /// Profiled steps; the same number runs without profiling.
    pub steps: usize,
    /// Mean milliseconds of a step without profiling.
    pub step_ms: f64,
    /// Milliseconds outside all ops.
    pub outside_ms: f64,
    /// `None` in the simulator and in f64.
    pub peaks: Option<PrecisionPeaks>,
    /// The longest first.
    pub ops: Vec<OpRow>,
}

impl StepProfile {
    /// Milliseconds of all ops together.
    pub fn ops_ms(&self) -> f64 {
        self.ops.iter().map(|row| row.ms).sum()
    }
}

/// Profiles `steps` eager steps of a model. Profiled and plain steps alternate, so that a change of the machine's speed
/// affects both.
///
/// # Errors
/// As [`Contestant::new`] and [`Device::check`].
pub fn profile(
    config: &RunConfig,
    device: &Device,
    peaks: Option<&Peaks>,
    steps: usize,
) -> Result<StepProfile> {
    let contestant = Contestant::new(config, Mode::Eager, device)?;
    let (steps, mut alone, mut total) = (steps.max(1), Duration::ZERO, Profile::default());
    for _ in 0..steps {
        alone += device.time(|| drop(contestant.step()))?;
        total += device.profile(|| drop(contestant.step()))?;
    }
    let ms = |time: Duration| 1e3 * time.as_secs_f64() / steps as f64;
    let precision = config.train.precision;
    // The peaks are not measured in f64.
    let peaks = peaks.filter(|_| precision != Precision::F64);
    let peaks = peaks.map(|own| PrecisionPeaks::new(own, precision));
    let row = |(op, own): (&&'static str, &OpTime)| {
        let rate = |count: f64| count / 1e9 / own.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let (gflops, gigabytes) = (rate(own.cost.operations), rate(own.cost.bytes));
        let shares =
            peaks.map(|peaks| [gflops / peaks.gflops, gigabytes / peaks.gigabytes_per_second]);
        OpRow {
            op,
            calls: own.calls as f64 / steps as f64,
            ms: ms(own.time),
            share: own.time.as_secs_f64() / alone.as_secs_f64(),
            gflops,
            gigabytes_per_second: gigabytes,
            of_peak: shares.map(|[arithmetic, memory]| arithmetic.max(memory)),
            bound: shares.map(|[arithmetic, memory]| match arithmetic > memory {
                true => Bound::Arithmetic,
                false => Bound::Memory,
            }),
        }
    };
    let mut ops: Vec<OpRow> = total.ops.iter().map(row).collect();
    ops.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(StepProfile {
        model: config.model.architecture.to_string(),
        optimizer: config.train.optimizer.to_string(),
        precision: config.train.precision.to_string(),
        width: config.model.width,
        samples: contestant.samples(),
        steps,
        step_ms: ms(alone),
        outside_ms: ms(total.outside.time),
        peaks,
        ops,
    })
}
