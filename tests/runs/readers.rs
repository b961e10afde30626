//! What a user's files may be, besides right: pipes, pointers, other formats and encodings, labels with gaps.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{
    INPUTS, MLP, ends_with, files, floats, labels, metrics, part, split, write_tensors, write_text,
    write_vectors,
};
use crate::command_line::{refused, text};
use crate::golden::images::files as every_kind;

const POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";

const PICTURES: &str = "train --data pictures --width 0.1 --image-size 8 --batch-size 4 --epochs 1";

const CHARACTERS: &str = "train --model char-lstm --width 0.1 --batch-size 4 --epochs 1";

/// Refuses a command for each culprit, and leaves no run behind.
fn refuses(folder: &Path, arguments: &str, culprits: &[&str]) {
    let before = files(folder);
    culprits.iter().for_each(|culprit| refused(folder, &split(arguments), culprit));
    assert_eq!(files(folder), before, "{arguments}");
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Two classes of `count` images each.
pub(super) fn write_pictures(folder: &Path, count: usize) {
    let golden = every_kind();
    let images = [&golden["wide.jpg"].0, &golden["tall.png"].0];
    for (class, image) in ["a", "b"].iter().zip(images) {
        let place = folder.join("pictures/train").join(class);
        fs::create_dir_all(&place).unwrap();
        (0..count)
            .for_each(|number| fs::write(place.join(format!("{number}.png")), image).unwrap());
    }
}

/// Each of these would wait for ever, were it opened.
#[test]
fn named_pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [40, 10, 0]);
    make_pipe(&folder.join("pipe.safetensors"));
    make_pipe(&folder.join("pipe.txt"));
    make_pipe(&folder.join("pipe.toml"));
    let pipe = "it is a named pipe, and only regular files are read";
    for (arguments, subject) in [
        ("train --model mlp --data pipe.safetensors".to_owned(), "pipe.safetensors"),
        ("train --model char-lstm --data pipe.txt".to_owned(), "pipe.txt"),
        (format!("{MLP} --config pipe.toml"), "--config pipe.toml"),
        (format!("{MLP} --init pipe.safetensors"), "pipe.safetensors"),
        (format!("{MLP} --rates pipe.safetensors"), "pipe.safetensors"),
        ("eval pipe.safetensors --data data.safetensors".to_owned(), "pipe.safetensors"),
        ("sample pipe.safetensors".to_owned(), "pipe.safetensors"),
        ("rl train --env pendulum --config pipe.toml".to_owned(), "--config pipe.toml"),
        ("train --model char-lstm --data /dev/zero".to_owned(), "/dev/zero"),
    ] {
        let is_device = arguments.contains("/dev/zero");
        let what = if is_device { "it is a device, and only regular files are read" } else { pipe };
        refuses(folder, &arguments, &[subject, what]);
    }
    fs::create_dir(folder.join("text")).unwrap();
    make_pipe(&folder.join("text/train.txt"));
    refuses(folder, "train --model char-lstm --data text", &["text/train.txt", pipe]);
    fs::remove_file(folder.join("text/train.txt")).unwrap();
    fs::write(folder.join("text/train.txt"), "some words ".repeat(100)).unwrap();
    make_pipe(&folder.join("text/valid.txt"));
    refuses(folder, "train --model char-lstm --data text", &["text/valid.txt", pipe]);
    fs::create_dir(folder.join("cifar")).unwrap();
    fs::write(folder.join("cifar/data_batch_1.bin"), [0; 40 * 3073]).unwrap();
    make_pipe(&folder.join("cifar/data_batch_2.bin"));
    refuses(folder, "train --data cifar", &["cifar/data_batch_2.bin", pipe]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    fs::remove_file(folder.join("run/last.safetensors")).unwrap();
    make_pipe(&folder.join("run/last.safetensors"));
    refuses(folder, "train --resume run --epochs 2", &["run/last.safetensors", pipe]);
    fs::remove_file(folder.join("run/config.toml")).unwrap();
    make_pipe(&folder.join("run/config.toml"));
    refuses(folder, "train --resume run --epochs 2", &["run", pipe]);
}

#[test]
fn what_a_folder_of_images_leaves_out_is_told_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pictures(folder, 10);
    let train = folder.join("pictures/train");
    fs::create_dir(train.join("a/deep")).unwrap();
    for name in ["a/1.tif", "a/deep/2.TIF", "b/3.heic", "b/list.txt", "a/Thumbs.db", "labels.txt"] {
        fs::write(train.join(name), "something else").unwrap();
    }
    for name in ["a/pipe.png", "b/pipe", "pipe.jpg"] {
        make_pipe(&train.join(name));
    }
    fs::copy(train.join("a/0.png"), train.join("beside.png")).unwrap();
    fs::copy(train.join("a/0.png"), folder.join("pictures/stray.png")).unwrap();
    fs::create_dir(folder.join("pictures/validation")).unwrap();
    let (_, stderr) = ends_with(0, folder, &format!("{PICTURES} --out run"));
    assert!(stderr.contains("pictures: 16 train, 4 valid images"), "{stderr}");
    for line in [
        "2 .tif, 1 .heic left out: not a format that can be decoded here; convert them to PNG",
        "2 .txt, 1 .db left out: not images",
        "3 named pipes left out: only regular files are read",
        "2 outside the class folders left out: an image's class is the folder it is in",
        "folders not read: validation; only train, valid (or val) and test are",
        "2 classes; training samples: 8 of 'a', 8 of 'b'",
    ] {
        assert_eq!(stderr.matches(&format!("data    {line}\n")).count(), 1, "{line}: {stderr}");
    }
    assert!(!stderr.contains("broken"), "{stderr}");
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(vec![b'c', 0xff]);
    fs::create_dir(train.join(name)).unwrap();
    refuses(folder, PICTURES, &["pictures/train/c", "the name of a class is not UTF-8"]);
}

#[test]
fn webp_gif_and_bmp_are_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pictures(folder, 10);
    let class = folder.join("pictures/train/a");
    let golden = crate::golden::images::formats();
    for (name, bytes) in &golden {
        fs::write(class.join(name), bytes).unwrap();
    }
    for (name, kind) in
        [("cut.webp", "lossy.webp"), ("cut.gif", "palette.gif"), ("cut.bmp", "plain.bmp")]
    {
        let whole = &golden[kind];
        fs::write(class.join(name), &whole[..whole.len() / 2]).unwrap();
    }
    // By its content, whatever its name says.
    fs::write(class.join("named.jpg"), &golden["lossless.webp"]).unwrap();
    let (_, stderr) = ends_with(0, folder, &format!("{PICTURES} --valid-split 0 --out run"));
    let count = 20 + golden.len() + 1;
    assert!(stderr.contains(&format!("pictures: {count} train images")), "{stderr}");
    assert!(stderr.contains(&format!("3 of {} images are broken and left out:", count + 3)));
    for name in ["cut.webp", "cut.gif", "cut.bmp"] {
        assert!(stderr.contains(&format!("{name}: is cut short: its end is missing")), "{stderr}");
    }
    assert!(!stderr.contains("mean colour"), "{stderr}");
}

#[test]
fn keys_that_are_there_twice_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [40, 10, 0]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    /// The file with the header's first entry once more at its end.
    fn doubled(path: &Path) -> (Vec<u8>, String) {
        let bytes = fs::read(path).unwrap();
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header = text(header);
        let header = header.trim_end().strip_suffix('}').unwrap();
        let start = header.find(r#""layers.0.bias""#).or_else(|| header.find(r#""labels""#));
        let entry = &header[start.unwrap()..];
        let entry = &entry[..=entry.find('}').unwrap()];
        let header = format!("{header},{entry}}}");
        let key = entry[1..].split('"').next().unwrap().to_owned();
        ([&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat(), key)
    }
    let (bytes, key) = doubled(&folder.join("data.safetensors"));
    fs::write(folder.join("twice.safetensors"), bytes).unwrap();
    let message = format!("twice.safetensors: has the key '{key}' twice in its header");
    refuses(folder, "train --model mlp --data twice.safetensors", &[&message]);
    let (bytes, key) = doubled(&folder.join("run/last.safetensors"));
    fs::write(folder.join("twice.safetensors"), &bytes).unwrap();
    let message = format!("twice.safetensors: has the key '{key}' twice in its header");
    for arguments in [
        format!("{MLP} --init twice.safetensors"),
        format!("{MLP} --rates twice.safetensors"),
        "eval twice.safetensors --data data.safetensors".to_owned(),
    ] {
        refuses(folder, &arguments, &[&message]);
    }
    fs::write(folder.join("run/last.safetensors"), bytes).unwrap();
    refuses(folder, "train --resume run --epochs 2", &["run/last.safetensors: has the key"]);
}

#[test]
fn what_lies_in_place_of_a_file_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [40, 10, 0]);
    for (content, advice) in [
        (POINTER, "git lfs pull"),
        ("<!DOCTYPE html>\n<html><title>404</title></html>", "a web page"),
        ("PK\u{3}\u{4}data.pkl", "PyTorch's .pt"),
    ] {
        fs::write(folder.join("x.safetensors"), content).unwrap();
        for arguments in [
            "train --model mlp --data x.safetensors".to_owned(),
            format!("{MLP} --init x.safetensors"),
            format!("{MLP} --rates x.safetensors"),
            "eval x.safetensors --data data.safetensors".to_owned(),
        ] {
            refuses(folder, &arguments, &["x.safetensors: is ", advice]);
        }
    }
    fs::write(folder.join("text.txt"), POINTER).unwrap();
    refuses(folder, "train --model char-lstm --data text.txt", &["text.txt: is Git LFS's pointer"]);
    fs::create_dir(folder.join("cifar")).unwrap();
    fs::write(folder.join("cifar/data_batch_1.bin"), POINTER).unwrap();
    refuses(folder, "train --data cifar", &["data_batch_1.bin: is Git LFS's pointer"]);
    write_pictures(folder, 12);
    for number in 0..12 {
        fs::write(folder.join(format!("pictures/train/a/{number}.png")), POINTER).unwrap();
    }
    refuses(folder, PICTURES, &["12 of 24 images are broken", "a/0.png: is Git LFS's pointer"]);
}

#[test]
fn classes_are_counted_and_one_alone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data.safetensors");
    let inputs = || part("", 40, 0)[0].clone();
    let spread: Vec<i64> = (0..40).map(|sample| 1000 * (sample % 2)).collect();
    write_tensors(&data, &[inputs(), labels("labels", &spread)]);
    let train = format!("{MLP} --epochs 1 --valid-split 0");
    let (_, stderr) = ends_with(0, folder, &format!("{train} --out gaps"));
    for line in [
        "1001 classes; training samples: 20 of each class that has any",
        "999 of 1001 classes have no training sample, so the model cannot learn them: class 1,",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
    // Counted from 1, as in MATLAB.
    let from_one: Vec<i64> = (0..40).map(|sample| 1 + sample % 3).collect();
    write_tensors(&data, &[inputs(), labels("labels", &from_one)]);
    let (_, stderr) = ends_with(0, folder, &format!("{train} --out one"));
    assert!(stderr.contains("cannot learn them: class 0\n"), "{stderr}");
    for class in [0, 7] {
        write_tensors(&data, &[inputs(), labels("labels", &[class; 40])]);
        let message = format!("all 40 training samples are of class {class}");
        refuses(folder, &train, &["data", &message, "at least two classes"]);
    }
    // Two classes, but not in the training part.
    let valid =
        [floats("valid_inputs", &[1, INPUTS], &[0.5; INPUTS]), labels("valid_labels", &[1])];
    let tensors = [vec![inputs(), labels("labels", &[0; 40])], valid.to_vec()].concat();
    write_tensors(&data, &tensors);
    refuses(folder, &train, &["all 40 training samples are of class 0"]);
    write_pictures(folder, 4);
    fs::remove_dir_all(folder.join("pictures/train/b")).unwrap();
    refuses(folder, PICTURES, &["training samples are of 'a';"]);
    fs::create_dir(folder.join("cifar")).unwrap();
    fs::write(folder.join("cifar/data_batch_1.bin"), [0; 40 * 3073]).unwrap();
    refuses(folder, "train --data cifar", &["training samples are of class 0"]);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut tensors = [part("", 40, 0), part("valid_", 20, 1)].concat();
    tensors[2].3[4 * (3 * INPUTS + 2)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    write_tensors(&folder.join("data.safetensors"), &tensors);
    let message = "data.safetensors: tensor 'valid_inputs': has 1 number that is not finite: NaN at row 3, column 2";
    refuses(folder, MLP, &[message, "leave such samples out"]);
    let targets: Vec<f32> = (0..40).map(|row| if row < 30 { 1.0 } else { f32::INFINITY }).collect();
    write_tensors(
        &folder.join("data.safetensors"),
        &[part("", 40, 0)[0].clone(), floats("targets", &[40, 1], &targets)],
    );
    let message =
        "tensor 'targets': has 10 numbers that are not finite; the first: inf at row 30, column 0";
    refuses(folder, MLP, &[message]);
}

#[test]
fn texts_of_other_systems() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_text(folder, 2000);
    let plain = fs::read_to_string(folder.join("text.txt")).unwrap();
    let write = |bytes: &[u8]| fs::write(folder.join("text.txt"), bytes).unwrap();
    let train = format!("{CHARACTERS} --data text.txt");
    let told = |out: &str| ends_with(0, folder, &format!("{train} --out {out}")).1;
    let distinct = |stderr: &str| {
        let before = stderr.split(" distinct").next().unwrap();
        before.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let own = distinct(&told("plain"));
    write(format!("\u{feff}{plain}").as_bytes());
    assert_eq!(distinct(&told("marked")), own);
    write(plain.replace('\n', "\r\n").as_bytes());
    let stderr = told("windows");
    assert_eq!(distinct(&stderr), own + 1);
    let note = "data    text.txt: lines end with CR and LF, as on Windows";
    assert_eq!(stderr.matches(note).count(), 1, "{stderr}");

    let wide: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(&wide);
    refuses(folder, &train, &["text.txt: is not UTF-8", "iconv -f UTF-16LE -t UTF-8 text.txt"]);
    write(&[&[0xFF, 0xFE][..], &wide].concat());
    refuses(folder, &train, &["iconv -f UTF-16 -t UTF-8 text.txt"]);
    write(&[plain.as_bytes(), b"caf\xe9"].concat());
    refuses(folder, &train, &["it is probably Latin-1: iconv -f ISO-8859-1 -t UTF-8 text.txt"]);
    write(&[b"\x93one\x94 ", plain.as_bytes()].concat());
    refuses(folder, &train, &["it is probably Windows-1252: iconv -f WINDOWS-1252"]);
    write(b"too short");
    let message = "the train text of text.txt has 8 characters, too few for 20 columns";
    refuses(folder, "train --model char-lstm --data text.txt", &["--batch-size", message]);
    fs::create_dir(folder.join("texts")).unwrap();
    fs::write(folder.join("texts/train.txt"), &plain).unwrap();
    fs::write(folder.join("texts/test.txt"), "short").unwrap();
    let message = "the test text of texts/test.txt has 5 characters, too few for 4 columns";
    refuses(folder, &format!("{CHARACTERS} --data texts"), &[message]);
    // An editor's mark in a configuration.
    fs::write(folder.join("marked.toml"), "\u{feff}epochs = 1\n").unwrap();
    let marked = format!("{CHARACTERS} --data texts/train.txt --config marked.toml --out config");
    ends_with(0, folder, &marked);
}

/// The first lines, the results and the metrics say what a user of regression wants to know.
#[test]
fn errors_of_regression_are_printed_logged_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let values: Vec<f32> = (0..60 * INPUTS).map(|i| (i * 7 % 13) as f32).collect();
    let targets: Vec<f32> = (0..60).map(|sample| 1000.0 + values[sample * INPUTS]).collect();
    let mut tensors = Vec::new();
    for prefix in ["", "valid_", "test_"] {
        tensors.push(floats(&format!("{prefix}inputs"), &[60, INPUTS], &values));
        tensors.push(floats(&format!("{prefix}targets"), &[60, 1], &targets));
    }
    write_tensors(&folder.join("data.safetensors"), &tensors);
    let (stdout, stderr) = ends_with(0, folder, &format!("{MLP} --epochs 2 --out run"));
    assert!(stdout.contains(", mean squared error ") && stdout.contains(", R2 "), "{stdout}");
    assert!(stderr.contains(" R2 "), "{stderr}");
    let lines = metrics(&folder.join("run"));
    let [epoch, test] = ["epoch", "test"]
        .map(|kind| lines.iter().rfind(|line| line["kind"] == kind).unwrap().clone());
    for (line, keys) in
        [(&epoch, ["valid_mse", "valid_mae", "valid_r2"]), (&test, ["mse", "mae", "r2"])]
    {
        keys.iter().for_each(|key| assert!(line[key].is_f64(), "{key}: {line}"));
    }
    let (stdout, _) = ends_with(0, folder, "eval run --json");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["mse"], &report["r2"]), (&test["mse"], &test["r2"]));
    // The same numbers, not standardised: the loss is that of numbers about 1000.
    let raw = format!("{MLP} --epochs 1 --normalize none --eta-max 1e-5 --out raw");
    ends_with(0, folder, &raw);
    let (evaluated, _) = ends_with(0, folder, "eval raw");
    let loss = evaluated.split_whitespace().nth(2).unwrap().trim_end_matches(',');
    assert!(loss.parse::<f64>().unwrap() > 1000.0, "{evaluated}");
}

#[test]
fn the_first_lines_count_the_classes_of_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sorted: Vec<i64> = (0..40).map(|sample| sample / 20).collect();
    let tensors = [part("", 40, 0)[0].clone(), labels("labels", &sorted)];
    write_tensors(&folder.join("data.safetensors"), &tensors);
    let (_, stderr) = ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    for line in [
        "2 classes; training samples: 16 of class 0, 16 of class 1",
        "validation samples: 4 of class 0, 4 of class 1",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
    // A run of version 0.1.0 has no such lines in its settings.
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    let is_old = |line: &&str| {
        !["split_seed", "normalize", "data_rules", "train_classes", "valid_classes"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let old: Vec<&str> = config.lines().filter(is_old).collect();
    fs::create_dir(folder.join("old")).unwrap();
    let old = old.join("\n").replace("data_fingerprint", "# data_fingerprint");
    fs::write(folder.join("old/config.toml"), old).unwrap();
    fs::write(folder.join("old/metrics.jsonl"), "").unwrap();
    let (_, stderr) = ends_with(0, folder, "train --resume old");
    assert!(stderr.contains("started by version 0.1.0"), "{stderr}");
    // Its end is for validation, which is of the second class only.
    assert!(stderr.contains("validation samples: 0 of class 0, 8 of class 1"), "{stderr}");
}
