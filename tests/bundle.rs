//! The folder that is carried to a machine with a GPU, put together as it is there and run in an empty environment: with
//! stand-ins that hang and crash, and in the simulator.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use tempfile::TempDir;

use crate::place::source;

/// Where the machine keeps `timeout`, `tar` and Python; everything else is the bundle's own.
const PATH: &str = "/usr/bin:/bin";

/// Whether `run.sh` can be run here at all; a word about it where it cannot.
fn is_possible() -> bool {
    let is_there = |name: &str| PATH.split(':').any(|folder| Path::new(folder).join(name).exists());
    let missing = ["python3", "timeout", "tar", "gzip"].into_iter().find(|name| !is_there(name));
    if let Some(name) = missing {
        let is_required = std::env::var("ALRAO_REQUIRE_SIMULATOR").is_ok_and(|value| value != "0");
        assert!(!is_required, "ALRAO_REQUIRE_SIMULATOR is set: there is no {name} in {PATH}");
        eprintln!("skipped: there is no {name} in {PATH}");
    }
    missing.is_none()
}

/// A bundle in a folder far from the source tree.
struct Bundle {
    folder: TempDir,
}

impl Bundle {
    fn new(program: &Path, tests: &Path) -> Bundle {
        let folder = tempfile::tempdir().unwrap();
        let assemble = source().join("scripts/gpu-bundle/assemble.sh");
        let to = folder.path().join("bundle");
        let output = Command::new(assemble).args([program, tests, &to]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Bundle { folder }
    }

    /// Around stand-ins: what `alrao`, the tests and `compute-sanitizer` do, as shell scripts.
    fn of_stand_ins([program, tests, sanitizer]: [&str; 3]) -> Bundle {
        let scripts = tempfile::tempdir().unwrap();
        let [program, tests] = [("alrao", program), ("tests", tests)]
            .map(|(name, script)| write_script(scripts.path(), name, script));
        let bundle = Bundle::new(&program, &tests);
        write_script(bundle.folder.path(), "compute-sanitizer", sanitizer);
        bundle
    }

    /// Runs some parts, by no name all, with nothing in the environment but a path and some variables.
    fn run(&self, parts: &str, variables: &[(&str, &str)]) -> Output {
        let here = self.folder.path();
        Command::new(here.join("bundle/run.sh"))
            .args(parts.split_whitespace())
            .current_dir(here)
            .env_clear()
            .env("PATH", format!("{}:{PATH}", here.display()))
            .env("OUT", here.join("out"))
            // A test that looks for the source tree must not find it.
            .env("ALRAO_SOURCE", here.join("no source"))
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// The state of each part.
    fn parts(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.folder.path().join("out/parts.txt")).unwrap();
        let parts = text.lines().map(|line| {
            let [name, state, seconds] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line:?} is not a name, a state and seconds");
            };
            seconds.parse::<u32>().unwrap();
            (name.to_owned(), state.to_owned())
        });
        parts.collect()
    }

    /// Checks how the states of some parts begin.
    fn check_states(&self, expected: &[(&str, &str)]) {
        let parts = self.parts();
        for (name, expected) in expected {
            let state = parts.get(*name).unwrap_or_else(|| panic!("no {name} in {parts:#?}"));
            assert!(state.starts_with(expected), "{name}: {state}");
        }
    }

    fn result(&self, name: &str) -> PathBuf {
        self.folder.path().join("bundle/results").join(name)
    }

    fn table(&self) -> String {
        fs::read_to_string(self.folder.path().join("out/table.md")).unwrap()
    }

    /// Names of the files in the archive.
    fn archived(&self) -> Vec<String> {
        let archive = self.folder.path().join("out/results.tar.gz");
        let output = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|name| name.trim_start_matches("./").to_owned()).collect()
    }
}

fn write_script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Hangs in the midst of a report on kernels and beside PyTorch on one model, crashes on another.
const PROGRAM: &str = r#"
case "$*" in
--version) echo "alrao 0 (a stand-in)" ;;
"kernels optimizer"*) printf '{"kernels": [{"kernel'; sleep 600; echo '"}]}' ;;
kernels*) echo '{"kernels": [{"kernel": "switch_update_f64", "workload": "a switch", "time": {"floor": 1e-6, "seconds": 2e-6}}]}' ;;
bench*vgg19*--peers*) sleep 600 ;;
bench*googlenet*) kill -SEGV $$ ;;
bench*vgg19*) echo '{"steps": [{"side": "alrao", "model": "vgg19", "way": "alrao", "mode": "captured", "ms": 1.25}]}' ;;
bench*)
    echo '{"machine": {"processor": "some", "gpu": null},
        "steps": [{"side": "alrao", "model": "'$4'", "way": "sgd", "ms": 2, "ms_min": 1.5, "ms_max": 2.5, "launches": 48},
            {"side": "pytorch", "model": "'$4'", "way": "sgd-compiled", "ms": 3.5}],
        "pieces": [{"side": "alrao", "model": "'$4'", "piece": "update", "way": "alrao", "us": 12.25}],
        "ratios": [{"model": "'$4'", "name": "a ratio", "ratio": 1.75, "ratio_min": 1.5, "ratio_max": 2}],
        "failed": [{"model": "'$4'", "way": "authors", "error": "out of memory"}]}' ;;
train*)
    while [ "$1" != --out ]; do shift; done
    mkdir "$2" && echo '{"kind":"test"}' >"$2/metrics.jsonl" ;;
*) exit 2 ;;
esac
"#;

/// The device fails in the kernels' test, and again in one family.
const TESTS: &str = r#"
case "$*" in
*--list*)
    echo "kernels::kernels_agree_with_the_cpu_on_a_gpu: test"
    echo "training::a_gpu_learns: test" ;;
*kernels_agree_with_the_cpu_on_a_gpu*)
    case "${ALRAO_CASES:-none}" in
    none) echo "matmul: launch failed; nothing was tried after it"; exit 101 ;;
    matmul) kill -KILL $$ ;;
    "many classes") exit 101 ;;
    esac ;;
*a_gpu_learns*) echo ok ;;
*) exit 2 ;;
esac
"#;

const SANITIZER: &str = r#"
case "$*$ALRAO_CASES" in
*racecheck*optimizer*) sleep 600 ;;
*memcheck*lstm*) exit 1 ;;
esac
"#;

/// Says that it has PyTorch.
const WITH_PYTORCH: &str = r#"
[ "$1" != -c ] || exit 0
exec python3 "$@"
"#;

#[test]
fn what_hangs_or_crashes_costs_nothing_else() {
    if !is_possible() {
        return;
    }
    let bundle = Bundle::of_stand_ins([PROGRAM, TESTS, SANITIZER]);
    let python = write_script(bundle.folder.path(), "python", WITH_PYTORCH);
    let start = Instant::now();
    let variables = [("LIMIT", "60"), ("PYTHON", python.to_str().unwrap())];
    let output = bundle.run("kernels steps train sanitize", &variables);
    // What hangs does so for ten minutes. No closer: the processes of a busy machine start late.
    let seconds = start.elapsed().as_secs();
    assert!(seconds < 120, "{seconds} s");
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    let parts = bundle.parts();
    bundle.check_states(&[
        ("kernels-f32-optimizer", "stopped after"),
        ("kernels-f32-switch", "ok"),
        ("kernels-f32-all", "ok"),
        ("kernels-bf16-all", "ok"),
        ("steps-vgg19", "stopped after"),
        ("own-steps-vgg19", "ok"),
        ("steps-cnn", "ok"),
        ("steps-word-lstm", "ok"),
        ("steps-googlenet", "failed 139"),
        ("own-steps-googlenet", "failed 139"),
        ("train-cnn", "ok"),
        ("train-char-lstm", "ok"),
        ("memcheck-optimizer", "ok"),
        ("memcheck-lstm", "failed 1"),
        ("racecheck-optimizer", "stopped after"),
        ("racecheck-lstm", "ok"),
    ]);

    let archived = bundle.archived();
    let is_printed =
        |name: &str| ["steps-", "own-", "kernels-"].iter().any(|own| name.starts_with(own));
    for (name, _) in parts.iter().filter(|(_, state)| !state.starts_with("skipped")) {
        let mut files = vec![format!("{name}.txt")];
        files.extend(is_printed(name).then(|| format!("{name}.json")));
        for file in files {
            assert!(bundle.result(&file).exists(), "{file}");
            assert!(archived.contains(&file), "{file} of {archived:?}");
        }
    }
    assert!(bundle.result("train-cnn.jsonl").exists());
    let half = fs::read_to_string(bundle.result("kernels-f32-optimizer.json")).unwrap();
    assert_eq!(half, r#"{"kernels": [{"kernel"#);

    let table = bundle.table();
    for line in [
        "processor: some",
        "| vgg19 | alrao | alrao | captured |  |  |  | 1.250 |  |  |  |",
        "| cnn | alrao | sgd |  |  |  |  | 2 | 1.500 to 2.500 |  | 48 |",
        "| cnn | pytorch | sgd-compiled |  |  |  |  | 3.500 |  |  |  |",
        "| cnn | a ratio | 1.75 | 1.500 to 2 |",
        "| cnn | update | alrao | alrao | 12.25 |  |",
        "| cnn | authors | out of memory |",
        "| `switch_update_f64` | a switch |  |  |  | 1.000 | 2.000 |  |  |",
        "| memcheck-lstm | failed 1 |",
    ] {
        assert!(table.contains(line), "no '{line}' in\n{table}");
    }
    assert!(table.contains("left out: steps-vgg19.json"), "{table}");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with(&table), "{output:?}");
}

/// The other tests, and every family by itself.
#[test]
fn a_device_that_fails_in_one_test_is_opened_again_for_the_others() {
    if !is_possible() {
        return;
    }
    let bundle = Bundle::of_stand_ins([PROGRAM, TESTS, SANITIZER]);
    let output = bundle.run("tests-gpu", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    bundle.check_states(&[
        ("tests-list", "ok"),
        ("tests-kernels", "failed 101"),
        ("tests-a_gpu_learns", "ok"),
        ("tests-optimizer", "ok"),
        ("tests-matmul", "failed 137"),
        ("tests-many_classes", "failed 101"),
        ("tests-peak", "ok"),
    ]);
}

#[test]
fn where_the_time_is_over_the_table_comes_all_the_same() {
    if !is_possible() {
        return;
    }
    let bundle = Bundle::of_stand_ins([PROGRAM, TESTS, "exit 0"]);
    let output = bundle.run("", &[("LIMIT", "0")]);
    assert!(output.status.success(), "{output:?}");
    let parts = bundle.parts();
    assert!(parts.values().all(|state| state.starts_with("skipped")), "{parts:#?}");
    for name in ["tests-list", "kernels-f32-all", "steps-cnn", "train-cnn", "racecheck-lstm"] {
        assert!(bundle.table().contains(&format!("| {name} | skipped")), "{}", bundle.table());
    }
    // A table of what is there already changes nothing.
    assert_eq!(bundle.run("", &[("DEVICE", "cpu")]).status.code(), Some(2));
    assert_eq!(bundle.parts(), parts);
}

/// The whole, with the program and these tests themselves, on small sizes.
#[cfg(all(feature = "cli", has_simulator))]
#[test]
fn the_whole_of_it_runs_in_the_simulator() {
    if alrao::device::simulator::is_checked() {
        return eprintln!("skipped: the plain build does it");
    }
    if !is_possible() {
        return;
    }
    let bundle = Bundle::new(&crate::place::program(), &std::env::current_exe().unwrap());
    // Without PyTorch, whatever Python the machine has.
    let script = "[ \"$1\" != -c ] || exit 1\nexec python3 \"$@\"\n";
    let python = write_script(bundle.folder.path(), "python", script);
    let output = bundle.run("", &[("DEVICE", "simulator"), ("PYTHON", python.to_str().unwrap())]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let parts = bundle.parts();
    for name in [
        "tests-optimizer",
        "tests-head",
        "tests-many-classes",
        "tests-matmul",
        "tests-conv2d",
        "tests-lstm",
        "kernels-f32-optimizer",
        "kernels-f32-switch",
        "steps-cnn",
        "steps-char-lstm",
        "train-mlp",
    ] {
        assert_eq!(parts.get(name).map(String::as_str), Some("ok"), "{name}: {said}");
        assert!(bundle.result(&format!("{name}.txt")).exists(), "{name}");
    }
    let table = bundle.table();
    for line in
        ["| `optimizer_sgd", "| `switch_update_f64` |", "| cnn | ", "| char-lstm | ", "| ok |"]
    {
        assert!(table.contains(line), "no '{line}' in\n{table}");
    }
}
