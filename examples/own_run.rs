//! Trains your own network in a run directory, with pictures. Started again, it goes on from where it was stopped.
//!
//! `cargo run --release --example own_run -- runs/own 8`

use alrao::data::{self, Kind};
use alrao::learn::{Observer, TrainConfig};
use alrao::nn::{BatchNorm2d, Conv2d, GlobalAveragePool, Init, MaxPool2d, Sequential};
use alrao::ops::layers::conv2d::Conv2dConfig;
use alrao::plots::RunPlots;
use alrao::supervised::{Event, Report, Supervised, Trainer};
use alrao::{Alrao, AlraoConfig, Device, DeviceKind, Result};

/// The network before training: three blocks, whose features are means over the image.
pub fn network() -> Sequential {
    let (padded, mut init) = (Conv2dConfig { padding: 1, ..Conv2dConfig::default() }, Init::new(0));
    let mut network = Sequential::new();
    for (inputs, outputs) in [(3, 16), (16, 32), (32, 64)] {
        network.push(Conv2d::new(inputs, outputs, 3, padded, false, &mut init));
        network.push(BatchNorm2d::new(outputs, &mut init).with_relu());
        network.push(MaxPool2d::new(2));
    }
    network.push(GlobalAveragePool);
    network
}

struct Print;

impl Observer<Supervised> for Print {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Epoch(epoch) = event {
            println!(
                "epoch {:>2}: validation loss {:.4}",
                epoch.epoch,
                epoch.valid_loss.unwrap_or(f64::NAN)
            );
        }
    }
}

/// Trains up to this number of epochs, those of earlier calls included.
pub fn train(directory: &str, epochs: u64) -> Result<Report> {
    let dataset = data::load("generated", Kind::Arrays, 0.2)?;
    let alrao = AlraoConfig::default();
    let plots = RunPlots::new(directory.as_ref(), &alrao);
    let model = Alrao::classifier(network(), 10, alrao);
    let config = TrainConfig { epochs, ..TrainConfig::default() };
    let trainer = Trainer::new(model, dataset, config).directory(directory);
    trainer.run(&Device::open(DeviceKind::Auto)?, &mut (Print, plots))
}

/// `DIRECTORY EPOCHS` are the arguments.
pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [directory, epochs] = &arguments[..] {
        let report = train(directory, epochs.parse().unwrap_or(8))?;
        println!(
            "test accuracy {:.3}",
            report.test.and_then(|test| test.accuracy).unwrap_or(f64::NAN)
        );
    }
    Ok(())
}
