//! A run of Q-learning whose disk fails once loses nothing.

use super::Run;
use super::settings::Settings;
use crate::device::{Device, DeviceKind};
use crate::learn::disk::failing::assert_no_failure_loses_anything;
use crate::learn::{RunDirectory, Silent, StopFlag};

/// The run stops in its second epoch of forty steps, and continues.
#[test]
fn a_failing_operation_loses_nothing() {
    let device = Device::open_with_threads(DeviceKind::Cpu, Some(1)).unwrap();
    assert_no_failure_loses_anything(&|run, phase| {
        let text = "env = 'pendulum:3'\nhidden = [3]\nsteps = 60\nepoch_steps = 40\nlearning_starts = 20\n\
            epsilon_steps = 20\nevaluation_episodes = 1\nbatch_size = 4\nlog_every = 10\ndevice = 'cpu'";
        let settings = Settings::from_toml(text, "settings".as_ref())?;
        let mut changes = Settings::default();
        changes.task.steps = (phase == 1).then_some(100);
        let mut run = match RunDirectory::has_begun(run) {
            false => Run::start(settings.resolve()?, Some(run), &device)?,
            true => Run::resume(run, &changes, &device)?,
        };
        run.train(&mut Silent, &StopFlag::default()).map(drop)
    });
}
