//! Input that is at fault: exit 2, one line that names it, nothing left behind.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors};

use super::write_vectors;
use super::{Entry, MLP, ends_with, files, floats, labels, part, split, write_tensors, write_text};
use crate::command_line::refused;

const RECORD: usize = 3073;

/// Refuses a command for each culprit, and nothing is new in the folder afterwards.
fn refuses(folder: &Path, arguments: &str, culprits: &[&str]) {
    let before = files(folder);
    culprits.iter().for_each(|culprit| refused(folder, &split(arguments), culprit));
    assert_eq!(files(folder), before, "{arguments}");
}

#[test]
fn cifar_files_that_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("cifar")).unwrap();
    let train = "train --data cifar --out run";
    refuses(
        folder,
        train,
        &["cifar: no data to train on here", "cifar-10-batches-bin", "data_batch_1.bin"],
    );
    let write =
        |name: &str, bytes: &[u8]| fs::write(folder.join("cifar").join(name), bytes).unwrap();
    write("test_batch.bin", &[0; RECORD]);
    refuses(folder, train, &["no other *.bin"]);
    write("data_batch_1.bin", &[0; 40 * RECORD]);
    write("data_batch_2.bin", &[0; 2 * RECORD - 5]);
    refuses(folder, train, &["cifar/data_batch_2.bin", "record 1 starts at byte 3073"]);
    let mut record = vec![0; RECORD];
    record[0] = 10;
    write("data_batch_2.bin", &record);
    refuses(folder, train, &["cifar/data_batch_2.bin: record 0", "label 10"]);
    write("data_batch_2.bin", &[]);
    refuses(folder, train, &["cifar/data_batch_2.bin: is empty"]);
    refuses(folder, "train --model char-lstm --data cifar --out run", &["cifar", "train.txt"]);
}

#[test]
fn files_of_mnist_that_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("mnist")).unwrap();
    let write =
        |name: &str, bytes: &[u8]| fs::write(folder.join("mnist").join(name), bytes).unwrap();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 4][..], &[0, 1, 0, 1]].concat();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 16]].concat();
    let train = "train --data mnist --out run";
    write("t10k-images-idx3-ubyte", &images);
    write("t10k-labels-idx1-ubyte", &labels);
    refuses(folder, train, &["mnist: has no images to train on", "train-images-idx3-ubyte"]);
    write("train-images-idx3-ubyte", &images[..20]);
    refuses(folder, train, &["train-images-idx3-ubyte: needs train-labels-idx1-ubyte"]);
    write("train-labels-idx1-ubyte.gz", &labels);
    refuses(folder, train, &["mnist/train-images-idx3-ubyte: is cut short"]);
    write("train-images-idx3-ubyte", &labels);
    refuses(folder, train, &["train-images-idx3-ubyte: is a file of labels"]);
    write("train-images-idx3-ubyte", &images);
    write("train-labels-idx1-ubyte.gz", &[0x1f, 0x8b, 8, 0]);
    refuses(folder, train, &["train-labels-idx1-ubyte.gz: could not be unpacked"]);
    refuses(
        folder,
        "train --data mnist/train-images-idx3-ubyte --out run",
        &["train-images-idx3-ubyte: is one of MNIST's files", "give the folder"],
    );
}

#[test]
fn tables_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let train = "train --model mlp --data table.csv --out run";
    let rows = "1,m,a\n2,f,b\n".repeat(20);
    write("table.csv", &format!("x,sex,kind\n{rows}3,,a\n"));
    refuses(folder, train, &["--target: names the column", "table.csv has: 'x', 'sex', 'kind'"]);
    refuses(folder, &format!("{train} --target y"), &["--target: 'y' is no column of table.csv"]);
    let train = format!("{train} --target kind");
    refuses(folder, &train, &["table.csv: line 42, column 'sex': is empty", "--missing mean"]);
    refuses(folder, &format!("{train} --missing zero"), &["--missing", "mean"]);
    refuses(folder, &format!("{train} --task regression"), &["line 2, column 'kind'", "--task"]);
    ends_with(0, folder, &format!("{train} --missing mean --epochs 1"));
    let (_, stderr) = ends_with(0, folder, "eval run --split valid");
    assert!(!stderr.contains("changed"), "{stderr}");
    write("other.csv", &format!("kind,sex,x\n{}", "a,m,1\nb,f,\n".repeat(10)));
    ends_with(0, folder, "eval run --split valid --data other.csv");
    write("other.csv", "kind,sex,x\na,x,1\nb,f,\n");
    refuses(
        folder,
        "eval run --data other.csv",
        &["other.csv: line 2, column 'sex': \"x\" is none of the model's categories: 'f', 'm'"],
    );
    write("other.csv", "kind,x\na,1\nb,2\n");
    refuses(
        folder,
        "eval run --data other.csv",
        &["other.csv: lacks the column 'sex'", "takes 'x', 'sex'"],
    );
    write("other.csv", "sex,x,kind\nm,1,c\nf,1,a\n");
    refuses(folder, "eval run --data other.csv", &["--data other.csv: has the class 'c'"]);
    write_vectors(folder, [100, 10, 0]);
    for flag in ["target x", "task regression", "missing mean"] {
        let name = flag.split(' ').next().unwrap();
        let culprits = [&*format!("--{name}: does not apply to --data data.safetensors"), "CSV"];
        refuses(folder, &format!("{MLP} --{flag} --out new"), &culprits);
    }
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out vectors"));
    refuses(folder, "eval vectors --data table.csv", &["--data table.csv: is a CSV"]);
}

#[test]
fn safetensors_that_are_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data.safetensors");
    let train = format!("{MLP} --out run");
    let vectors = |samples| floats("inputs", &[samples, 2], &vec![0.5; 2 * samples]);
    let raw = |name: &str, dtype, shape: &[usize], bytes: usize| -> Entry {
        (name.to_owned(), dtype, shape.to_vec(), vec![0; bytes])
    };
    let cases: [(&[Entry], &str); 10] = [
        (&[vectors(40)], "needs labels or targets"),
        (&[labels("labels", &[0; 40])], "needs images or inputs"),
        (&[vectors(40), labels("lables", &[0; 40])], "unknown tensors: 'lables'"),
        (&[vectors(40), labels("labels", &[0; 39])], "has 39 samples"),
        (&[vectors(40), labels("labels", &[-1; 40])], "label -1"),
        (&[vectors(40), labels("labels", &[1 << 40; 40])], "label 1099511627776"),
        (&[vectors(40), raw("labels", Dtype::I32, &[40], 160)], "holds I32, not I64"),
        (&[raw("inputs", Dtype::F16, &[40, 2], 160), labels("labels", &[0; 40])], "holds F16"),
        (&[floats("inputs", &[80], &[0.5; 80]), labels("labels", &[0; 80])], "not [N, D]"),
        (&[floats("inputs", &[0, 2], &[]), labels("labels", &[])], "has no samples"),
    ];
    for (tensors, culprit) in cases {
        write_tensors(&data, tensors);
        refuses(folder, &train, &["data.safetensors", culprit]);
    }
    write_vectors(folder, [100, 10, 0]);
    let whole = fs::read(&data).unwrap();
    fs::write(&data, "").unwrap();
    refuses(folder, &train, &["data.safetensors: is empty"]);
    for length in [5, 50, whole.len() - 1] {
        fs::write(&data, &whole[..length]).unwrap();
        refuses(folder, &train, &["data.safetensors: is not a complete safetensors file"]);
    }
    let mut corrupt = whole;
    corrupt[8] = b'[';
    fs::write(&data, corrupt).unwrap();
    refuses(folder, &train, &["data.safetensors: is not a complete safetensors file"]);
}

#[test]
fn texts_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train = "train --model char-lstm --data text.txt --out run";
    refuses(folder, train, &["text.txt: could not be read"]);
    fs::write(folder.join("text.txt"), "").unwrap();
    refuses(folder, train, &["text.txt: is empty"]);
    fs::write(folder.join("text.txt"), b"caf\xe9 au lait").unwrap();
    refuses(folder, train, &["text.txt: is not UTF-8 text: byte 3"]);
    fs::write(folder.join("text.txt"), "too short for twenty columns").unwrap();
    refuses(folder, train, &["--batch-size", "20 columns"]);
    write_text(folder, 2000);
    refuses(folder, &format!("{train} --bptt 0"), &["--bptt"]);
    refuses(folder, &format!("{train} --augment"), &["--augment"]);
    refuses(folder, "train --model cnn --data text.txt --out run", &["text.txt", "char-lstm"]);
}

#[test]
fn flags_and_keys_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 10]);
    for (flags, culprits) in [
        ("--eta-min 1 --eta-max 0.1", ["--eta-min", "--eta-max"]),
        ("--eta-min 0", ["--eta-min", "above 0"]),
        ("--eta-max -1", ["--eta-max", "above 0"]),
        ("--eta-max inf", ["--eta-max", "finite"]),
        ("--classifiers 0", ["--classifiers", "from 1"]),
        ("--batch-size 0", ["--batch-size", "from 1"]),
        ("--batch-size 101", ["--batch-size", "100 training samples"]),
        ("--max-steps 0", ["--max-steps", "at least 1"]),
        ("--patience 0", ["--patience", "at least 1"]),
        ("--valid-split 1", ["--valid-split", "below 1"]),
        ("--augment", ["--augment", "vectors"]),
        ("--precision bf16 --device cpu", ["--precision", "bf16"]),
        ("--precision tf32", ["--precision", "tf32"]),
        ("--device cuda --precision f64", ["--precision", "cuda"]),
        ("--device simulator --precision f64", ["--precision", "simulator"]),
        ("--classifers 3", ["--classifers", "--classifiers"]),
        ("--rates nosuch.safetensors", ["nosuch.safetensors", "read"]),
    ] {
        refuses(folder, &format!("{MLP} {flags} --out run"), &culprits);
    }
    for (content, culprits) in [
        ("classifers = 3\n", ["key 'classifers' in bad.toml", "'classifiers'"]),
        ("out = 'here'\n", ["key 'out' in bad.toml", "--out"]),
        ("classifiers = 0\n", ["key 'classifiers' in bad.toml", "from 1"]),
        ("eta_min = 3\neta_max = 1\n", ["key 'eta_min' in bad.toml", "key 'eta_max' in bad.toml"]),
        ("classifiers = 2.5\n", ["key 'classifiers' in bad.toml", "line 1"]),
        ("\n[model]\nname = 'mlp'\n", ["key 'model' in bad.toml", "line 2"]),
    ] {
        fs::write(folder.join("bad.toml"), content).unwrap();
        refuses(folder, &format!("{MLP} --config bad.toml --out run"), &culprits);
    }
}

#[test]
fn a_gpu_that_is_not_there() {
    if alrao::Device::open(alrao::DeviceKind::Cuda(0)).is_ok() {
        return eprintln!("skipped: there is a GPU");
    }
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [100, 10, 10]);
    let culprits = ["--device cuda", "--device cpu"];
    refuses(folder.path(), &format!("{MLP} --device cuda --out run"), &culprits);
    let culprits = ["--device", "'cuda:x'", "cuda:1"];
    refuses(folder.path(), &format!("{MLP} --device cuda:x --out run"), &culprits);
}

/// They pass through a run's `config.toml`.
#[test]
fn the_largest_numbers_are_written_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 10]);
    let largest = u64::MAX;
    for (name, flags) in [
        ("seed", format!("--seed {largest} --epochs 1")),
        ("epochs", format!("--epochs {largest} --patience 1 --optimizer sgd --lr 0")),
        ("steps", format!("--max-steps {largest} --epochs 1")),
        (
            "others",
            format!("--patience {largest} --log-every {largest} --catch-up {largest} --epochs 1"),
        ),
    ] {
        ends_with(0, folder, &format!("{MLP} {flags} --out {name}"));
        let (_, stderr) = ends_with(0, folder, &format!("train --resume {name}"));
        assert!(stderr.contains("is finished"), "{stderr}");
    }
}

#[test]
fn places_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 0]);
    fs::write(folder.join("file"), "mine").unwrap();
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/mine"), "mine").unwrap();
    for (out, culprit) in [
        ("file", "is not a directory"),
        ("file/run", "cannot be written"),
        ("full", "is not empty"),
        ("new/../file/run", "cannot be written"),
    ] {
        refuses(folder, &format!("{MLP} --out {out}"), &[&format!("--out {out}"), culprit]);
    }
    if cfg!(target_os = "linux") {
        refuses(
            folder,
            &format!("{MLP} --out /proc/run/one"),
            &["--out /proc/run/one", "cannot be written"],
        );
    } else {
        eprintln!("skipped: a place that even root cannot write is known on Linux only");
    }
    fs::write(folder.join("runs"), "mine").unwrap();
    refuses(folder, MLP, &["runs", "cannot be written"]);
    for (resume, culprit) in
        [("full", "is not a run"), ("file", "is not a run"), ("nosuch", "nosuch")]
    {
        refuses(folder, &format!("train --resume {resume}"), &[resume, culprit]);
    }
    assert_eq!(files(&folder.join("full")).len(), 1);
}

/// Checkpoints of other models, or cut short, wherever one is taken.
#[test]
fn checkpoints_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 10]);
    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    fs::copy(folder.join("run/best.safetensors"), folder.join("best.safetensors")).unwrap();
    let whole = fs::read(folder.join("best.safetensors")).unwrap();
    fs::write(folder.join("cut.safetensors"), &whole[..whole.len() - 100]).unwrap();
    for command in ["eval cut.safetensors --data data.safetensors", "sample cut.safetensors"] {
        refuses(folder, command, &["cut.safetensors: is not a complete safetensors file"]);
    }
    for command in ["eval data.safetensors --data data.safetensors", "sample data.safetensors"] {
        refuses(folder, command, &["data.safetensors: is not a checkpoint of alrao"]);
    }
    refuses(folder, &format!("{MLP} --init cut.safetensors --out new"), &["cut.safetensors"]);
    let wider = "train --model mlp --hidden 16,8 --data data.safetensors --out new";
    refuses(
        folder,
        &format!("{wider} --init best.safetensors"),
        &[
            "best.safetensors",
            "layers.1.weight is missing",
            "layers.1.bias is missing",
            "classifiers.weight has shape",
        ],
    );
    refuses(folder, "eval best.safetensors", &["--data"]);
    refuses(folder, "sample best.safetensors", &["best.safetensors: is not a text model"]);
    refuses(folder, "sample run", &["best.safetensors: is not a text model"]);
    refuses(folder, "eval run --split valid --predictions /proc/x", &["--predictions /proc/x"]);
    refuses(folder, "eval run --predictions nosuch/x", &["--predictions nosuch/x"]);

    write_tensors(
        &folder.join("other.safetensors"),
        &[floats("inputs", &[40, 2], &[0.5; 80]), labels("labels", &[0; 40])],
    );
    refuses(
        folder,
        "eval run --data other.safetensors",
        &["--data other.safetensors", "has vectors of 2, the model takes vectors of 6"],
    );
    write_tensors(&folder.join("other.safetensors"), &part("", 40, 0));
    refuses(
        folder,
        "eval run --split test --data other.safetensors",
        &["--data other.safetensors", "no test part"],
    );
    let (all, _) = ends_with(0, folder, "eval run --data other.safetensors --json");
    assert!(all.contains("\"split\":\"all\",\"samples\":40"), "{all}");
    let [inputs, _] = part("", 40, 0);
    write_tensors(&folder.join("other.safetensors"), &[inputs, labels("labels", &[3; 40])]);
    refuses(
        folder,
        "eval run --data other.safetensors",
        &["--data other.safetensors", "the model for classification into 3 classes"],
    );
}

/// Told before anything is allocated, from the command line or from a checkpoint.
#[test]
fn models_larger_than_any_memory() {
    if cfg!(not(target_os = "linux")) {
        eprintln!("skipped: the machine's memory is known on Linux only");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 10]);
    let images: Entry =
        ("images".into(), Dtype::U8, vec![40, 3, 32, 32], vec![0; 40 * 3 * 32 * 32]);
    let classes: Vec<i64> = (0..40).map(|sample| sample % 2).collect();
    write_tensors(&folder.join("images.safetensors"), &[images, labels("labels", &classes)]);
    let largest = 1 << 24;
    for (model, subject, parameters) in [
        ("vgg19 --width 1000 --data images.safetensors".into(), "--width 1000", "20.02 T"),
        ("mlp --hidden 100000,100000 --width 999.5".into(), "--width 999.5", "9.99 P"),
        (format!("mlp --hidden {largest},{largest}"), "--hidden", "281.48 T"),
        (
            format!("mlp --hidden 100000 --classifiers {largest}"),
            "--classifiers 16777216",
            "5.03 T",
        ),
    ] {
        let train = format!("train --data data.safetensors --out run --model {model}");
        let train = match model.contains("--data") {
            true => train.replace("--data data.safetensors ", ""),
            false => train,
        };
        refuses(folder, &train, &[subject, &format!("{parameters} parameters"), "B of memory"]);
    }

    ends_with(0, folder, &format!("{MLP} --epochs 1 --out run"));
    let bytes = fs::read(folder.join("run/best.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = metadata.metadata().clone().unwrap();
    let record = metadata["alrao"].replace("\"hidden\":[16]", "\"hidden\":[16777216,16777216]");
    assert_ne!(record, metadata["alrao"]);
    metadata.insert("alrao".into(), record);
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let forged = safetensors::serialize(tensors, Some(metadata)).unwrap();
    fs::write(folder.join("forged.safetensors"), forged).unwrap();
    refuses(
        folder,
        "eval forged.safetensors --data data.safetensors",
        &["forged.safetensors: is of a model that cannot be built", "memory"],
    );
}

#[test]
fn rates_that_do_not_fit_are_all_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 10, 0]);
    let train = format!("{MLP} --out run --rates rates.safetensors").replace("16", "16,4");
    let write = |tensors: &[Entry]| write_tensors(&folder.join("rates.safetensors"), tensors);
    write(&[
        floats("layers.0.weight", &[15], &[0.1; 15]),
        floats("layers.0.bias", &[16], &[-0.1; 16]),
        floats("layers.9.bias", &[16], &[0.1; 16]),
    ]);
    refuses(
        folder,
        &train,
        &[
            "rates.safetensors",
            "layers.0.weight: 15 rates",
            "layers.0.bias: -0.1",
            "layers.1.weight: missing",
            "layers.9.bias: no",
        ],
    );
    write(&[floats("layers.0.weight", &[16, 6], &[0.1; 96]), labels("layers.0.bias", &[1; 16])]);
    refuses(
        folder,
        &train,
        &[
            "rates.safetensors: layers.0.bias has type I64",
            "layers.0.weight has type F32 and shape [16, 6]",
        ],
    );
}

#[test]
fn words_are_learnt_told_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refrain = "no it was n't black monday \n but while the new york stock fell apart \n";
    for (name, times) in [("train", 60), ("valid", 10), ("test", 12)] {
        fs::create_dir_all(folder.join("text")).unwrap();
        fs::write(folder.join(format!("text/{name}.txt")), refrain.repeat(times)).unwrap();
    }
    let train = "train --model word-lstm --width 0.2 --batch-size 4 --bptt 12 --data text --epochs 2 --out run";
    let (stdout, stderr) = ends_with(0, folder, train);
    assert!(stderr.contains("960 train, 160 valid, 192 test words, 15 distinct"), "{stderr}");
    assert!(stdout.contains(" nats a word (perplexity "), "{stdout}");
    ends_with(0, folder, "train --resume run --epochs 3");
    let (stdout, _) = ends_with(0, folder, "eval run");
    assert!(stdout.contains(" nats a word") && stdout.ends_with(", 188 words\n"), "{stdout}");
    let (stdout, _) = ends_with(0, folder, "sample run --prompt black --length 40");
    let written: Vec<&str> = stdout.split_whitespace().collect();
    let tokens = written.len() + stdout.matches('\n').count();
    assert!(stdout.starts_with("black") && (41..=42).contains(&tokens), "{stdout:?}");
    assert!(
        written.iter().all(|word| refrain.contains(word)) && !stdout.contains("<eos>"),
        "{stdout:?}"
    );
    refuses(folder, "sample run --prompt tuesday", &["--prompt", "word \"tuesday\""]);
    fs::write(folder.join("other.txt"), "no it was tuesday\n".repeat(50)).unwrap();
    let other = "eval run --split valid --data other.txt";
    refuses(folder, other, &["--data other.txt", "word \"tuesday\"", "does not know"]);
}

#[test]
fn trained_text_meets_other_text() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_text(folder, 1000);
    let train =
        "train --model char-lstm --width 0.1 --batch-size 4 --data text.txt --epochs 1 --out run";
    ends_with(0, folder, train);
    refuses(folder, "sample run --prompt Zebra", &["--prompt", "character \"Z\""]);
    refuses(folder, "sample run --temperature -1", &["--temperature"]);
    let (stdout, _) = ends_with(0, folder, "sample run --prompt one --length 20");
    assert!(stdout.starts_with("one") && stdout.trim_end_matches('\n').len() >= 20, "{stdout:?}");
    fs::write(folder.join("other.txt"), "one two ZEBRA ".repeat(50)).unwrap();
    refuses(
        folder,
        "eval run --split valid --data other.txt",
        &["--data other.txt", "does not know"],
    );
    refuses(folder, "eval run --split test", &["--data text.txt", "no test part"]);
    // Fewer characters than the model knows, under other numbers.
    fs::write(folder.join("few.txt"), "two ".repeat(50)).unwrap();
    let own = ends_with(0, folder, "eval run --split valid --json").0;
    let few = ends_with(0, folder, "eval run --split valid --json --data few.txt").0;
    let loss = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        value["loss"].as_f64().unwrap()
    };
    assert!(loss(&few) < loss(&own) + 1.0, "{few} {own}");
    fs::write(folder.join("short.txt"), "two").unwrap();
    refuses(folder, "eval run --split valid --data short.txt", &["--data short.txt", "columns"]);
}
