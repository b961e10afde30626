//! `--measure`: a kernel file on a GPU.

use clap::Args;

use alrao::Device;
use alrao::argument::whole;
use alrao::error::Error;
use alrao::workshop::{KernelFile, Measured, check_measured, has_nvcc, measure, open_gpu};

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
    /// If there is no GPU or no nvcc, or the shape does not fit what the file computes.
    pub fn device(&self, file: &KernelFile) -> Result<Option<Device>, Error> {
        if self.measure.is_empty() {
            return Ok(None);
        }
        check_measured(file, &self.measure)?;
        let device = open_gpu()?;
        match has_nvcc()? {
            true => Ok(Some(device)),
            false => Err(Error::field("measure", "needs nvcc; give its path in NVCC")),
        }
    }

    /// Measures a file.
    ///
    /// # Errors
    /// As [`measure`].
    pub fn of(&self, file: &KernelFile, device: &Device) -> Result<Measured, Error> {
        measure(file, &self.measure, device)
    }
}
