//! `--measure`: a kernel file on a GPU.

use clap::Args;

use alrao::argument::whole;
use alrao::error::Error;
use alrao::workshop::{KernelFile, Measured, measure};
use alrao::{Device, DeviceKind};

/// A measurement on a GPU.
#[derive(Args)]
pub(super) struct Measurement {
    /// Run on the GPU too, compiled by nvcc, for a shape with these extents; compare the results, and measure the time
    #[arg(long, value_name = "EXTENTS", value_delimiter = ',', value_parser = whole::<usize>)]
    measure: Vec<usize>,
}

impl Measurement {
    /// The GPU, if a measurement is asked for.
    pub fn device(&self) -> Result<Option<Device>, Error> {
        (!self.measure.is_empty()).then(|| Device::open(DeviceKind::Cuda(0))).transpose()
    }

    /// Measures a file.
    pub fn of(&self, file: &KernelFile, device: &Device) -> Result<Measured, Error> {
        measure(file, &self.measure, device)
    }
}
