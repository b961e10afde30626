//! Loads a run and predicts new samples.
//!
//! `cargo run --release --example predict -- runs/flowers new.csv`

use alrao::supervised::Predictor;
use alrao::{Device, DeviceKind, Result};

/// A line for each sample: its name, its likeliest class, and the class's probability.
pub fn lines(run: &str, data: &str) -> Result<Vec<String>> {
    let predictor = Predictor::open(run, &Device::open(DeviceKind::Auto)?)?;
    let mut lines = Vec::new();
    for batch in predictor.read(data)?.batches(predictor.batch_size()) {
        let predictions = predictor.predict(&batch.inputs)?;
        for (sample, name) in batch.names.iter().enumerate() {
            let (class, probability) = predictions.likeliest(sample, 1)[0];
            lines.push(format!("{name}: {}, {probability:.2}", predictor.class_name(class)));
        }
    }
    Ok(lines)
}

/// `RUN DATA` are the arguments.
pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, data] = &arguments[..] {
        lines(run, data)?.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}
