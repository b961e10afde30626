//! What a run must not lose: its files, and those that a command reads.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{MLP, ends_with, files, write_vectors};
use crate::command_line::refused;

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files(folder).into_iter().filter(|file| file.is_file());
    files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// Takes a file out of a run's directory: resuming is refused, the message tells `culprits`, and nothing changes.
fn assert_refused_without(run: &Path, name: &str, command: &[&str], culprits: &[&str]) {
    let (file, aside) = (run.join(name), run.with_extension("aside"));
    fs::rename(&file, &aside).unwrap();
    for is_dangling in [false, true] {
        if is_dangling {
            symlink("nowhere", &file).unwrap();
        }
        let before = contents(run);
        let folder = run.parent().unwrap();
        culprits.iter().for_each(|culprit| refused(folder, command, culprit));
        assert!(before == contents(run), "{name}: the run was changed");
    }
    fs::remove_file(&file).unwrap();
    fs::rename(aside, file).unwrap();
}

#[test]
fn a_run_that_has_lost_a_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    let supervised = format!("{MLP} --epochs 2 --out supervised");
    let short = "rl train --env pendulum --steps 600 --epoch-steps 300 --learning-starts 100 --hidden 8 \
                 --evaluation-episodes 1";
    ends_with(0, folder, &supervised);
    ends_with(0, folder, &format!("{short} --out acting"));
    for (name, task, more, advice) in [
        ("supervised", vec!["train"], ["--epochs", "3"], ["alrao eval", "--init"]),
        ("acting", vec!["rl", "train"], ["--steps", "900"], ["alrao rl eval", "a new run"]),
    ] {
        let run = folder.join(name);
        let command = [&task[..], &["--resume", name], &more].concat();
        let last = format!("{name}/last.safetensors: is");
        assert_refused_without(&run, "last.safetensors", &command, &[&last, advice[0], advice[1]]);
        let best = format!("{name}/best.safetensors: is gone");
        assert_refused_without(&run, "best.safetensors", &command, &[&best]);
        let metrics = format!("{name}/metrics.jsonl: is gone");
        assert_refused_without(&run, "metrics.jsonl", &command, &[&metrics]);
        // Whole again, it goes on.
        ends_with(0, folder, &command.join(" "));
    }
}

/// Killed before its first checkpoint, a run has nothing to lose.
#[test]
fn a_run_without_any_checkpoint_begins_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 2 --out alone"));
    ends_with(0, folder, &format!("{MLP} --epochs 2 --out run"));
    let run = folder.join("run");
    for name in ["last", "best"] {
        fs::remove_file(run.join(name).with_extension("safetensors")).unwrap();
    }
    fs::write(run.join("metrics.jsonl"), "").unwrap();
    fs::write(run.join("last.safetensors.tmp"), "half").unwrap();
    let (_, stderr) = ends_with(0, folder, "train --resume run");
    let note = "run/last.safetensors is missing, so the run begins again from its first step";
    assert!(stderr.contains(note), "{stderr}");
    super::assert_same(&run, &folder.join("alone"));
}

/// Earlier versions wrote settings that have no effect beside others, and would now be refused.
#[test]
fn a_run_with_settings_without_effect_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    let arguments = format!("{MLP} --averaging bayesian");
    ends_with(0, folder, &format!("{arguments} --epochs 2 --out alone"));
    ends_with(0, folder, &format!("{arguments} --epochs 1 --out run"));
    let config = folder.join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("averaging = \"bayesian\"") && !text.contains("theta"), "{text}");
    fs::write(&config, format!("theta = 0.5\n{text}")).unwrap();
    ends_with(0, folder, "train --resume run --epochs 2");
    super::assert_same(&folder.join("run"), &folder.join("alone"));
}

#[test]
fn predictions_replace_nothing_that_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    fs::hard_link(folder.join("run/last.safetensors"), folder.join("hard")).unwrap();
    symlink("data.safetensors", folder.join("link")).unwrap();
    let before = [contents(folder), contents(&folder.join("run"))];
    for place in [
        "run/best.safetensors",
        "run/last.safetensors",
        "run/config.toml",
        "run/metrics.jsonl",
        "run/loss.svg",
        "run/../run/best.safetensors",
        "run/best-whole.safetensors",
        "data.safetensors",
        "./data.safetensors",
        "hard",
        "link",
        "run",
        "/dev/null",
        "nowhere/predictions",
    ] {
        let place = format!("--predictions {place}");
        let arguments = format!("eval run --force {place}");
        refused(folder, &super::split(&arguments), &place);
        let arguments =
            format!("eval run/last.safetensors --data data.safetensors --force {place}");
        refused(folder, &super::split(&arguments), &place);
    }
    assert!(before == [contents(folder), contents(&folder.join("run"))]);
    for _ in 0..2 {
        ends_with(0, folder, "eval run --force --predictions run/predictions.safetensors");
        ends_with(0, folder, "eval run --force --predictions predictions.safetensors");
    }
}
