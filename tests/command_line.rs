//! The program as its users meet it: exit codes, and one line that names what is at fault.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::place::program;

pub(crate) fn alrao(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).current_dir(directory).args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

/// Runs what must be refused: exit 2, nothing on standard output, one line that has `culprit`.
pub(crate) fn refused(directory: &Path, arguments: &[&str], culprit: &str) {
    let output = alrao(directory, arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 1), "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(culprit), "{arguments:?}: {stderr}");
}

#[test]
fn a_wrong_flag_is_named_and_no_directory_made() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, culprit) in [
        ("train --etamin 3", "--etamin"),
        ("train --etamin 3", "--eta-min"),
        ("train --model resnet", "--model"),
        ("train --epochs three", "--epochs"),
        ("train --epochs -3", "--epochs"),
        ("train --epochs 0", "--epochs"),
        ("train --eta-min -1", "--eta-min"),
        ("train --eta-max nan", "--eta-max"),
        ("train --eta-min 20", "--eta-min"),
        ("train --theta 1.5", "--theta"),
        ("train --lr 0.1", "--lr"),
        ("train --lr -0.1 --optimizer sgd", "--lr"),
        ("train --classifiers 10 --optimizer sgd", "--classifiers"),
        ("train --hidden 5", "--hidden"),
        ("train --model mlp --hidden 5,x", "--hidden"),
        ("train --dropout 0.1", "--dropout"),
        ("train --schedule often", "--schedule"),
        ("train --device tpu", "--device"),
        ("train --threads 0", "--threads"),
        ("train --precision bf16", "--precision"),
        ("train --data nosuch", "nosuch"),
        ("train --init nosuch.safetensors", "nosuch.safetensors"),
        ("train --config nosuch.toml", "nosuch.toml"),
        ("train --resume nosuch", "nosuch"),
        ("train --resume nosuch --seed 1", "--seed"),
        ("train --resume nosuch --out other", "--out"),
        ("train --resume nosuch --epochs 0", "--epochs"),
        ("eval nosuch", "nosuch"),
        ("sample nosuch", "nosuch"),
        ("data nosuch", "nosuch"),
        ("predict nosuch data.csv", "nosuch"),
        ("predict nosuch data.csv --top 0", "--top"),
        ("predict nosuch data.csv --json --csv", "--csv"),
        ("predict nosuch data.csv --output nosuch/x", "--output nosuch/x"),
        ("info --model char-lstm --classes 3", "--classes"),
        ("info --model cnn --vocab 3", "--vocab"),
        ("info --model cnn --width 0", "--width"),
        ("kernels --device cpu", "--device"),
        ("kernels --device cpu relu", "simulator"),
        ("kernels --device cpu --precision f64", "[possible values: f32, tf32, bf16]"),
        ("info --model cnn --step --precision f64", "[possible values: f32, tf32, bf16]"),
        ("bench step --model nosuch", "nosuch"),
        ("bench step --steps 0", "--steps"),
        ("bench step --width -1", "--width"),
        ("bench step --device cpu --precision bf16", "--precision"),
        ("bench q-learning --device cpu --precision bf16", "--precision"),
        ("bench q-learning --steps 0", "--steps"),
        ("bench q-learning --env nosuch", "nosuch"),
        ("bench q-learning --environments 0", "--environments"),
        ("bench q-learning --hidden x", "--hidden"),
        ("experiment table3", "table3"),
        ("experiment table1 --row cifar10/nosuch", "cifar10/vgg19"),
        ("experiment table1", "--data"),
        ("experiment table1 --row imagenet/alexnet --data .", "train/CLASS"),
        ("experiment table1 --quick --jobs 0", "--jobs"),
        ("experiment table1 --quick --seeds 0", "--seeds"),
        ("experiment table1 --quick --epochs 0", "--epochs"),
        ("experiment interval --quick --data nosuch", "nosuch"),
        ("experiment frozen --quick --row generated/cnn --row generated/cnn", "--row"),
        ("experiment posterior --quick --model char-lstm --data generated:x", "not a seed"),
        ("experiment table2 --epochs 3", "--epochs"),
        ("experiment theorem --seeds 0", "--seeds"),
        ("train --steps 3", "'--steps' found; it is a flag of alrao rl train"),
        ("rl train --epochs 3", "'--epochs' found; it is a flag of alrao train"),
        (
            "train --eta-max 1e300",
            "--eta-max: 1e300 is not possible; give a number above 0, at most 1e30",
        ),
        ("train --optimizer sgd --lr 1e300", "--lr: 1e300 is not possible"),
        (
            "train --averaging bayesian --theta 0.9",
            "--theta: does not apply to --averaging bayesian",
        ),
        (
            "rl train --averaging bayesian --theta 0.9",
            "--theta: does not apply to --averaging bayesian",
        ),
        (
            "train --rates a.safetensors --trained-fraction 0.5",
            "--trained-fraction: does not apply to --rates",
        ),
        ("train --init nosuch.safetensors", "--init nosuch.safetensors: "),
        ("train --rates nosuch.safetensors", "--rates nosuch.safetensors: "),
        ("train --data nosuch", "--data nosuch: "),
        ("frobnicate", "frobnicate"),
    ] {
        refused(directory.path(), &arguments.split(' ').collect::<Vec<_>>(), culprit);
    }
    assert!(is_empty(directory.path()));
}

#[test]
fn a_wrong_key_is_named_with_its_file_and_line() {
    let (files, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().join("run.toml");
    let path = path.to_str().unwrap();
    for (content, culprits) in [
        ("epochs = 3\neta_mn = 0.1\n", ["key 'eta_mn'", "line 2", "eta_min"]),
        ("epochs = 3\n\nseed = 'x'\n", ["key 'seed'", "line 3", "run.toml"]),
        ("epochs = = 3\n", ["run.toml", "line 1", ""]),
        ("eta_min = -0.1\n", ["key 'eta_min'", "run.toml", "-0.1"]),
        ("seed = 1\nepochs = 3\nseed = 2\n", ["key 'seed' in", "run.toml", "line 3: there is one"]),
        ("batch_size = 7000\n", ["key 'batch_size' in", "run.toml", "6000 training samples"]),
        ("image_size = 64\n", ["key 'image_size' in", "run.toml", "folder of images"]),
        ("threads = 5000\n", ["key 'threads' in", "run.toml", "5000 is too many"]),
        ("init = 'nosuch'\n", ["key 'init' in", "run.toml (nosuch)", "cannot be read"]),
        ("data = 'nosuch'\n", ["key 'data' in", "run.toml (nosuch)", ""]),
        (
            "model = 'mlp'\nhidden = [16000000, 16000000]\n",
            ["key 'hidden' in", "run.toml", "parameters"],
        ),
    ] {
        std::fs::write(path, content).unwrap();
        culprits
            .iter()
            .for_each(|culprit| refused(directory.path(), &["train", "--config", path], culprit));
    }
    assert!(is_empty(directory.path()));
}

#[test]
fn an_occupied_place_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "mine").unwrap();
    refused(directory.path(), &["train", "--out", "."], "--resume");
    refused(directory.path(), &["train", "--out", "file"], "--out");
    assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn info_counts_the_papers_parameters() {
    let directory = tempfile::tempdir().unwrap();
    for (model, one, copies) in [
        ("vgg19", "20.041M", "20.087M"),
        ("mobilenetv2", "2.297M", "2.412M"),
        ("googlenet", "6.166M", "6.258M"),
        ("char-lstm", "0.172M", "0.197M"),
        ("word-lstm", "2.171M", "7.221M"),
    ] {
        let output = alrao(directory.path(), &["info", "--model", model]);
        let table = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(table.contains(one) && table.contains(copies), "{model}:\n{table}");
    }
    let output = alrao(directory.path(), &["info", "--model", "mlp", "--hidden", "", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&info["parameters"], &info["alrao_parameters"]), (&30_730.into(), &307_300.into()));
}

/// Nothing is allocated to count.
#[test]
fn info_counts_what_fits_in_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let info = |arguments: &str| -> serde_json::Value {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = alrao(directory.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let vgg = info("info --model vgg19 --width 1000 --json");
    assert_eq!(vgg["features"], 512_000);
    assert!(vgg["parameters"].as_f64().unwrap() > 2e13, "{vgg}");
    let mlp = info("info --model mlp --hidden 16777216,16777216 --width 1000 --json");
    assert!(mlp["parameters"].as_f64().unwrap() > 2.8e20, "{mlp}");
}

/// Where each is in the paper.
const EXPERIMENTS: [(&str, &str); 8] = [
    ("table1", "Table 1"),
    ("table2", "Table 2"),
    ("learning-curves", "Figures 2 and 5"),
    ("interval", "Figure 3"),
    ("posterior", "Figure 4"),
    ("alrao-adam", "Figure 7"),
    ("frozen", "Figure 8"),
    ("theorem", "Theorem 1"),
];

#[test]
fn every_experiment_is_listed_with_its_place_in_the_paper() {
    let directory = tempfile::tempdir().unwrap();
    let help = text(&alrao(directory.path(), &["experiment", "--help"]).stdout);
    for (name, place) in EXPERIMENTS {
        let line = help.lines().find(|line| line.trim_start().starts_with(name));
        assert!(line.is_some_and(|line| line.contains(place)), "{name}: {help}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let directory = tempfile::tempdir().unwrap();
    let experiments = EXPERIMENTS.iter().map(|(name, _)| format!("experiment {name}"));
    let commands =
        "train,eval,predict,export,data,sample,bench,bench step,bench q-learning,kernels,info,completions"
            .split(',')
            .map(String::from);
    for command in commands.into_iter().chain(["experiment".into()]).chain(experiments) {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let output = alrao(directory.path(), &arguments);
        let help = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty());
        assert!(help.contains("Example") && help.contains(&format!("alrao {command}")), "{help}");
    }
    assert!(text(&alrao(directory.path(), &["--version"]).stdout).contains("commit"));
    assert!(text(&alrao(directory.path(), &["completions", "bash"]).stdout).contains("--eta-min"));
}

#[test]
fn every_command_can_be_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = alrao(directory.path(), &arguments);
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    };
    run("train -q --model char-lstm --width 0.1 --max-steps 1 --out run");
    run("-q eval run");
    run("eval run --quiet --split valid");
    run("sample run -q --length 3");
    run("info -q --model mlp");
    run("completions -q bash");
    refused(directory.path(), &["eval", "nosuch", "-q"], "nosuch");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(program());
    command.current_dir(directory.path()).args(["info", "--model", "cnn"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn steps_are_timed_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let small = "--width 0.25 --batch-size 2 --rounds 2 --steps 1 --device cpu --threads 1";
    let small: Vec<&str> = small.split(' ').collect();
    let output = alrao(directory.path(), &[&["bench", "step", "--json"][..], &small].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["steps"].as_array().unwrap();
    let kinds: Vec<[&str; 3]> = rows
        .iter()
        .map(|row| ["model", "way", "mode"].map(|key| row[key].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [["cnn", "sgd", "eager"], ["cnn", "alrao", "eager"]]);
    assert!(rows.iter().all(|row| row["ms"].as_f64().unwrap() > 0.0 && row["launches"].is_null()));
    assert_eq!(report["ratios"][0]["name"], "engine alrao over engine sgd");
    assert_eq!([&report["rounds"], &report["machine"]["threads"]], [2, 1]);
    let output = alrao(directory.path(), &[&["-q", "bench", "step"][..], &small].concat());
    let table = text(&output.stdout);
    assert!(output.stderr.is_empty() && table.lines().count() == 5, "{table}");
}

#[test]
fn q_learning_is_timed_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let small = ["--hidden", "4", "--classifiers", "3", "--steps", "3", "--environments", "2"];
    let small = [&small[..], &["--device", "cpu", "--threads", "1"]].concat();
    let output =
        alrao(directory.path(), &[&["bench", "q-learning", "--json"][..], &small].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["q_learning"].as_array().unwrap();
    let kinds: Vec<[&str; 2]> = rows
        .iter()
        .map(|row| ["optimizer", "mode"].map(|key| row[key].as_str().unwrap()))
        .collect();
    assert_eq!(kinds, [["sgd", "eager"], ["alrao", "eager"]]);
    for row in rows {
        for key in ["updates", "environment_steps", "steps_with_updates"] {
            assert!(row[format!("{key}_per_second")].as_f64().unwrap() > 0.0, "{report}");
        }
    }
    assert_eq!([&rows[0]["classifiers"], &rows[1]["classifiers"]], [1, 3]);
    let output = alrao(directory.path(), &[&["-q", "bench", "q-learning"][..], &small].concat());
    assert!(output.stderr.is_empty() && text(&output.stdout).lines().count() == 3);
}

#[cfg(has_simulator)]
#[test]
fn updates_are_captured_in_the_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = "bench q-learning --device simulator --threads 2 --hidden 4 --steps 1 --json";
    let output = alrao(directory.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["q_learning"].as_array().unwrap();
    let modes: Vec<&str> = rows.iter().map(|row| row["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["eager", "captured", "eager", "captured"]);
    assert!(rows.iter().all(|row| row["launches"].as_u64().unwrap() > 10), "{report}");
}

#[cfg(has_simulator)]
#[test]
fn a_name_that_no_kernel_has_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &str, culprit: &str| {
        refused(directory.path(), &arguments.split(' ').collect::<Vec<_>>(), culprit);
    };
    refused("kernels --device simulator nosuch", "'nosuch'");
    // Its kernels serve in bf16 too, and are not of bf16.
    refused("kernels --device simulator --precision bf16 switch", "without --precision bf16");
}

#[cfg(has_simulator)]
#[test]
fn kernels_are_checked_without_a_gpu() {
    let directory = tempfile::tempdir().unwrap();
    let small = ["--device", "simulator", "--threads", "2"];
    let output = alrao(directory.path(), &[&["-q", "kernels", "optimizer_"][..], &small].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let reports: Vec<_> = table.lines().skip(1).map(|row| row.split_whitespace().last()).collect();
    assert_eq!(reports, [Some("ok"); 3], "{table}");
    let output =
        alrao(directory.path(), &[&["kernels", "step_statistics", "--json"][..], &small].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["kernels"].as_array().unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row["verdict"] == "ok"), "{report}");
    let output = alrao(directory.path(), &[&["kernels", "nosuch"][..], &small].concat());
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("nosuch"));
}

#[cfg(has_simulator)]
#[test]
fn steps_are_captured_in_the_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        "bench step --model mlp --device simulator --threads 2 --width 0.1 --steps 1 --json";
    let output = alrao(directory.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["steps"].as_array().unwrap();
    let modes: Vec<&str> = rows.iter().map(|row| row["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["eager", "captured", "eager", "captured"]);
    assert!(rows.iter().all(|row| row["launches"].as_u64().unwrap() > 10), "{report}");
}
