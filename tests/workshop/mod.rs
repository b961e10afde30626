//! `alrao workshop`: ladders, exercises, and kernel files with every kind of bug.

mod pages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alrao::workshop::{Column, Counts, EXERCISES, Fault, LADDERS, Report};
use serde::Deserialize;

use crate::command_line::{alrao, refused, text};
use crate::place::{program, source};

/// A version of a ladder as `ladder --json` prints it.
#[derive(Deserialize)]
struct Version {
    version: String,
    improves: Option<String>,
    busy_ns: f64,
    counts: Counts,
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
        assert!(versions.iter().all(|own| own.busy_ns > 0.0), "{}", ladder.name);
    }
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
    known.push("exercises");
    known.sort_unstable();
    assert_eq!(names(&root), known);
    for ladder in &LADDERS {
        let rungs: Vec<&str> = ladder.rungs.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&root.join(ladder.name)), rungs);
        for (name, text) in ladder.rungs {
            assert!(text.lines().count() <= 100, "{name}");
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
        let (code, stdout, stderr) = own(&["check", &file]);
        assert_eq!(code, Some(0), "{name}: {stdout}{stderr}");
        assert!(stdout.contains(exercise.question()), "{stdout}");
        assert_eq!(own(&["hint", &number, "--second"]).1.trim(), exercise.hints()[1]);
    }
    assert!(own(&["next"]).1.starts_with("All exercises are solved"));
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

#[test]
fn what_cannot_be_run_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let head = "//@ computes = \"reverse\"\n//@ block = 32\n";
    let write =
        |name: &str, body: &str| fs::write(folder.join(name), format!("{head}{body}")).unwrap();
    write(
        "missing.cu",
        "__global__ void f(const float* x, float* out, int n) {\n    out[0] = y;\n}\n",
    );
    fs::write(folder.join("plain.cu"), "int x;\n").unwrap();
    let run = |file: &'static str| ["workshop", "run", file];
    let output = alrao(folder, &run("missing.cu"));
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("missing.cu:4:") && stderr.contains("'y' was not declared"),
        "{stderr}"
    );
    refused(folder, &run("plain.cu"), "plain.cu: has no header");
    refused(folder, &run("nosuch.cu"), "nosuch.cu");
    refused(folder, &["workshop", "ladder", "dance"], "is no ladder; they are update, head");
    refused(folder, &["workshop", "check", "plain.cu"], "is not named as an exercise");
    refused(folder, &["workshop", "hint", "99"], "is no exercise");
    let without = Command::new(program())
        .current_dir(folder)
        .args(run("missing.cu"))
        .env("PATH", "")
        .env_remove("CXX")
        .output()
        .unwrap();
    let stderr = text(&without.stderr);
    assert!(
        stderr.contains("apt install g++") && stderr.contains("scripts/Containerfile"),
        "{stderr}"
    );
    assert_eq!(without.status.code(), Some(2));
}

#[test]
fn wild_kernels_take_nothing_down() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let own = |body: &str| {
        let text = format!(
            "//@ computes = \"reverse\"\n//@ block = 32\n__global__ void f(const float* x, float* out, int n) {{\n{body}\n}}\n"
        );
        let path = folder.join("wild.cu");
        fs::write(&path, text).unwrap();
        report(&path).failure.unwrap()
    };
    let wild = own("    *reinterpret_cast<float*>(0x123456789000) = n;");
    assert_eq!(wild.fault, Fault::OutOfBounds, "{wild:?}");
    assert!(wild.message.contains("wild.cu:4"), "{wild:?}");
    let endless = own("    while (n > 0) out[0] = n;");
    assert_eq!(endless.fault, Fault::Endless, "{endless:?}");
    assert!(endless.message.contains("wild.cu:4"), "{endless:?}");
    let deep = own(
        "    char all[1 << 20];\n    for (int i = 0; i < n; i++) all[i] = n;\n    out[0] = all[n - 1];",
    );
    assert!(deep.message.contains("local variables"), "{deep:?}");
    let died = own(
        "    asm volatile(\"mov $231, %%eax; mov $3, %%edi; syscall\" ::: \"eax\", \"edi\", \"rcx\", \"r11\", \"memory\");",
    );
    assert_eq!(died.fault, Fault::Crash, "{died:?}");
    let printed = folder.join("printed.cu");
    fs::write(&printed, "//@ computes = \"reverse\"\n//@ block = 32\n//@ shapes = [[1]]\n__global__ void f(const float* x, float* out, int n) {\n    if (threadIdx.x == 0) { printf(\"hello %d\\n\", n); out[0] = x[0]; }\n}\n").unwrap();
    let output = alrao(folder, &["workshop", "run", "printed.cu"]);
    assert!(output.status.success() && text(&output.stderr).contains("hello 1"));
}
