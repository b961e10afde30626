//! Runs of the program: killed, stopped, continued, refused, and with an environment that dies.

use std::fs;
use std::path::Path;
use std::process::Command;

use alrao::Device;
use alrao::learn::{Outcome, Silent, StopFlag};
use alrao::rl::Run;
use alrao::rl::settings::Settings;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::command_line::{refused, text};
use crate::gymnasium::stand_in;
use crate::place::program;
use crate::runs::{
    assert_same, ends_with, kill, metrics, progress, signal, split, start, wait_for,
};

/// 3000 steps, two of the three epochs with updates.
const SMALL: &str = "rl train --env pendulum:3 --steps 3000 --epoch-steps 1000 --learning-starts 700 --hidden 12,12 \
                     --classifiers 3 --epsilon-steps 1000 --evaluation-episodes 3 --environments 2 --log-every 100";

#[test]
fn a_run_leaves_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (stdout, stderr) = ends_with(0, folder, SMALL);
    let run = folder.join("runs/pendulum-3-alrao-1");
    for file in ["config.toml", "last.safetensors", "best.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    // The best network's file has nothing in it that only the run needs.
    let best = fs::read(run.join("best.safetensors")).unwrap();
    let last = fs::read(run.join("last.safetensors")).unwrap();
    let has = |file: &[u8], name: &str| file.windows(name.len()).any(|own| own == name.as_bytes());
    assert!(has(&last, "alrao.rl.replay.rows") && !has(&best, "alrao.rl.replay"));
    for picture in ["return.svg", "loss.svg", "posterior.svg"] {
        assert!(fs::read_to_string(run.join(picture)).unwrap().starts_with("<svg"), "{picture}");
    }
    assert!(!run.join("accuracy.svg").exists());
    assert!(
        stdout.contains("test  return -") && stdout.contains("over 3 new episodes"),
        "{stdout}"
    );
    assert!(stderr.contains("shows 3 numbers and takes 3 actions"), "{stderr}");
    let lines = metrics(&run);
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("step").len(), of("epoch").len(), of("test").len()), (23, 3, 1));
    let steps: Vec<_> = of("epoch").iter().map(|line| line["step"].as_u64().unwrap()).collect();
    let updates: Vec<_> =
        of("epoch").iter().map(|line| line["updates"].as_u64().unwrap()).collect();
    assert_eq!((steps, updates), (vec![1000, 2000, 3000], vec![300, 1300, 2300]));
    // Of two copies, each episode takes 400 steps.
    assert_eq!(of("epoch")[2]["episodes"], 14);
    let best =
        of("epoch").iter().filter_map(|line| line["return"].as_f64()).fold(f64::MIN, f64::max);
    let test = of("test")[0];
    let tested = of("epoch")[test["epoch"].as_u64().unwrap() as usize - 1];
    assert_eq!(tested["return"].as_f64(), Some(best));
    assert_ne!(test["return"].as_f64(), Some(best));
}

/// With an evaluation as the test's would be, the best network gives what any number of episodes says it does.
#[test]
fn a_network_is_evaluated_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends_with(0, folder, &format!("{SMALL} --out run"));
    let eval = |arguments: &str| ends_with(0, folder, &format!("rl eval {arguments} -q")).0;
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&eval(&format!("{arguments} --json"))).unwrap()
    };
    let own = json("run --episodes 5");
    let returns: Vec<f64> =
        own["returns"].as_array().unwrap().iter().map(|own| own.as_f64().unwrap()).collect();
    let mean = returns.iter().sum::<f64>() / 5.0;
    assert!((own["return"].as_f64().unwrap() - mean).abs() < 1e-9 && returns.len() == 5);
    assert_eq!(own["env"], "pendulum:3");
    let file = json("run/best.safetensors --env pendulum:3 --episodes 5");
    assert_eq!(file["returns"], own["returns"]);
    assert_ne!(json("run --episodes 5 --seed 1")["returns"], own["returns"]);
    assert!(eval("run --episodes 2").starts_with("pendulum:3  return -"));
    refused(folder, &split("rl eval run/best.safetensors"), "--env");
    refused(folder, &split("rl eval run --env pendulum:5"), "3 actions");
    refused(folder, &split("rl eval run --episodes 0"), "--episodes");
    refused(folder, &split("rl eval run --episodes 1000001"), "--episodes");
}

#[test]
fn a_killed_run_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends_with(0, folder, &format!("{SMALL} --out alone"));
    let run = folder.join("run");
    let lines = |run: &Path| {
        fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |own| own.lines().count())
    };
    let mut child = start(folder, &format!("{SMALL} --out run"));
    wait_for(&run, |metrics| metrics.lines().count() >= 2);
    kill(&mut child);
    for more in [7, 3] {
        let before = lines(&run);
        let mut child = start(folder, "rl train --resume run");
        wait_for(&run, |metrics| {
            let own = metrics.lines().count();
            own >= before + more || metrics.contains("\"kind\":\"test\"")
        });
        kill(&mut child);
    }
    ends_with(0, folder, "rl train --resume run");
    assert_same(&run, &folder.join("alone"));
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let (stdout, stderr) = ends_with(0, folder, "rl train --resume run --log-every 7");
    assert!(stdout.is_empty() && stderr.contains("is finished") && stderr.contains("--steps"));
    assert_eq!(fs::read_to_string(run.join("config.toml")).unwrap(), config);
    refused(folder, &split("rl train --resume run --steps 100"), "--steps");
}

#[test]
fn a_stopped_run_goes_on_and_further() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends_with(0, folder, &format!("{SMALL} --out alone"));
    let mut child = start(folder, &format!("{} --out run", SMALL.replace("3000", "100000000")));
    wait_for(&folder.join("run"), |metrics| metrics.lines().count() >= 5);
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stopped = progress(&folder.join("run/last.safetensors"));
    assert!(stopped["step"].as_u64().unwrap() > 700 && stopped["finished"] == false);
    // Wherever it was stopped, the steps after are those of a run that was not.
    let steps = stopped["step"].as_u64().unwrap().next_multiple_of(1000) + 1000;
    ends_with(0, folder, &format!("rl train --resume run --steps {steps}"));
    let long = SMALL.replace("--steps 3000", &format!("--steps {steps}"));
    ends_with(0, folder, &format!("{long} --out other"));
    assert_same(&folder.join("run"), &folder.join("other"));
    ends_with(0, folder, &format!("rl train --resume alone --steps {steps}"));
    assert_same(&folder.join("alone"), &folder.join("other"));
}

/// However well the first network plays, which has not learnt yet.
#[test]
fn a_network_that_has_not_learnt_is_not_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let late = SMALL.replace("--learning-starts 700", "--learning-starts 1900");
    let late = late.replace("--steps 3000", "--steps 1950");
    for seed in 0..6 {
        ends_with(0, folder, &format!("{late} --seed {seed} --out {seed}"));
        ends_with(0, folder, &format!("rl train --resume {seed} --steps 3000"));
        let best = progress(&folder.join(format!("{seed}/best.safetensors")));
        assert!(best["best_epoch"].as_u64() > Some(1), "{seed}: {best}");
    }
}

/// Ended in the midst of an epoch, be its evaluation the best or not, and given more steps.
#[test]
fn a_part_of_an_epoch_is_gone_on_with_as_if_it_had_never_ended() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // In f64 at a mild rate, so that which part is best is the same on every processor.
    let mild = "--optimizer sgd --lr 0.01 --precision f64 --device cpu --seed 3";
    let small = format!("{} {mild}", SMALL.replace("--classifiers 3", ""));
    ends_with(0, folder, &format!("{small} --out alone"));
    let mut was_best = Vec::new();
    for steps in [900, 1300, 1700, 2200] {
        let part = small.replace("--steps 3000", &format!("--steps {steps}"));
        let run = format!("part-{steps}");
        ends_with(0, folder, &format!("{part} --out {run}"));
        let lines = metrics(&folder.join(&run));
        let epochs: Vec<_> = lines.iter().filter(|line| line["kind"] == "epoch").collect();
        assert_eq!(epochs.len(), 1 + steps / 1000);
        assert_eq!(epochs.last().unwrap()["step"], steps);
        let best = progress(&folder.join(&run).join("best.safetensors"));
        was_best.push(best["best_epoch"].as_u64() == Some(epochs.len() as u64));
        ends_with(0, folder, &format!("rl train --resume {run} --steps 3000"));
        assert_same(&folder.join(&run), &folder.join("alone"));
        assert!(!folder.join(&run).join("best-whole.safetensors").exists());
    }
    assert!(was_best.contains(&true) && was_best.contains(&false), "{was_best:?}");
}

/// What was made to go on, and was stopped before it did, ends where it was as if it had not.
#[test]
fn a_part_that_was_gone_on_with_for_no_step_is_evaluated_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for steps in [900, 1300] {
        let part = SMALL.replace("--steps 3000", &format!("--steps {steps} --device cpu"));
        let (run, alone) = (format!("part-{steps}"), format!("alone-{steps}"));
        ends_with(0, folder, &format!("{part} --out {alone}"));
        ends_with(0, folder, &format!("{part} --out {run}"));
        let stop = StopFlag::default();
        stop.set();
        let mut more = Settings::default();
        more.task.steps = Some(5000);
        let mut resumed = Run::resume(&folder.join(&run), &more, &Device::cpu()).unwrap();
        assert_eq!(resumed.train(&mut Silent, &stop).unwrap().outcome, Outcome::Stopped);
        drop(resumed);
        ends_with(0, folder, &format!("rl train --resume {run} --steps {steps}"));
        assert_same(&folder.join(run), &folder.join(alone));
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends_with(0, folder, &format!("{SMALL} --threads 1 --out one"));
    ends_with(0, folder, &format!("{SMALL} --threads 3 --out three"));
    assert_same(&folder.join("one"), &folder.join("three"));
}

#[test]
fn what_is_wrong_is_named_and_no_directory_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (arguments, culprit) in [
        ("rl train --env moon", "--env"),
        ("rl train --env pendulum:1", "pendulum:1"),
        ("rl train --discount 2", "--discount"),
        ("rl train --tau 1", "--tau"),
        ("rl train --hidden 9000000,9000000", "--hidden"),
        ("rl train --batch-size 16000000 --hidden 9000,9000", "--batch-size"),
        ("rl train --steps 0", "--steps"),
        ("rl train --epsilon-end nan", "--epsilon-end"),
        ("rl train --lr 0.1", "--lr"),
        ("rl train --precision bf16 --device cpu", "--precision"),
        ("rl train --resume nosuch", "nosuch"),
        ("rl train --resume nosuch --seed 1", "--seed"),
        ("rl train --config nosuch.toml", "nosuch.toml"),
        ("rl eval nosuch", "nosuch"),
        ("rl train --steps 100 --learning-starts 100", "--learning-starts"),
        ("experiment q-learning --env moon", "--env"),
    ] {
        refused(folder, &split(arguments), culprit);
    }
    assert!(!folder.join("runs").exists());
}

#[test]
fn the_other_kind_of_run_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ends_with(0, folder, &format!("{} --out run", SMALL.replace("3000", "800")));
    refused(folder, &split("train --resume run"), "alrao rl train --resume");
    refused(folder, &split("eval run"), "alrao rl eval");
    ends_with(0, folder, "train --model mlp --hidden 8 --max-steps 2 --out other");
    refused(folder, &split("rl train --resume other"), "alrao train --resume");
    refused(folder, &split("rl eval other"), "alrao eval");
    refused(folder, &split("rl eval other/best.safetensors --env pendulum"), "not a Q-network");
}

/// A rate at which no value stays finite.
#[test]
fn a_run_that_diverges_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let wild = "--optimizer sgd --lr 1e30 --error-clip 0 --activation relu";
    let wild = format!("{} {wild} --out run", SMALL.replace("--classifiers 3", ""));
    let (_, stderr) = ends_with(1, folder, &wild);
    assert!(stderr.contains("diverged"), "{stderr}");
    assert!(folder.join("run/last.safetensors").is_file());
}

/// The program with the stand-in in Python's place: its code, standard output and standard error.
fn with_stand_in(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program());
    command.current_dir(folder).env("ALRAO_PYTHON", stand_in::program()).args(arguments);
    let output = command.output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const OTHER: &str = "rl train --steps 1200 --epoch-steps 400 --learning-starts 300 --hidden 8,8 --classifiers 2 \
                     --environments 2 --evaluation-episodes 2 --epsilon-steps 300";

#[test]
fn an_environment_of_another_process_is_learnt_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = [split(OTHER), vec!["--out", "run", "--env", "gym:counts"]].concat();
    let (code, _, stderr) = with_stand_in(folder, &arguments);
    assert_eq!(code, Some(0), "{stderr}");
    // Its episodes cannot be written down, so that new ones begin.
    let (code, stdout, stderr) =
        with_stand_in(folder, &split("rl train --resume run --steps 2000"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("test  return"), "{stdout}");
    assert_eq!(progress(&folder.join("run/last.safetensors"))["step"], 2000);
    let (code, stdout, stderr) = with_stand_in(folder, &split("rl eval run --episodes 3"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("gym:counts  return "), "{stdout}");
}

/// In one of the first three evaluations, of 125 rounds each: what was learnt until then stays.
#[test]
fn an_environment_that_dies_in_an_evaluation_leaves_what_was_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let other = OTHER.replace("--epoch-steps 400", "--epoch-steps 100");
    let other = other.replace("--evaluation-episodes 2", "--evaluation-episodes 4000");
    let environment = vec!["--out", "run", "--env", "gym:dies after 300"];
    let (code, _, stderr) = with_stand_in(folder, &[split(&other), environment].concat());
    assert_eq!(code, Some(1), "{stderr}");
    let kept = progress(&folder.join("run/last.safetensors"));
    assert_eq!(kept["evaluate_next"], true, "{kept}");
    let step = kept["step"].as_u64().unwrap();
    assert!(step > 0 && step.is_multiple_of(100), "{kept}");
}

/// It dies after 300 steps of either process, of two copies each: what was learnt until then stays.
#[test]
fn an_environment_that_dies_ends_the_run_and_leaves_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let environment = vec!["--out", "run", "--env", "gym:dies after 300"];
    let (code, _, stderr) = with_stand_in(folder, &[split(OTHER), environment].concat());
    assert_eq!(code, Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.contains("gym:dies after 300 failed") && last.contains("no memory"), "{last}");
    assert!(last.contains("--resume run"), "{last}");
    let kept = progress(&folder.join("run/last.safetensors"));
    assert_eq!((kept["step"].as_u64(), kept["finished"].as_bool()), (Some(598), Some(false)));
}

/// Rewrites the number of the next step in a checkpoint.
fn set_step(checkpoint: &Path, dtype: Dtype, step: &[u8]) {
    let bytes = fs::read(checkpoint).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views = tensors.tensors().into_iter().map(|(name, view)| match name.as_str() {
        "alrao.step" => (name, TensorView::new(dtype, vec![1], step).unwrap()),
        _ => (name, view),
    });
    let all = safetensors::serialize(views, metadata.metadata().clone()).unwrap();
    fs::write(checkpoint, all).unwrap();
}

/// As after a day of updates. Early versions wrote the step's number in 32 bits, beyond 2^31 as a negative number.
#[test]
fn a_run_goes_on_past_two_to_the_31_from_either_form_of_the_step_s_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let short = SMALL.replace("3000", "1500") + " --optimizer adam --classifiers 1";
    let short = short.replace("--classifiers 3 ", "");
    for start in [(1i64 << 31) - 3, (1 << 31) + 3] {
        for (run, dtype, bytes) in [
            ("narrow", Dtype::I32, (start as u32).to_le_bytes().to_vec()),
            ("wide", Dtype::I64, start.to_le_bytes().to_vec()),
        ] {
            let run = format!("{run}-{start}");
            ends_with(0, folder, &format!("{short} --out {run}"));
            set_step(&folder.join(&run).join("last.safetensors"), dtype, &bytes);
            ends_with(0, folder, &format!("rl train --resume {run} --steps 2500"));
        }
        let [narrow, wide] = ["narrow", "wide"].map(|run| folder.join(format!("{run}-{start}")));
        assert_same(&narrow, &wide);
        let lines = metrics(&wide);
        let steps = lines.iter().filter(|line| line["kind"] == "step");
        assert!(steps.clone().all(|line| line["loss"].is_f64()), "{lines:?}");
        let bytes = fs::read(wide.join("last.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let step = tensors.tensor("alrao.step").unwrap();
        assert_eq!(step.data(), (start + 1000).to_le_bytes(), "after {start}");
    }
}
