//! What a checkpoint holds for PyTorch: its names, its shapes, every value where PyTorch has it.

use std::collections::BTreeMap;

use alrao::learn::{Checkpoint, Learner, Progress, TrainConfig};
use alrao::models::text_lstm::TextLstm;
use alrao::nn::{Buffer, Features, FileLayout, ForwardContext, Init, Module, Parameter, Visitor};
use alrao::ops::head::classifiers::Targets;
use alrao::{Alrao, AlraoConfig, DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};

const FILTERS: usize = 5;
const CHANNELS: usize = 3;
const ROWS: usize = 2;
const COLUMNS: usize = 4;

/// The value at `[k, c, r, s]`, told from every other.
fn value(k: usize, c: usize, r: usize, s: usize) -> f32 {
    (1000 * k + 100 * c + 10 * r + s) as f32
}

/// Parameters of each layout under PyTorch's names; what it computes is its input.
struct Layers {
    convolution: Parameter,
    depthwise: Parameter,
    mean: Buffer,
    variance: Buffer,
}

impl Layers {
    fn new() -> Self {
        let mut convolution = Vec::new();
        for k in 0..FILTERS {
            for (r, s) in taps() {
                convolution.extend((0..CHANNELS).map(|c| value(k, c, r, s)));
            }
        }
        let depthwise = taps().flat_map(|(r, s)| (0..FILTERS).map(move |k| value(k, 0, r, s)));
        let features = |inner, group| Features { count: FILTERS, inner, group };
        Layers {
            convolution: Parameter::new(
                [FILTERS, ROWS, COLUMNS, CHANNELS],
                convolution,
                features(ROWS * COLUMNS * CHANNELS, 0),
                FileLayout::Convolution,
            ),
            depthwise: Parameter::new(
                [ROWS, COLUMNS, FILTERS],
                depthwise.collect(),
                features(1, 1),
                FileLayout::Depthwise,
            ),
            mean: Buffer::statistic([FILTERS], 0.0),
            variance: Buffer::statistic([FILTERS], 1.0),
        }
    }
}

fn taps() -> impl Iterator<Item = (usize, usize)> {
    (0..ROWS).flat_map(|r| (0..COLUMNS).map(move |s| (r, s)))
}

impl Module for Layers {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        x.clone()
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.enter("features");
        visitor.parameter("0.weight", &self.convolution);
        visitor.parameter("1.weight", &self.depthwise);
        visitor.buffer("2.running_mean", &self.mean);
        visitor.buffer("2.running_var", &self.variance);
        visitor.leave();
    }
}

fn learner_of_layers() -> Learner {
    let config = AlraoConfig { classifiers: 3, ..AlraoConfig::default() };
    let sample = Tensor::zeros(&Device::cpu(), [2, 6], DType::F32);
    let model = Alrao::classifier(Layers::new(), 4, config);
    Learner::new(model, &sample, &TrainConfig::default(), &Device::cpu())
}

fn bytes_after(learner: &Learner, step: u64) -> Vec<u8> {
    let progress = Progress { step, ..Progress::default() };
    Checkpoint::capture(learner, None, progress).to_bytes()
}

/// Everything that PyTorch has a name for: its type and shape.
fn for_pytorch(file: &SafeTensors) -> BTreeMap<String, (Dtype, Vec<usize>)> {
    let named = file.iter().filter(|(name, _)| !name.starts_with("alrao."));
    named.map(|(name, view)| (name.to_owned(), (view.dtype(), view.shape().to_vec()))).collect()
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let (chunks, _) = file.tensor(name).unwrap().data().as_chunks();
    chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn a_checkpoint_has_pytorchs_names_types_and_shapes() {
    let bytes = bytes_after(&learner_of_layers(), 7);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let expected = [
        ("classifiers.bias", (Dtype::F32, vec![3, 4])),
        ("classifiers.weight", (Dtype::F32, vec![3, 4, 6])),
        ("features.0.weight", (Dtype::F32, vec![FILTERS, CHANNELS, ROWS, COLUMNS])),
        ("features.1.weight", (Dtype::F32, vec![FILTERS, 1, ROWS, COLUMNS])),
        ("features.2.num_batches_tracked", (Dtype::I64, vec![])),
        ("features.2.running_mean", (Dtype::F32, vec![FILTERS])),
        ("features.2.running_var", (Dtype::F32, vec![FILTERS])),
    ];
    assert_eq!(for_pytorch(&file), expected.map(|(name, what)| (name.to_owned(), what)).into());
    let counter = file.tensor("features.2.num_batches_tracked").unwrap();
    assert_eq!(counter.data(), 7i64.to_le_bytes());
}

#[test]
fn a_checkpoint_has_every_value_where_pytorch_has_it() {
    let bytes = bytes_after(&learner_of_layers(), 0);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (mut convolution, mut depthwise) = (Vec::new(), Vec::new());
    for k in 0..FILTERS {
        depthwise.extend(taps().map(|(r, s)| value(k, 0, r, s)));
        for c in 0..CHANNELS {
            convolution.extend(taps().map(|(r, s)| value(k, c, r, s)));
        }
    }
    assert_eq!(floats(&file, "features.0.weight"), convolution);
    assert_eq!(floats(&file, "features.1.weight"), depthwise);
    assert_eq!(floats(&file, "features.2.running_mean"), [0.0; FILTERS]);
    assert_eq!(floats(&file, "features.2.running_var"), [1.0; FILTERS]);
    assert_eq!(file.tensor("alrao.rates.features.1.weight").unwrap().shape(), [FILTERS]);
}

fn learner_of_text(seed: u64, tokens: &Tensor) -> Learner {
    let config = AlraoConfig { classifiers: 2, ..AlraoConfig::default() };
    let model = Alrao::classifier(TextLstm::new(7, 0.05, 0.0, &mut Init::new(seed)), 7, config);
    Learner::new(model, tokens, &TrainConfig { seed, ..TrainConfig::default() }, &Device::cpu())
}

#[test]
fn a_recurrent_checkpoint_has_pytorchs_gates() {
    let tokens = Tensor::from_slice(&Device::cpu(), [3, 1], &[0, 5, 6]);
    let bytes = bytes_after(&learner_of_text(0, &tokens), 0);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut expected = BTreeMap::from([
        ("encoder.weight".to_owned(), vec![7, 5]),
        ("classifiers.weight".to_owned(), vec![2, 7, 5]),
        ("classifiers.bias".to_owned(), vec![2, 7]),
    ]);
    for layer in 0..2 {
        for (name, shape) in [("weight", vec![20, 5]), ("bias", vec![20])] {
            expected.insert(format!("rnn.{name}_ih_l{layer}"), shape.clone());
            expected.insert(format!("rnn.{name}_hh_l{layer}"), shape);
        }
    }
    let got = for_pytorch(&file).into_iter().map(|(name, (_, shape))| (name, shape));
    assert_eq!(got.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(file.tensor("alrao.rates.rnn.weight_ih_l0").unwrap().shape(), [20]);
}

#[test]
fn a_checkpoint_serves_as_initial_values_of_another_run() {
    let tokens = Tensor::from_slice(&Device::cpu(), [3, 1], &[0, 5, 6]);
    let (trained, fresh) = (learner_of_text(0, &tokens), learner_of_text(1, &tokens));
    let targets = Tensor::from_slice(&Device::cpu(), [3], &[5, 6, 0]);
    trained.step(&tokens, Targets::Classes(&targets), 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.safetensors");
    std::fs::write(&path, bytes_after(&trained, 1)).unwrap();
    let evaluation = ForwardContext::evaluation(&Device::cpu(), DType::F32);
    let outputs = |learner: &Learner| {
        learner.reset_carried_state();
        learner.model().forward(&tokens, &evaluation).to_vec::<f32>()
    };
    assert_ne!(outputs(&fresh), outputs(&trained));
    fresh.load_initial(&path).unwrap();
    assert_eq!(outputs(&fresh), outputs(&trained));
}
