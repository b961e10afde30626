//! What `--resume` lets change, and what it refuses.

use std::fs;
use std::path::Path;

use super::{MLP, assert_same, ends_with, files, metrics, part, progress, signal, start, wait_for};
use super::{write_tensors, write_vectors};
use crate::command_line::refused;

/// A folder with data for runs of 50 steps an epoch.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [200, 100, 100]);
    folder
}

const SMALL: &str = "--batch-size 4 --eta-max 1 --log-every 3";

fn same_config(run: &Path, other: &Path) {
    let read = |run: &Path| fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(read(run), read(other));
}

#[test]
fn a_finished_run_says_so() {
    let folder = folder();
    let folder = folder.path();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 2 --out run"));
    let read = || {
        files(&folder.join("run")).iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
    };
    let before = read();
    let (stdout, stderr) = ends_with(0, folder, "train --resume run");
    assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 1));
    assert!(stderr.starts_with("run is finished; ") && stderr.contains("--epochs"), "{stderr}");
    assert_eq!(read(), before);
    let silent = (String::new(), String::new());
    assert_eq!(ends_with(0, folder, "train --resume run -q"), silent);
}

#[test]
fn a_finished_run_goes_on_where_it_is_given_more_epochs() {
    let folder = folder();
    let folder = folder.path();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 6 --out alone"));
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 2 --out run"));
    ends_with(0, folder, "train --resume run --epochs 4");
    ends_with(0, folder, "train --resume run --epochs 6");
    assert_same(&folder.join("run"), &folder.join("alone"));
    same_config(&folder.join("run"), &folder.join("alone"));
}

#[test]
fn a_run_without_patience_goes_on_where_it_is_given_more() {
    let folder = folder();
    let folder = folder.path();
    // Rates that make nothing better.
    let arguments = format!("{MLP} --batch-size 4 --optimizer sgd --lr 0 --epochs 6");
    ends_with(0, folder, &format!("{arguments} --patience 4 --out alone"));
    ends_with(0, folder, &format!("{arguments} --patience 1 --out run"));
    ends_with(0, folder, "train --resume run --patience 4");
    assert_same(&folder.join("run"), &folder.join("alone"));
}

/// 25 steps end in the midst of the first epoch, 75 in the midst of the second, 100 at its end.
#[test]
fn a_run_goes_on_where_it_is_given_more_steps() {
    let folder = folder();
    let folder = folder.path();
    for steps in [75, 100, 120] {
        let (run, alone) = (format!("run-{steps}"), format!("alone-{steps}"));
        ends_with(
            0,
            folder,
            &format!("{MLP} {SMALL} --epochs 3 --max-steps {steps} --out {alone}"),
        );
        ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 3 --max-steps 25 --out {run}"));
        ends_with(0, folder, &format!("train --resume {run} --max-steps {steps}"));
        assert_same(&folder.join(run), &folder.join(alone));
    }
}

/// Epochs that go well up to their middle and then unlearn it: the half is better than the whole, and is no longer the
/// best where the run goes on to the whole.
#[test]
fn the_best_of_half_an_epoch_is_forgotten_where_the_epoch_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [mut inputs, mut labels] = part("", 100, 0);
    (inputs.2, inputs.3) = (vec![200, 6], inputs.3.repeat(2));
    let right: Vec<[u8; 8]> = labels.3.as_chunks().0.to_vec();
    let wrong = right.iter().flat_map(|label| ((label[0] as i64 + 1) % 3).to_le_bytes());
    labels.3.extend(wrong);
    labels.2 = vec![200];
    let others = [part("valid_", 100, 1), part("test_", 100, 2)].concat();
    write_tensors(&folder.join("data.safetensors"), &[vec![inputs, labels], others].concat());
    let arguments = format!(
        "{MLP} --batch-size 4 --order sequential --optimizer sgd --lr 0.5 --epochs 4 --log-every 3"
    );
    let end_at = |steps: u64, name: &str| {
        ends_with(0, folder, &format!("{arguments} --max-steps {steps} --out {name}"));
        folder.join(name)
    };
    let epochs = |run: &Path| -> Vec<f64> {
        let lines = metrics(run).into_iter().filter(|line| line["kind"] == "epoch");
        lines.map(|line| line["valid_loss"].as_f64().unwrap()).collect()
    };
    let alone = [(75, end_at(75, "alone-75")), (150, end_at(150, "alone-150"))];
    let (half, whole) = (epochs(&end_at(25, "half"))[0], epochs(&alone[1].1));
    assert!(half < whole[0] && epochs(&alone[0].1)[1] < whole[0].min(whole[1]), "{half} {whole:?}");
    assert_eq!(progress(&alone[0].1.join("best.safetensors"))["best_epoch"], 2);
    for stops in [&[25, 75][..], &[25, 150], &[75, 150], &[25, 75, 125, 150]] {
        let name = format!("{stops:?}").replace([' ', '[', ']'], "");
        let run = end_at(stops[0], &name);
        for steps in &stops[1..] {
            ends_with(0, folder, &format!("train --resume {name} --max-steps {steps}"));
            for (_, alone) in alone.iter().filter(|(end, _)| end == steps) {
                assert_same(&run, alone);
                assert_eq!(files(&run).len(), files(alone).len());
            }
        }
    }
}

/// The last step's evaluation is what the stop comes into; with more steps it is not the last.
#[test]
fn a_run_stopped_after_its_last_step_goes_on_where_it_is_given_more() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [200, 60_000, 10]);
    let arguments = format!("{MLP} --batch-size 4 --eta-max 1 --log-every 1");
    ends_with(0, folder, &format!("{arguments} --max-steps 50 --out alone"));
    let mut child = start(folder, &format!("{arguments} --max-steps 25 --out run"));
    wait_for(&folder.join("run"), |metrics| metrics.lines().count() >= 25);
    signal(&child, "TERM");
    child.wait().unwrap();
    ends_with(0, folder, "train --resume run --max-steps 50");
    assert_same(&folder.join("run"), &folder.join("alone"));
}

/// A run that is asked for less than it has done ends there, and goes on from there.
#[test]
fn a_run_may_be_given_less_and_then_more() {
    let folder = folder();
    let folder = folder.path();
    let arguments = format!("{MLP} --batch-size 1 --eta-max 1 --log-every 1 --epochs 8");
    ends_with(0, folder, &format!("{arguments} --out alone"));
    let mut child = start(folder, &format!("{arguments} --out run"));
    wait_for(&folder.join("run"), |metrics| metrics.lines().count() > 430);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    ends_with(0, folder, "train --resume run --epochs 1");
    ends_with(0, folder, "train --resume run --epochs 8");
    assert_same(&folder.join("run"), &folder.join("alone"));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let folder = folder();
    let folder = folder.path();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 4 --threads 1 --out alone"));
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 2 --threads 3 --out run"));
    ends_with(0, folder, "train --resume run --epochs 4 --threads 2 --device cpu --log-every 3");
    assert_same(&folder.join("run"), &folder.join("alone"));
}

/// The window between the directory and the first checkpoint.
#[test]
fn a_run_without_a_checkpoint_starts_anew() {
    let folder = folder();
    let folder = folder.path();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 1 --out first"));
    let arguments = format!("{MLP} {SMALL} --epochs 2 --init first/best.safetensors");
    ends_with(0, folder, &format!("{arguments} --out alone"));
    fs::create_dir(folder.join("run")).unwrap();
    fs::copy(folder.join("alone/config.toml"), folder.join("run/config.toml")).unwrap();
    fs::write(folder.join("run/metrics.jsonl"), "{\"kind\":").unwrap();
    fs::write(folder.join("run/best.safetensors.tmp"), "half").unwrap();
    fs::write(folder.join("run/loss.svg.tmp"), "half").unwrap();
    ends_with(0, folder, "train --resume run");
    let is_temporary =
        |entry: fs::DirEntry| entry.path().extension().is_some_and(|own| own == "tmp");
    assert!(!fs::read_dir(folder.join("run")).unwrap().any(|entry| is_temporary(entry.unwrap())));
    assert_same(&folder.join("run"), &folder.join("alone"));
    same_config(&folder.join("run"), &folder.join("alone"));
    // A run that was killed while it drew its last picture is finished.
    fs::write(folder.join("run/accuracy.svg.tmp"), "half").unwrap();
    ends_with(0, folder, "train --resume run");
    assert!(!folder.join("run/accuracy.svg.tmp").exists());
}

#[test]
fn two_processes_do_not_share_a_run() {
    let folder = folder();
    let folder = folder.path();
    let mut child = start(
        folder,
        &format!("{MLP} --batch-size 1 --epochs 100000 --log-every 1 --patience 100000 --out run"),
    );
    wait_for(&folder.join("run"), |metrics| !metrics.is_empty());
    for culprit in ["run/metrics.jsonl", "another process"] {
        refused(folder, &["train", "--resume", "run"], culprit);
    }
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_does_not_belong_to_a_run_is_refused_and_the_run_left_alone() {
    let folder = folder();
    let folder = folder.path();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 1 --out run"));
    ends_with(
        0,
        folder,
        &format!("{MLP} {SMALL} --epochs 1 --hidden 8 --out other").replace("--hidden 16 ", ""),
    );
    let run = folder.join("run");
    let whole: Vec<_> =
        files(&run).into_iter().map(|file| (fs::read(&file).unwrap(), file)).collect();
    let restore = || whole.iter().for_each(|(bytes, file)| fs::write(file, bytes).unwrap());
    let resume: &[&str] = &["train", "--resume", "run", "--epochs", "2"];
    let refused_and_unchanged = |culprits: &[&str]| {
        let before: Vec<_> = files(&run).iter().map(|file| fs::read(file).unwrap()).collect();
        culprits.iter().for_each(|culprit| refused(folder, resume, culprit));
        let after: Vec<_> = files(&run).iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(before == after, "{culprits:?}: the run was changed");
        restore();
    };

    let data = fs::read(folder.join("data.safetensors")).unwrap();
    write_vectors(folder, [200, 100, 99]);
    refused_and_unchanged(&["--data data.safetensors", "is not the data"]);
    fs::remove_file(folder.join("data.safetensors")).unwrap();
    refused_and_unchanged(&["data.safetensors"]);
    fs::write(folder.join("data.safetensors"), data).unwrap();

    fs::write(run.join("config.toml"), "epochs = [\n").unwrap();
    refused_and_unchanged(&["run/config.toml", "line 1"]);
    fs::write(run.join("config.toml"), "model = 'mlp'\nhiden = [16]\n").unwrap();
    refused_and_unchanged(&["run/config.toml", "'hiden'"]);
    fs::write(run.join("config.toml"), [0xff, 0xfe]).unwrap();
    refused_and_unchanged(&["config.toml"]);

    let last = fs::read(run.join("last.safetensors")).unwrap();
    for length in [0, 7, 100, last.len() - 1] {
        fs::write(run.join("last.safetensors"), &last[..length]).unwrap();
        refused_and_unchanged(&["run/last.safetensors", "not a complete safetensors file"]);
    }
    fs::copy(folder.join("other/last.safetensors"), run.join("last.safetensors")).unwrap();
    refused_and_unchanged(&["run/last.safetensors", "another model", "layers.0.weight has shape"]);
    fs::copy(folder.join("data.safetensors"), run.join("last.safetensors")).unwrap();
    refused_and_unchanged(&["run/last.safetensors", "not a checkpoint"]);

    fs::write(run.join("metrics.jsonl"), "").unwrap();
    refused_and_unchanged(&["run/metrics.jsonl", "has 0 lines"]);

    ends_with(0, folder, "train --resume run --epochs 2");
}

/// The data's path is relative to the folder that the run was started in, wherever the run is continued from.
#[test]
fn a_run_finds_its_data_from_another_folder() {
    let folder = folder();
    let folder = folder.path();
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 2 --out alone"));
    ends_with(0, folder, &format!("{MLP} {SMALL} --epochs 1 --out runs/run"));
    ends_with(0, &other, "train --resume ../runs/run --epochs 2");
    assert_same(&folder.join("runs/run"), &folder.join("alone"));
    same_config(&folder.join("runs/run"), &folder.join("alone"));
    ends_with(0, &other, "eval ../runs/run");

    // What lies in the current folder goes first.
    write_vectors(&other, [200, 100, 99]);
    let resume = ["train", "--resume", "../runs/run", "--epochs", "3"];
    for culprit in ["--data data.safetensors", "is not the data"] {
        refused(&other, &resume, culprit);
    }
    fs::remove_file(other.join("data.safetensors")).unwrap();
    fs::remove_file(folder.join("data.safetensors")).unwrap();
    for command in [&resume[..], &["eval", "../runs/run"]] {
        for culprit in ["--data data.safetensors", "../runs/run", "was started"] {
            refused(&other, command, culprit);
        }
    }
}
