//! `--tensorboard`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{MLP, ends_with, floats, write_tensors, write_vectors};
use crate::command_line::text;
use crate::place::source;

const EVENTS: &str = "run/tensorboard/events.out.tfevents.0.alrao";

/// The scalars of the run, by tag and step, as TensorBoard reads them; `None`, and a word about it, without TensorBoard.
/// `ALRAO_REQUIRE_TENSORBOARD=1` makes this an error.
fn scalars(folder: &Path) -> Option<BTreeMap<(String, u64), f64>> {
    let python = std::env::var("ALRAO_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = source().join("tests/runs/read_events.py");
    let output = Command::new(&python).arg(script).arg(folder.join(EVENTS)).output();
    let is_required = std::env::var("ALRAO_REQUIRE_TENSORBOARD").is_ok_and(|value| value != "0");
    let output = match output {
        Ok(output) if output.status.success() => output,
        failed => {
            let why = failed.map_or_else(|error| error.to_string(), |output| text(&output.stderr));
            assert!(!is_required, "ALRAO_REQUIRE_TENSORBOARD is set: {python}: {why}");
            eprintln!("skipped: {python} has no TensorBoard: pip install tensorboard");
            return None;
        }
    };
    let scalars = text(&output.stdout)
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let tag = line["tag"].as_str().unwrap().to_owned();
            ((tag, line["step"].as_u64().unwrap()), line["value"].as_f64().unwrap())
        })
        .collect();
    Some(scalars)
}

/// Compares the event file of a run with its metrics, of which some have these keys.
fn check(folder: &Path, tags: &[&str]) {
    assert!(fs::metadata(folder.join(EVENTS)).unwrap().len() > 1000);
    let Some(found) = scalars(folder) else { return };
    let mut expected = BTreeMap::new();
    let metrics = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    for line in metrics.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let kind = line["kind"].as_str().unwrap();
        let at = if kind == "step" { &line["step"] } else { &line["epoch"] };
        let mut put = |tag: String, value: &serde_json::Value| {
            if let Some(value) = value.as_f64() {
                expected.insert((tag, at.as_u64().unwrap()), value);
            }
        };
        for measure in ["loss", "accuracy", "mse", "mae", "r2"] {
            for key in ["", "train_", "valid_"].map(|part| format!("{part}{measure}")) {
                put(format!("{kind}/{key}"), &line[&key]);
            }
        }
        if kind == "step" {
            for (number, weight) in line["posterior"].as_array().unwrap().iter().enumerate() {
                put(format!("posterior/{:02}", number + 1), weight);
            }
        }
    }
    // The tags of the posterior name the learning rates too.
    let short = |tag: &str| tag.split(' ').next().unwrap().to_owned();
    let found: BTreeMap<_, _> =
        found.into_iter().map(|((tag, step), value)| ((short(&tag), step), value)).collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, value) in &expected {
        let error = (found[key] - value).abs();
        assert!(error <= 1e-6 * value.abs().max(1e-6), "{key:?}: {} {value}", found[key]);
    }
    for tag in tags {
        assert!(found.keys().any(|(own, _)| own == tag), "{tag}");
    }
}

#[test]
fn tensorboard_reads_the_metrics_of_a_resumed_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 60, 60]);
    ends_with(
        0,
        folder,
        &format!("{MLP} --quiet --epochs 2 --log-every 3 --tensorboard --out run"),
    );
    ends_with(0, folder, "train --quiet --resume run --epochs 4 --tensorboard");
    check(folder, &["epoch/valid_accuracy", "test/accuracy"]);
    // The file is there, so the flag is not needed.
    ends_with(0, folder, "train --quiet --resume run --epochs 5");
    check(folder, &["epoch/valid_accuracy", "test/accuracy"]);
}

#[test]
fn tensorboard_reads_the_errors_of_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut tensors = Vec::new();
    for (prefix, samples) in [("", 60), ("valid_", 20), ("test_", 20)] {
        let inputs: Vec<f32> = (0..samples).map(|sample| (sample * 7 % 20) as f32).collect();
        let targets: Vec<f32> = inputs.iter().map(|x| 3.0 * x + 100.0).collect();
        tensors.push(floats(&format!("{prefix}inputs"), &[samples, 1], &inputs));
        tensors.push(floats(&format!("{prefix}targets"), &[samples], &targets));
    }
    write_tensors(&folder.join("data.safetensors"), &tensors);
    let train = "train --quiet --data data.safetensors --epochs 3 --log-every 3";
    ends_with(0, folder, &format!("{train} --tensorboard --out run"));
    let errors =
        ["epoch/valid_mse", "epoch/valid_mae", "epoch/valid_r2", "test/mse", "test/mae", "test/r2"];
    check(folder, &errors);
}
