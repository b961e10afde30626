//! Runs with files that were damaged or edited.

use std::fs;
use std::path::Path;

use super::{MLP, ends_with, files, floats, split, write_init, write_tensors, write_text};
use super::{metrics, write_vectors};
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
    fs::create_dir_all(folder.join("pictures/test/a")).unwrap();
    refused(folder, &split("train --data pictures"), "it has test, but no train");
}
