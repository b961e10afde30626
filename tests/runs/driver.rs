//! The program on the PTX driver (`tools/ptx-driver`), whose memory can be small and whose calls can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use safetensors::tensor::Dtype;

use super::{assert_no_temporary_file, assert_same, ends_with, labels, split, write_tensors};
use crate::command_line::text;
use crate::place::program;

/// Whether `tools/ptx-driver/run.sh` started the tests.
fn is_here() -> bool {
    let is_here = std::env::var_os("PTX_DRIVER_CODE").is_some();
    if !is_here {
        eprintln!("skipped: these tests need the PTX driver: tools/ptx-driver/run.sh");
    }
    is_here
}

/// Writes `data.safetensors` with more than 2 MB of images.
fn write_images(folder: &Path) {
    let part = |prefix: &str, samples: usize| {
        let pixels = (0..samples * 768).map(|place| (place * place / 7 % 251) as u8).collect();
        let classes: Vec<i64> = (0..samples as i64).map(|sample| sample % 3).collect();
        let shape = &[samples, 3, 16, 16];
        [
            (format!("{prefix}images"), Dtype::U8, shape.to_vec(), pixels),
            labels(&format!("{prefix}labels"), &classes),
        ]
    };
    let parts = [part("", 3000), part("valid_", 10)].concat();
    write_tensors(&folder.join("data.safetensors"), &parts);
}

const TRAIN: &str =
    "train --quiet --model mlp --precision f32 --data data.safetensors --log-every 1";
const USUAL: &str = "--hidden 8 --max-steps 7 --batch-size 4 --device cuda";
/// The data set does not fit in half of it.
const SMALL: (&str, &str) = ("PTX_DRIVER_MEMORY", "4");

/// Trains in a folder under these options of the driver. Gives the exit code and the program's own lines on standard error.
fn train(folder: &Path, out: &str, options: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    train_with(folder, out, USUAL, options)
}

/// [`train`] with other arguments than the usual ones.
fn train_with(
    folder: &Path,
    out: &str,
    arguments: &str,
    options: &[(&str, &str)],
) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(program());
    command.current_dir(folder).args(split(TRAIN)).args(split(arguments)).args(["--out", out]);
    let output = command.envs(options.iter().copied()).output().unwrap();
    let lines = text(&output.stderr);
    let own = lines.lines().filter(|line| !line.starts_with("ptx-driver: "));
    (output.status.code(), own.map(str::to_owned).collect())
}

/// The driver's calls of a run, and how often each was made.
fn calls(coverage: &Path) -> BTreeMap<String, u64> {
    let lines = fs::read_to_string(coverage).unwrap();
    let calls = lines.lines().filter_map(|line| line.strip_prefix("call ")?.split_once(' '));
    calls.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
}

/// A run under these options that ends well, and its calls.
fn calls_of_run(folder: &Path, out: &str, options: &[(&str, &str)]) -> BTreeMap<String, u64> {
    let coverage = folder.join(format!("{out}.coverage"));
    let own = ("PTX_DRIVER_COVERAGE", coverage.to_str().unwrap());
    let (code, lines) = train(folder, out, &[&[own], options].concat());
    assert_eq!(code, Some(0), "{lines:?}");
    calls(&coverage)
}

#[test]
fn a_small_gpu_streams_its_data_and_learns_the_same_to_the_bit() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(folder);
    let resident = calls_of_run(folder, "resident", &[]);
    let streamed = calls_of_run(folder, "streamed", &[SMALL]);
    let count = |calls: &BTreeMap<String, u64>, name: &str| calls.get(name).copied().unwrap_or(0);
    for name in ["cuMemHostAlloc", "cuStreamWaitEvent"] {
        assert!(count(&streamed, name) > count(&resident, name), "{name}: {streamed:?}");
    }
    assert_same(&folder.join("resident"), &folder.join("streamed"));
}

#[test]
fn whichever_call_of_a_gpu_fails_a_run_ends_with_one_line_and_goes_on() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(folder);
    let calls = calls_of_run(folder, "whole", &[SMALL]);
    let mut faults = Vec::new();
    for (name, count) in calls {
        for number in [1, count.div_ceil(2), count] {
            let out = format!("{name}-{number}");
            if folder.join(&out).exists() {
                continue;
            }
            let failure = format!("{name}:{number}");
            let (code, lines) = train(folder, &out, &[SMALL, ("PTX_DRIVER_FAIL", &failure)]);
            // A call that can be done without, or made once more.
            if code == Some(0) {
                assert_same(&folder.join(&out), &folder.join("whole"));
                continue;
            }
            let is_one_line = matches!(lines.as_slice(), [line] if line.starts_with("error: "));
            // The directory is made after the device has been opened.
            let has_begun = folder.join(&out).exists();
            if !is_one_line || code != Some(if has_begun { 1 } else { 2 }) {
                faults.push(format!("{failure}: {code:?} {lines:?}"));
            }
            if has_begun {
                assert_no_temporary_file(&folder.join(&out));
                ends_with(0, folder, &format!("train --resume {out} --device cpu"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn gpus_are_opened_by_their_number() {
    if !is_here() {
        return;
    }
    let two = ("PTX_DRIVER_GPUS", "2");
    let said = |device: &str, options: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        write_images(folder.path());
        let arguments = format!("--hidden 8 --max-steps 2 --batch-size 4 --device {device}");
        let (code, lines) = train_with(folder.path(), "out", &arguments, options);
        let config = fs::read_to_string(folder.path().join("out/config.toml")).ok();
        (code, config, lines.join("\n"))
    };
    for (device, options, own) in
        [("cuda:1", [two].as_slice(), "cuda:1"), ("cuda:0", &[], "cuda"), ("cuda", &[two], "cuda")]
    {
        let (code, config, lines) = said(device, options);
        assert_eq!((code, lines), (Some(0), String::new()), "{device}");
        // A resumed run takes the same GPU.
        let config = config.unwrap();
        assert!(config.contains(&format!("device = \"{own}\"")), "{device}: {config}");
    }
    let hidden = |shown| [two, ("CUDA_VISIBLE_DEVICES", shown)];
    for (device, options, message) in [
        ("cuda:2", [two].as_slice(), "there is no GPU 2: there are cuda:0 to cuda:1"),
        ("cuda:1", &[], "there is no GPU 1: the only one is cuda:0"),
        ("cuda:1", &hidden("1"), "the only one is cuda:0; CUDA_VISIBLE_DEVICES is \"1\""),
        ("cuda", &hidden(""), "CUDA_VISIBLE_DEVICES is \"\": unset it"),
        ("cuda:x", &[two], "there is no device 'cuda:x'; give auto, cpu"),
    ] {
        let (code, config, lines) = said(device, options);
        assert_eq!((code, config), (Some(2), None), "{device}: {lines}");
        assert!(lines.contains(message), "{device}: {lines}");
    }
}

#[test]
fn pytorch_is_not_timed_on_another_gpu() {
    if !is_here() {
        return;
    }
    let mut command = Command::new(program());
    command.args(split("bench step --model mlp --device cuda:1 --peers python"));
    let output = command.env("PTX_DRIVER_GPUS", "2").output().unwrap();
    let lines = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{lines}");
    assert!(lines.contains("--device cuda with CUDA_VISIBLE_DEVICES=1"), "{lines}");
}

#[test]
fn a_driver_of_another_age_than_the_gpus_kernels_runs_them_or_says_why_not() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_images(folder.path());
    let newer = ("PTX_DRIVER_GPU", "sm_100");
    assert_eq!(train(folder.path(), "newer", &[newer]), (Some(0), Vec::new()));
    let (code, lines) = train(folder.path(), "older", &[("PTX_DRIVER_VERSION", "12020")]);
    let is_told = matches!(lines.as_slice(), [line] if line.contains("runs CUDA up to 12.2")
        && line.contains("compiled with 13.0") && line.contains("Update the driver"));
    assert!(code == Some(2) && is_told, "{code:?} {lines:?}");
}

#[test]
fn a_gpu_without_memory_for_a_step_says_what_to_do() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_images(folder);
    // The weights fit, and the activations of a batch do not; without a smaller batch nothing helps.
    let wide = "--hidden 1000 --batch-size 3000 --max-steps 4 --device cuda";
    let (code, lines) = train_with(folder, "out", wide, &[("PTX_DRIVER_MEMORY", "40")]);
    let is_told = matches!(lines.as_slice(), [line] if line.starts_with("error: ")
        && line.contains("MiB asked for") && line.contains("--batch-size"));
    assert!(code == Some(1) && is_told, "{code:?} {lines:?}");
    ends_with(0, folder, "train --resume out --device cpu");
}
