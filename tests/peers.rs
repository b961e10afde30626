//! `alrao bench step --peers`, with a shell script in Python's place that answers as `benches/peers/in_turn.py` does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::place::program;

/// Of the ways of a step, one fails, one hangs, and one ends the process.
const PYTHON: &str = r#"#!/bin/sh
echo '{"torch": "9.9", "python": "3.99", "device": "cpu"}'
number=0
while read -r line; do
    case $line in
    *'"way":"sgd-channels-last"'*) echo '{"error": "no such layout"}' ;;
    *'"way":"sgd-compiled"'*) sleep 60 & echo $! > "$0.child"; wait ;;
    *'"way":"authors"'*) echo 'a last word' >&2; kill -KILL $$ ;;
    *'"way":"update-full"'*) echo '{"prepared": 1, "samples": 3}' ;;
    *'"prepare"'*) number=$((number + 1)); echo "{\"prepared\": $number, \"samples\": 2}" ;;
    *'"steps":2'*) echo '{"seconds": 1.0}' ;;
    *'"time"'*) echo '{"seconds": 0.5}' ;;
    *) echo 'no request' ;;
    esac
done
"#;

const WITHOUT_PYTORCH: &str = r#"#!/bin/sh
echo "python has no PyTorch; python -m pip install torch installs it" >&2
exit 3
"#;

/// Times a small model beside what a script says.
fn run(script: &str, more: &[&str]) -> (Output, TempDir) {
    let (mut command, folder) = command(script, more);
    (command.output().unwrap(), folder)
}

fn command(script: &str, more: &[&str]) -> (Command, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    fs::write(&python, script).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.path().join("temporary")).unwrap();
    let small =
        "bench step --width 0.25 --batch-size 2 --rounds 2 --steps 2 --device cpu --threads 1";
    let mut command = Command::new(program());
    command
        .args(small.split(' '))
        .arg("--peers")
        .arg(&python)
        .args(more)
        .env("TMPDIR", folder.path().join("temporary"));
    (command, folder)
}

/// Whether the child of a script still runs.
fn child_runs(folder: &TempDir) -> bool {
    let number = fs::read_to_string(folder.path().join("python.child")).unwrap();
    Path::new("/proc").join(number.trim()).join("exe").exists()
}

/// Whether the child ends long before its minute is over. A killed process ends only when the system next runs it.
fn child_ends(folder: &TempDir) -> bool {
    let killed = Instant::now();
    while child_runs(folder) && killed.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    !child_runs(folder)
}

fn left_behind(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("temporary")).unwrap().count()
}

fn names<'a>(rows: &'a Value, keys: [&str; 2]) -> Vec<[&'a str; 2]> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| keys.map(|key| row[key].as_str().unwrap())).collect()
}

#[test]
fn what_fails_or_hangs_is_told_and_costs_nothing_else() {
    let (output, folder) = run(PYTHON, &["--patience", "1", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        names(&report["steps"], ["side", "way"]),
        [["alrao", "sgd"], ["alrao", "alrao"], ["pytorch", "sgd"], ["pytorch", "alrao"]]
    );
    assert_eq!([&report["machine"]["torch"], &report["machine"]["python"]], ["9.9", "3.99"]);
    assert_eq!(report["steps"][2]["ms"], 500.0);
    let failed: Vec<[&str; 2]> = names(&report["failed"], ["way", "error"]);
    assert_eq!(
        failed[..2],
        [["sgd-channels-last", "no such layout"], ["sgd-compiled", "not ready in 1 s"]]
    );
    assert_eq!(failed[2][0], "authors");
    assert!(
        failed[2][1].contains("signal: 9") && failed[2][1].ends_with("a last word"),
        "{failed:?}"
    );
    assert_eq!(failed[3], ["update-full", "its step has 3 samples, the engine's 2"]);
    assert_eq!(failed.len(), 4);

    let ratios = report["ratios"].as_array().unwrap();
    let ms = |row: usize| report["steps"][row]["ms"].as_f64().unwrap();
    let find = |name: &str| {
        let own = ratios.iter().find(|own| own["name"] == name);
        own.unwrap_or_else(|| panic!("no {name} in {ratios:?}"))["ratio"].as_f64().unwrap()
    };
    // Ratios are taken in each round, and PyTorch's times are all alike: their median is at least that of the medians.
    assert!(find("PyTorch sgd over engine sgd") >= 500.0 / ms(0));
    assert!(find("PyTorch alrao over engine alrao") >= 500.0 / ms(1));
    find("engine alrao over engine sgd");
    for piece in
        ["switch over engine switch", "head over engine head", "update-sgd over engine update"]
    {
        find(&format!("PyTorch {piece}"));
    }
    assert_eq!(left_behind(&folder), 0, "a temporary folder is left");
    assert!(child_ends(&folder), "a child of a process that hung goes on");
}

#[test]
fn a_signal_ends_all_and_leaves_nothing() {
    let (mut command, folder) = command(PYTHON, &["--patience", "60"]);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The script hangs from here on.
    while !fs::read_to_string(folder.path().join("python.child"))
        .is_ok_and(|text| text.ends_with('\n'))
    {
        std::thread::sleep(Duration::from_millis(20));
        assert!(process.try_wait().unwrap().is_none(), "it ended before the script hung");
    }
    assert!(child_runs(&folder));
    let number = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &number]).status().unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert_eq!(left_behind(&folder), 0, "a temporary folder is left");
    assert!(child_ends(&folder), "a child goes on");
}

#[test]
fn without_pytorch_the_engine_is_timed_alone() {
    for (script, said) in
        [(WITHOUT_PYTORCH, "pip install torch"), ("no script", "cannot be started")]
    {
        let (output, _folder) = run(script, &[]);
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{messages}");
        assert!(messages.contains("PyTorch is left out") && messages.contains(said), "{messages}");
        let table = String::from_utf8_lossy(&output.stdout);
        assert!(table.contains("engine   alrao") && !table.contains("PyTorch  sgd"), "{table}");
        assert!(table.contains("PyTorch  all"), "{table}");
    }
    let (output, _folder) = run("no script", &["-q"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let (output, _folder) = run(PYTHON, &["--optimizer", "adam"]);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{messages}");
    assert!(messages.contains("--peers") && messages.contains("--optimizer sgd"), "{messages}");
}
