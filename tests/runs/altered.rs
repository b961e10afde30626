//! Runs with files that were damaged or edited.

use std::fs;
use std::path::Path;

use super::readers::write_pictures;
use super::{INPUTS, MLP, ends_with, files, floats, split, write_init, write_tensors, write_text};
use super::{assert_same, metrics, write_vectors};
use crate::command_line::refused;

const ACTING: &str = "rl train --env pendulum --steps 600 --epoch-steps 300 --learning-starts 100 --hidden 8 \
                      --evaluation-episodes 1";

/// Flips a bit of the last number in a file.
fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 5;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    write_text(folder, 2000);
    let text = "train --model char-lstm --width 0.1 --batch-size 4 --data text.txt";
    for (train, resume, eval) in [
        (MLP, "train --resume RUN --epochs 2", "eval RUN"),
        (text, "train --resume RUN --epochs 2", "sample RUN --length 5"),
        (ACTING, "rl train --resume RUN --steps 900", "rl eval RUN --episodes 1"),
    ] {
        let epochs = if train == ACTING { "" } else { " --epochs 1" };
        ends_with(0, folder, &format!("{train}{epochs} --out run"));
        let told = |command: &str, is_noticed: bool| {
            let (_, stderr) = ends_with(0, folder, &command.replace("RUN", "run"));
            let is_told = stderr.contains("was damaged or edited after it was written");
            assert_eq!(is_told, is_noticed, "{command}: {stderr}");
        };
        told(eval, false);
        for name in ["best", "last"] {
            flip_a_bit(&folder.join("run").join(name).with_extension("safetensors"));
        }
        told(eval, true);
        told(resume, true);
        fs::remove_dir_all(folder.join("run")).unwrap();
    }
}

/// A setting changed in the middle of a run would take effect on some of its epochs only.
#[test]
fn an_edited_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    ends_with(0, folder, &format!("{ACTING} --out acting"));
    for (run, before, after, command) in [
        ("run", "eta_max = 10.0", "eta_max = 1.0", "train --resume run --epochs 2"),
        (
            "run",
            "normalize = \"standard\"",
            "normalize = \"none\"",
            "train --resume run --epochs 2",
        ),
        ("run", "weight_decay = 0.0", "weight_decay = 0.5", "train --resume run --epochs 2"),
        ("acting", "discount = 0.99", "discount = 0.5", "rl train --resume acting --steps 900"),
    ] {
        let config = folder.join(run).join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(before), "{text}");
        fs::write(&config, text.replace(before, after)).unwrap();
        let contents = || files(&folder.join(run)).iter().flat_map(fs::read).collect::<Vec<_>>();
        let edited = contents();
        let [(key, before), (_, after)] =
            [before, after].map(|line| line.split_once(" = ").unwrap());
        let message = format!("is {after}, but the run was trained with {before}");
        for culprit in [&format!("key '{key}' in {run}/config.toml"), &message] {
            refused(folder, &split(command), culprit);
        }
        assert!(edited == contents(), "{run} was changed");
        fs::write(&config, text).unwrap();
    }
    // Settings that may change can be edited too.
    let config = folder.join("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("epochs = 1", "epochs = 3")).unwrap();
    ends_with(0, folder, "train --resume run");
    assert_eq!(
        metrics(&folder.join("run")).iter().filter(|line| line["kind"] == "epoch").count(),
        3
    );
}

/// The settings that a checkpoint keeps are the same before and after a resume.
#[test]
fn settings_of_images_and_rates_are_kept_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    let rates =
        [floats("layers.0.weight", &[16], &[0.1; 16]), floats("layers.0.bias", &[16], &[0.1; 16])];
    write_tensors(&folder.join("rates.safetensors"), &rates);
    write_pictures(folder, 8);
    let pictures = "train --data pictures --width 0.1 --batch-size 4";
    for command in [&format!("{MLP} --rates rates.safetensors"), pictures] {
        ends_with(0, folder, &format!("{command} --epochs 2 --out alone"));
        ends_with(0, folder, &format!("{command} --epochs 1 --out run"));
        ends_with(0, folder, "train --resume run --epochs 2");
        assert_same(&folder.join("run"), &folder.join("alone"));
        for run in ["run", "alone"] {
            fs::remove_dir_all(folder.join(run)).unwrap();
        }
    }
}

#[test]
fn initial_parameters_with_nan_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    write_init(&folder.join("init.safetensors"), f32::NAN, 0.0);
    let command = format!("{MLP} --init init.safetensors --out run");
    let culprit =
        "init.safetensors: does not fit the model: layers.0.weight holds NaN, first as element 0";
    refused(folder, &split(&command), culprit);
    assert!(!folder.join("run").exists());
}

/// A run that is killed before it has written its configuration leaves these files.
#[test]
fn a_run_may_take_the_place_of_one_that_never_began() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    let run = folder.join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "").unwrap();
    fs::write(run.join("config.toml.tmp"), "model = ").unwrap();
    let command = format!("{MLP} --epochs 1 --out run");
    ends_with(0, folder, &command);
    refused(folder, &split(&command), "is not empty");
    fs::remove_dir_all(&run).unwrap();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("metrics.jsonl"), "{}\n").unwrap();
    refused(folder, &split(&command), "is not empty");
}

/// A process that comes a moment too late leaves the files of the one that was first.
#[test]
fn the_files_of_another_process_stay() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    fs::create_dir(folder.join("run")).unwrap();
    let metrics = fs::File::create(folder.join("run/metrics.jsonl")).unwrap();
    metrics.try_lock().unwrap();
    let command = format!("{MLP} --epochs 1 --out run");
    refused(folder, &split(&command), "another process is using this run");
    assert_eq!(files(&folder.join("run")), [folder.join("run/metrics.jsonl")]);
    drop(metrics);
    ends_with(0, folder, &command);
}

#[test]
fn an_evaluation_is_of_the_best_model_on_the_run_s_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 2 --out run"));
    let note = "have changed since training";
    assert!(!ends_with(0, folder, "eval run").1.contains(note));
    write_vectors(folder, [61, 20, 20]);
    assert!(ends_with(0, folder, "eval run").1.contains(note));
    assert!(!ends_with(0, folder, "eval run --data data.safetensors").1.contains(note));
    fs::remove_file(folder.join("run/best.safetensors")).unwrap();
    refused(folder, &["eval", "run"], "run/best.safetensors: is gone, and with it the best model");
    ends_with(0, folder, "eval run/last.safetensors --data data.safetensors");
}

#[test]
fn a_validation_on_other_data_may_include_training_samples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 0, 0]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    let validation = "eval run --split valid --data data.safetensors";
    let note = "may include training samples";
    assert!(!ends_with(0, folder, validation).1.contains(note));
    write_vectors(folder, [61, 0, 0]);
    assert!(ends_with(0, folder, validation).1.contains(note));
    // It has a validation part of its own.
    write_vectors(folder, [61, 20, 0]);
    assert!(!ends_with(0, folder, validation).1.contains(note));
}

#[test]
fn a_run_may_have_the_name_of_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out runs/data.safetensors"));
    ends_with(0, &folder.join("runs"), "eval data.safetensors");
    ends_with(0, &folder.join("runs/data.safetensors"), "eval .");
}

#[test]
fn damaged_files_of_a_run_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    let command = format!("{MLP} --batch-size 4 --valid-split 0");
    ends_with(0, folder, &format!("{command} --epochs 2 --out run"));
    let best = folder.join("run/best.safetensors");
    let whole = fs::read(&best).unwrap();
    fs::write(&best, "").unwrap();
    let resume = "train --resume run --epochs 3";
    refused(folder, &split(resume), "run/best.safetensors: is not a complete safetensors file");
    fs::write(&best, &whole).unwrap();
    flip_a_bit(&best);
    fs::copy(&best, folder.join("init.safetensors")).unwrap();
    let (_, stderr) = ends_with(0, folder, resume);
    assert!(stderr.contains("run/best.safetensors was damaged or edited"), "{stderr}");
    let init = format!("{command} --init init.safetensors --out new");
    refused(folder, &split(&init), "init.safetensors: was damaged or edited");
    fs::write(folder.join("run/config.toml"), "").unwrap();
    for command in ["train --resume run --epochs 4", "eval run"] {
        refused(folder, &split(command), "run/config.toml: lacks the key 'model'");
    }
}

/// The best whole epoch's copy is needed where an unfinished epoch is the best, and the run is given more steps.
#[test]
fn the_copy_of_the_best_whole_epoch_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    // 15 steps an epoch; the loss falls from epoch to epoch.
    let command =
        format!("{MLP} --batch-size 4 --optimizer sgd --lr 0.01 --max-steps 20 --out run");
    ends_with(0, folder, &command);
    let copy = folder.join("run/best-whole.safetensors");
    fs::rename(&copy, folder.join("aside")).unwrap();
    let resume = "train --resume run --max-steps 40";
    refused(folder, &split(resume), "run/best-whole.safetensors: is gone");
    fs::rename(folder.join("aside"), &copy).unwrap();
    ends_with(0, folder, resume);
}

#[test]
fn a_finished_run_keeps_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 20, 20]);
    ends_with(0, folder, &format!("{MLP} --epochs 2 --out run"));
    let config = fs::read(folder.join("run/config.toml")).unwrap();
    for change in ["--max-steps 3", "--epochs 1", "--log-every 5"] {
        let (_, stderr) = ends_with(0, folder, &format!("train --resume run {change}"));
        assert!(stderr.contains("is finished"), "{stderr}");
        assert!(config == fs::read(folder.join("run/config.toml")).unwrap(), "{change}");
    }
}

#[test]
fn data_that_looks_mistaken_is_remarked_on_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data.safetensors");
    let [inputs, labels] = super::part("", 40, 0);
    let pixels: Vec<f32> = (0..40 * 8 * 8 * 3).map(|pixel| (pixel % 7) as f32).collect();
    write_tensors(&data, &[floats("images", &[40, 8, 8, 3], &pixels), labels]);
    let train = "train --model mlp --hidden 8 --data data.safetensors --epochs 1 --valid-split 0";
    let (_, stderr) = ends_with(0, folder, &format!("{train} --out images"));
    assert!(stderr.contains("images of 8 channels, 8 rows and 3 columns"), "{stderr}");
    write_tensors(&data, &[inputs, floats("targets", &[40, 2], &[1.5, -2.0].repeat(40))]);
    let culprit = "all 40 training samples have the same targets";
    refused(folder, &split(&format!("{train} --out run")), culprit);
    // An output that is always the same has no R2.
    let mut targets: Vec<f32> = (0..80).map(|number| number as f32).collect();
    targets.iter_mut().step_by(2).for_each(|target| *target = 1.0);
    let [inputs, _] = super::part("", 40, 0);
    let parts = ["", "valid_"].map(|part| floats(&format!("{part}targets"), &[40, 2], &targets));
    let far: Vec<f32> = (0..40 * INPUTS).map(|number| 1e4 * number as f32).collect();
    let valid = floats("valid_inputs", &[40, INPUTS], &far);
    let [targets, valid_targets] = parts;
    write_tensors(&data, &[inputs, targets, valid, valid_targets]);
    let (_, stderr) = ends_with(0, folder, &format!("{train} --out constant"));
    assert!(stderr.contains("valid part: the inputs differ from the training data"), "{stderr}");
    let (stdout, _) = ends_with(0, folder, "eval constant --split valid");
    assert!(stdout.contains("R2 undefined (an output's targets are all equal, or"), "{stdout}");
    fs::create_dir(folder.join("text")).unwrap();
    for name in ["train.txt", "val.txt"] {
        fs::write(folder.join("text").join(name), "some words ".repeat(100)).unwrap();
    }
    let text =
        "train --model char-lstm --width 0.1 --batch-size 4 --epochs 1 --data text --out text-run";
    assert!(ends_with(0, folder, text).1.contains("not read: val.txt"));
    fs::create_dir_all(folder.join("pictures/test/a")).unwrap();
    refused(folder, &split("train --data pictures"), "it has test, but no train");
}
