//! Regression: every classifier is a Gaussian around its outputs, and the switch weighs the classifiers.
//!
//! `cargo run --release --example regression`

use std::sync::Arc;

use alrao::data::{Arrays, Content, Dataset, Input, Inputs, Split, Targets, Task};
use alrao::learn::{Silent, TrainConfig};
use alrao::nn::{ForwardContext, Init, Linear, Module, Visitor};
use alrao::random::{Philox, Purpose};
use alrao::supervised::Trainer;
use alrao::{Alrao, AlraoConfig, Device, Result, Tensor};

struct Net(Linear);

impl Module for Net {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.0.forward(x, context).tanh()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("hidden", &self.0);
    }
}

/// `y = sin(3 x) + noise`.
fn waves(samples: usize, number: u64) -> Arc<Split> {
    let mut stream = Philox::new(0, Purpose::Data).stream(number);
    let x: Vec<f32> = (0..samples).map(|_| stream.uniform_in(-1.0, 1.0) as f32).collect();
    let y = x.iter().map(|x| (3.0 * x).sin() + 0.1 * stream.normal() as f32).collect();
    Arc::new(Split::new(Inputs::Floats(x), Targets::Values { values: y, columns: 1 }))
}

fn main() -> Result<()> {
    let dataset = Dataset {
        name: "waves".into(),
        fingerprint: String::new(),
        content: Content::Arrays(Arrays {
            train: waves(2000, 0),
            valid: Some(waves(500, 1)),
            test: Some(waves(500, 2)),
            sample: Input::Vector { size: 1 },
            task: Task::Regression { outputs: 1 },
            normalisation: None,
            target_normalisation: None,
            table: None,
            names: None,
        }),
    };
    let config = AlraoConfig { eta: 1e-4..=1.0, ..AlraoConfig::default() };
    let model = Alrao::regression(Net(Linear::new(1, 100, &mut Init::new(0))), 1, config);
    let report =
        Trainer::new(model, dataset, TrainConfig::default()).run(&Device::cpu(), &mut Silent)?;
    // A Gaussian of variance 1 around the truth has a loss of 1/2 log 2 pi + noise^2 / 2 = 0.924.
    println!("test loss {:.4}", report.test.map_or(f64::NAN, |test| test.loss));
    Ok(())
}
