//! Trained models as ONNX files, for programs in any language.
//!
//! The file has the whole way from raw inputs to predictions: the standardisation of the inputs, the network, the classifiers
//! and their average. It is made from the ops that the network uses in a forward pass on the CPU, so a network of your own can
//! be exported, too.

mod description;
mod graph;
mod mixture;
mod network;
mod operations;

use std::path::Path;

use self::graph::{Attribute, ElementType, Extent, Graph, Port};
use self::mixture::Mixture;
use self::network::{Network, Pair, Value, refused};
use crate::data::Normalisation;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::learn::{
    EvaluationPrecision, ModelRecord, TrainConfig, Trained, load, load_into, locate,
};
use crate::models::Input;
use crate::nn::{BufferKind, Entry, ForwardContext, Module, for_each_entry};
use crate::task::Task;
use crate::tensor::Tensor;
use crate::trace::{Step, record};

/// The batches of the two recorded passes: times of a text, and samples.
const BATCHES: [[usize; 2]; 2] = [[2, 3], [4, 5]];

/// A mean that a float cannot hold is kept in two parts if the rest is more than this share of the deviation.
const NEGLIGIBLE: f64 = 1e-6;

/// A model in ONNX's format.
///
/// ```
/// use alrao::data::{self, Kind};
/// use alrao::export::Onnx;
/// use alrao::learn::{Silent, TrainConfig};
/// use alrao::nn::{Init, Linear};
/// use alrao::supervised::Trainer;
/// use alrao::{Alrao, AlraoConfig, Device};
/// # let folder = tempfile::tempdir().unwrap();
/// # let (table, file) = (folder.path().join("points.csv"), folder.path().join("model.safetensors"));
/// # let lines: String = (0..60).map(|i| format!("{},{},{}\n", i % 7, i % 5, if i % 7 > 3 { "right" } else { "left" })).collect();
/// # std::fs::write(&table, format!("x,y,side\n{lines}")).unwrap();
/// # let mut options = data::LoadOptions::default();
/// # options.table.target = Some("side".into());
/// let dataset = data::load_with(table.to_str().unwrap(), Kind::Arrays, &options)?;
/// let network = || Linear::new(2, 8, &mut Init::new(0));
/// let model = Alrao::classifier(network(), 2, AlraoConfig::default());
/// let config = TrainConfig { epochs: 1, batch_size: 8, ..TrainConfig::default() };
/// Trainer::new(model, dataset, config).save_to(&file).run(&Device::cpu(), &mut Silent)?;
///
/// let onnx = Onnx::load(&file, network())?;
/// assert_eq!(onnx.inputs(), ["inputs float32 [batch, 2]"]);
/// assert_eq!(onnx.outputs(), ["probabilities float32 [batch, 2]"]);
/// std::fs::write(folder.path().join("model.onnx"), onnx.bytes()).unwrap();
/// # Ok::<(), alrao::Error>(())
/// ```
pub struct Onnx {
    bytes: Vec<u8>,
    signatures: [Vec<String>; 2],
    input: String,
    notes: Vec<String>,
    precision: EvaluationPrecision,
}

impl Onnx {
    /// A model whose network is one of alrao's own, from a run's directory (its best model) or a checkpoint.
    ///
    /// # Errors
    /// [`Error::Input`] naming the file: it is not a whole checkpoint, is of a network of its author's own, or of a model
    /// that no ONNX file can hold.
    pub fn open(source: impl AsRef<Path>) -> Result<Onnx> {
        let (file, _) = locate(source.as_ref())?;
        Onnx::new(&load(&file, TrainConfig::default(), &Device::cpu())?, &file)
    }

    /// A model whose network is your own, from a run's directory or a checkpoint, such as
    /// [`crate::supervised::Trainer::save_to`] writes. `pre_classifier` is the network that was trained; its weights are
    /// replaced.
    ///
    /// # Errors
    /// As [`Onnx::open`]; if the network has other parameters than the checkpoint, or does what no ONNX file can say, the
    /// message tells it.
    ///
    /// # Panics
    /// If the network does not take the inputs that the checkpoint describes.
    pub fn load(source: impl AsRef<Path>, pre_classifier: impl Module + 'static) -> Result<Onnx> {
        let (file, _) = locate(source.as_ref())?;
        Onnx::new(&load_into(Box::new(pre_classifier), &file, &Device::cpu())?, &file)
    }

    fn new(trained: &Trained, file: &Path) -> Result<Onnx> {
        let record = &trained.record;
        let of_file = |error: Error| match error {
            Error::Input { subject, message } => Error::file(file, format!("{subject} {message}")),
            other => other,
        };
        let input = record.input().map_err(|message| Error::file(file, message))?;
        record.check_columns(input).map_err(|message| Error::file(file, message))?;
        let graph = graph(trained, input).map_err(of_file)?;
        let (signatures, described) = (graph.signatures(), description::of_input(record, input));
        let description = format!(
            "{}: {described}. {}: {}.",
            name_of(input),
            output_name(record.task()),
            description::of_output(record.task())
        );
        let bytes = graph.into_file(&description, &description::texts(record)?).map_err(of_file)?;
        let (notes, precision) = (trained.notes.clone(), trained.precision);
        Ok(Onnx { bytes, signatures, input: described, notes, precision })
    }

    /// The content of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Name, type and extents of each input.
    pub fn inputs(&self) -> &[String] {
        &self.signatures[0]
    }

    /// Name, type and extents of each output.
    pub fn outputs(&self) -> &[String] {
        &self.signatures[1]
    }

    /// What the numbers of the first input are.
    pub fn input_description(&self) -> &str {
        &self.input
    }

    /// Remarks on the model's file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The precision of training, and the one of the weights that were exported.
    pub fn precision(&self) -> EvaluationPrecision {
        self.precision
    }
}

fn name_of(input: Input) -> &'static str {
    match input {
        Input::Image { .. } => "images",
        Input::Vector { .. } => "inputs",
        Input::Tokens { .. } => "tokens",
    }
}

fn output_name(task: Task) -> &'static str {
    match task {
        Task::Classification { .. } => "probabilities",
        Task::Regression { .. } => "values",
    }
}

/// The whole model.
fn graph(trained: &Trained, input: Input) -> Result<Graph> {
    let model = trained.learner.model();
    let task = model.task();
    let mixture =
        mixture(trained).ok_or_else(|| refused("has no classifier with finite weights".into()))?;
    let mut graph = Graph::default();
    graph.reserve(output_name(task));
    let port = input_port(input, description::of_input(&trained.record, input));
    let raw = graph.input(port);
    let passes = BATCHES.map(|batch| Pass::record(trained, input, batch));
    let x = standardised(&mut graph, raw.clone(), &trained.record, input);
    let states = state_ports(&mut graph, &passes);
    let mut network = Network::new(&mut graph, passes[0].parameters.clone());
    network.know(&passes[0].x, x);
    for (state, ports) in passes[0].states.iter().zip(&states) {
        network.know(&state.1, Value::new(ports[0].name.clone()));
    }
    network.add(&passes[0].steps, &passes[1].steps)?;
    let features = network.value(Pair(&passes[0].features, &passes[1].features))?;
    let features = network.as_recorded(&features);
    let last_states = last_states(&mut network, &passes[0].states)?;
    let mean = mixture.add(&mut graph, features);
    output(&mut graph, mean, raw, trained, input);
    for ([_, port], last) in states.into_iter().zip(last_states) {
        graph.output(port, last);
    }
    Ok(graph)
}

fn mixture(trained: &Trained) -> Option<Mixture> {
    let (model, averaging) = (trained.learner.model(), trained.learner.averaging());
    let log_weights = match model.task() {
        Task::Classification { .. } => averaging.log_posterior(),
        Task::Regression { .. } => averaging.log_value_weights(),
    };
    let classifiers = model.classifiers();
    let [weight, bias] = [classifiers.weight(), classifiers.bias()].map(|own| own.values());
    Mixture::new(model.task(), [&weight, &bias], &log_weights.to_f64s())
}

fn input_port(input: Input, description: String) -> Port {
    let batch = Extent::Free("batch");
    let (element, extents) = match input {
        Input::Image { height, width, channels } => {
            let fixed = [channels, height, width].map(Extent::Fixed);
            (ElementType::F32, [vec![batch], fixed.to_vec()].concat())
        }
        Input::Vector { size } => (ElementType::F32, vec![batch, Extent::Fixed(size)]),
        Input::Tokens { .. } => (ElementType::I64, vec![Extent::Free("time"), batch]),
    };
    Port { name: name_of(input).into(), element, extents, description }
}

/// The ops of the network for one batch.
struct Pass {
    x: Tensor,
    features: Tensor,
    steps: Vec<Step>,
    /// Parameters and running statistics, by name.
    parameters: Vec<(String, Tensor)>,
    /// The state that is carried from window to window, by name.
    states: Vec<(String, Tensor)>,
}

impl Pass {
    fn record(trained: &Trained, input: Input, [times, samples]: [usize; 2]) -> Pass {
        let (device, dtype) = (trained.learner.device(), trained.learner.dtype());
        let network = trained.learner.model().pre_classifier();
        let x = match input {
            Input::Tokens { vocabulary } => {
                let tokens: Vec<i32> =
                    (0..times * samples).map(|own| (own * times % vocabulary) as i32).collect();
                Tensor::from_slice(device, [times, samples], &tokens)
            }
            _ => {
                let shape = input.batch(samples);
                let elements = samples * input.elements();
                // Each pass has other numbers, so that computed values can be told from constants.
                let values: Vec<f64> = (0..elements)
                    .map(|own| (own * 37 % (20 + samples)) as f64 / 10.0 - 1.0)
                    .collect();
                Tensor::from_f64s(device, &shape[..], dtype, &values)
            }
        };
        let context = ForwardContext::evaluation(device, dtype);
        let (features, steps) = record(|| network.forward(&x, &context));
        let (mut parameters, mut states) = (Vec::new(), Vec::new());
        for_each_entry(network, &mut |name, entry| match entry {
            Entry::Parameter(parameter) => {
                parameters.push((name.to_owned(), parameter.value(&context)))
            }
            Entry::Buffer(buffer) => match (buffer.kind(), buffer.current()) {
                (BufferKind::Statistic, Some(own)) => {
                    parameters.push((name.to_owned(), own.clone()))
                }
                (BufferKind::Carried, Some(own)) => states.push((name.to_owned(), own.clone())),
                (_, None) => {}
            },
        });
        Pass { x, features, steps, parameters, states }
    }
}

/// The raw inputs less their mean, over their deviation.
fn standardised(graph: &mut Graph, raw: String, record: &ModelRecord, input: Input) -> Value {
    let as_value = match input {
        Input::Image { .. } => Value::channels_first,
        Input::Vector { .. } | Input::Tokens { .. } => Value::new,
    };
    let Some(own) = record.normalisation.as_ref().map(Normalisation::of_pair) else {
        return as_value(raw);
    };
    let columns = own.mean.len();
    let extents = match input {
        Input::Image { .. } => vec![columns, 1, 1],
        _ => vec![columns],
    };
    let mut constant = |name: &str, values: Vec<f32>| graph.floats(name, &extents, &values);
    let rest = |mean: &f64| mean - f64::from(*mean as f32);
    let mean = constant("input_mean", own.mean.iter().map(|mean| *mean as f32).collect());
    let deviation =
        constant("input_deviation", own.deviation.iter().map(|own| *own as f32).collect());
    let has_rest = own
        .mean
        .iter()
        .zip(&own.deviation)
        .any(|(mean, deviation)| rest(mean).abs() > NEGLIGIBLE * deviation);
    let rest = has_rest.then(|| {
        constant("input_mean_rest", own.mean.iter().map(|mean| rest(mean) as f32).collect())
    });
    let mut centred = graph.node("Sub", [raw, mean], vec![]);
    if let Some(rest) = rest {
        centred = graph.node("Sub", [centred, rest], vec![]);
    }
    as_value(graph.node("Div", [centred, deviation], vec![]))
}

/// The input and the output of each carried state.
fn state_ports(graph: &mut Graph, passes: &[Pass; 2]) -> Vec<[Port; 2]> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let states = &passes[0].states;
    let ports = states.iter().zip(&passes[1].states).map(|((name, own), (_, other))| {
        let is_unique = states.iter().filter(|(other, _)| last(other) == last(name)).count() == 1;
        let name = if is_unique { last(name) } else { name.clone() };
        let extent = |own: Option<usize>| own.map_or(Extent::Free("batch"), Extent::Fixed);
        let extents: Vec<Extent> = Pair(own, other).extents().into_iter().map(extent).collect();
        let port = |suffix: &str, description: &str| Port {
            name: format!("{name}{suffix}"),
            element: ElementType::F32,
            extents: extents.clone(),
            description: description.to_owned(),
        };
        [
            port("0", "the state before the first time; zeros at the start of a text"),
            port("n", "the state after the last time"),
        ]
    });
    let ports: Vec<[Port; 2]> = ports.collect();
    for [before, after] in &ports {
        graph.input(before.clone());
        graph.reserve(&after.name);
    }
    ports
}

/// The states after the last time, each joined from those of its layers.
///
/// # Errors
/// Where a state is not `[layers, B, H]`, or no LSTM replaces one of its layers.
fn last_states(network: &mut Network, states: &[(String, Tensor)]) -> Result<Vec<String>> {
    let mut joined = Vec::new();
    for (name, state) in states {
        let &[layers, samples, units] = state.shape().extents() else {
            return Err(refused(format!("carries {name} {}, not [layers, B, H]", state.shape())));
        };
        let mut parts = Vec::new();
        let axes = network.graph.ints("axes", &[0]);
        for number in 0..layers {
            let layer = state.slice(0, number, 1).reshape([samples, units]);
            let value = network.computed(&layer);
            let value = value.ok_or_else(|| {
                refused(format!("carries {name}, but no LSTM replaces its layer {number}"))
            })?;
            parts.push(network.graph.node("Unsqueeze", [value.name, axes.clone()], vec![]));
        }
        joined.push(network.graph.node("Concat", parts, vec![("axis", Attribute::Int(0))]));
    }
    Ok(joined)
}

/// The predictions `[samples, 1, K]` in their own units and the shape that a user expects.
fn output(graph: &mut Graph, mean: String, raw: String, trained: &Trained, input: Input) {
    let task = trained.learner.model().task();
    let outputs = task.outputs();
    let mut extents = vec![Extent::Free("batch"), Extent::Fixed(outputs)];
    let shape = match input {
        Input::Tokens { .. } => {
            extents.insert(0, Extent::Free("time"));
            let own = graph.node("Shape", [raw], vec![]);
            let classes = graph.ints("classes_of_token", &[outputs as i64]);
            graph.node("Concat", [own, classes], vec![("axis", Attribute::Int(0))])
        }
        _ => graph.ints("output_shape", &[-1, outputs as i64]),
    };
    let mut values = graph.node("Reshape", [mean, shape], vec![]);
    if let Some(targets) = trained.record.target_normalisation.as_ref().map(Normalisation::of_pair)
    {
        for (operator, name, own) in
            [("Mul", "target_deviation", targets.deviation), ("Add", "target_mean", targets.mean)]
        {
            let own: Vec<f32> = own.into_iter().map(|value| value as f32).collect();
            let constant = graph.floats(name, &[outputs], &own);
            values = graph.node(operator, [values, constant], vec![]);
        }
    }
    let (name, description) = (output_name(task).into(), description::of_output(task).into());
    graph.output(Port { name, element: ElementType::F32, extents, description }, values);
}
