//! Trainings on data that lies on the device or is streamed to it: the same to the bit, and the CPU's to rounding.

use std::sync::Arc;

use alrao::data::{
    Arrays, Content, Dataset, Input, Inputs, Kind, LoadOptions, Normalisation, Split, Targets,
    Task, Text, TokenKind, Vocabulary, load_with,
};
use alrao::device::simulator::SimulatorOptions;
use alrao::learn::{Observer, TrainConfig};
use alrao::random::{Philox, Purpose};
use alrao::supervised::{Event, Supervised, Trainer};
use alrao::{AlraoConfig, DType, Device, Tensor};

use crate::host_work::model_for;

const CLASSES: usize = 5;

/// Whole numbers below `bound`.
fn draw(count: usize, bound: u64, number: u64) -> Vec<u64> {
    let mut stream = Philox::new(3, Purpose::Data).stream(number);
    (0..count).map(|_| stream.below(bound)).collect()
}

/// A short last batch in each part, whatever the batch size in use here.
const SIZES: [usize; 3] = [30, 11, 7];

fn arrays(sample: Input, task: Task, split: impl Fn(usize, u64) -> Split) -> Dataset {
    let part = |number: usize| Arc::new(split(SIZES[number], number as u64));
    let train = part(0);
    let normalisation = match (&train.inputs, sample) {
        (Inputs::Bytes(bytes), Input::Image { channels, .. }) => {
            Some(Normalisation::of(bytes, channels))
        }
        _ => None,
    };
    let (valid, test) = (Some(part(1)), Some(part(2)));
    let content = Content::Arrays(Arrays {
        train,
        valid,
        test,
        sample,
        task,
        normalisation,
        target_normalisation: None,
        table: None,
        names: None,
    });
    Dataset { name: String::new(), fingerprint: String::new(), content }
}

fn classes(samples: usize, number: u64) -> Targets {
    let classes = draw(samples, CLASSES as u64, 10 + number);
    Targets::Classes(classes.into_iter().map(|class| class as i32).collect())
}

fn floats(count: usize, number: u64) -> Vec<f32> {
    draw(count, 1 << 20, 20 + number).into_iter().map(|x| x as f32 / 1e6 - 0.5).collect()
}

const IMAGE: Input = Input::Image { height: 8, width: 8, channels: 3 };

fn images() -> Dataset {
    arrays(IMAGE, Task::Classification { classes: CLASSES }, |samples, number| {
        let bytes = draw(samples * IMAGE.elements(), 256, number);
        let inputs = Inputs::Bytes(bytes.into_iter().map(|byte| byte as u8).collect());
        Split::new(inputs, classes(samples, number))
    })
}

fn images_of_floats() -> Dataset {
    arrays(IMAGE, Task::Classification { classes: CLASSES }, |samples, number| {
        let inputs = Inputs::Floats(floats(samples * IMAGE.elements(), number));
        Split::new(inputs, classes(samples, number))
    })
}

fn regression() -> Dataset {
    let (sample, task) = (Input::Vector { size: 3 }, Task::Regression { outputs: 2 });
    arrays(sample, task, |samples, number| {
        let targets = Targets::Values { values: floats(2 * samples, 50 + number), columns: 2 };
        Split::new(Inputs::Floats(floats(3 * samples, number)), targets)
    })
}

fn text() -> Dataset {
    let part = |length, number| -> Vec<i32> {
        draw(length, CLASSES as u64, number).into_iter().map(|code| code as i32).collect()
    };
    let letters: String = ('a'..).take(CLASSES).collect();
    let vocabulary = Vocabulary::of(TokenKind::Character, [&*letters]);
    let content = Content::Text(Text {
        train: part(4 * 30, 0),
        valid: Some(part(4 * 13 + 2, 1)),
        test: Some(part(4 * 5, 2)),
        vocabulary,
        entropy_rate: None,
        files: None,
    });
    Dataset { name: String::new(), fingerprint: String::new(), content }
}

/// The losses of all steps, validations and the test.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer<Supervised> for Losses {
    fn notice(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(step) => self.0.push(step.loss),
            Event::Epoch(epoch) => self.0.extend([epoch.train_loss, epoch.valid_loss.unwrap()]),
            Event::Test(test) => self.0.push(test.loss),
            _ => {}
        }
    }

    fn wants_progress(&self) -> bool {
        false
    }
}

fn losses(dataset: Dataset, config: &TrainConfig, device: &Device) -> Vec<f64> {
    let mut losses = Losses::default();
    let alrao = AlraoConfig { eta: 1e-4..=0.1, classifiers: 3, ..AlraoConfig::default() };
    let model = model_for(&dataset, alrao);
    Trainer::new(model, dataset, config.clone()).run(device, &mut losses).unwrap();
    losses.0
}

fn simulator(room_for_data: usize) -> Device {
    let options = SimulatorOptions { room_for_data, ..SimulatorOptions::default() };
    Device::simulator(Some(2), options).unwrap()
}

#[test]
fn wherever_the_data_lies_a_training_is_the_same() {
    type Make = fn() -> Dataset;
    let datasets: [(&str, Make); 4] = [
        ("images", images),
        ("images of floats", images_of_floats),
        ("regression", regression),
        ("text", text),
    ];
    for (name, data) in datasets {
        let config = TrainConfig {
            batch_size: 4,
            bptt: 4,
            epochs: 3,
            log_every: 1,
            augment: name.starts_with("images"),
            ..TrainConfig::default()
        };
        let resident = losses(data(), &config, &simulator(1 << 30));
        let streamed = losses(data(), &config, &simulator(0));
        assert_eq!(resident, streamed, "{name}");
        let cpu = losses(data(), &config, &Device::cpu());
        assert_eq!(resident.len(), cpu.len(), "{name}");
        for (own, loss) in resident.iter().zip(&cpu) {
            assert!((own - loss).abs() <= 1e-3 * loss.abs(), "{name}: {resident:?}, not {cpu:?}");
        }
    }
}

#[test]
fn data_in_file_order_comes_in_file_order() {
    let config = TrainConfig {
        batch_size: 7,
        epochs: 2,
        log_every: 1,
        order: alrao::learn::Order::Sequential,
        ..TrainConfig::default()
    };
    let resident = losses(images(), &config, &simulator(1 << 30));
    assert_eq!(resident, losses(images(), &config, &simulator(0)));
    let shuffled = TrainConfig { order: alrao::learn::Order::Shuffled, ..config };
    assert_ne!(resident, losses(images(), &shuffled, &simulator(1 << 30)));
}

#[test]
fn too_little_memory_is_told_with_who_has_how_much() {
    let device = Device::simulator(Some(1), SimulatorOptions::default()).unwrap();
    let _kept = Tensor::zeros(&device, [1 << 20], DType::F32);
    Tensor::zeros(&device, [1 << 46], DType::F32);
    let message = device.check().unwrap_err().to_string();
    for part in
        ["268435456.0 MiB asked for", "4.0 MiB in use", "activations and their gradients 4.0 MiB"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// They are decoded on the host whatever the room on the device.
#[test]
fn images_in_files_come_to_every_device() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20u32 {
        let place = folder.path().join("train").join(["a", "b"][number as usize % 2]);
        std::fs::create_dir_all(&place).unwrap();
        let image = image::RgbImage::from_fn(12, 10 + number, |x, y| {
            [(x * 20) as u8, (y * 8) as u8, (number * 12) as u8].into()
        });
        image.save(place.join(format!("{number}.png"))).unwrap();
    }
    let options = LoadOptions { image_size: 8, ..LoadOptions::default() };
    let data = || load_with(folder.path().to_str().unwrap(), Kind::Arrays, &options).unwrap();
    for augment in [false, true] {
        let config = TrainConfig {
            batch_size: 3,
            epochs: 2,
            log_every: 1,
            augment,
            ..TrainConfig::default()
        };
        let simulated = losses(data(), &config, &simulator(1 << 30));
        assert_eq!(simulated, losses(data(), &config, &simulator(0)));
        let cpu = losses(data(), &config, &Device::cpu());
        assert_eq!(simulated.len(), cpu.len());
        for (own, loss) in simulated.iter().zip(&cpu) {
            assert!((own - loss).abs() <= 1e-3 * loss.abs(), "{simulated:?}, not {cpu:?}");
        }
    }
}
