//! The paper's experiments at a tiny size: killed, stopped, refused, failed, and as they end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use alrao::random::{Philox, Purpose};

use super::{ends_with, kill, signal, start, write_nan, write_vectors};

const KILLS: usize = 8;

/// A model and data that a run takes a moment for.
const TINY: &str = "--quick --model mlp --width 0.1 --data data.safetensors --epochs 3";

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn assert_same_results(folder: &Path, [one, other]: [&str; 2]) {
    for file in ["results.json", "table.md", "report.html", "loss-by-rate-generated-cnn.svg"] {
        let (one, other) = (read(&folder.join(one), file), read(&folder.join(other), file));
        assert_eq!(one, other, "{file}");
    }
}

/// Runs whose record is there.
fn ended(out: &Path) -> usize {
    let Ok(entries) = fs::read_dir(out.join("runs")) else { return 0 };
    entries.filter(|entry| entry.as_ref().is_ok_and(|own| own.path().is_file())).count()
}

#[test]
fn a_killed_experiment_ends_as_one_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [600, 200, 200]);
    let table1 = |rest: &str| format!("experiment table1 {TINY} --seeds 2 {rest}");
    let began = Instant::now();
    ends_with(0, folder, &table1("--jobs 1 --out alone"));
    let whole = began.elapsed().as_secs_f64();
    let mut stream = Philox::new(9, Purpose::Data).stream(0);
    let mut on_the_way = 0;
    for _ in 0..KILLS {
        let mut child = start(folder, &table1("--jobs 2 --out killed"));
        std::thread::sleep(Duration::from_secs_f64(whole * stream.uniform_in(0.02, 0.15)));
        kill(&mut child);
        on_the_way += usize::from((1..18).contains(&ended(&folder.join("killed"))));
    }
    let (_, stderr) = ends_with(0, folder, &table1("--jobs 3 --out killed"));
    assert!(on_the_way >= 2, "{on_the_way} kills between the first run and the last");
    assert!(stderr.contains("of 18 runs have ended before"), "{stderr}");
    assert_same_results(folder, ["alone", "killed"]);
    // Once more: nothing is left to do, and nothing changes.
    let began = Instant::now();
    let (_, stderr) = ends_with(0, folder, &table1("--out killed"));
    assert!(stderr.contains("18 of 18 runs have ended before"), "{stderr}");
    assert!(!stderr.contains("[18/18]"), "{:?}", began.elapsed());
    assert_same_results(folder, ["alone", "killed"]);
}

#[test]
fn results_hold_no_times_and_no_paths_and_their_keys_are_sorted() {
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [200, 60, 60]);
    ends_with(0, folder.path(), &format!("experiment table1 {TINY} --seeds 1 --out out"));
    let out = folder.path().join("out");
    let text = read(&out, "results.json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&value).unwrap() + "\n", text);
    assert!(!text.contains("seconds") && !text.contains(folder.path().to_str().unwrap()));
    assert!(!text.contains("data.safetensors"), "{text}");
    let methods = &value["findings"]["generated/cnn"]["methods"];
    assert_eq!(methods.as_object().unwrap().len(), 9);
    assert!(methods["alrao"]["test_loss"]["mean"].as_f64().unwrap() > 0.0);
    assert!(value["runs"]["generated-cnn-alrao-seed-0"]["epochs"].as_array().unwrap().len() == 3);
    let timings: serde_json::Value = serde_json::from_str(&read(&out, "timings.json")).unwrap();
    assert!(timings["total_seconds"].as_f64().unwrap() > 0.0);
    // Each run is a run like any other.
    ends_with(0, folder.path(), "eval out/runs/generated-cnn-alrao-seed-0 --data data.safetensors");
}

#[test]
fn a_stopped_experiment_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [600, 200, 200]);
    let command = format!("experiment table1 {TINY} --seeds 1 --epochs 30 --out out");
    let command = command.replace("--epochs 3 ", "");
    let child = start(folder, &command);
    let began = Instant::now();
    while ended(&folder.join("out")) < 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(
        stderr.contains("to go on: ") && stderr.contains("experiment table1 --quick"),
        "{stderr}"
    );
    assert!(!folder.join("out/results.json").exists());
    ends_with(0, folder, &command);
    ends_with(0, folder, &command.replace("--out out", "--out alone"));
    assert_same_results(folder, ["out", "alone"]);
}

#[test]
fn another_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60, 60]);
    let posterior = format!("experiment posterior {TINY} --seeds 1 --out out");
    ends_with(0, folder, &posterior);
    let before = read(&folder.join("out"), "results.json");
    for (other, difference) in [
        (posterior.replace("--width 0.1", "--width 0.2"), "width = 0.1, not width = 0.2"),
        (posterior.replace("--seeds 1", "--seeds 2"), "1 runs, not 2"),
        (posterior.replace("posterior", "frozen"), "posterior, not frozen"),
        (format!("{posterior} --device simulator"), "device = "),
    ] {
        if other.contains("simulator") && !cfg!(has_simulator) {
            continue;
        }
        let (_, stderr) = ends_with(2, folder, &other);
        assert!(stderr.contains(difference) && stderr.contains("--out out"), "{stderr}");
    }
    write_vectors(folder, [210, 60, 60]);
    let (_, stderr) = ends_with(2, folder, &posterior);
    assert!(stderr.contains("other data"), "{stderr}");
    assert_eq!(read(&folder.join("out"), "results.json"), before);
}

#[test]
fn a_failed_run_ends_no_other_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60, 60]);
    let frozen = format!("experiment frozen {TINY} --seeds 1 --out out");
    ends_with(0, folder, &frozen.replace("--out out", "--out alone"));
    let in_the_way = folder.join("out/runs/generated-cnn-trained-0.5-seed-0");
    // The plan must be there first: a folder with anything else is refused.
    fs::create_dir_all(folder.join("out/runs")).unwrap();
    fs::copy(folder.join("alone/plan.json"), folder.join("out/plan.json")).unwrap();
    fs::write(&in_the_way, "").unwrap();
    let (stdout, stderr) = ends_with(1, folder, &frozen);
    assert!(stderr.contains("1 runs failed") && stderr.contains("trained-0.5"), "{stderr}");
    assert!(stdout.contains("| 50% | – | – | – |"), "{stdout}");
    assert_eq!(ended(&folder.join("out")), 9 + 1);
    fs::remove_file(in_the_way).unwrap();
    let (_, stderr) = ends_with(0, folder, &frozen);
    assert!(stderr.contains("9 of 10 runs have ended before"), "{stderr}");
    let [one, other] = ["out", "alone"].map(|out| read(&folder.join(out), "results.json"));
    assert_eq!(one, other);
}

#[test]
fn runs_that_diverge_are_a_result() {
    let folder = tempfile::tempdir().unwrap();
    write_nan(folder.path());
    let frozen = format!("experiment frozen {TINY} --seeds 1 --epochs 20 --out out");
    let (stdout, stderr) = ends_with(0, folder.path(), &frozen.replace("--epochs 3 ", ""));
    assert!(stderr.contains("diverged") && stdout.contains("| 10% | – | – | – |"), "{stdout}");
    let results: serde_json::Value =
        serde_json::from_str(&read(&folder.path().join("out"), "results.json")).unwrap();
    assert_eq!(results["runs"]["generated-cnn-trained-1-seed-0"]["ending"], "diverged");
}

#[test]
fn every_experiment_ends_in_a_report() {
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [120, 40, 40]);
    for (name, options, pictures) in [
        ("learning-curves", TINY, 2),
        ("interval", TINY, 2),
        ("posterior", TINY, 2),
        ("alrao-adam", TINY, 2),
        ("table2", "", 0),
        ("theorem", "--quick --seeds 1", 2),
    ] {
        let seeds = if options == TINY { "--seeds 1" } else { "" };
        ends_with(0, folder.path(), &format!("experiment {name} {options} {seeds} -q"));
        let out = folder.path().join(format!("runs/experiment-{name}"));
        let report = read(&out, "report.html");
        assert_eq!(report.matches("</svg>").count(), pictures, "{name}");
        assert!(!report.contains("<script") && !report.contains("href="), "{name}");
        assert!(
            report.contains("prefers-color-scheme") && read(&out, "table.md").contains("| ---")
        );
        let svgs = super::files(&out)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|e| e == "svg"));
        assert_eq!(svgs.count(), pictures, "{name}");
    }
}

#[test]
fn data_without_a_test_part_is_judged_by_validation() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 0]);
    ends_with(0, folder, &format!("experiment table1 {TINY} --seeds 1 --out validated"));
    let out = folder.join("validated");
    let results: serde_json::Value = serde_json::from_str(&read(&out, "results.json")).unwrap();
    for (name, run) in results["runs"].as_object().unwrap() {
        let epochs = run["epochs"].as_array().unwrap();
        let losses = epochs.iter().filter_map(|epoch| epoch["valid_loss"].as_f64());
        let best = losses.fold(f64::INFINITY, f64::min);
        assert!(best == run["test"]["loss"].as_f64().unwrap_or(f64::INFINITY), "{name}: {run}");
    }
    assert!(read(&out, "table.md").contains("has no test part"));
}
