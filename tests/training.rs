//! Whole runs on small data: what a run leaves behind, and that it can be continued to the bit.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use alrao::data::{Arrays, Content, Dataset, Input, Inputs, Split, Targets, Task};
use alrao::learn::{Observer, Outcome, Silent, StopFlag, TrainConfig};
use alrao::nn::{ForwardContext, Init, Linear, Module, Visitor};
use alrao::random::{Philox, Purpose};
use alrao::supervised::{Event, Supervised, Trainer};
use alrao::{Alrao, AlraoConfig, Device, DeviceKind, Tensor};

use crate::place::gpu;

/// Two layers, since one linear layer before the classifiers would learn nothing that they cannot.
struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new(inputs: usize, hidden: usize) -> Self {
        let mut init = Init::new(0);
        Net {
            first: Linear::new(inputs, hidden, &mut init),
            second: Linear::new(hidden, hidden, &mut init),
        }
    }
}

impl Module for Net {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.second.forward(&self.first.forward(x, context).relu(), context).relu()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("first", &self.first);
        visitor.child("second", &self.second);
    }
}

/// Points in the plane, in class 1 where their coordinates have the same sign: no linear model tells them apart.
fn quadrants(samples: usize, number: u64) -> Split {
    let mut stream = Philox::new(1, Purpose::Data).stream(number);
    let points: Vec<f32> = (0..2 * samples).map(|_| stream.uniform_in(-1.0, 1.0) as f32).collect();
    let classes = points.chunks(2).map(|point| i32::from(point[0] * point[1] > 0.0)).collect();
    Split::new(Inputs::Floats(points), Targets::Classes(classes))
}

fn plane() -> Dataset {
    let part = |samples, number| Arc::new(quadrants(samples, number));
    Dataset {
        name: "plane".into(),
        fingerprint: String::new(),
        content: Content::Arrays(Arrays {
            train: part(500, 0),
            valid: Some(part(200, 1)),
            test: Some(part(200, 2)),
            sample: Input::Vector { size: 2 },
            task: Task::Classification { classes: 2 },
            normalisation: None,
            target_normalisation: None,
            table: None,
            names: None,
        }),
    }
}

fn config() -> TrainConfig {
    TrainConfig { epochs: 30, batch_size: 16, ..TrainConfig::default() }
}

fn trainer(config: TrainConfig) -> Trainer {
    // Without batch norm a layer this small does not get over features that learn at 10.
    let alrao = AlraoConfig { eta: 1e-3..=1.0, ..AlraoConfig::default() };
    Trainer::new(Alrao::classifier(Net::new(2, 64), 2, alrao), plane(), config)
}

/// The losses of every step, exactly.
#[derive(Default)]
struct Losses(Vec<u64>);

impl Observer<Supervised> for Losses {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Step(step) = event {
            self.0.push(step.loss.to_bits());
        }
    }
}

fn losses(config: TrainConfig, device: &Device) -> Vec<u64> {
    let mut losses = Losses::default();
    trainer(TrainConfig { log_every: 1, ..config }).run(device, &mut losses).unwrap();
    losses.0
}

#[test]
fn quadrants_are_learnt_without_a_learning_rate() {
    let report = trainer(config()).run(&Device::cpu(), &mut Silent).unwrap();
    assert_eq!(report.outcome, Outcome::Finished);
    let accuracy = report.test.unwrap().accuracy.unwrap();
    assert!(accuracy > 0.9, "test accuracy {accuracy}");
}

#[test]
fn a_gpu_learns_the_same_and_repeats_itself_to_the_bit() {
    let Some(device) = gpu() else { return };
    let config = TrainConfig { epochs: 2, ..config() };
    let own = losses(config.clone(), &device);
    assert_eq!(own, losses(config.clone(), &device));
    let reference = losses(TrainConfig { max_steps: Some(10), ..config }, &Device::cpu());
    for (own, reference) in own.iter().zip(reference) {
        let [own, reference] = [*own, reference].map(f64::from_bits);
        assert!((own - reference).abs() <= 1e-4 * reference, "{own}, not {reference}");
    }
    let report = trainer(self::config()).run(&device, &mut Silent).unwrap();
    let accuracy = report.test.unwrap().accuracy.unwrap();
    assert!(accuracy > 0.9, "test accuracy {accuracy}");
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let config = TrainConfig { epochs: 3, ..config() };
    let with = |threads| Device::open_with_threads(DeviceKind::Cpu, Some(threads)).unwrap();
    let one = losses(config.clone(), &with(1));
    assert_eq!(one, losses(config.clone(), &with(2)));
    assert_eq!(one, losses(config.clone(), &with(3)));
    assert_ne!(one, losses(TrainConfig { seed: 1, ..config }, &with(1)));
}

/// Stops a run after its first epoch.
struct StopAfterEpoch(StopFlag);

impl Observer<Supervised> for StopAfterEpoch {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Epoch(_) = event {
            self.0.set();
        }
    }
}

#[test]
fn a_run_that_is_asked_to_stop_stops() {
    let stop = StopFlag::default();
    let report = trainer(config())
        .stop_flag(&stop)
        .run(&Device::cpu(), &mut StopAfterEpoch(stop.clone()))
        .unwrap();
    assert_eq!((report.outcome, report.test), (Outcome::Stopped, None));
}

/// With one classifier and `eta_min = eta_max`, Alrao is plain SGD.
#[test]
fn equal_rates_and_one_classifier_are_plain_sgd_to_the_bit() {
    use alrao::learn::Optimizer;
    let run = |optimizer, eta: f64| {
        let alrao = AlraoConfig { eta: eta..=eta, classifiers: 1, ..AlraoConfig::default() };
        let config = TrainConfig { optimizer, lr: 0.05, epochs: 2, log_every: 1, ..config() };
        let mut losses = Losses::default();
        let model = Alrao::classifier(Net::new(2, 16), 2, alrao);
        Trainer::new(model, plane(), config).run(&Device::cpu(), &mut losses).unwrap();
        losses.0
    };
    assert_eq!(run(Optimizer::Alrao, 0.05), run(Optimizer::Sgd, 0.05));
    assert_ne!(run(Optimizer::Alrao, 0.04), run(Optimizer::Sgd, 0.04));
}

#[test]
fn a_state_file_is_a_function_of_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        trainer(TrainConfig { epochs: 2, ..config() })
            .save_to(&path)
            .run(&Device::cpu(), &mut Silent)
            .unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(write("a"), write("b"));
    let text = String::from_utf8_lossy(&fs::read(folder.path().join("a")).unwrap()).into_owned();
    assert!(!text.contains(Path::new("/").join("home").to_str().unwrap()));
}
