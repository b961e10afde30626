//! Runs of the program that are killed, stopped, continued, refused, or run into a full disk.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod altered;
#[cfg(has_simulator)]
mod devices;
mod driver;
mod ends;
mod experiments;
mod images;
mod input;
mod kills;
mod limits;
mod list;
mod lost;
#[cfg(unix)]
mod mistaken;
mod readers;
mod resume;
mod tensorboard;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alrao::random::{Philox, Purpose};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::command_line::{alrao, text};
use crate::place::program;

/// A tensor of a file: name, type, shape, bytes.
type Entry = (String, Dtype, Vec<usize>, Vec<u8>);

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Entry {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name.to_owned(), Dtype::F32, shape.to_vec(), bytes)
}

fn labels(name: &str, values: &[i64]) -> Entry {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name.to_owned(), Dtype::I64, vec![values.len()], bytes)
}

fn write_tensors(path: &Path, tensors: &[Entry]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const INPUTS: usize = 6;

/// Random vectors, in the class of their largest coordinate among the first three.
fn part(prefix: &str, samples: usize, number: u64) -> [Entry; 2] {
    let mut stream = Philox::new(5, Purpose::Data).stream(number);
    let values: Vec<f32> =
        (0..samples * INPUTS).map(|_| stream.uniform_in(-1.0, 1.0) as f32).collect();
    let largest = |vector: &[f32]| (0..3).max_by(|a, b| vector[*a].total_cmp(&vector[*b])).unwrap();
    let classes: Vec<i64> = values.chunks(INPUTS).map(|vector| largest(vector) as i64).collect();
    [
        floats(&format!("{prefix}inputs"), &[samples, INPUTS], &values),
        labels(&format!("{prefix}labels"), &classes),
    ]
}

/// Writes `data.safetensors` with these numbers of samples for training, validation and testing; 0 for no such part.
fn write_vectors(folder: &Path, sizes: [usize; 3]) {
    let prefixes = ["", "valid_", "test_"];
    let parts = prefixes.iter().zip(sizes).enumerate().filter(|(_, (_, samples))| *samples > 0);
    let tensors: Vec<Entry> = parts
        .flat_map(|(number, (prefix, samples))| part(prefix, samples, number as u64))
        .collect();
    write_tensors(&folder.join("data.safetensors"), &tensors);
}

/// Writes `data.safetensors` with 240 samples, and for [`MLP`] `infinite.safetensors` with parameters with which nothing can be
/// learnt.
fn write_infinite(folder: &Path) {
    write_vectors(folder, [240, 0, 0]);
    write_init(&folder.join("infinite.safetensors"), 0.0, f32::INFINITY);
}

/// Writes initial parameters of [`MLP`] with ten classifiers, with `weight` and `bias` in the first layer.
fn write_init(path: &Path, weight: f32, bias: f32) {
    write_tensors(
        path,
        &[
            floats("layers.0.weight", &[16, INPUTS], &[weight; 16 * INPUTS]),
            floats("layers.0.bias", &[16], &[bias; 16]),
            floats("classifiers.weight", &[10, 3, 16], &[0.1; 10 * 3 * 16]),
            floats("classifiers.bias", &[10, 3], &[0.0; 30]),
        ],
    );
}

/// Rows of numbers so large that no layer's output is finite for all of them.
fn huge(rows: usize) -> Vec<f32> {
    let sign = |row: usize, column: usize| if row >> column & 1 == 0 { 1.0 } else { -1.0 };
    (0..rows * INPUTS).map(|place| f32::MAX * sign(place / INPUTS, place % INPUTS)).collect()
}

/// Writes `text.txt`: words of a small vocabulary.
fn write_text(folder: &Path, characters: usize) {
    let words = ["one ", "two ", "three\n", "four ", "five "];
    let mut stream = Philox::new(6, Purpose::Data).stream(0);
    let mut content = String::new();
    while content.len() < characters {
        content += words[stream.below(words.len() as u64) as usize];
    }
    fs::write(folder.join("text.txt"), content).unwrap();
}

const MLP: &str = "train --model mlp --hidden 16 --data data.safetensors";

pub(crate) fn split(arguments: &str) -> Vec<&str> {
    arguments.split_whitespace().collect()
}

/// Runs the program in a folder; it must end with this code. Gives standard output and standard error.
pub(crate) fn ends_with(code: i32, folder: &Path, arguments: &str) -> (String, String) {
    let output = alrao(folder, &split(arguments));
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments}: {stderr}");
    (stdout, stderr)
}

pub(crate) fn start(folder: &Path, arguments: &str) -> Child {
    let mut command = Command::new(program());
    command.current_dir(folder).args(split(arguments));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// A killed child is waited for, so that its locks are gone.
pub(crate) fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until the run's metrics have a line of this kind, or this number of lines.
pub(crate) fn wait_for(run: &Path, is_there: impl Fn(&str) -> bool) {
    let began = Instant::now();
    while !fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|metrics| is_there(&metrics)) {
        assert!(began.elapsed() < Duration::from_secs(60), "{}: nothing happens", run.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The metrics without what a clock told.
pub(crate) fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let timeless = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = line.as_object_mut().unwrap();
        object.remove("seconds");
        object.remove("samples_per_second");
        object.remove("steps_per_second");
        line
    };
    text.lines().map(timeless).collect()
}

/// How far a checkpoint is, from its metadata.
pub(crate) fn progress(checkpoint: &Path) -> serde_json::Value {
    let bytes = fs::read(checkpoint).unwrap();
    SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let record = &metadata.metadata().as_ref().unwrap()["alrao"];
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    record["progress"].clone()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn assert_no_temporary_file(run: &Path) {
    let is_temporary = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "tmp");
    assert_eq!(files(run).iter().find(is_temporary), None);
}

/// Two runs came to the same, to the bit.
pub(crate) fn assert_same(run: &Path, other: &Path) {
    let (own, others) = (metrics(run), metrics(other));
    for (line, expected) in own.iter().zip(&others) {
        assert_eq!(line, expected);
    }
    assert_eq!(own.len(), others.len());
    for file in ["last.safetensors", "best.safetensors"] {
        let same = fs::read(run.join(file)).unwrap() == fs::read(other.join(file)).unwrap();
        let (run, other) = (run.join(file), other.join(file));
        assert!(same, "{file} differs: {} and {}", progress(&run), progress(&other));
    }
    assert_no_temporary_file(run);
    assert_no_temporary_file(other);
}
