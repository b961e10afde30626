//! Users' data: its scale does not matter, every class is in every part, and a model knows what it was trained on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use alrao::data::{
    Content, Dataset, Inputs, Kind, LoadOptions, Normalize, Part, Targets, load, load_with,
};
use alrao::learn::{Silent, StopFlag};
use alrao::random::{Philox, Purpose};
use alrao::supervised::settings::Settings;
use alrao::supervised::{Evaluation, Run, evaluate};
use alrao::{Device, DeviceKind, Result};
use safetensors::tensor::{Dtype, TensorView};

use crate::place::source;

/// The tensors of a safetensors file.
pub(crate) struct Tensors(HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    pub(crate) fn new() -> Self {
        Tensors(HashMap::new())
    }

    pub(crate) fn floats(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
        self
    }

    pub(crate) fn bytes(mut self, name: &str, shape: &[usize], values: &[u8]) -> Self {
        self.0.insert(name.into(), (Dtype::U8, shape.to_vec(), values.to_vec()));
        self
    }

    pub(crate) fn labels(mut self, name: &str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.insert(name.into(), (Dtype::I64, vec![values.len()], bytes));
        self
    }

    pub(crate) fn write(self, path: &Path) -> String {
        let views = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const COLUMNS: usize = 3;

/// Columns of very different scales and offsets, and two numbers to predict in the thousands.
fn raw(samples: usize) -> [Vec<f32>; 2] {
    let mut stream = Philox::new(3, Purpose::Data).stream(0);
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let x: Vec<f64> = (0..COLUMNS).map(|_| stream.normal()).collect();
        inputs.extend([1e4 * x[0] + 3e5, 1e-4 * x[1], 20.0 * x[2] - 7.0].map(|x| x as f32));
        let y = [x[0] - x[1], (2.0 * x[2]).tanh()];
        targets.extend(y.map(|y| (500.0 * y + 4000.0 + 20.0 * stream.normal()) as f32));
    }
    [inputs, targets]
}

fn standardised(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    let mut out = vec![0.0; values.len()];
    for column in 0..columns {
        let own = || values[column..].iter().step_by(columns).map(|&x| f64::from(x));
        let mean = own().sum::<f64>() / rows as f64;
        let deviation = (own().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64).sqrt();
        out[column..]
            .iter_mut()
            .step_by(columns)
            .zip(own())
            .for_each(|(out, x)| *out = ((x - mean) / deviation) as f32);
    }
    out
}

/// Trains for a few epochs on the file, and returns the run's folder.
pub(crate) fn trained(folder: &Path, name: &str, settings: &str) -> PathBuf {
    let settings = format!("model = 'mlp'\nhidden = [16]\nlog_every = 0\n{settings}");
    let mut config =
        Settings::from_toml(&settings, Path::new("test.toml")).unwrap().resolve().unwrap();
    config.device = DeviceKind::Cpu;
    let out = folder.join(name);
    let mut run = Run::start(config, Some(&out), &Device::cpu()).unwrap();
    run.train(&mut Silent, &StopFlag::default()).unwrap();
    out
}

fn evaluated(run: &Path, data: Option<&str>, predictions: Option<&Path>) -> Result<Evaluation> {
    evaluate(run, data, Some(Part::Valid), predictions, &Device::cpu())
}

#[test]
fn raw_and_standardised_data_give_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [inputs, targets] = raw(300);
    let file = |name: &str, inputs: &[f32], targets: &[f32]| {
        let tensors = Tensors::new().floats("inputs", &[300, COLUMNS], inputs);
        tensors.floats("targets", &[300, 2], targets).write(&folder.join(name))
    };
    let data = [
        file("raw.safetensors", &inputs, &targets),
        file(
            "standardised.safetensors",
            &standardised(&inputs, COLUMNS),
            &standardised(&targets, 2),
        ),
    ];
    let of = |data: &str, name: &str| {
        let run = trained(folder, name, &format!("data = '{data}'\nepochs = 15"));
        evaluated(&run, None, None).unwrap()
    };
    let [of_raw, of_standardised] = [of(&data[0], "a"), of(&data[1], "b")];
    let r2 = |evaluation: &Evaluation| evaluation.errors.unwrap().r2;
    assert!(r2(&of_raw) > 0.9, "{of_raw:?}");
    // The two files differ by the rounding of 32-bit numbers, which training enlarges.
    assert!((of_raw.loss - of_standardised.loss).abs() < 1e-2, "{of_raw:?} {of_standardised:?}");
    assert!((r2(&of_raw) - r2(&of_standardised)).abs() < 1e-2);
    // A mean squared error in the targets' own units, which have a deviation of about 500.
    let mse = of_raw.errors.unwrap().mse;
    assert!((500.0..50_000.0).contains(&mse), "{mse}");
    assert!(of_standardised.errors.unwrap().mse < 0.2);
}

#[test]
fn predictions_have_the_targets_own_units() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [inputs, targets] = raw(200);
    let tensors = Tensors::new()
        .floats("inputs", &[200, COLUMNS], &inputs)
        .floats("targets", &[200, 2], &targets)
        .floats("valid_inputs", &[200, COLUMNS], &inputs)
        .floats("valid_targets", &[200, 2], &targets);
    let data = tensors.write(&folder.join("data.safetensors"));
    let run = trained(folder, "run", &format!("data = '{data}'\nepochs = 5"));
    let file = folder.join("predictions.safetensors");
    let evaluation = evaluated(&run, None, Some(&file)).unwrap();
    let bytes = fs::read(&file).unwrap();
    let means = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let means = means.tensor("means").unwrap();
    assert_eq!(means.shape(), [200, 2]);
    let means = means.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let squares = means.zip(&targets).map(|(own, y)| f64::from(own - y).powi(2));
    let mse = squares.sum::<f64>() / 400.0;
    let reported = evaluation.errors.unwrap().mse;
    assert!((mse / reported - 1.0).abs() < 1e-4, "{mse}, reported {reported}");
}

#[test]
fn floats_can_be_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let [inputs, targets] = raw(50);
    let data = Tensors::new()
        .floats("inputs", &[50, COLUMNS], &inputs)
        .floats("targets", &[50, 2], &targets)
        .write(&folder.path().join("data.safetensors"));
    let options =
        LoadOptions { normalize: Normalize::None, valid_split: 0.0, ..LoadOptions::default() };
    let Content::Arrays(arrays) = load_with(&data, Kind::Arrays, &options).unwrap().content else {
        panic!("no arrays")
    };
    assert_eq!(arrays.train.inputs, Inputs::Floats(inputs));
    assert_eq!(arrays.train.targets, Targets::Values { values: targets, columns: 2 });
}

fn classes(dataset: &Dataset, part: Part) -> Vec<usize> {
    dataset.class_counts(part).unwrap()
}

/// As scikit-learn's iris: sorted by class.
#[test]
fn every_class_is_in_the_validation_part_of_a_sorted_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let labels: Vec<i64> = (0..150).map(|sample| sample / 50).collect();
    let inputs: Vec<f32> = (0..150).flat_map(|i| [(i / 50) as f32, (i % 7) as f32]).collect();
    let tensors = Tensors::new().floats("inputs", &[150, 2], &inputs).labels("labels", &labels);
    let data = tensors.write(&folder.join("sorted.safetensors"));
    let dataset = load(&data, Kind::Arrays, 0.2).unwrap();
    assert_eq!(classes(&dataset, Part::Train), [40; 3]);
    assert_eq!(classes(&dataset, Part::Valid), [10; 3]);
    let run = trained(folder, "run", &format!("data = '{data}'\nepochs = 3\nseed = 7"));
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("train_classes = [40, 40, 40]"), "{config}");
    assert!(config.contains("valid_classes = [10, 10, 10]"), "{config}");
    // The seed of training does not change the parts, the seed of the split does.
    let parts = |seed| {
        let options = LoadOptions { split_seed: seed, ..LoadOptions::default() };
        load_with(&data, Kind::Arrays, &options).unwrap().fingerprint
    };
    assert!(config.contains(&parts(0)) && parts(0) != parts(1));
}

/// Bright squares at four places; a model of their bytes saw floats as noise, at 25 % in place of 100.
#[test]
fn a_model_of_bytes_refuses_floats_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let labels: Vec<i64> = (0..80).map(|sample| sample % 4).collect();
    let images: Vec<u8> = labels
        .iter()
        .flat_map(|class| {
            (0..48).map(move |at| if at % 16 / 4 == *class { 200 } else { 40 + at as u8 })
        })
        .collect();
    let scaled: Vec<f32> = images.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let shape = [80, 3, 4, 4];
    let bytes = Tensors::new().bytes("images", &shape, &images).labels("labels", &labels);
    let floats = Tensors::new().floats("images", &shape, &scaled).labels("labels", &labels);
    let data = [
        bytes.write(&folder.join("bytes.safetensors")),
        floats.write(&folder.join("floats.safetensors")),
    ];
    let runs = [0, 1].map(|own| {
        trained(folder, &format!("run{own}"), &format!("data = '{}'\nepochs = 3", data[own]))
    });
    for own in [0, 1] {
        assert!(evaluated(&runs[own], Some(&data[own]), None).is_ok());
        let error = evaluated(&runs[own], Some(&data[1 - own]), None).unwrap_err().to_string();
        let [given, trained_on] = if own == 0 { ["floats", "bytes"] } else { ["bytes", "floats"] };
        let message = format!("holds {given}, but the model was trained on {trained_on}");
        assert!(error.contains(&message), "{error}");
    }
    // Floats on another scale cannot be told for certain, but they are remarked on.
    let larger: Vec<f32> = images.iter().map(|&byte| f32::from(byte)).collect();
    let floats = Tensors::new().floats("images", &shape, &larger).labels("labels", &labels);
    let larger = floats.write(&folder.join("larger.safetensors"));
    let notes = evaluated(&runs[1], Some(&larger), None).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("on the same scale?")), "{notes:?}");
    let notes = evaluated(&runs[1], None, None).unwrap().notes;
    assert!(!notes.iter().any(|note| note.contains("scale")), "{notes:?}");
}

#[test]
fn a_model_of_an_earlier_version_is_evaluated_as_it_was_and_says_so() {
    let fixtures = source().join("tests/fixtures");
    let (run, data) = (fixtures.join("values"), fixtures.join("values.safetensors"));
    let evaluation = evaluated(&run, data.to_str(), None).unwrap();
    let notes = &evaluation.notes;
    assert!(notes.iter().any(|note| note.contains("version 0.1.0")), "{notes:?}");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let best = metrics.lines().filter(|line| line.contains("epoch")).filter_map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["valid_loss"].as_f64()
    });
    let best = best.fold(f64::INFINITY, f64::min);
    assert!((evaluation.loss - best).abs() < 1e-3, "{} {best}", evaluation.loss);
    // The file alone does not say how its validation part was taken.
    let alone = evaluated(&run.join("best.safetensors"), data.to_str(), None).unwrap();
    assert!((alone.loss - best).abs() < 1e-3, "{} {best}", alone.loss);
}

/// Lines of a CSV whose class is the larger one of two numbers.
pub(crate) fn lines(count: usize) -> String {
    let line = |number: usize| {
        let [a, b] = [number * 7 % 11, number * 5 % 13];
        format!("{a},{b},{}\n", if a > b { "first" } else { "second" })
    };
    (0..count).map(line).collect()
}

#[test]
fn all_samples_of_a_file_held_out_are_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, lines: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("a,b,larger\n{lines}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data = write("data.csv", &lines(80));
    let run = trained(folder, "run", &format!("data = '{data}'\ntarget = 'larger'\nepochs = 2"));
    let of = |data: Option<&str>, split| evaluate(&run, data, split, None, &Device::cpu());
    for count in 1..=5 {
        let own = write("own.csv", &lines(count));
        let own = of(Some(&own), None).unwrap();
        assert_eq!((own.split.as_str(), own.samples), ("all", count));
    }
    // Without a test part, the run's own data has its validation part.
    let own = of(None, None).unwrap();
    assert_eq!((own.split.as_str(), own.samples), ("valid", 16));
    assert!(own.notes.iter().any(|note| note.contains("has no test part")), "{:?}", own.notes);
    assert_eq!(of(None, Some(Part::Train)).unwrap().samples, 64);
    let error = of(None, Some(Part::Test)).unwrap_err().to_string();
    assert!(error.contains("has no test part"), "{error}");
    let own = of(Some(&data), None).unwrap();
    assert!(own.notes.iter().any(|note| note.contains("training samples")), "{:?}", own.notes);
}

#[test]
fn a_mark_of_a_missing_value_is_remarked_on() {
    let folder = tempfile::tempdir().unwrap();
    let [mut inputs, targets] = raw(100);
    inputs[41 * COLUMNS + 2] = -9.99e9;
    let data = Tensors::new()
        .floats("inputs", &[100, COLUMNS], &inputs)
        .floats("targets", &[100, 2], &targets)
        .write(&folder.path().join("data.safetensors"));
    let none = LoadOptions { valid_split: 0.0, ..LoadOptions::default() };
    let notes = load_with(&data, Kind::Arrays, &none).unwrap().notes();
    let expected = "an input of sample 41, column 2, is -9.9900e9:";
    assert!(notes.len() == 1 && notes[0].starts_with(expected), "{notes:?}");
}
