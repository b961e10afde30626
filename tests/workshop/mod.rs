//! `alrao workshop`: ladders, exercises, and kernel files with every kind of bug.

mod failures;
mod nvcc;
mod pages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alrao::workshop::{Column, Counts, EXERCISES, Factors, Fault, LADDERS, Report};
use serde::Deserialize;

use crate::command_line::{alrao, refused, text};
use crate::place::{program, source};

/// A version of a ladder as `ladder --json` prints it.
#[derive(Deserialize)]
struct Version {
    version: String,
    improves: Option<String>,
    busy_ns: f64,
    resources: Occupancy,
    counts: Counts,
}

/// The part of a version's resources that follows from the others.
#[derive(Deserialize)]
struct Occupancy {
    occupancy: f64,
}

fn column(name: &str) -> Column {
    *Column::ALL.iter().find(|column| column.name() == name).unwrap()
}

#[test]
fn each_version_of_a_ladder_improves_what_its_idea_is_about() {
    let folder = tempfile::tempdir().unwrap();
    for ladder in &LADDERS {
        let output = alrao(folder.path(), &["workshop", "ladder", ladder.name, "--json"]);
        let stdout = text(&output.stdout);
        assert!(output.status.success(), "{}: {stdout}{}", ladder.name, text(&output.stderr));
        let versions: Vec<Version> =
            stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(versions.len(), ladder.rungs.len(), "{}", ladder.name);
        for pair in versions.windows(2) {
            let [before, after] = pair else { unreachable!("windows of two") };
            let name = format!("{} {}", ladder.name, after.version);
            let own =
                column(after.improves.as_ref().unwrap_or_else(|| panic!("{name}: no column")));
            let [old, new] = [before, after].map(|version| own.of(&version.counts));
            assert!(own.is_better(new, old), "{name}: {} is {new}, and was {old}", own.name());
            assert_eq!(before.counts.shape, after.counts.shape, "{name}");
        }
        for own in &versions {
            assert!(own.busy_ns > 0.0, "{} {}", ladder.name, own.version);
            let occupancy = own.resources.occupancy;
            assert!(occupancy > 0.0 && occupancy <= 1.0, "{} {}", ladder.name, own.version);
            let is_on_tensor_cores = own.version.contains("tensor");
            assert_eq!(own.counts.factors == Factors::Tf32, is_on_tensor_cores, "{}", own.version);
        }
        if ladder.name == "lstm" {
            let launches: Vec<u64> = versions.iter().map(|own| own.counts.launches).collect();
            assert_eq!(launches, [6, 1, 1, 1], "a launch for each of six time steps, then one");
        }
    }
}

#[test]
fn a_folder_of_versions_is_compared_as_a_ladder_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let copied = alrao(folder, &["workshop", "ladder", "switch", "--copy", "."]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    let own = |name: &str| {
        let output = alrao(folder, &["workshop", "ladder", name]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let rows = |table: &str| -> Vec<String> {
        table.lines().filter(|line| line.starts_with(['1', '2', '3'])).map(String::from).collect()
    };
    let (ladder, copies) = (rows(&own("switch")), own("./switch"));
    assert_eq!(ladder.len(), 3);
    assert_eq!(rows(&copies), ladder);
    let path = folder.join("switch/3_warp.cu");
    let changed = fs::read_to_string(&path).unwrap() + "// my own\n";
    fs::write(&path, &changed).unwrap();
    assert_eq!(rows(&own("switch/")).len(), 3);
    fs::write(&path, "//@ computes = \"switch\"\n//@ block = 32\n//@ shapes = [[7]]\n").unwrap();
    refused(folder, &["workshop", "ladder", "./switch"], "3_warp.cu: is counted for the shape [7]");
    fs::write(&path, "//@ computes = \"reverse\"\n//@ block = 32\n").unwrap();
    refused(folder, &["workshop", "ladder", "./switch"], "3_warp.cu: computes reverse");
    fs::create_dir(folder.join("empty")).unwrap();
    refused(folder, &["workshop", "ladder", "empty"], "has no .cu file");
}

/// A right result is not enough where an exercise is about the way to it.
#[test]
fn shortcuts_are_no_solutions_and_are_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let shortcuts = source().join("tests/workshop/shortcuts");
    for exercise in &EXERCISES {
        let file = format!("{}.cu", exercise.name);
        fs::copy(shortcuts.join(&file), folder.path().join(&file)).unwrap();
        let output = alrao(folder.path(), &["workshop", "check", &file]);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        // Another grid is seen before the file runs.
        let is_told = match exercise.name {
            "12_any_grid" => stderr.contains("part of the task: ") && stderr.contains("grid = 4"),
            _ => {
                stdout.starts_with("The results are right, but:")
                    && stdout.contains(exercise.point())
            }
        };
        assert!(!output.status.success() && is_told, "{}: {stdout}{stderr}", exercise.name);
    }
    assert!(!folder.path().join("progress.toml").exists());
}

#[test]
fn the_folder_holds_the_ladders_and_exercises_of_the_program() {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let root = source().join("workshop");
    let mut known: Vec<&str> = LADDERS.iter().map(|ladder| ladder.name).collect();
    known.extend(["exercises", "resources.txt"]);
    known.sort_unstable();
    assert_eq!(names(&root), known);
    for ladder in &LADDERS {
        let rungs: Vec<&str> = ladder.rungs.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&root.join(ladder.name)), rungs);
        for (name, text) in ladder.rungs {
            let most = if name.contains("tensor") { 200 } else { 100 };
            assert!(text.lines().count() <= most, "{name}");
        }
    }
    assert_eq!(names(&root.join("exercises")), EXERCISES.each_ref().map(|own| own.name));
}

#[test]
fn skeletons_fail_with_a_line_and_solutions_pass() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let own = |arguments: &[&str]| {
        let output = alrao(folder, &[&["workshop"], arguments].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for (number, exercise) in EXERCISES.iter().enumerate() {
        let name = exercise.name;
        let (code, task, _) = own(&["next"]);
        assert!(code == Some(0) && task.starts_with(exercise.task()), "{name}: {task}");
        let file = format!("exercises/{name}.cu");
        let (code, stdout, stderr) = own(&["check", &file]);
        assert_eq!(code, Some(1), "{name}: {stdout}{stderr}");
        let has_line = stdout.lines().any(|line| {
            let (number, code) = line.split_once(" | ").unwrap_or_default();
            number.trim().parse::<usize>().is_ok() && exercise.skeleton.contains(code)
        });
        assert!(has_line, "{name}: {stdout}");
        let number = (number + 1).to_string();
        let (code, solution, _) = own(&["solution", &number]);
        assert_eq!((code, solution.as_str()), (Some(0), exercise.solution));
        fs::write(folder.join(&file), solution).unwrap();
        let (code, stdout, stderr) = own(&["check", &number]);
        assert_eq!(code, Some(0), "{name}: {stdout}{stderr}");
        assert!(stdout.contains(exercise.question()), "{stdout}");
        assert_eq!(own(&["hint", &number, "--second"]).1.trim(), exercise.hints()[1]);
    }
    assert!(own(&["next"]).1.starts_with("All exercises are solved"));
    assert!(own(&["next", "4"]).1.starts_with(EXERCISES[3].task()));
    let list = own(&["list"]).1;
    assert!(list.lines().count() == 16 && list.lines().all(|line| line.starts_with("solved")));
}

/// The report on a file, which is run alone.
fn report(file: &Path) -> Report {
    let output =
        Command::new(program()).args(["workshop", "run", "--json"]).arg(file).output().unwrap();
    let stdout = text(&output.stdout);
    serde_json::from_str(&stdout)
        .unwrap_or_else(|_| panic!("{}: {stdout}{}", file.display(), text(&output.stderr)))
}

#[test]
fn known_patterns_have_the_counts_of_nvidia_s_guide() {
    let folder = source().join("tests/workshop/patterns");
    for (name, is_shared, expected) in [
        ("stride_1", false, 4.0),
        ("stride_2", false, 8.0),
        ("stride_32", false, 32.0),
        ("broadcast", false, 1.0),
        ("transpose", true, 32.0),
        ("padded_transpose", true, 1.0),
    ] {
        let path = folder.join(format!("{name}.cu"));
        let source = fs::read_to_string(&path).unwrap();
        let line = source.lines().position(|line| line.ends_with("// READ")).unwrap() + 1;
        let counts = report(&path).counts.unwrap_or_else(|| panic!("{name} is wrong"));
        let own: Vec<_> = counts.lines.iter().filter(|own| own.line == line).collect();
        assert_eq!(own.len(), 1, "{name}: {own:?}");
        assert_eq!((own[0].is_shared, own[0].is_write), (is_shared, false), "{name}");
        assert_eq!(own[0].traffic.per_request(), Some(expected), "{name}");
        assert_eq!(own[0].traffic.lanes, 32 * own[0].traffic.requests, "{name}");
    }
}

/// What a planted bug should be called, and the lines that may be named.
fn expectation(source: &str) -> (Fault, Vec<usize>) {
    let first = source.lines().next().unwrap();
    let (kind, lines) = first.strip_prefix("// expects: ").unwrap().split_once(" at ").unwrap();
    let kind = serde_json::from_value(serde_json::Value::String(kind.trim().into())).unwrap();
    (kind, lines.split(',').map(|line| line.trim().parse().unwrap()).collect())
}

/// The bugs were written by somebody who had not seen the checks.
#[test]
fn planted_bugs_are_named_with_their_kind_and_line() {
    let folder = source().join("tests/workshop/bugs");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 40);
    let mut missed = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let (kind, lines) = expectation(&fs::read_to_string(file).unwrap());
        let failure = report(file).failure;
        let file_name = file.file_name().unwrap().to_string_lossy();
        let is_named = failure.as_ref().is_some_and(|own| {
            let names = |line: &usize| {
                let place = format!("{file_name}:{line}");
                let mut ends = own.message.match_indices(&place).map(|(at, _)| at + place.len());
                ends.any(|end| !own.message[end..].starts_with(|c: char| c.is_ascii_digit()))
            };
            own.fault == kind && lines.iter().any(names)
        });
        if !is_named {
            println!("{name}: expected {kind:?} at {lines:?}: {failure:?}");
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
