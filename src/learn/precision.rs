//! The precisions that each device supports.

use super::{ModelRecord, Precision};
use crate::device::Device;
use crate::error::{Error, Result};

/// The precisions of training and evaluation, which differ if the device does not support the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluationPrecision {
    /// The run's precision.
    pub trained: Precision,
    /// The same, or the nearest one on the device.
    pub evaluated: Precision,
}

impl EvaluationPrecision {
    pub(crate) fn new(record: &ModelRecord, device: &Device) -> Result<Self> {
        let trained = record.precision.parse::<Precision>()?;
        Ok(EvaluationPrecision { trained, evaluated: trained.or_nearest_on(device) })
    }
}

/// Refuses a precision that the device does not support.
pub(crate) fn check_precision(precision: Precision, device: &Device) -> Result<()> {
    if precision.is_on(device) {
        return Ok(());
    }
    let message = match device.name() {
        "cpu" => {
            format!(
                "{precision} is a GPU's; the cpu computes in f32 or f64 ({}); give `precision` f32",
                device.description()
            )
        }
        name => format!(
            "the kernels of {name} compute in f32, tf32 or bf16, not in {precision}; give `precision` tf32"
        ),
    };
    Err(Error::field("precision", message))
}

/// Refuses to continue a run on a device that does not support its precision.
pub(crate) fn check_precision_of_run(precision: Precision, device: &Device) -> Result<()> {
    if precision.is_on(device) {
        return Ok(());
    }
    let others = match precision {
        Precision::F64 => "the cpu",
        _ => "cuda or the simulator",
    };
    let message = format!(
        "the run computes in {precision}, which {} does not ({}); continue it on {others}",
        device.name(),
        device.description()
    );
    Err(Error::field("resume", message))
}
