//! Predictions of trained models: the same from every format, and refused where the data is not the model's.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use alrao::data::{Inputs, Kind, LoadOptions, SampleName, load_with};
use alrao::learn::{Silent, TrainConfig};
use alrao::nn::{Init, Linear};
use alrao::supervised::{Predictor, Trainer, evaluate};
use alrao::{Alrao, AlraoConfig, Device};

use crate::command_line::{alrao, refused, text};
use crate::formats::{archive, digits, write_idx, write_npy};
use crate::own_data::{Tensors, lines, trained};
use crate::place::program;

/// All predictions for the samples of a source, with their names.
fn predicted(predictor: &Predictor, source: &Path) -> (Vec<SampleName>, Vec<f32>) {
    let (mut names, mut numbers) = (Vec::new(), Vec::new());
    for batch in predictor.read(source.to_str().unwrap()).unwrap().batches(7) {
        let predictions = predictor.predict(&batch.inputs).unwrap();
        assert_eq!(predictions.len(), batch.names.len());
        (0..predictions.len()).for_each(|sample| numbers.extend(predictions.row(sample)));
        names.extend(batch.names);
    }
    (names, numbers)
}

/// A run on a table with a category, and the table's folder.
pub(crate) fn table_run(folder: &Path) -> std::path::PathBuf {
    let line =
        |own: &str| format!("{},{own}", if own.len().is_multiple_of(2) { "even" } else { "odd" });
    let lines: String = lines(80).lines().map(|own| line(own) + "\n").collect();
    fs::write(folder.join("data.csv"), format!("length,a,b,larger\n{lines}")).unwrap();
    let data = folder.join("data.csv");
    trained(folder, "run", &format!("data = '{}'\ntarget = 'larger'\nepochs = 6", data.display()))
}

/// The same with the classes 0 and 1 in place of names. Returns the run's name.
fn numbered_run(folder: &Path) -> &'static str {
    let named = fs::read_to_string(folder.join("data.csv")).unwrap();
    let numbered = named.replace("first", "0").replace("second", "1");
    fs::write(folder.join("numbered.csv"), numbered).unwrap();
    let data = folder.join("numbered.csv");
    let settings = format!("data = '{}'\ntarget = 'larger'\nepochs = 6", data.display());
    trained(folder, "numbered", &settings);
    "numbered"
}

#[test]
fn predictions_are_those_of_an_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = table_run(folder);
    let labelled = "length,a,b,larger\nodd,9,1,first\neven,1,12,second\nodd,5,4,first\n";
    fs::write(folder.join("labelled.csv"), labelled).unwrap();
    // Columns in another order, the target left out, and the names of rows as pandas writes them.
    fs::write(folder.join("new.csv"), ",b,length,a\n0,1,odd,9\n1,12,even,1\n2,4,odd,5\n").unwrap();
    let kept = folder.join("kept.safetensors");
    let source = folder.join("labelled.csv");
    evaluate(&run, source.to_str(), None, Some(&kept), &Device::cpu()).unwrap();
    let bytes = fs::read(&kept).unwrap();
    let kept = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = kept.tensor("log_probabilities").unwrap();
    let kept = kept.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).exp());
    let kept: Vec<f32> = kept.collect();
    let predictor = Predictor::open(&run, &Device::cpu()).unwrap();
    let (names, own) = predicted(&predictor, &source);
    assert_eq!(names, [1, 2, 3].map(SampleName::Row));
    assert!(
        own.len() == 6 && own.iter().zip(&kept).all(|(a, b)| (a - b).abs() < 1e-6),
        "{own:?} {kept:?}"
    );
    assert_eq!(predicted(&predictor, &folder.join("new.csv")).1, own);
    assert_eq!([0, 1].map(|class| predictor.class_name(class)), ["first", "second"]);
    // The model needs neither the data nor the rest of the run.
    fs::remove_file(folder.join("data.csv")).unwrap();
    fs::copy(run.join("best.safetensors"), folder.join("best.safetensors")).unwrap();
    fs::remove_dir_all(&run).unwrap();
    let alone = Predictor::open(folder.join("best.safetensors"), &Device::cpu()).unwrap();
    assert_eq!(predicted(&alone, &source).1, own);
}

#[test]
fn equal_images_of_each_format_are_predicted_alike() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [images, labels] = digits(40);
    let wide: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let whole = folder.join("whole.safetensors");
    Tensors::new().bytes("images", &[40, 1, 28, 28], &images).labels("labels", &wide).write(&whole);
    let settings = format!("data = '{}'\nepochs = 1", whole.display());
    let run = trained(folder, "run", &settings);
    let predictor = Predictor::open(&run, &Device::cpu()).unwrap();
    let new = &images[..10 * 784];
    let (names, expected) = predicted(&predictor, &whole);
    assert_eq!((names[0].clone(), names.len(), expected.len()), (SampleName::Sample(0), 40, 120));
    let expected = &expected[..30];
    let close = |source: &Path| {
        let (names, own) = predicted(&predictor, source);
        let is_close =
            own.len() == 30 && own.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(is_close, "{}: {own:?} {expected:?}", source.display());
        names
    };
    // Images alone, under the names of MNIST and others, in a folder without labels too.
    fs::create_dir(folder.join("mnist")).unwrap();
    for path in ["some.idx", "mnist/t10k-images-idx3-ubyte"] {
        write_idx(&folder.join(path), &[10, 28, 28], new);
        close(&folder.join(path));
    }
    close(&folder.join("mnist"));
    let numpy = folder.join("numpy");
    write_npy(&numpy, &[("arr_0", "|u1", "10, 1, 28, 28", new.to_vec())]);
    close(&numpy.join("arr_0.npy"));
    fs::write(folder.join("new.npz"), archive(&numpy)).unwrap();
    close(&folder.join("new.npz"));
    let file = folder.join("new.safetensors");
    Tensors::new().bytes("images", &[10, 1, 28, 28], new).write(&file);
    close(&file);
    let pictures = folder.join("pictures");
    fs::create_dir_all(pictures.join("b")).unwrap();
    for (number, pixels) in new.chunks(784).enumerate() {
        let place = if number < 5 { format!("{number}.png") } else { format!("b/{number}.png") };
        image::save_buffer(pictures.join(place), pixels, 28, 28, image::ColorType::L8).unwrap();
    }
    let names = close(&pictures);
    assert_eq!(
        (names[4].to_string().as_str(), names[9].to_string().as_str()),
        ("4.png", "b/9.png")
    );
    let one = predicted(&predictor, &pictures.join("b/7.png"));
    assert!(
        one.1.iter().zip(&expected[21..]).all(|(a, b)| (a - b).abs() < 1e-6) && one.0.len() == 1
    );
}

#[test]
fn images_with_a_border_are_predicted_alike() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [images, labels] = digits(30);
    let floats: Vec<f32> = images.iter().map(|byte| f32::from(*byte)).collect();
    let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let (bytes, whole) = (folder.join("bytes.safetensors"), folder.join("floats.safetensors"));
    Tensors::new()
        .bytes("images", &[30, 1, 28, 28], &images)
        .labels("labels", &labels)
        .write(&bytes);
    Tensors::new()
        .floats("images", &[30, 1, 28, 28], &floats)
        .labels("labels", &labels)
        .write(&whole);
    let run = |name: &str, data: &Path| {
        trained(folder, name, &format!("data = '{}'\nepochs = 1\npad = 32", data.display()))
    };
    let of_bytes = run("of-bytes", &bytes);
    for (run, data) in [(of_bytes.clone(), bytes), (run("of-floats", &whole), whole)] {
        let kept = folder.join("kept.safetensors");
        let evaluation = evaluate(&run, data.to_str(), None, Some(&kept), &Device::cpu()).unwrap();
        assert_eq!(evaluation.samples, 30);
        let kept = fs::read(&kept).unwrap();
        let kept = safetensors::SafeTensors::deserialize(&kept).unwrap();
        let kept = kept.tensor("log_probabilities").unwrap().data().to_vec();
        let predictor = Predictor::open(&run, &Device::cpu()).unwrap();
        let own = predicted(&predictor, &data).1;
        let kept = kept.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).exp());
        assert!(own.len() == 90 && own.iter().zip(kept).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    let predictor = Predictor::open(&of_bytes, &Device::cpu()).unwrap();
    let picture = folder.join("picture.png");
    image::save_buffer(&picture, &images[..784], 28, 28, image::ColorType::L8).unwrap();
    let (own, all) = (
        predicted(&predictor, &picture).1,
        predicted(&predictor, &folder.join("bytes.safetensors")).1,
    );
    assert!(own.iter().zip(&all[..3]).all(|(a, b)| (a - b).abs() < 1e-6), "{own:?}");
    let refused = |arguments: &str, culprit| {
        refused(folder, &words(&format!("train --out new {arguments}")), culprit);
    };
    refused("--model vgg11 --data bytes.safetensors", "--pad 32 gives the images a black border");
    refused("--data bytes.safetensors --pad 20", "has images of 28x28x1, larger than --pad 20");
    refused("--model char-lstm --pad 32", "--pad: does not apply to --model char-lstm");
}

#[test]
fn a_network_of_its_author_s_own_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let inputs: Vec<f32> = (0..120).map(|place| (place * place % 17) as f32).collect();
    let targets: Vec<f32> = inputs.chunks(2).map(|row| 1000.0 + 30.0 * row[0]).collect();
    let data =
        Tensors::new().floats("inputs", &[60, 2], &inputs).floats("targets", &[60, 1], &targets);
    let data = data.write(&folder.join("data.safetensors"));
    let dataset = load_with(&data, Kind::Arrays, &LoadOptions::default()).unwrap();
    let network = |size| Linear::new(2, size, &mut Init::new(0));
    let model = Alrao::regression(network(8), 1, AlraoConfig::default());
    let config = TrainConfig { epochs: 60, batch_size: 8, ..TrainConfig::default() };
    let file = folder.join("model.safetensors");
    Trainer::new(model, dataset, config).save_to(&file).run(&Device::cpu(), &mut Silent).unwrap();
    let predictor = Predictor::load(&file, network(8), &Device::cpu()).unwrap();
    let predictions = predictor.predict(&Inputs::Floats(inputs.clone())).unwrap();
    let error = |(sample, target): (usize, &f32)| (predictions.row(sample)[0] - target).abs();
    let mean = targets.iter().enumerate().map(error).sum::<f32>() / 60.0;
    // The targets are from 1000 to 1480.
    assert!(mean < 40.0, "{mean}");
    let refused = |result: alrao::Result<Predictor>| match result {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    };
    let message = refused(Predictor::load(&file, network(9), &Device::cpu()));
    assert!(message.contains("weight has shape [8, 2] instead of [9, 2]"), "{message}");
    let message = refused(Predictor::open(&file, &Device::cpu()));
    assert!(
        message.contains("model.safetensors: ") && message.contains("Predictor::load"),
        "{message}"
    );
    let message = predictor.predict(&Inputs::Floats(vec![1.0; 3])).unwrap_err().to_string();
    assert!(message.contains("3 numbers, which are not whole vectors of 2"), "{message}");
    let message = predictor.predict(&Inputs::Floats(vec![1.0, f32::NAN])).unwrap_err().to_string();
    assert!(message.contains("NaN in sample 0"), "{message}");
}

pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn the_lines_of_a_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    table_run(folder);
    let rows = "length,a,b\nodd,10,0\neven,0,12\n";
    fs::write(folder.join("new.csv"), rows).unwrap();
    let output = |arguments: &str| {
        let output = alrao(folder, &words(arguments));
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let plain = output("predict run new.csv");
    let lines: Vec<Vec<&str>> = plain.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        lines.iter().map(|own| (own[0], own[1])).collect::<Vec<_>>(),
        [("1", "first"), ("2", "second")]
    );
    assert!(
        lines.iter().all(|own| own.len() == 3 && own[2].parse::<f64>().unwrap() > 0.5),
        "{plain}"
    );
    let csv = output("-q predict run new.csv --csv --top 5");
    let header = csv.lines().next().unwrap();
    assert_eq!(
        (header, csv.lines().count()),
        ("row,class_1,probability_1,class_2,probability_2", 3)
    );
    let json = output("predict run new.csv --json --top 2");
    for (number, line) in json.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["row"], number + 1);
        assert_eq!(value["class"], ["first", "second"][number]);
        let sum: f64 =
            (0..2).map(|place| value["top"][place]["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{line}");
    }
    assert_eq!(output("predict run new.csv --output new.txt"), "");
    assert_eq!(fs::read_to_string(folder.join("new.txt")).unwrap(), plain);
    let mut piped = Command::new(program())
        .current_dir(folder)
        .args(["predict", "run", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(rows.as_bytes()).unwrap();
    assert_eq!(text(&piped.wait_with_output().unwrap().stdout), plain);
    fs::write(folder.join("names.txt"), "one\ntwo\n").unwrap();
    let named = words("predict run new.csv --class-names names.txt");
    refused(folder, &named, "the model's classes have names: 'first', 'second'");
    let run = numbered_run(folder);
    assert!(
        output(&format!("predict {run} new.csv --class-names names.txt")).starts_with("1\tone\t")
    );
}

#[test]
fn what_a_user_should_know_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    table_run(folder);
    fs::write(folder.join("far.csv"), "length,a,b\nodd,1e9,0\neven,0,12\n").unwrap();
    let far = text(&alrao(folder, &words("predict run far.csv")).stderr);
    assert!(far.contains("are they on the same scale?"), "{far}");
    let near = text(&alrao(folder, &words("predict run data.csv")).stderr);
    assert!(!near.contains("same scale"), "{near}");
    // A rate that changes nothing: the first epoch is the best.
    let train = "train --data data.csv --target larger --optimizer sgd --lr 1e-30 --epochs 9 --patience 2 --out still";
    let trained = text(&alrao(folder, &words(train)).stdout);
    assert!(trained.contains("best  epoch 1, validation loss"), "{trained}");
    assert!(trained.contains(", accuracy "), "{trained}");
    assert!(
        trained.contains("no better one in 2 epochs, so training ended (--patience)"),
        "{trained}"
    );
}

#[test]
fn data_that_is_not_the_model_s_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    table_run(folder);
    for (name, content) in [
        ("more.csv", "length,a,b,c\nodd,1,2,3\n"),
        ("fewer.csv", "length,a\nodd,1\n"),
        ("twice.csv", "length,a,b,a\nodd,1,2,3\n"),
        ("unknown.csv", "length,a,b\neven,1,2\nlong,1,2\n"),
        ("word.csv", "length,a,b\nodd,1,two\n"),
        ("empty.csv", "length,a,b\n"),
        ("gap.csv", "length,a,b\nodd,,1\n"),
        ("names.txt", "one\ntwo\nthree\n"),
    ] {
        fs::write(folder.join(name), content).unwrap();
    }
    let no_part = format!("error: {}/data.csv: has no test part; --split", folder.display());
    let takes = "the model takes 'length', 'a', 'b'; 'larger', which it predicts, may be there too";
    for (arguments, culprit) in [
        ("run more.csv", "more.csv: has the column 'c', which the model does not take"),
        ("run more.csv", takes),
        ("run fewer.csv", "lacks the column 'b': it has 'length', 'a'"),
        ("run twice.csv", "has the column 'a' twice"),
        (
            "run unknown.csv",
            "line 3, column 'length': \"long\" is none of the model's categories: 'even', 'odd'",
        ),
        ("run word.csv", "line 2, column 'b': \"two\" is not a number"),
        ("run empty.csv", "has no lines of data"),
        ("run gap.csv", "trained without missing values"),
        ("run nosuch.csv", "nosuch.csv"),
        ("run", "DATA"),
        ("run --split test", &*no_part),
        ("run/best.safetensors --split valid", "DATA: is needed, since a checkpoint"),
        ("run - --split valid", "--split: does not apply to standard input"),
        ("run data.csv --output no/out.csv", "no folder no; make it first"),
        ("run run", "has no images, arrays or files"),
        ("run data.csv --class-names names.txt", "--class-names: does not apply"),
        ("run data.csv --class-names nosuch", "--class-names nosuch"),
        (
            "run data.csv --output run/best.safetensors",
            "--output run/best.safetensors: would replace",
        ),
        ("run data.csv --output data.csv", "--output data.csv: would replace"),
        ("run data.csv --output word.csv", "word.csv: is there already; --force replaces it"),
    ] {
        refused(folder, &[&["-q", "predict"], &words(arguments)[..]].concat(), culprit);
    }
    let pixels = [0u8; 16];
    image::save_buffer(folder.join("a.png"), &pixels, 4, 4, image::ColorType::L8).unwrap();
    refused(folder, &words("predict run a.png"), "a.png: has images, the model takes vectors of 4");
    fs::write(folder.join("text.txt"), "one two ".repeat(80)).unwrap();
    let train = "train -q --model char-lstm --width 0.1 --batch-size 4 --data text.txt --epochs 1 --out text";
    assert!(alrao(folder, &words(train)).status.success());
    refused(folder, &words("predict text text.txt"), "is a model of text");
}

#[test]
fn an_evaluation_tells_of_each_class() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    table_run(folder);
    fs::write(folder.join("names.txt"), "one\ntwo\n").unwrap();
    let run = numbered_run(folder);
    let arguments = format!("eval {run} --json --class-names names.txt --confusion confusion.svg");
    let evaluated = alrao(folder, &words(&arguments));
    let value: serde_json::Value = serde_json::from_str(&text(&evaluated.stdout)).unwrap();
    assert_eq!((&value["split"], &value["samples"]), (&"valid".into(), &16.into()));
    let (classes, confusion) = (&value["classes"], &value["confusion"]);
    let count = |row: usize, column: usize| confusion[row][column].as_f64().unwrap();
    let right = count(0, 0) + count(1, 1);
    assert_eq!(right / 16.0, value["accuracy"].as_f64().unwrap());
    let recall = count(1, 1) / (count(1, 0) + count(1, 1));
    assert_eq!(classes[1]["recall"].as_f64().unwrap(), recall);
    assert!(classes[1]["class"] == "two" && value["top5_accuracy"].is_null(), "{value}");
    assert!(fs::read_to_string(folder.join("confusion.svg")).unwrap().contains("\ntwo\n"));
    for (arguments, culprit) in [
        ("--confusion confusion.svg", "confusion.svg: is there already; --force replaces it"),
        ("--confusion confusion.png", "will be an SVG"),
        ("--class-names names.txt", "the model's classes have names: 'first', 'second'"),
        ("--confusion a.svg --predictions a.svg", "name one file"),
    ] {
        refused(folder, &words(&format!("-q eval run {arguments}")), culprit);
    }
    let again = alrao(folder, &words("eval run --confusion confusion.svg --force"));
    assert!(text(&again.stderr).contains("written confusion.svg"));
    let shown = text(&alrao(folder, &words("eval run")).stdout);
    assert!(shown.contains("precision") && shown.contains("true \\ predicted"), "{shown}");
    refused(folder, &words("-q eval run --confusion run/loss.svg"), "--confusion run/loss.svg");
    fs::write(folder.join("text.txt"), "one two ".repeat(80)).unwrap();
    let train = "train -q --model char-lstm --width 0.1 --batch-size 4 --data text.txt --epochs 1 --out text";
    assert!(alrao(folder, &words(train)).status.success());
    let evaluated = alrao(folder, &words("eval text --json"));
    let value: serde_json::Value = serde_json::from_str(&text(&evaluated.stdout)).unwrap();
    let loss = value["loss"].as_f64().unwrap();
    assert!((value["perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9);
    assert!((value["bits_per_character"].as_f64().unwrap() - loss / 2f64.ln()).abs() < 1e-9);
    refused(folder, &words("-q eval text --confusion a.svg"), "--confusion");
}
