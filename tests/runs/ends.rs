//! Runs that fail on the way: a full disk, nothing but divergence.

use std::fs;
use std::path::Path;
use std::process::Command;

use alrao::Device;
use alrao::learn::{Outcome, Silent, StopFlag};
use alrao::supervised::Run;
use alrao::supervised::settings::Settings;

use super::{
    MLP, assert_no_temporary_file, assert_same, ends_with, floats, labels, metrics, part, progress,
};
use super::{huge, write_infinite, write_init, write_tensors, write_vectors};
use crate::command_line::text;
use crate::place::program;

/// Runs the program with a limit on the size of files (`ulimit -f`, in blocks of 512 or 1024 bytes), which looks like a full disk.
fn on_a_full_disk(folder: &Path, blocks: usize, arguments: &str) -> String {
    let program = program();
    let program = program.display();
    let script = format!("ulimit -f {blocks}; exec '{program}' {arguments}");
    let output = Command::new("sh").current_dir(folder).args(["-c", &script]).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn a_disk_that_fills_up_ends_the_run_and_it_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [400, 100, 100]);
    let arguments = format!("{MLP} --batch-size 4 --eta-max 1 --epochs 6 --log-every 1");
    ends_with(0, folder, &format!("{arguments} --out alone"));
    // In the first the metrics grow too long, in the second no checkpoint can be written.
    for (blocks, name, culprit) in
        [(128, "metrics", "metrics.jsonl"), (3, "start", "last.safetensors")]
    {
        let stderr = on_a_full_disk(folder, blocks, &format!("{arguments} --out {name}"));
        let run = folder.join(name);
        assert!(stderr.contains(&format!("{name}/{culprit}: could not be written")), "{stderr}");
        assert_no_temporary_file(&run);
        let last = run.join("last.safetensors");
        assert_eq!(last.exists(), name == "metrics");
        if last.exists() {
            assert!(progress(&last)["epoch"].as_u64().unwrap() > 1);
        }
        // It fails again where there is still no room, and loses nothing by it.
        on_a_full_disk(folder, blocks, &format!("train --resume {name}"));
        assert_no_temporary_file(&run);
        ends_with(0, folder, &format!("train --resume {name}"));
        assert_same(&run, &folder.join("alone"));
    }
}

/// A checkpoint that does not fit leaves the one before it.
#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [400, 100, 100]);
    let arguments = format!("{MLP} --batch-size 4 --epochs 2 --log-every 0");
    ends_with(0, folder, &format!("{arguments} --out alone"));
    ends_with(0, folder, &format!("{arguments} --out run").replace("--epochs 2", "--epochs 1"));
    let run = folder.join("run");
    let before = fs::read(run.join("last.safetensors")).unwrap();
    let stderr = on_a_full_disk(folder, 3, "train --resume run --epochs 2");
    assert!(stderr.contains("run/last.safetensors: could not be written"), "{stderr}");
    assert_no_temporary_file(&run);
    assert_eq!(fs::read(run.join("last.safetensors")).unwrap(), before);
    ends_with(0, folder, "train --resume run");
    assert_same(&run, &folder.join("alone"));
}

/// 60 steps an epoch: the first ends with a best model, the second does not end.
#[test]
fn a_run_without_a_finite_loss_ends_as_diverged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_infinite(folder);
    let arguments =
        format!("{MLP} --init infinite.safetensors --batch-size 4 --valid-split 0 --log-every 0");
    let (stdout, stderr) = ends_with(1, folder, &format!("{arguments} --out run"));
    let expected = "error: the run in run ended: diverged: no finite loss in the last 100 steps, up to step 100\n";
    assert!(stdout.is_empty() && stderr.ends_with(expected), "{stderr}");
    let run = folder.join("run");
    assert_eq!(progress(&run.join("best.safetensors"))["best_epoch"], 1);
    assert_eq!(metrics(&run).len(), 1);
    assert!(metrics(&run)[0]["train_loss"].is_null());
    let (_, stderr) = ends_with(1, folder, "train --resume run");
    assert!(stderr.ends_with(expected), "{stderr}");
    // A hundred steps are not needed where none was any better.
    for (steps, name) in [(1, "one"), (99, "many")] {
        let arguments = format!("{arguments} --max-steps {steps} --out {name}");
        let (stdout, stderr) = ends_with(1, folder, &arguments);
        let expected =
            format!("diverged: no finite loss in the last {steps} steps, up to step {steps}\n");
        assert!(stdout.is_empty() && stderr.ends_with(&expected), "{stderr}");
        ends_with(1, folder, &format!("train --resume {name}"));
        assert!(folder.join(name).join("best.safetensors").exists());
    }
}

/// The hundredth step without a finite loss is the 105th: the run ends before the next look, and is told all the same.
#[test]
fn divergence_just_before_the_end_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [_, labels] = part("", 240, 0);
    // The sum of a row's numbers is larger than any number, and the weights stay near 1.
    let values: Vec<f32> =
        (0..240 * 6).map(|number| if number < 10 * 6 { 0.5 } else { 1e38 }).collect();
    write_init(&folder.join("ones.safetensors"), 1.0, 0.0);
    let inputs = floats("inputs", &[240, 6], &values);
    write_tensors(&folder.join("data.safetensors"), &[inputs, labels]);
    let arguments = format!(
        "{MLP} --init ones.safetensors --eta-max 1e-4 --batch-size 2 --order sequential --valid-split 0 --log-every 0 \
         --normalize none"
    );
    let (_, stderr) = ends_with(1, folder, &format!("{arguments} --max-steps 110 --out run"));
    assert!(stderr.ends_with("100 steps, up to step 110\n"), "{stderr}");
    ends_with(0, folder, &format!("{arguments} --max-steps 104 --out finished"));
}

/// Validation samples of which the model makes infinite logits: all are finite, no loss is.
fn write_immense_validation(folder: &Path) {
    let mut tensors = part("", 40, 0).to_vec();
    tensors.push(floats("valid_inputs", &[20, 6], &huge(20)));
    tensors.push(labels("valid_labels", &[1; 20]));
    tensors.extend(part("test_", 20, 1));
    write_tensors(&folder.join("data.safetensors"), &tensors);
}

#[test]
fn an_epoch_without_a_finite_validation_loss_is_never_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_immense_validation(folder);
    let arguments =
        format!("{MLP} --hidden 16,16 --patience 2 --log-every 0").replace("--hidden 16 ", "");
    let (stdout, stderr) = ends_with(1, folder, &format!("{arguments} --epochs 9 --out run"));
    let expected = "no epoch had a finite validation loss, so there is no best model";
    assert!(stdout.is_empty() && stderr.contains(expected), "{stderr}");
    let run = folder.join("run");
    let lines = metrics(&run);
    // Patience counts from the start.
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["kind"] == "epoch" && line["valid_loss"].is_null()));
    assert!(!run.join("best.safetensors").exists());
    assert!(progress(&run.join("last.safetensors"))["best_epoch"].is_null());
    // It fails again, and the last model can still be looked at.
    let (_, stderr) = ends_with(1, folder, "train --resume run");
    assert!(stderr.contains(expected), "{stderr}");
    ends_with(0, folder, "eval run --split test");
    ends_with(1, folder, "train --resume run --epochs 20 --patience 3");
    assert_eq!(metrics(&run).len(), 3);
    // Without validation data the last epoch is the best, as ever.
    write_vectors(folder, [40, 0, 20]);
    let arguments = format!("{MLP} --valid-split 0 --epochs 3 --log-every 0 --out blind");
    ends_with(0, folder, &arguments);
    assert_eq!(progress(&folder.join("blind/best.safetensors"))["best_epoch"], 3);
}

/// A run that ended in the midst of an epoch, was made to go on, and was stopped before it did.
#[test]
fn a_part_that_was_gone_on_with_for_no_step_is_evaluated_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 100, 100]);
    for steps in [20, 75] {
        let (run, alone) = (format!("run-{steps}"), format!("alone-{steps}"));
        let part = format!("{MLP} --batch-size 4 --device cpu --max-steps {steps}");
        ends_with(0, folder, &format!("{part} --out {alone}"));
        ends_with(0, folder, &format!("{part} --out {run}"));
        let stop = StopFlag::default();
        stop.set();
        let data = folder.join("data.safetensors");
        let mut more = Settings::default();
        more.task.max_steps = Some(500);
        let resumed = Run::resume(&folder.join(&run), &more, data.to_str(), &Device::cpu());
        let mut resumed = resumed.unwrap();
        assert_eq!(resumed.train(&mut Silent, &stop).unwrap().outcome, Outcome::Stopped);
        drop(resumed);
        ends_with(0, folder, &format!("train --resume {run} --max-steps {steps}"));
        assert_same(&folder.join(run), &folder.join(alone));
    }
}

#[test]
fn a_learning_rate_beyond_all_bounds_ends_as_diverged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 100, 100]);
    let arguments =
        format!("{MLP} --batch-size 4 --optimizer sgd --lr 1e30 --log-every 0 --out run");
    let (_, stderr) = ends_with(1, folder, &arguments);
    assert!(stderr.contains("diverged: no finite loss in the last 100 steps"), "{stderr}");
    // No epoch had a finite validation loss.
    assert!(progress(&folder.join("run/last.safetensors"))["best_epoch"].is_null());
    assert!(!folder.join("run/best.safetensors").exists());
}
