//! Flags that several commands have.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use alrao::data::Part;
use alrao::device::Device;
use alrao::error::{Error, Result};
use alrao::learn::settings::{DeviceSettings, Group, Settings, TaskSettings};
use alrao::learn::{OutputFile, RunConfig};

/// Files of a training run.
#[derive(Args)]
#[command(next_help_heading = "Files")]
pub(super) struct PlaceArguments {
    /// Settings, under the flags' names in snake_case; flags override them
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// The run's directory, absent or empty [default: a new one in runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue a run; only --epochs, --patience, --max-steps (rl: --steps), --log-every, --threads and --device may change
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Write the metrics for TensorBoard too, in the run's folder tensorboard
    #[arg(long)]
    pub tensorboard: bool,
}

impl PlaceArguments {
    /// Opens the device of a new run, and starts the run by `start`, which takes its configuration, its directory and the
    /// device.
    pub fn start<T: TaskSettings, R>(
        &self,
        flags: Settings<T>,
        start: impl FnOnce(RunConfig<T::Config>, Option<&Path>, &Device) -> Result<R>,
    ) -> anyhow::Result<(R, Device)> {
        let mut settings = self.with_file(flags)?;
        let config = settings.resolve()?;
        let device = Device::open_with_threads(config.device, config.threads)
            .map_err(|error| settings.with_file_of(error))?;
        // The default precision depends on the device that was opened.
        settings.device.device = device.kind();
        let run = start(settings.resolve()?, self.out.as_deref(), &device)
            .map_err(|error| settings.with_file_of(error))?;
        Ok((run, device))
    }

    /// The settings that were given as flags, over those of the `--config` file.
    fn with_file<T: TaskSettings>(&self, flags: Settings<T>) -> anyhow::Result<Settings<T>> {
        let Some(path) = &self.config else { return Ok(flags) };
        Ok(flags.over(Settings::read(path)?))
    }

    /// Checks that the flags go with `--resume`.
    pub fn check_resume<T: TaskSettings>(&self, flags: &Settings<T>) -> anyhow::Result<()> {
        let changeable = [T::CHANGEABLE, DeviceSettings::KEYS].concat();
        let places = [("config", &self.config), ("out", &self.out)];
        let places = places.into_iter().filter(|(_, path)| path.is_some()).map(|(key, _)| key);
        let mut refused =
            flags.given().into_iter().filter(|key| !changeable.contains(key)).chain(places);
        if let Some(key) = refused.next() {
            let names: Vec<String> = changeable.iter().map(|key| format!("`{key}`")).collect();
            let message = format!("does not go with `resume`; only {} do", names.join(", "));
            return Err(Error::field(key, message).into());
        }
        Ok(flags.check_values()?)
    }
}

/// A part of data.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    /// The part that it names.
    pub fn part(self) -> Part {
        match self {
            Split::Train => Part::Train,
            Split::Valid => Part::Valid,
            Split::Test => Part::Test,
        }
    }
}

/// Opens the device of a continued run, or the one that was given instead.
pub(super) fn open_for<T: TaskSettings>(
    flags: &Settings<T>,
    run: &RunConfig<T::Config>,
) -> Result<Device> {
    let given = &flags.device;
    Device::open_with_threads(given.device.unwrap_or(run.device), given.threads.or(run.threads))
}

/// A file that is written for its own sake, so that only `force` replaces one that is there.
///
/// # Errors
/// If it is there without `force`, is one of the inputs, or cannot be written.
pub(super) fn new_file(
    field: &str,
    path: &Path,
    inputs: &[&Path],
    force: bool,
) -> Result<OutputFile> {
    let file = OutputFile::new(field, path, inputs)?;
    match !force && path.symlink_metadata().is_ok() {
        true => {
            let subject = format!("`{field}` {}", path.display());
            Err(Error::input(subject, "is there already; `force` replaces it"))
        }
        false => Ok(file),
    }
}
