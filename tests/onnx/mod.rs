//! Exported models: onnxruntime finds the library's predictions, and the files hold what a user needs.

mod cases;
mod file;
mod model;
mod own_network;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use alrao::data::{Column, Inputs, Table};
use alrao::export::Onnx;
use alrao::learn::{Learner, ModelRecord};
use alrao::nn::{BufferKind, Entry, for_each_entry};
use alrao::random::{Philox, Purpose};
use alrao::supervised::Predictor;
use alrao::{Device, Tensor};

use self::cases::{Array, Cases};
use self::file::OnnxFile;
use self::model::{WEIGHTS, learner, network, record, record_of_text, written};
use crate::command_line::{alrao, refused, text};
use crate::place::python_with;

/// The largest difference from the library's predictions.
const CLOSE: f64 = 1e-5;

/// Architecture, width and extents of each image model.
const IMAGE_MODELS: [(&str, f64, [usize; 3]); 12] = [
    ("mlp", 1.0, [6, 5, 3]),
    ("cnn", 0.25, [11, 12, 3]),
    ("vgg11", 0.125, [32, 32, 3]),
    ("vgg13", 0.125, [32, 32, 3]),
    ("vgg16", 0.125, [32, 32, 3]),
    ("vgg19", 0.125, [32, 32, 1]),
    ("googlenet", 0.125, [32, 32, 3]),
    ("mobilenetv2", 0.25, [32, 32, 3]),
    ("senet18", 0.25, [32, 32, 3]),
    ("alexnet", 0.125, [150, 260, 3]),
    ("resnet50", 0.125, [40, 36, 3]),
    ("densenet121", 0.125, [40, 36, 3]),
];

/// Numbers in 0..range.
fn drawn(count: usize, range: usize, seed: usize) -> Vec<usize> {
    let mut stream = Philox::new(seed as u64, Purpose::Data).stream(0);
    (0..count).map(|_| (stream.uniform() * range as f64) as usize).collect()
}

/// `[N, H, W, C]` as `[N, C, H, W]`.
fn channels_first(values: &[f32], [height, width, channels]: [usize; 3]) -> Vec<f32> {
    let (pixels, image) = (height * width, height * width * channels);
    let place = |own: usize| own / image * image + own % pixels * channels + own % image / pixels;
    (0..values.len()).map(|own| values[place(own)]).collect()
}

/// All predictions in a row. Panics unless the samples differ in them.
fn predicted(predictor: &Predictor, inputs: &Inputs) -> Vec<f32> {
    let predictions = predictor.predict(inputs).unwrap();
    let rows: Vec<&[f32]> = (0..predictions.len()).map(|own| predictions.row(own)).collect();
    let differ = |pair: &[&[f32]]| {
        pair[0].iter().zip(pair[1]).any(|(a, b)| f64::from((a - b).abs()) > 10.0 * CLOSE)
    };
    assert!(rows.windows(2).all(differ), "equal predictions: {rows:?}");
    rows.concat()
}

/// Adds a model of images, in bytes or in floats, with runs of two batch sizes.
fn add_images(cases: &mut Cases, folder: &Path, name: &str, record: &ModelRecord) {
    let extents: [usize; 3] = record.extents[..].try_into().unwrap();
    let learner = learner(record, network(record));
    let path = written(&learner, record, folder, name);
    cases.model(&format!("{name}.onnx"), Onnx::open(&path).unwrap().bytes());
    let predictor = Predictor::open(&path, &Device::cpu()).unwrap();
    for samples in [1, 3] {
        // Images of different brightness, which no network confuses.
        let mut bytes = drawn(samples * extents.iter().product::<usize>(), 128, samples);
        let size = bytes.len() / samples;
        bytes.iter_mut().enumerate().for_each(|(place, own)| *own += place / size * 60);
        let floats: Vec<f32> = bytes.iter().map(|own| *own as f32 / 255.0).collect();
        let inputs = match record.input_type.as_deref() {
            Some("bytes") => Inputs::Bytes(bytes.iter().map(|own| *own as u8).collect()),
            _ => Inputs::Floats(floats.clone()),
        };
        let expected = predicted(&predictor, &inputs);
        let [height, width, channels] = extents;
        let shape = vec![samples, channels, height, width];
        cases.run(
            vec![Array::Floats("images", shape, channels_first(&floats, extents))],
            vec![Array::Floats("probabilities", vec![samples, record.outputs], expected)],
        );
    }
}

/// The carried states, by name.
fn states(learner: &Learner) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut found = Vec::new();
    for_each_entry(learner.model(), &mut |name, entry| {
        if let Entry::Buffer(buffer) = entry
            && buffer.kind() == BufferKind::Carried
        {
            let value = buffer.current().unwrap();
            found.push((name.to_owned(), value.shape().extents().to_vec(), value.to_vec()));
        }
    });
    found
}

/// Adds a model of text, with runs of two lengths and batch sizes, each in two windows.
fn add_text(cases: &mut Cases, folder: &Path, record: &ModelRecord) {
    let name = record.architecture.clone();
    let learner = learner(record, network(record));
    let path = written(&learner, record, folder, &name);
    cases.model(&format!("{name}.onnx"), Onnx::open(&path).unwrap().bytes());
    for [times, samples] in [[1, 4], [7, 2]] {
        let mut carried: Option<Vec<_>> = None;
        for window in 0..2 {
            let tokens = drawn(times * samples, record.outputs, window + times);
            let own: Vec<i32> = tokens.iter().map(|own| *own as i32).collect();
            let x = Tensor::from_slice(learner.device(), [times, samples], &own);
            let predicted = learner.predict(&x).to_f64s();
            let expected = predicted.into_iter().map(|own| own.exp() as f32).collect();
            let last = states(&learner);
            let mut inputs = vec![Array::Tokens(
                "tokens",
                vec![times, samples],
                tokens.iter().map(|own| *own as i64).collect(),
            )];
            let first = carried.take().unwrap_or_else(|| {
                let zeros = |(name, shape, values): &(String, Vec<usize>, Vec<f32>)| {
                    (name.clone(), shape.clone(), vec![0.0; values.len()])
                };
                last.iter().map(zeros).collect()
            });
            let shape = vec![times, samples, record.outputs];
            let mut outputs = vec![Array::Floats("probabilities", shape, expected)];
            for (index, [before, after]) in [["h0", "hn"], ["c0", "cn"]].into_iter().enumerate() {
                let (_, shape, values) = first[index].clone();
                inputs.push(Array::Floats(before, shape, values));
                let (_, shape, values) = last[index].clone();
                outputs.push(Array::Floats(after, shape, values));
            }
            cases.run(inputs, outputs);
            carried = Some(last);
        }
    }
}

/// Adds a run of vectors for each of two batch sizes. `number` makes an input of its column and a number below 97,
/// `expected` makes the predictions of a sample those to be found.
fn run_vectors(
    cases: &mut Cases,
    predictor: &Predictor,
    record: &ModelRecord,
    number: fn(usize, usize) -> f32,
    expected: fn(&mut [f32]),
) {
    let name = if record.regression { "values" } else { "probabilities" };
    for samples in [1, 6] {
        let size = record.extents[0];
        let drawn = drawn(samples * size, 97, samples).into_iter().enumerate();
        let inputs: Vec<f32> = drawn.map(|(place, own)| number(place % size, own)).collect();
        let mut outputs = predicted(predictor, &Inputs::Floats(inputs.clone()));
        outputs.chunks_mut(record.outputs).for_each(expected);
        cases.run(
            vec![Array::Floats("inputs", vec![samples, size], inputs)],
            vec![Array::Floats(name, vec![samples, record.outputs], outputs)],
        );
    }
}

/// Adds a model of values in units of their own, from numbers that a float's digits hardly tell apart.
fn add_values(cases: &mut Cases, folder: &Path) {
    let record = ModelRecord {
        regression: true,
        outputs: 2,
        activation: Some("tanh".into()),
        normalisation: Some((vec![1_000_000.3, 0.5, -7.0], vec![2.7, 1e-3, 30.0])),
        target_normalisation: Some((vec![4000.0, -0.25], vec![500.0, 3e-3])),
        ..record("mlp", 1.0, &[3])
    };
    let learner = learner(&record, network(&record));
    let path = written(&learner, &record, folder, "values");
    cases.model("mlp of values.onnx", Onnx::open(&path).unwrap().bytes());
    let predictor = Predictor::open(&path, &Device::cpu()).unwrap();
    let number = |column: usize, own: usize| {
        [1e6, 0.5, -7.0][column] + [0.1, 1e-5, 0.4][column] * own as f32
    };
    run_vectors(cases, &predictor, &record, number, |_| {});
}

/// Adds models of classes and of values of which one classifier with most of the weight has outputs that are not finite.
fn add_diverged(cases: &mut Cases, folder: &Path) {
    for regression in [false, true] {
        let record = ModelRecord { regression, ..record("mlp", 1.0, &[4]) };
        let learner = learner(&record, network(&record));
        for_each_entry(learner.model(), &mut |name, entry| {
            if let (Entry::Parameter(parameter), "classifiers.weight") = (entry, name) {
                let mut values = parameter.values();
                let part = values.len() / WEIGHTS.len();
                // Its outputs overflow, though its weights are finite.
                values[..part].fill(3e38);
                parameter.set_values(&values);
            }
        });
        let name =
            format!("{} of a diverged classifier", if regression { "values" } else { "classes" });
        let path = written(&learner, &record, folder, &name);
        cases.model(&format!("{name}.onnx"), Onnx::open(&path).unwrap().bytes());
        let predictor = Predictor::open(&path, &Device::cpu()).unwrap();
        // The library's probabilities lack the share of the classifier; the file's add up to 1.
        let expected = match regression {
            true => |_: &mut [f32]| {},
            false => |row: &mut [f32]| {
                let sum: f32 = row.iter().sum();
                assert!((f64::from(sum) - (1.0 - WEIGHTS[0])).abs() < 1e-6, "{sum}");
                row.iter_mut().for_each(|own| *own /= sum);
            },
        };
        run_vectors(cases, &predictor, &record, |_, own| own as f32 / 40.0 - 1.0, expected);
    }
}

#[test]
fn onnxruntime_finds_the_library_s_predictions() {
    let Some(python) = python_with("onnxruntime", "ALRAO_REQUIRE_ONNXRUNTIME") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut cases = Cases::new(folder);
    for (architecture, width, extents) in IMAGE_MODELS {
        let record = record(architecture, width, &extents);
        add_images(&mut cases, folder, architecture, &record);
    }
    let floats =
        ModelRecord { input_type: Some("floats".into()), ..record("cnn", 0.2, &[9, 8, 2]) };
    add_images(&mut cases, folder, "cnn of floats", &floats);
    for architecture in ["char-lstm", "word-lstm"] {
        add_text(&mut cases, folder, &record_of_text(architecture));
    }
    own_network::add(&mut cases, folder);
    add_values(&mut cases, folder);
    add_diverged(&mut cases, folder);
    let found = cases.compared(python);
    found.iter().for_each(|(model, difference)| println!("{model}: {difference:.1e}"));
    let far: Vec<_> = found.iter().filter(|(_, difference)| *difference > CLOSE).collect();
    assert!(found.len() == 19 && far.is_empty(), "{far:?}");
}

#[test]
fn the_programs_of_the_documentation_run() {
    let Some(python) = python_with("onnxruntime", "ALRAO_REQUIRE_ONNXRUNTIME") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let images = record("cnn", 0.25, &[32, 32, 3]);
    for (name, record) in [("images", images), ("text", record_of_text("char-lstm"))] {
        let path = written(&learner(&record, network(&record)), &record, folder, name);
        fs::write(folder.join(format!("{name}.onnx")), Onnx::open(path).unwrap().bytes()).unwrap();
    }
    fs::write(folder.join("table.onnx"), Onnx::open(named(folder)).unwrap().bytes()).unwrap();
    let page = include_str!("../../docs/onnx.md");
    let programs = page.split("```python\n").skip(1).map(|own| own.split("```").next().unwrap());
    let run = |program: &str| {
        let mut python = Command::new(python.get_program());
        let output = python.current_dir(folder).args(["-c", program]).output().unwrap();
        assert!(output.status.success(), "{program}\n{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let [images, table, letters] = &programs.map(run).collect::<Vec<_>>()[..] else {
        panic!("the page has other programs")
    };
    let [class, probability] = images.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{images}")
    };
    assert!(class.parse::<usize>().unwrap() < 7, "{images}");
    assert!((1.0 / 7.0..1.0).contains(&probability.parse::<f64>().unwrap()), "{images}");
    assert!(table.starts_with("kind [["), "{table}");
    assert!(
        letters.len() == 40 && letters.chars().all(|own| ('a'..='k').contains(&own)),
        "{letters}"
    );
}

/// A model of a table with names.
fn named(folder: &Path) -> PathBuf {
    let column = |name: &str, categories: Option<[&str; 2]>| Column {
        name: name.into(),
        categories: categories.map(|own| own.map(String::from).to_vec()),
    };
    let columns = vec![column("length", None), column("colour", Some(["blue", "red"]))];
    let table = Table {
        target: "kind".into(),
        has_header: true,
        has_row_names: false,
        ignored: Vec::new(),
        columns,
        fill: vec![],
    };
    let record = ModelRecord {
        outputs: 2,
        classes: Some(vec!["a \"quoted\"".into(), "b".into()]),
        table: Some(table),
        ..record("mlp", 1.0, &[3])
    };
    written(&learner(&record, network(&record)), &record, folder, "named")
}

#[test]
fn a_file_names_classes_columns_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = Onnx::open(named(folder.path())).unwrap();
    assert_eq!(onnx.inputs(), ["inputs float32 [batch, 3]"]);
    assert_eq!(onnx.outputs(), ["probabilities float32 [batch, 2]"]);
    let file = OnnxFile::of(onnx.bytes());
    let list = |key: &str| serde_json::from_str::<Vec<String>>(&file.texts[key]).unwrap();
    assert_eq!(list("classes"), ["a \"quoted\"", "b"]);
    assert_eq!(list("columns"), ["length", "colour=blue", "colour=red"]);
    assert_eq!([&file.texts["target"], &file.texts["task"]], ["kind", "classification"]);
    assert!(file.description.starts_with("inputs: numbers as in the training data"));
    // Standardised, two layers, and the classifiers but the one without weight.
    let layers = ["Gemm", "Add", "Relu"].repeat(2);
    let head = "Gemm Reshape Softmax ReduceSum LessOrEqual Where Where Softmax Transpose MatMul Reshape Identity";
    let expected = [vec!["Sub", "Div"], layers, head.split(' ').collect()].concat();
    assert_eq!(
        (file.version, file.operators),
        (17, expected.into_iter().map(String::from).collect())
    );
    assert_eq!(file.constants["classifiers.weight"].0, [6, 24]);

    let record = record_of_text("word-lstm");
    let path = written(&learner(&record, network(&record)), &record, folder.path(), "text");
    let onnx = Onnx::open(path).unwrap();
    assert_eq!(onnx.inputs()[..2], ["tokens int64 [time, batch]", "h0 float32 [2, batch, 16]"]);
    assert_eq!(onnx.outputs()[0], "probabilities float32 [time, batch, 11]");
    assert_eq!(
        onnx.outputs()[1..],
        ["hn", "cn"].map(|own| format!("{own} float32 [2, batch, 16]"))
    );
    let file = OnnxFile::of(onnx.bytes());
    let tokens: Vec<String> = serde_json::from_str(&file.texts["vocabulary"]).unwrap();
    assert_eq!((tokens.len(), &*tokens[10]), (11, "k"));
}

#[test]
fn weights_keep_pytorch_s_names_and_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let record = record("mobilenetv2", 0.25, &[32, 32, 3]);
    let path = written(&learner(&record, network(&record)), &record, folder.path(), "images");
    let onnx = Onnx::open(&path).unwrap();
    assert_eq!(onnx.inputs(), ["images float32 [batch, 3, 32, 32]"]);
    let file = OnnxFile::of(onnx.bytes());
    let bytes = fs::read(path).unwrap();
    let kept = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut found = 0;
    for (name, view) in kept.iter().filter(|(name, _)| file.constants.contains_key(*name)) {
        let (extents, values) = &file.constants[name];
        if name.starts_with("classifiers.") {
            continue;
        }
        found += 1;
        assert_eq!(
            extents.iter().map(|own| *own as usize).collect::<Vec<_>>(),
            view.shape(),
            "{name}"
        );
        let own: Vec<f32> =
            view.data().as_chunks().0.iter().map(|own| f32::from_le_bytes(*own)).collect();
        assert!(*values == own, "{name}");
    }
    let weights = kept.names().into_iter().filter(|name| {
        !["alrao.", "classifiers."].iter().any(|own| name.starts_with(own))
            && !name.ends_with("num_batches_tracked")
    });
    assert_eq!(found, weights.count());
    assert!(found > 100 && file.constants["layers.0.conv2.weight"].0[1..] == [1, 3, 3]);
}

#[test]
fn the_command_writes_a_file_and_replaces_one_only_if_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    named(folder);
    let export = ["export", "named.safetensors", "out.onnx"];
    let output = alrao(folder, &export);
    let told = text(&output.stderr);
    assert!(output.status.success() && output.stdout.is_empty(), "{told}");
    for line in [
        "written out.onnx, ",
        "input   inputs float32 [batch, 3]: numbers",
        "output  probabilities ",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let bytes = fs::read(folder.join("out.onnx")).unwrap();
    assert!(bytes == Onnx::open(folder.join("named.safetensors")).unwrap().bytes());
    let damaged =
        ModelRecord { normalisation: Some((vec![0.0], vec![1.0])), ..record("mlp", 1.0, &[3]) };
    written(&learner(&damaged, network(&damaged)), &damaged, folder, "damaged");
    fs::write(folder.join("out.onnx"), "another").unwrap();
    refused(folder, &export, "out.onnx: is there already; --force replaces it");
    assert_eq!(fs::read(folder.join("out.onnx")).unwrap(), b"another");
    let output = alrao(folder, &[&export[..], &["--force", "-q"]].concat());
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(fs::read(folder.join("out.onnx")).unwrap() == bytes);
    for (arguments, culprit) in [
        ("nosuch out2.onnx", "nosuch"),
        ("out.onnx out2.onnx", "out.onnx"),
        ("damaged.safetensors out2.onnx", "has another number of means"),
        ("named.safetensors .", "is a directory"),
        ("named.safetensors named.safetensors --force", "would replace a file that is read"),
        ("named.safetensors nowhere/out.onnx", "cannot be written"),
    ] {
        refused(
            folder,
            &[&["export"], &arguments.split(' ').collect::<Vec<_>>()[..]].concat(),
            culprit,
        );
        assert!(!folder.join("out2.onnx").exists());
    }
}
