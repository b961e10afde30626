//! A run whose disk fails once loses nothing.

use std::path::Path;

use super::Run;
use super::settings::Settings;
use crate::device::{Device, DeviceKind};
use crate::learn::disk::failing::assert_no_failure_loses_anything;
use crate::learn::tensor_file::{Array, TensorFile};
use crate::learn::{RunDirectory, Silent, StopFlag};

/// Fourteen samples for training, in two classes, and six for validation.
fn write_data(path: &Path) {
    let mut file = TensorFile::default();
    for (part, samples) in [("", 14), ("valid_", 6)] {
        let values: Vec<f32> = (0..samples * 2).map(|number| (number * 7 % 5) as f32).collect();
        let labels: Vec<i64> = (0..samples as i64).map(|number| number % 2).collect();
        file.arrays.insert(format!("{part}inputs"), Array::new(vec![samples, 2], &values));
        file.arrays.insert(format!("{part}labels"), Array::new(vec![samples], &labels));
    }
    std::fs::write(path, file.to_bytes()).unwrap();
}

/// The run stops in its second epoch of four steps, and continues.
#[test]
fn a_failing_operation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.safetensors");
    write_data(&data);
    let device = Device::open_with_threads(DeviceKind::Cpu, Some(1)).unwrap();
    assert_no_failure_loses_anything(&|run, phase| {
        let text = "model = 'mlp'\nhidden = [3]\nbatch_size = 4\neta_max = 0.1\nlog_every = 3\ndevice = 'cpu'";
        let mut settings = Settings::from_toml(text, "settings".as_ref())?;
        settings.task.data = Some(data.to_str().unwrap().to_owned());
        settings.task.max_steps = Some(6);
        let mut changes = Settings::default();
        changes.task.max_steps = (phase == 1).then_some(11);
        let mut run = match RunDirectory::has_begun(run) {
            false => Run::start(settings.resolve()?, Some(run), &device)?,
            true => Run::resume(run, &changes, None, &device)?,
        };
        run.train(&mut Silent, &StopFlag::default()).map(drop)
    });
}
