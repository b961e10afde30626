//! The paper's experiments at a tiny size: killed, stopped, refused, failed, and as they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use alrao::random::{Philox, Purpose};

use super::{
    INPUTS, ends_with, floats, huge, kill, part, signal, start, write_tensors, write_vectors,
};

const KILLS: usize = 8;

/// A model and data that a run takes a moment for.
const TINY: &str = "--quick --model mlp --width 0.1 --data data.safetensors --epochs 3";

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn assert_same_results(folder: &Path, [one, other]: [&str; 2]) {
    for file in ["results.json", "table.md", "report.html", "loss-by-rate-mlp-data.svg"] {
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
    let methods = &value["findings"]["mlp on data"]["methods"];
    assert_eq!(methods.as_object().unwrap().len(), 9);
    assert!(methods["alrao"]["test_loss"]["mean"].as_f64().unwrap() > 0.0);
    assert!(value["runs"]["mlp-data-alrao-seed-0"]["epochs"].as_array().unwrap().len() == 3);
    let timings: serde_json::Value = serde_json::from_str(&read(&out, "timings.json")).unwrap();
    assert!(timings["total_seconds"].as_f64().unwrap() > 0.0);
    // Each run is a run like any other.
    ends_with(0, folder.path(), "eval out/runs/mlp-data-alrao-seed-0 --data data.safetensors");
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

/// The names of an experiment's runs, sorted.
fn names_of_runs(out: &Path) -> Vec<String> {
    let plan: serde_json::Value = serde_json::from_str(&read(out, "plan.json")).unwrap();
    plan["runs"].as_object().unwrap().keys().cloned().collect()
}

/// A folder with another's plan, in which nothing has been run.
fn planned_as(alone: &Path, out: &Path) {
    fs::create_dir_all(out.join("runs")).unwrap();
    fs::copy(alone.join("plan.json"), out.join("plan.json")).unwrap();
}

fn assert_same_files(folder: &Path, [one, other]: [&str; 2], names: &[&str]) {
    for file in names {
        assert_eq!(read(&folder.join(one), file), read(&folder.join(other), file), "{file}");
    }
}

#[test]
fn a_failed_run_ends_no_other_is_told_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [120, 40, 40]);
    for name in
        ["table1", "learning-curves", "interval", "posterior", "alrao-adam", "frozen", "q-learning"]
    {
        let options = match name {
            "q-learning" => "--quick --steps 400",
            _ => &TINY.replace("--epochs 3", "--epochs 1"),
        };
        let command =
            |out: &str| format!("experiment {name} {options} --seeds 2 --out {name}/{out}");
        ends_with(0, folder, &command("alone"));
        let own = folder.join(name);
        let runs = names_of_runs(&own.join("alone"));
        let wrong = &runs[runs.len() / 2];
        planned_as(&own.join("alone"), &own.join("out"));
        let in_the_way = own.join("out/runs").join(wrong);
        fs::write(&in_the_way, "").unwrap();
        let (stdout, stderr) = ends_with(1, folder, &command("out"));
        assert!(stderr.contains("1 run failed; the same command tries it again"), "{stderr}");
        let told = format!("- {wrong}: ");
        let before_all_else = stdout.split("What came out").next().unwrap();
        assert!(
            before_all_else.contains("Failed runs") && before_all_else.contains(&told),
            "{stdout}"
        );
        assert!(read(&own.join("out"), "report.html").contains(&format!("<li>{wrong}: ")));
        if name != "posterior" && name != "learning-curves" && name != "interval" {
            assert!(stdout.contains("| 1 of 2 | 0 of 2 |"), "{stdout}");
        }
        assert_eq!(ended(&own.join("out")), runs.len() - 1 + 1);
        fs::remove_file(in_the_way).unwrap();
        let (_, stderr) = ends_with(0, folder, &command("out"));
        let before = format!("{} of {} runs have ended before", runs.len() - 1, runs.len());
        assert!(stderr.contains(&before), "{stderr}");
        assert_same_files(&own, ["out", "alone"], &["results.json", "table.md", "report.html"]);
    }
}

#[test]
fn a_run_whose_own_files_are_damaged_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60, 60]);
    let frozen = |out: &str| format!("experiment frozen {TINY} --seeds 1 --out {out}");
    ends_with(0, folder, &frozen("alone"));
    ends_with(0, folder, &frozen("out"));
    let runs = folder.join("out/runs");
    let (damaged, other) =
        (runs.join("mlp-data-trained-0.5-seed-0"), runs.join("mlp-data-trained-1-seed-0"));
    fs::write(other.join("mine"), "").unwrap();
    for file in ["last.safetensors", "metrics.jsonl", "config.toml"] {
        // As if the run had not ended, and its file had been cut short since.
        fs::remove_file(runs.join("mlp-data-trained-0.5-seed-0.json")).unwrap();
        let bytes = fs::read(damaged.join(file)).unwrap();
        fs::write(damaged.join(file), &bytes[..bytes.len() / 2]).unwrap();
        let (_, stderr) = ends_with(0, folder, &frozen("out"));
        assert!(stderr.contains("trained-0.5-seed-0 begins anew: "), "{file}: {stderr}");
        assert!(stderr.contains("9 of 10 runs have ended before"), "{stderr}");
        assert_same_files(folder, ["out", "alone"], &["results.json", "table.md", "report.html"]);
    }
    assert!(other.join("mine").exists());
}

#[test]
fn a_run_whose_metrics_are_gone_is_run_again_where_they_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60, 60]);
    let experiment = |name: &str| format!("experiment {name} {TINY} --seeds 2 --out {name}");
    for (name, run, is_needed) in [
        ("posterior", "mlp-data-alrao-seed-1", true),
        ("frozen", "mlp-data-trained-1-seed-1", false),
    ] {
        ends_with(0, folder, &experiment(name));
        let before = read(&folder.join(name), "results.json");
        fs::remove_dir_all(folder.join(name).join("runs").join(run)).unwrap();
        let (_, stderr) = ends_with(0, folder, &experiment(name));
        assert_eq!(stderr.contains("-seed-1 is run again"), is_needed, "{stderr}");
        assert_eq!(read(&folder.join(name), "results.json"), before);
    }
}

#[test]
fn the_same_data_may_be_named_from_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60, 60]);
    fs::create_dir(folder.join("elsewhere")).unwrap();
    ends_with(0, folder, &format!("experiment posterior {TINY} --seeds 1 --out out"));
    fs::remove_file(folder.join("out/runs/mlp-data-alrao-seed-0.json")).unwrap();
    let command = format!("experiment posterior {TINY} --seeds 1 --out ../out");
    let command = command.replace("data.safetensors", "../data.safetensors");
    let (_, stderr) = ends_with(0, &folder.join("elsewhere"), &command);
    assert!(!stderr.contains("anew") && stderr.contains("[1/1]"), "{stderr}");
}

#[test]
fn data_without_classes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = floats("inputs", &[40, 2], &[0.5; 80]);
    let targets = floats("targets", &[40, 1], &[0.5; 40]);
    write_tensors(&folder.path().join("data.safetensors"), &[inputs, targets]);
    let (_, stderr) = ends_with(2, folder.path(), &format!("experiment table1 {TINY} --seeds 1"));
    assert!(stderr.contains("--data data.safetensors: has targets and no labels"), "{stderr}");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_convex_problem_can_be_stopped_and_has_steps() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let child = start(folder, "experiment theorem --seeds 1000 --out out");
    let began = Instant::now();
    while !folder.join("out/plan.json").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(2));
    }
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopped; to go on") && !stderr.contains("checkpoint"), "{stderr}");
    assert!(!folder.join("out/results.json").exists());
    let (stdout, _) = ends_with(0, folder, "experiment theorem --seeds 1 --epochs 50 --out short");
    assert!(stdout.contains("After 50 steps"), "{stdout}");
}

#[test]
fn runs_that_diverge_are_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = part("", 240, 0).to_vec();
    tensors.push(floats("valid_inputs", &[40, INPUTS], &huge(40)));
    tensors.push(super::labels("valid_labels", &[1; 40]));
    write_tensors(&folder.path().join("data.safetensors"), &tensors);
    let frozen = format!("experiment frozen {TINY} --seeds 1 --epochs 20 --out out");
    let (stdout, stderr) = ends_with(0, folder.path(), &frozen.replace("--epochs 3 ", ""));
    assert!(
        stderr.contains("diverged") && stdout.contains("| 10% | – | – | – | 0 of 1 | 1 of 1 |"),
        "{stdout}"
    );
    let results: serde_json::Value =
        serde_json::from_str(&read(&folder.path().join("out"), "results.json")).unwrap();
    assert_eq!(results["runs"]["mlp-data-trained-1-seed-0"]["ending"], "diverged");
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
        let runs = fs::read_dir(folder.path().join("runs")).unwrap();
        let mut runs = runs.map(|entry| entry.unwrap().path());
        let is_own = |path: &PathBuf| path.to_str().is_some_and(|own| own.contains(name));
        let out = runs.find(is_own).unwrap();
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
