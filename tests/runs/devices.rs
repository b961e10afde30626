//! Runs on a device that runs kernels: continued to the bit, lost on the way, continued elsewhere.

use std::fs;
use std::path::Path;

use alrao::device::simulator::SimulatorOptions;
use alrao::learn::{Silent, StopFlag};
use alrao::supervised::Run;
use alrao::supervised::settings::Settings;
use alrao::{Device, Error};

use super::{MLP, assert_no_temporary_file, assert_same, ends_with, metrics, progress};
use super::{write_infinite, write_text, write_vectors};

/// Of shuffled vectors and of text, stopped in the middle of an epoch.
#[test]
fn a_run_on_the_simulator_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [42, 12, 10]);
    write_text(folder, 400);
    let text = "train --model char-lstm --width 0.25 --data text.txt --bptt 9";
    let narrow = format!("{MLP} --precision bf16");
    for (name, arguments) in [("vectors", MLP), ("text", text), ("narrow", &narrow)] {
        let arguments =
            format!("{arguments} --batch-size 4 --eta-max 1 --log-every 3 --device simulator");
        let arguments = format!("{arguments} --epochs 3");
        ends_with(0, folder, &format!("{arguments} --out {name}-alone"));
        ends_with(0, folder, &format!("{arguments} --max-steps 5 --out {name}"));
        ends_with(0, folder, &format!("train --resume {name} --max-steps 100"));
        assert_same(&folder.join(name), &folder.join(format!("{name}-alone")));
        ends_with(0, folder, &format!("eval {name} --split valid --device simulator"));
    }
}

/// What cannot be changed on a run is not what a message advises.
#[test]
fn a_run_whose_precision_a_device_has_not_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [12, 4, 4]);
    let arguments = format!("{MLP} --batch-size 4 --max-steps 1");
    ends_with(0, folder, &format!("{arguments} --device simulator --precision tf32 --out narrow"));
    let (_, message) = ends_with(2, folder, "train --resume narrow --device cpu");
    assert!(
        message.contains("tf32, which cpu does not")
            && message.contains("continue it on cuda or the simulator"),
        "{message}"
    );
    let (_, message) = ends_with(0, folder, "eval narrow --device cpu");
    assert!(message.contains("trained in tf32, evaluated in f32"), "{message}");
    let (_, message) = ends_with(0, folder, "eval narrow --device simulator");
    assert!(!message.contains("evaluated in"), "{message}");
    ends_with(0, folder, &format!("{arguments} --precision f64 --out wide"));
    let (_, message) = ends_with(2, folder, "train --resume wide --device simulator");
    assert!(
        message.contains("f64, which simulator does not")
            && message.contains("continue it on the cpu"),
        "{message}"
    );
}

fn start(folder: &Path, name: &str, lost_after: Option<u64>) -> (Run, Device) {
    let settings = r#"
        model = "mlp"
        hidden = [16]
        batch_size = 4
        eta_max = 1.0
        epochs = 4
        log_every = 3
        device = "simulator"
    "#;
    let mut settings = Settings::from_toml(settings, Path::new("settings")).unwrap();
    settings.task.data = Some(folder.join("data.safetensors").to_str().unwrap().to_owned());
    let options = SimulatorOptions { lost_after, ..SimulatorOptions::default() };
    let device = Device::simulator(Some(2), options).unwrap();
    let config = settings.resolve().unwrap();
    (Run::start(config, Some(&folder.join(name)), &device).unwrap(), device)
}

#[test]
fn a_device_that_is_lost_leaves_the_last_checkpoint_and_the_run_goes_on_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [42, 12, 10]);
    let (mut whole, device) = start(folder, "whole", None);
    whole.train(&mut Silent, &StopFlag::default()).unwrap();
    let Device::Gpu(gpu) = &device else { unreachable!("the simulator runs kernels") };
    let launches: u64 = gpu.kernel_times().values().map(|own| own.launches).sum();
    let mut epochs = Vec::new();
    // In the first epoch, in later ones, and in the last evaluation.
    for (number, part) in [0.1, 0.5, 0.7, 0.9, 0.999].into_iter().enumerate() {
        let name = format!("lost-{number}");
        let (mut run, _) = start(folder, &name, Some((part * launches as f64) as u64));
        let error = run.train(&mut Silent, &StopFlag::default()).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
        assert!(error.to_string().starts_with("simulator failed: "), "{error}");
        assert_eq!(error.exit_code(), 1);
        // The directory is let go of.
        drop(run);
        let directory = folder.join(&name);
        assert_no_temporary_file(&directory);
        epochs.push(progress(&directory.join("last.safetensors"))["epoch"].as_u64().unwrap());
        ends_with(0, folder, &format!("train --resume {name} --device cpu"));
        let lines = metrics(&directory);
        let count = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
        assert_eq!((count("epoch"), count("step"), count("test")), (4, 44 / 3, 1), "{name}");
        let config = fs::read_to_string(directory.join("config.toml")).unwrap();
        assert!(config.contains("device = \"cpu\""), "{config}");
    }
    assert!(epochs[0] <= 1 && epochs[1] > 1 && epochs.is_sorted(), "{epochs:?}");
}

/// Wherever it happens, also before the first step.
#[test]
fn a_device_that_is_lost_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [42, 12, 10]);
    for number in 0..30 {
        let (mut run, _) = start(folder, &format!("lost-{number}"), Some(number * number));
        let error = run.train(&mut Silent, &StopFlag::default()).unwrap_err();
        assert!(matches!(error, Error::DeviceLost { .. }), "{number}: {error}");
    }
}

/// Nobody waits for the device in order to look for divergence: it is seen at the next line or at the end of the epoch.
#[test]
fn divergence_is_seen_where_a_line_is_logged_or_the_epoch_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_infinite(folder);
    let arguments = format!(
        "{MLP} --init infinite.safetensors --batch-size 2 --valid-split 0 --epochs 2 --device simulator"
    );
    for (log_every, step) in [(0, 120), (35, 105), (50, 100)] {
        let arguments = format!("{arguments} --log-every {log_every} --out run-{log_every}");
        let (_, stderr) = ends_with(1, folder, &arguments);
        let expected = format!("no finite loss in the last 100 steps, up to step {step}\n");
        assert!(stderr.ends_with(&expected), "{stderr}");
    }
}
