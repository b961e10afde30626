//! A run that was killed or stopped and continued is the run that was left alone.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use alrao::random::{Philox, Purpose};
use safetensors::tensor::Dtype;

use super::{MLP, assert_same, ends_with, kill, metrics, progress, signal, start, wait_for};
use super::{labels, write_tensors, write_text, write_vectors};

/// How often each run is killed, unless `ALRAO_KILLS` says it.
const KILLS: usize = 10;

fn kills() -> usize {
    std::env::var("ALRAO_KILLS").map_or(KILLS, |number| number.parse().unwrap())
}

/// Kills a run at random moments and resumes it each time, and compares it with one left alone. A run that has ended before
/// it was killed often enough is begun again. `task` is the command without flags, `train` or `rl train`.
fn kill_and_compare(folder: &Path, task: &str, arguments: &str) {
    let kills = kills();
    let resume = format!("{task} --resume killed");
    let began = Instant::now();
    ends_with(0, folder, &format!("{arguments} --out alone"));
    let whole = began.elapsed().as_secs_f64();
    let run = folder.join("killed");
    let mut stream = Philox::new(7, Purpose::Data).stream(0);
    let mut kills_on_the_way = 0;
    for _ in 0..kills {
        // A run that was killed before it had a configuration has not begun.
        if run.is_dir() && !run.join("config.toml").exists() {
            fs::remove_dir_all(&run).unwrap();
        }
        let go_on = if run.is_dir() { &resume } else { arguments };
        let out = if run.is_dir() { "" } else { " --out killed" };
        let mut child = start(folder, &format!("{go_on}{out}"));
        std::thread::sleep(Duration::from_secs_f64(whole * stream.uniform_in(0.02, 0.2)));
        kill(&mut child);
        let last = run.join("last.safetensors");
        if last.exists() {
            let progress = progress(&last);
            kills_on_the_way += usize::from(progress["finished"] == false && progress["step"] != 0);
            if progress["finished"] == true {
                ends_with(0, folder, &resume);
                assert_same(&run, &folder.join("alone"));
                fs::remove_dir_all(&run).unwrap();
            }
        }
    }
    if run.join("config.toml").exists() {
        ends_with(0, folder, &resume);
        assert_same(&run, &folder.join("alone"));
    }
    assert!(kills_on_the_way >= kills / 2, "{kills_on_the_way} kills between start and end");
}

#[test]
fn an_mlp_with_momentum_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [600, 200, 200]);
    let arguments = format!(
        "{MLP} --momentum 0.9 --eta-max 1 --batch-size 4 --epochs 40 --log-every 7 --patience 100"
    );
    kill_and_compare(folder.path(), "train", &arguments);
}

#[test]
fn a_recurrent_model_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path(), 3000);
    let arguments = "train --model char-lstm --width 0.1 --data text.txt --batch-size 4 --bptt 10 --epochs 30 \
                     --log-every 3 --patience 100";
    kill_and_compare(folder.path(), "train", arguments);
}

#[test]
fn a_q_network_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "rl train --env pendulum:3 --steps 6000 --epoch-steps 500 --learning-starts 300 --hidden 12,12 \
                     --classifiers 3 --epsilon-steps 1000 --evaluation-episodes 2 --environments 2 --log-every 100";
    kill_and_compare(folder.path(), "rl train", arguments);
}

/// Whether the tests run under nohup: what they start ignores the signal too.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 != 0)
}

/// Stops a run in the midst of an epoch, two or three times, and lets it end.
fn stop_and_compare(folder: &Path, arguments: &str) {
    ends_with(0, folder, &format!("{arguments} --out alone"));
    let run = folder.join("stopped");
    let mut go_on = format!("{arguments} --out stopped");
    let (mut stops_within_an_epoch, mut lines) = (0, 0);
    let hangup = Some(("HUP", 129)).filter(|_| !hangup_is_ignored());
    for (name, code) in [("INT", 130), ("TERM", 143)].into_iter().chain(hangup) {
        let mut child = start(folder, &go_on);
        wait_for(&run, |metrics| metrics.lines().count() > lines + 5);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(stderr.ends_with("to go on: alrao train --resume stopped\n"), "{stderr}");
        let progress = progress(&run.join("last.safetensors"));
        stops_within_an_epoch += usize::from(progress["batch"] != 0);
        lines = metrics(&run).len();
        assert_eq!(progress["metrics_lines"].as_u64().unwrap() as usize, lines);
        go_on = "train --resume stopped".into();
    }
    assert!(stops_within_an_epoch > 0);
    ends_with(0, folder, &go_on);
    assert_same(&run, &folder.join("alone"));
}

#[test]
fn a_signal_in_the_midst_of_an_epoch_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_vectors(folder.path(), [12_000, 100, 0]);
    stop_and_compare(folder.path(), &format!("{MLP} --batch-size 2 --epochs 2 --log-every 10"));
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path(), 30_000);
    let arguments = "train --model char-lstm --width 0.1 --data text.txt --batch-size 2 --bptt 5 --epochs 2 \
                     --log-every 2";
    stop_and_compare(folder.path(), arguments);
}

/// Running statistics, both moments of Adam, crops and flips.
#[test]
fn a_signal_in_the_midst_of_a_convolutional_networks_epoch_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut stream = Philox::new(8, Purpose::Data).stream(0);
    let bytes: Vec<u8> = (0..3000 * 3 * 64).map(|_| stream.bits() as u8).collect();
    let classes: Vec<i64> = (0..3000).map(|_| stream.below(2) as i64).collect();
    let images = ("images".to_owned(), Dtype::U8, vec![3000, 3, 8, 8], bytes);
    write_tensors(&folder.path().join("images.safetensors"), &[images, labels("labels", &classes)]);
    let arguments = "train --model cnn --width 0.1 --data images.safetensors --augment --optimizer alrao-adam \
                     --eta-max 0.1 --batch-size 2 --epochs 2 --log-every 3 --schedule step:1:0.5 --clip 1";
    stop_and_compare(folder.path(), arguments);
}

#[test]
fn a_signal_during_evaluation_or_test_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [100, 20_000, 20_000]);
    let arguments = format!("{MLP} --batch-size 1 --epochs 1 --log-every 1");
    ends_with(0, folder, &format!("{arguments} --out alone"));
    let run = folder.join("run");
    let mut stops = Vec::new();
    for (command, mark) in [
        (format!("{arguments} --out run"), "\"step\":100,"),
        ("train --resume run".into(), "\"kind\":\"epoch\""),
    ] {
        let mut child = start(folder, &command);
        wait_for(&run, |metrics| metrics.contains(mark));
        std::thread::sleep(Duration::from_millis(20));
        signal(&child, "INT");
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let progress = progress(&run.join("last.safetensors"));
        assert_eq!(progress["finished"], false);
        stops.push(progress["evaluate_next"].clone());
    }
    assert_eq!(stops, [true, false]);
    ends_with(0, folder, "train --resume run");
    assert_same(&run, &folder.join("alone"));
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [2000, 0, 0]);
    // Steps long enough for a second signal to come before the first one's checkpoint.
    let arguments = "train --model mlp --hidden 1500,1500 --data data.safetensors --batch-size 1000 --log-every 1 \
                     --valid-split 0 --out run";
    let mut child = start(folder, arguments);
    wait_for(&folder.join("run"), |metrics| !metrics.is_empty());
    signal(&child, "INT");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("a second signal ends at once")));
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!lines.any(|line| line.contains("to go on")));
    progress(&folder.join("run/last.safetensors"));
}
