//! Models with drawn weights, statistics and posteriors, as a training might leave them.

use std::path::{Path, PathBuf};

use alrao::learn::{Checkpoint, Learner, ModelRecord, Progress, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
use alrao::nn::{BufferKind, Entry, ForwardContext, Init, Module, for_each_entry};
use alrao::random::{Philox, Purpose, Stream};
use alrao::{Alrao, AlraoConfig, DType, Device, Tensor};

/// The weights of the classifiers; the last one has none.
pub(super) const WEIGHTS: [f64; 4] = [0.55, 0.3, 0.15, 0.0];

/// Units of a hidden layer.
pub(super) const HIDDEN: usize = 24;

/// A record of a model of `architecture` that tells 7 classes apart.
pub(super) fn record(architecture: &str, width: f64, extents: &[usize]) -> ModelRecord {
    let columns = *extents.last().unwrap();
    let normalisation = (0..columns).map(|own| (0.4 + 0.03 * own as f64, 0.2 + 0.05 * own as f64));
    ModelRecord {
        architecture: architecture.into(),
        width,
        hidden: vec![HIDDEN, HIDDEN],
        activation: None,
        dropout: 0.3,
        classifiers: WEIGHTS.len(),
        outputs: 7,
        regression: false,
        extents: extents.to_vec(),
        precision: "f32".into(),
        vocabulary: None,
        input_type: Some(if extents.len() == 3 { "bytes" } else { "floats" }.into()),
        validation: None,
        normalisation: Some(normalisation.unzip()),
        target_normalisation: None,
        classes: None,
        padded: false,
        table: None,
    }
}

/// A record of a model of a text with as many tokens as letters.
pub(super) fn record_of_text(architecture: &str) -> ModelRecord {
    let letters = ('a'..='k').map(String::from).collect::<Vec<_>>();
    let separator = if architecture == "word-lstm" { "\n" } else { "" };
    ModelRecord {
        outputs: letters.len(),
        vocabulary: Some(letters.join(separator)),
        input_type: None,
        normalisation: None,
        ..record(architecture, 0.16, &[letters.len()])
    }
}

/// One of alrao's own networks.
pub(super) fn network(record: &ModelRecord) -> Box<dyn Module> {
    let config = ModelConfig {
        architecture: record.architecture.parse::<Architecture>().unwrap(),
        width: record.width,
        hidden: record.hidden.clone(),
        activation: Activation::Relu,
        dropout: record.dropout,
    };
    let input = match record.extents[..] {
        [vocabulary] if record.vocabulary.is_some() => Input::Tokens { vocabulary },
        [size] => Input::Vector { size },
        [height, width, channels] => Input::Image { height, width, channels },
        _ => panic!("no input"),
    };
    build(&config, input, &mut Init::new(3)).unwrap().module
}

/// Weights that keep the scale of activations, and statistics of any channel.
fn draw(learner: &Learner, stream: &mut Stream) {
    for_each_entry(learner.model(), &mut |name, entry| match entry {
        Entry::Parameter(parameter) => {
            let shape = parameter.shape();
            let rows = parameter.features().count;
            let bound = match shape.rank() {
                1 => 0.3,
                _ => (6.0 / (shape.elements() / rows.max(1)) as f64).sqrt(),
            };
            // Embeddings, recurrent and last layers.
            let bound = if name.contains("encoder") { 0.5 } else { bound.min(1.0) };
            let is_factor = shape.rank() == 1 && name.ends_with("weight");
            let centre = if is_factor { 1.0 } else { 0.0 };
            let one = |_| centre + bound * (2.0 * stream.uniform() - 1.0);
            parameter.set_values(&(0..shape.elements()).map(one).collect::<Vec<_>>());
        }
        Entry::Buffer(buffer) if buffer.kind() == BufferKind::Statistic => {
            let value = buffer.value(learner.device(), DType::F32);
            let lowest = if name.ends_with("running_var") { 0.5 } else { -0.5 };
            let one = |_| lowest + stream.uniform();
            value.copy_from_f64s(&(0..value.shape().elements()).map(one).collect::<Vec<_>>());
        }
        Entry::Buffer(_) => {}
    });
}

/// A batch of 16 samples of the network's inputs, each about a number of its own.
fn batch(record: &ModelRecord, device: &Device, stream: &mut Stream) -> Tensor {
    if record.vocabulary.is_some() {
        let tokens: Vec<i32> =
            (0..32).map(|_| (stream.uniform() * record.outputs as f64) as i32).collect();
        return Tensor::from_slice(device, [2, 16], &tokens);
    }
    let size: usize = record.extents.iter().product();
    let mut values = Vec::new();
    for _ in 0..16 {
        let centre = stream.uniform_in(-2.0, 3.0);
        values.extend((0..size).map(|_| centre + stream.uniform_in(-0.5, 0.5)));
    }
    let shape = [&[16], &record.extents[..]].concat();
    Tensor::from_f64s(device, &shape[..], DType::F32, &values)
}

/// Scales the classifiers so that each logit has mean 0 and deviation 1 over the samples of a batch.
fn spread(learner: &Learner, batch: &Tensor) {
    let context = ForwardContext::evaluation(learner.device(), DType::F32);
    let logits = learner.model().forward(batch, &context);
    let columns = logits.shape()[1] * logits.shape()[2];
    let logits = logits.to_f64s();
    let column = |own: usize| logits.iter().skip(own).step_by(columns);
    let rows = (logits.len() / columns) as f64;
    let moments = |own: usize| {
        let mean = column(own).sum::<f64>() / rows;
        let variance = column(own).map(|x| (x - mean).powi(2)).sum::<f64>() / rows;
        (mean, variance.sqrt())
    };
    let moments: Vec<(f64, f64)> = (0..columns).map(moments).collect();
    for_each_entry(learner.model(), &mut |name, entry| {
        let Entry::Parameter(parameter) = entry else { return };
        let mut values = parameter.values();
        let inner = values.len() / columns.min(values.len());
        for (own, (mean, deviation)) in values.chunks_mut(inner).zip(&moments) {
            match name {
                "classifiers.weight" => own.iter_mut().for_each(|own| *own /= deviation),
                "classifiers.bias" => own[0] = (own[0] - mean) / deviation,
                _ => return,
            }
        }
        parameter.set_values(&values);
    });
    learner.reset_carried_state();
}

/// A learner of the recorded model, with drawn weights and [`WEIGHTS`].
pub(super) fn learner(record: &ModelRecord, network: Box<dyn Module>) -> Learner {
    let device = Device::cpu();
    let config = AlraoConfig { classifiers: record.classifiers, ..AlraoConfig::default() };
    let model = match record.regression {
        true => Alrao::regression(network, record.outputs, config),
        false => Alrao::classifier(network, record.outputs, config),
    };
    let sample = match record.vocabulary {
        Some(_) => Tensor::zeros(&device, [1, 1], DType::I32),
        None => Tensor::zeros(&device, &[&[1], &record.extents[..]].concat()[..], DType::F32),
    };
    let learner = Learner::new(model, &sample, &TrainConfig::default(), &device);
    let mut stream = Philox::new(11, Purpose::Data).stream(0);
    draw(&learner, &mut stream);
    spread(&learner, &batch(record, &device, &mut stream));
    let averaging = learner.averaging();
    let logarithms = WEIGHTS.map(f64::ln);
    averaging.log_posterior().copy_from_slice(&logarithms);
    averaging.log_value_weights().copy_from_slice(&logarithms);
    learner
}

/// Writes the learner's state as a checkpoint.
pub(super) fn written(
    learner: &Learner,
    record: &ModelRecord,
    folder: &Path,
    name: &str,
) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    Checkpoint::capture(learner, Some(record.clone()), Progress::default()).write(&path).unwrap();
    path
}
