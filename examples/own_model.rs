//! Trains your own network with Alrao: a pre-classifier, five lines, and no learning rate.
//!
//! `cargo run --release --example own_model`

use alrao::data::{self, Kind};
use alrao::learn::{Observer, TrainConfig};
use alrao::nn::{
    BatchNorm2d, Conv2d, ForwardContext, GlobalAveragePool, Init, MaxPool2d, Module, Sequential,
    Visitor,
};
use alrao::ops::layers::conv2d::Conv2dConfig;
use alrao::supervised::{Event, Supervised, Trainer};
use alrao::{Alrao, AlraoConfig, Device, DeviceKind, Result, Tensor};

/// Three blocks. Batch norm keeps features with too large a learning rate from disturbing the others. The network knows
/// nothing of Alrao or of classes.
struct Net {
    blocks: Sequential,
}

impl Net {
    fn new(init: &mut Init) -> Self {
        let padded = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let mut blocks = Sequential::new();
        for (inputs, outputs) in [(3, 32), (32, 64), (64, 128)] {
            blocks.push(Conv2d::new(inputs, outputs, 3, padded, false, init));
            blocks.push(BatchNorm2d::new(outputs, init).with_relu());
            blocks.push(MaxPool2d::new(2));
        }
        blocks.push(GlobalAveragePool);
        Net { blocks }
    }
}

impl Module for Net {
    /// Images `[N, H, W, 3]` to features `[N, 128]`.
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.blocks.forward(x, context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("blocks", &self.blocks);
    }
}

struct Print;

impl Observer<Supervised> for Print {
    fn notice(&mut self, event: &Event<'_>) {
        if let Event::Epoch(epoch) = event {
            let accuracy = epoch.valid_accuracy.unwrap_or_default();
            println!("epoch {:>2}: validation accuracy {:.1} %", epoch.epoch, 100.0 * accuracy);
        }
    }
}

fn main() -> Result<()> {
    let device = Device::open(DeviceKind::Auto)?;
    let dataset = data::load("generated", Kind::Arrays, 0.2)?;
    let model = Alrao::classifier(Net::new(&mut Init::new(0)), 10, AlraoConfig::default());
    let config = TrainConfig { epochs: 8, ..TrainConfig::default() };
    let report = Trainer::new(model, dataset, config).run(&device, &mut Print)?;
    let accuracy = report.test.and_then(|test| test.accuracy).unwrap_or_default();
    println!("test accuracy {:.1} %", 100.0 * accuracy);
    Ok(())
}
