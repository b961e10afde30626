//! `--tensorboard`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{MLP, ends_with, write_vectors};
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
        for key in
            ["loss", "accuracy", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy"]
        {
            put(format!("{kind}/{key}"), &line[key]);
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
}
