//! Runs of a network of its author's own: `Trainer::directory`.

use std::fs;
use std::path::Path;

use alrao::data::{Inputs, Kind, LoadOptions, load_with};
use alrao::learn::{Observer, Outcome, Silent, StopFlag, TrainConfig};
use alrao::nn::{Init, Linear};
use alrao::plots::RunPlots;
use alrao::supervised::{Event, Predictor, Report, Supervised, Trainer};
use alrao::{Alrao, AlraoConfig, Device, Result};

use crate::own_data::Tensors;
use crate::runs::ends_with;

#[allow(dead_code, reason = "its main is for cargo run")]
#[path = "../examples/own_run.rs"]
mod own_run;

/// Points, with the side that they are on.
fn points(path: &Path, samples: usize) -> String {
    let part = |offset: usize| -> [Vec<f32>; 2] {
        let coordinate = |place: usize| ((place * place + offset) % 23) as f32 - 11.0;
        let inputs: Vec<f32> = (0..2 * samples).map(coordinate).collect();
        let sides = inputs.chunks(2).map(|row| f32::from(u8::from(row[0] > row[1]))).collect();
        [inputs, sides]
    };
    let mut tensors = Tensors::new();
    for (name, offset) in [("", 0), ("valid_", 5), ("test_", 9)] {
        let [inputs, sides] = part(offset);
        let sides: Vec<i64> = sides.iter().map(|side| *side as i64).collect();
        tensors = tensors
            .floats(&format!("{name}inputs"), &[samples, 2], &inputs)
            .labels(&format!("{name}labels"), &sides);
    }
    tensors.write(path)
}

/// Stops a run after an epoch, and notes the epochs.
struct StopAfter(u64, StopFlag, Vec<u64>);

impl Observer<Supervised> for StopAfter {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Epoch(report) = event {
            self.2.push(report.epoch);
            if report.epoch == self.0 {
                self.1.set();
            }
        }
    }
}

/// Trains in a directory to the end, or until the epoch `stop` has ended. The report comes with the epochs that were trained.
fn train(
    data: &str,
    directory: &Path,
    config: TrainConfig,
    stop: u64,
) -> Result<(Report, Vec<u64>)> {
    let dataset = load_with(data, Kind::Arrays, &LoadOptions::default())?;
    let model = Alrao::classifier(network(), 2, AlraoConfig::default());
    let flag = StopFlag::default();
    let plots = RunPlots::new(directory, &AlraoConfig::default());
    let mut observer = (StopAfter(stop, flag.clone(), Vec::new()), plots);
    let trainer = Trainer::new(model, dataset, config).directory(directory).stop_flag(&flag);
    let report = trainer.run(&Device::cpu(), &mut observer);
    assert!(observer.1.failure().is_none());
    Ok((report?, observer.0.2))
}

fn network() -> Linear {
    Linear::new(2, 6, &mut Init::new(3))
}

fn config() -> TrainConfig {
    TrainConfig { epochs: 5, batch_size: 16, ..TrainConfig::default() }
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_not_been_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = points(&folder.join("points.safetensors"), 100);
    let [whole, parts] = ["whole", "parts"].map(|name| folder.join(name));
    let (at_once, _) = train(&data, &whole, config(), 0).unwrap();
    let (first, epochs) = train(&data, &parts, config(), 2).unwrap();
    assert_eq!((first.outcome, &first.test, epochs), (Outcome::Stopped, &None, vec![1, 2]));
    let (second, epochs) = train(&data, &parts, config(), 0).unwrap();
    assert_eq!(epochs, [3, 4, 5]);
    assert_eq!(
        (second.outcome, &second.best, &second.test),
        (Outcome::Finished, &at_once.best, &at_once.test)
    );
    for name in ["last.safetensors", "best.safetensors", "config.toml"] {
        let [a, b] = [&whole, &parts].map(|run| fs::read(run.join(name)).unwrap());
        assert!(a == b, "{name}");
    }
    for name in ["metrics.jsonl", "loss.svg", "accuracy.svg", "posterior.svg"] {
        assert!(parts.join(name).is_file(), "{name}");
    }
    // A third call finds the run done.
    let before = fs::read(parts.join("metrics.jsonl")).unwrap();
    let (third, epochs) = train(&data, &parts, config(), 0).unwrap();
    assert!(epochs.is_empty());
    assert_eq!(
        (third.outcome, &third.best, &third.test),
        (Outcome::Finished, &at_once.best, &at_once.test)
    );
    assert_eq!(fs::read(parts.join("metrics.jsonl")).unwrap(), before);
    // More epochs.
    let (more, epochs) = train(&data, &parts, TrainConfig { epochs: 6, ..config() }, 0).unwrap();
    assert!(more.test.is_some() && epochs == [6]);
    let picture = fs::read_to_string(parts.join("loss.svg")).unwrap();
    assert!(picture.contains("\nparts\n"), "the picture tells whose it is");
    let (table, _) = ends_with(0, folder, "runs .");
    let row = table.lines().find(|row| row.starts_with("parts")).unwrap();
    for text in ["own", "points", "alrao", "6/6", "finished"] {
        assert!(row.split_whitespace().any(|word| word == text), "{row}");
    }
    let predictor =
        Predictor::load(parts.join("best.safetensors"), network(), &Device::cpu()).unwrap();
    let predictions = predictor.predict(&Inputs::Floats(vec![9.0, -9.0, -9.0, 9.0])).unwrap();
    let classes = [0, 1].map(|sample| predictions.likeliest(sample, 1)[0].0);
    assert_eq!(classes, [1, 0]);
}

#[test]
fn another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = points(&folder.join("points.safetensors"), 40);
    let run = folder.join("run");
    let one = TrainConfig { epochs: 1, ..config() };
    train(&data, &run, one.clone(), 0).unwrap();
    let files = || {
        ["last.safetensors", "metrics.jsonl", "config.toml"]
            .map(|name| fs::read(run.join(name)).unwrap())
    };
    let before = files();
    let refused = |data: &str, config: TrainConfig, culprit: &str| {
        let message = train(data, &run, config, 0).unwrap_err().to_string();
        assert!(message.contains(culprit), "{message}");
    };
    refused(&data, TrainConfig { batch_size: 8, ..one.clone() }, "batch_size");
    refused(&points(&folder.join("other.safetensors"), 41), one.clone(), "is not the data");
    let dataset = load_with(&data, Kind::Arrays, &LoadOptions::default()).unwrap();
    let wider = Alrao::classifier(Linear::new(2, 7, &mut Init::new(3)), 2, AlraoConfig::default());
    let trainer = Trainer::new(wider, dataset, one.clone()).directory(&run);
    let message = trainer.run(&Device::cpu(), &mut Silent).unwrap_err().to_string();
    assert!(message.contains("last.safetensors"), "{message}");
    assert_eq!(files(), before);
    let taken = folder.join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("mine"), "").unwrap();
    let message = train(&data, &taken, one, 0).unwrap_err().to_string();
    assert!(message.contains("is not empty"), "{message}");

    // The command line cannot build the network.
    for command in ["train --resume run", "eval run", "predict run points.safetensors"] {
        let (_, error) = ends_with(2, folder, command);
        assert!(error.contains("of its author's own"), "{command}: {error}");
    }
}

#[test]
fn a_model_before_the_end_of_its_first_epoch_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = points(&folder.path().join("points.safetensors"), 40);
    let dataset = load_with(&data, Kind::Arrays, &LoadOptions::default()).unwrap();
    let model = Alrao::classifier(network(), 2, AlraoConfig::default());
    let (run, stop) = (folder.path().join("run"), StopFlag::default());
    stop.set();
    let trainer = Trainer::new(model, dataset, config()).directory(&run).stop_flag(&stop);
    assert_eq!(trainer.run(&Device::cpu(), &mut Silent).unwrap().outcome, Outcome::Stopped);
    let notes =
        |run: &Path| Predictor::load(run, network(), &Device::cpu()).unwrap().notes().to_vec();
    assert!(notes(&run)[0].contains("no epoch has been validated yet"), "{:?}", notes(&run));
    train(&data, &run, config(), 0).unwrap();
    assert!(notes(&run).is_empty());
}

#[test]
fn the_example_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let run = run.to_str().unwrap();
    assert!(own_run::train(run, 1).unwrap().test.is_some());
    let report = own_run::train(run, 2).unwrap();
    assert!(report.test.unwrap().accuracy.unwrap() > 0.2);
    let best = folder.path().join("run/best.safetensors");
    assert!(Predictor::load(best, own_run::network(), &Device::cpu()).is_ok());
}
