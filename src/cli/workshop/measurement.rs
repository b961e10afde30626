//! `--measure`: a kernel file on a GPU.

use clap::Args;

use alrao::argument::whole;
use alrao::error::Error;
use alrao::workshop::{KernelFile, Measured, Reference, measure};
use alrao::{Device, DeviceKind};

/// A measurement on a GPU.
#[derive(Args)]
pub(super) struct Measurement {
    /// Run on the GPU too, compiled by nvcc, for a shape with these extents; compare the results, and measure the time; `alrao workshop references NAME` lists the extents
    #[arg(long, value_name = "EXTENTS", value_delimiter = ',', value_parser = whole::<usize>)]
    measure: Vec<usize>,
}

impl Measurement {
    /// The GPU, if a measurement is asked for.
    ///
    /// # Errors
    /// If there is none, or the shape is none of what is computed.
    pub fn device(&self, reference: &Reference) -> Result<Option<Device>, Error> {
        if self.measure.is_empty() {
            return Ok(None);
        }
        let wrong = |message| Error::field("measure", message);
        reference.check_shape(&self.measure).map_err(wrong)?;
        match Device::open(DeviceKind::Cuda(0)) {
            Ok(device) => Ok(Some(device)),
            Err(Error::Device { message, .. }) => {
                // The advice is for training.
                let reason = message.split("; without it").next().unwrap_or_default();
                Err(wrong(format!("needs a GPU: {reason}")))
            }
            Err(other) => Err(other),
        }
    }

    /// Measures a file.
    pub fn of(&self, file: &KernelFile, device: &Device) -> Result<Measured, Error> {
        measure(file, &self.measure, device)
    }
}
