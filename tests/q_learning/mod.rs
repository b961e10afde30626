//! Q-learning with Alrao: its updates on each device, that it learns, and its runs from the command line.

#[cfg(all(feature = "cli", unix))]
mod runs;
mod settings;
mod updates;

use std::path::Path;

use alrao::learn::Silent;
use alrao::learn::StopFlag;
use alrao::rl::Run;
use alrao::rl::settings::Settings;
use alrao::{Device, DeviceKind};

/// The settings of a file's text.
fn settings(text: &str) -> Settings {
    Settings::from_toml(text, Path::new("test.toml")).unwrap()
}

/// Half an hour of a pendulum's time. Random torques give -1200, the paper's Alrao -371.
#[test]
fn alrao_learns_to_swing_the_pendulum_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = settings("steps = 12000\nlog_every = 0").resolve().unwrap();
    config.device = DeviceKind::Cpu;
    let device = Device::cpu();
    let mut run = Run::start(config, Some(&folder.path().join("run")), &device).unwrap();
    let report = run.train(&mut Silent, &StopFlag::default()).unwrap();
    let test = report.test.unwrap();
    assert_eq!((test.episodes, report.best.unwrap().0), (20, test.epoch));
    assert!(test.mean_return > -420.0, "a return of {}", test.mean_return);
}
