//! Flags that several commands have.

use std::path::PathBuf;

use clap::Args;

use alrao::device::{Device, DeviceKind};
use alrao::error::Error;
use alrao::learn::settings::{DeviceSettings, Group, Settings, TaskSettings};

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
    /// Continue a run; its length, --log-every, --threads and --device may change
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
}

impl PlaceArguments {
    /// The settings that were given as flags, over those of the `--config` file.
    pub fn with_file<T: TaskSettings>(&self, flags: Settings<T>) -> anyhow::Result<Settings<T>> {
        let Some(path) = &self.config else { return Ok(flags) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::input(format!("--config {}", path.display()), format!("cannot be read: {error}"))
        })?;
        Ok(flags.over(Settings::from_toml(&text, path)?))
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

/// The settings with the device that was opened, which the precision depends on.
pub(super) fn on_device<T: TaskSettings>(
    mut settings: Settings<T>,
    device: &Device,
) -> Result<Settings<T>, Error> {
    settings.device.device = Some(device.name().parse()?);
    Ok(settings)
}

/// Opens the device that was given, or else the one of a run.
pub(super) fn open_for<T: TaskSettings>(
    flags: &Settings<T>,
    run: (DeviceKind, Option<usize>),
) -> Result<Device, Error> {
    let own = &flags.device;
    Device::open_with_threads(own.device.unwrap_or(run.0), own.threads.or(run.1))
}
