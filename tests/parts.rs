//! Parts of data predicted with true targets, ignored columns, and Unicode's forms.

use std::fs;

use alrao::Device;
use alrao::data::{Part, SampleName, Targets};
use alrao::supervised::Predictor;

use crate::command_line::{alrao, refused, text};
use crate::own_data::{Tensors, lines, trained};
use crate::predict::{table_run, words};

#[test]
fn a_part_is_predicted_with_its_rows_and_true_targets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    table_run(folder);
    let output = |arguments: &str| {
        let output = alrao(folder, &words(arguments));
        assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let rows: Vec<String> =
        fs::read_to_string(folder.join("data.csv")).unwrap().lines().map(str::to_owned).collect();
    let all: Vec<String> = output("predict run data.csv").lines().map(str::to_owned).collect();
    let part = |name: &str| -> Vec<Vec<String>> {
        let csv = output(&format!("predict run --split {name} --csv"));
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("row,true,class,probability"));
        lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let (train, valid) = (part("train"), part("valid"));
    assert_eq!((train.len(), valid.len()), (64, 16));
    for own in valid.iter().chain(&train) {
        let row: usize = own[0].parse().unwrap();
        assert!(rows[row].ends_with(&format!(",{}", own[1])), "{own:?}: {}", rows[row]);
        assert_eq!(all[row - 1], [&own[0], &own[2], &own[3]].map(String::as_str).join("\t"));
    }
    let mut numbers: Vec<usize> =
        valid.iter().chain(&train).map(|own| own[0].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=80).collect::<Vec<_>>());
    let right = valid.iter().filter(|own| own[1] == own[2]).count();
    let evaluated: serde_json::Value =
        serde_json::from_str(&output("eval run --split valid --json")).unwrap();
    assert_eq!(evaluated["accuracy"].as_f64().unwrap(), right as f64 / 16.0);
    // A file of its own is divided as the training data was; a checkpoint knows how.
    let json = output("predict run/best.safetensors data.csv --split valid --json");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["row"], &first["true"]),
        (&valid[0][0].parse::<u64>().unwrap().into(), &valid[0][1].clone().into())
    );
    let plain = output("predict run --split valid");
    assert!(plain.starts_with(&valid[0].join("\t")), "{plain}");
}

#[test]
fn a_part_of_arrays_is_predicted_with_its_true_values() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let inputs: Vec<f32> = (0..120).map(|place| (place * place % 17) as f32).collect();
    let targets: Vec<f32> = inputs.chunks(2).map(|row| 1000.0 + 30.0 * row[0]).collect();
    let data = Tensors::new()
        .floats("inputs", &[60, 2], &inputs)
        .floats("targets", &[60], &targets)
        .floats("test_inputs", &[3, 2], &inputs[..6])
        .floats("test_targets", &[3], &targets[..3]);
    let data = data.write(&folder.join("data.safetensors"));
    let run = trained(folder, "run", &format!("data = '{data}'\nepochs = 2"));
    let predictor = Predictor::open(&run, &Device::cpu()).unwrap();
    for (part, count) in [(Part::Train, 48), (Part::Valid, 12), (Part::Test, 3)] {
        let mut seen = 0;
        for batch in predictor.read_part(None, part).unwrap().batches(5) {
            let Some(Targets::Values { values, columns: 1 }) = batch.targets else {
                panic!("no values")
            };
            for (name, value) in batch.names.iter().zip(values) {
                let SampleName::Sample(number) = name else { panic!("{name}") };
                assert_eq!(value, targets[*number], "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, count);
    }
    let output = alrao(folder, &words("predict run data.safetensors --csv"));
    assert!(
        text(&output.stderr).contains("predicts 'test_inputs' and passes over 'inputs'; --split")
    );
    assert_eq!(text(&output.stdout).lines().count(), 4);
    let output = alrao(folder, &words("-q predict run --split test --json"));
    let first: serde_json::Value =
        serde_json::from_str(text(&output.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first["true"], serde_json::json!([targets[0]]));
}

#[test]
fn ignored_columns_are_passed_over_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ids: Vec<String> = (0..80).map(|number| format!("id{number}")).collect();
    let rows: String =
        ids.iter().zip(lines(80).lines()).map(|(id, line)| format!("{id},{line}\n")).collect();
    fs::write(folder.join("data.csv"), format!("\"the id\",a,b,larger\n{rows}")).unwrap();
    let output = |arguments: &[&str]| {
        let output = alrao(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let seen = output(&["data", "data.csv"]);
    assert!(seen.contains("column 'the id' looks like an id"), "{seen}");
    assert!(seen.contains("--ignore leaves it out"), "{seen}");
    let seen = output(&["data", "data.csv", "--target", "larger", "--ignore", "the id"]);
    assert!(
        seen.contains("left out by --ignore: 'the id'") && !seen.contains("looks like"),
        "{seen}"
    );
    let train = "train -q --data data.csv --target larger --epochs 2 --out run --ignore";
    refused(folder, &words(&format!("{train} nosuch")), "it has: 'the id', 'a', 'b', 'larger'");
    refused(
        folder,
        &words(&format!("{train} larger")),
        "--ignore: 'larger' is the column to predict",
    );
    refused(folder, &words("train -q --ignore id --out run"), "--ignore: does not apply");
    output(&[&words(train)[..], &["the id"]].concat());
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(config.contains("ignore = [\"the id\"]"), "{config}");
    output(&words("train -q --resume run --epochs 3"));
    let with = output(&words("predict run data.csv"));
    let without = rows.lines().map(|line| line.split_once(',').unwrap().1.to_owned() + "\n");
    let without: String = without.collect();
    fs::write(folder.join("without.csv"), format!("a,b,larger\n{without}")).unwrap();
    assert_eq!(output(&words("predict run without.csv")), with);
    let evaluated = |data: &str| output(&["eval", "run", "--json", "--data", data]);
    assert_eq!(evaluated("data.csv"), evaluated("without.csv"));
    assert_eq!(output(&words("predict run --split valid")).lines().count(), 16);
}

#[test]
fn a_text_in_another_form_of_unicode_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("composed.txt"), "caf\u{e9} et the ".repeat(30)).unwrap();
    fs::write(folder.join("decomposed.txt"), "cafe\u{301} et the ".repeat(30)).unwrap();
    for name in ["composed", "decomposed"] {
        let train = format!(
            "train -q --model char-lstm --width 0.1 --batch-size 4 --data {name}.txt --epochs 1 --out {name}"
        );
        assert!(alrao(folder, &words(&train)).status.success());
    }
    for (run, other, form, letter) in
        [("composed", "decomposed", "NFC", "e\u{301}"), ("decomposed", "composed", "NFD", "\u{e9}")]
    {
        let advice = format!("unicodedata.normalize(\"{form}\", text)");
        refused(folder, &words(&format!("eval {run} --data {other}.txt")), &advice);
        refused(folder, &["sample", run, "--prompt", letter], &advice);
    }
    let seen = |name: &str| text(&alrao(folder, &["data", name]).stdout);
    assert!(seen("decomposed.txt").contains("has combining marks such as U+0301"));
    assert!(!seen("composed.txt").contains("combining"));
}
