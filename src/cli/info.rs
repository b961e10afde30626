//! `alrao info`.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::estimates::{self, gpu_model};
use super::failure::Ending;
use super::messages;
use alrao::argument::{choice, real, whole};
use alrao::bench::estimate::gpus::GpuModel;
use alrao::bench::estimate::step;
use alrao::device::DeviceKind;
use alrao::error::{Error, Result};
use alrao::learn::Precision;
use alrao::learn::settings::{DeviceSettings, LearningSettings, hidden_layers};
use alrao::models::{self, Architecture, Input};
use alrao::nn::{Entry, Init, Module, for_each_entry};
use alrao::supervised::RunConfig;
use alrao::supervised::settings::{Settings, SupervisedSettings};
use alrao::supervised::step_launches;

/// Distinct characters of a text, if no number is given.
const CHARACTERS: usize = 50;

/// Distinct words of a text, as many as the paper's, if no number is given.
const WORDS: usize = 9_999;

/// A list as one argument.
type Layers = Vec<usize>;

/// Show a model's layers and count its parameters
#[derive(Args)]
#[command(allow_negative_numbers = true)]
#[command(after_help = "Examples:\n  alrao info --model vgg19 --classifiers 10\n  \
    alrao info --model vgg19 --step --estimate h200   # a step's time on a GPU, estimated")]
pub(super) struct Arguments {
    /// Architecture
    #[arg(long, value_name = "MODEL", value_parser = choice(Architecture::ALL))]
    model: Architecture,
    /// Classes of images or vectors [default: 10]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classes: Option<usize>,
    /// Distinct characters of a text, or its words [default: 50; word-lstm 9999]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    vocab: Option<usize>,
    /// Copies of the last layer [default: 10; LSTMs 6]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    classifiers: Option<usize>,
    /// Factor on the number of every layer's features [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = real)]
    width: Option<f64>,
    /// mlp: units of each hidden layer; an empty text for none [default: 256,256]
    #[arg(long, value_name = "UNITS,..", value_parser = hidden_layers)]
    hidden: Option<Layers>,
    /// Show the launches of one training step on a GPU in place of the layers; nothing is computed. They include the
    /// gathering of the batch from data on the device, which `bench step` leaves out
    #[arg(long)]
    step: bool,
    /// Samples of a batch of --step, or columns of a text [default: 32; LSTMs 20]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, requires = "step")]
    batch_size: Option<usize>,
    /// Number format of --step [default: tf32, as on cuda]
    #[arg(long, value_name = "PRECISION", value_parser = choice(Precision::ON_A_GPU), requires = "step")]
    precision: Option<Precision>,
    /// Estimate the time of --step on a GPU that is not at hand, kernel by kernel
    #[arg(long, value_name = "GPU", value_parser = gpu_model(), requires = "step")]
    estimate: Option<&'static GpuModel>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One layer: the parameters whose names differ only in the last part.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    /// Shape of its weight in PyTorch.
    shape: Vec<usize>,
    /// Number of learning rates that it draws.
    features: usize,
    parameters: u128,
}

#[derive(Debug, Serialize)]
struct Info {
    model: String,
    layers: Vec<Layer>,
    /// Inputs of the classifiers.
    features: usize,
    classes: usize,
    classifiers: usize,
    pre_classifier_parameters: u128,
    /// Parameters with one classifier.
    parameters: u128,
    /// Parameters with all classifiers.
    alrao_parameters: u128,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    if let Some(gpu) = arguments.estimate {
        let config = config(arguments)?;
        let (input, classes) = input(arguments)?;
        let step = step(gpu, &config.model, input, classes, config.alrao, &config.train)?;
        let text =
            if arguments.json { estimates::step_json(&step) } else { estimates::step_table(&step) };
        messages::result(&text)?;
        return Ok(Ending::Done);
    }
    if arguments.step {
        let launches = launches(arguments)?;
        let text = match arguments.json {
            true => serde_json::to_string(&launches)? + "\n",
            false => launch_table(&launches, config(arguments)?.train.precision),
        };
        messages::result(&text)?;
        return Ok(Ending::Done);
    }
    let info = describe(arguments)?;
    let text = if arguments.json { serde_json::to_string(&info)? + "\n" } else { table(&info) };
    messages::result(&text)?;
    Ok(Ending::Done)
}

fn config(arguments: &Arguments) -> Result<RunConfig> {
    let (model, width) = (Some(arguments.model), arguments.width);
    let task = SupervisedSettings { model, width, ..SupervisedSettings::default() };
    let learning = LearningSettings {
        hidden: arguments.hidden.clone(),
        classifiers: arguments.classifiers,
        batch_size: arguments.batch_size,
        precision: arguments.precision,
        ..LearningSettings::default()
    };
    // The launches are those of cuda, in its usual precision if none is given.
    let device = DeviceSettings { device: Some(DeviceKind::Cuda(0)), threads: None };
    Settings::new(task, learning, device).resolve()
}

/// How often each kernel is launched in one step.
fn launches(arguments: &Arguments) -> Result<BTreeMap<String, usize>> {
    let config = config(arguments)?;
    let (input, classes) = input(arguments)?;
    step_launches(&config.model, input, classes, config.alrao, &config.train)
}

fn launch_table(launches: &BTreeMap<String, usize>, precision: Precision) -> String {
    let mut rows: Vec<_> = launches.iter().collect();
    rows.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    let mut text = format!("{:<44} launches\n", "kernel");
    for (name, count) in &rows {
        let _ = writeln!(text, "{name:<44} {count:>8}");
    }
    let total: usize = launches.values().sum();
    text + &format!("{:<44} {total:>8}\n", format!("one step in {precision}, as one graph"))
}

fn describe(arguments: &Arguments) -> Result<Info> {
    let config = config(arguments)?;
    let (input, classes) = input(arguments)?;
    let model = models::build(&config.model, input, &mut Init::shapes_only())?;
    let layers = layers(&*model.module);
    let classifiers = config.alrao.classifiers;
    Ok(Info {
        model: arguments.model.to_string(),
        layers,
        features: model.features,
        classes,
        classifiers,
        pre_classifier_parameters: model.parameters(0, classes),
        parameters: model.parameters(1, classes),
        alrao_parameters: model.parameters(classifiers, classes),
    })
}

/// The input of the model, and its number of classes.
fn input(arguments: &Arguments) -> Result<(Input, usize)> {
    let name = arguments.model.name();
    let size = |key: &str, given: Option<usize>, default: usize| match given {
        Some(0) => Err(Error::field(key, "0 is not possible; give at least 1")),
        Some(size) if size > 1 << 24 => {
            Err(Error::field(key, format!("{size} is more than any data has")))
        }
        _ => Ok(given.unwrap_or(default)),
    };
    let refused = |key: &str, other: &str| {
        Error::field(key, format!("does not apply to `model` {name}; use `{other}`"))
    };
    if arguments.model.is_lstm() {
        let usual = if arguments.model == Architecture::WordLstm { WORDS } else { CHARACTERS };
        let vocabulary = size("vocab", arguments.vocab, usual)?;
        let refused = arguments.classes.map(|_| refused("classes", "vocab"));
        return refused.map_or(Ok((Input::Tokens { vocabulary }, vocabulary)), Err);
    }
    let classes = size("classes", arguments.classes, 10)?;
    let refused = arguments.vocab.map(|_| refused("vocab", "classes"));
    let side = arguments.model.usual_side();
    refused.map_or(Ok((Input::Image { height: side, width: side, channels: 3 }, classes)), Err)
}

fn layers(module: &dyn Module) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for_each_entry(module, &mut |name, entry| {
        let Entry::Parameter(parameter) = entry else { return };
        let name = layer_name(name);
        let shape = parameter.layout().file_shape(parameter.shape());
        let elements = parameter.count();
        match layers.last_mut().filter(|layer| layer.name == name) {
            Some(layer) => layer.parameters += elements,
            None => layers.push(Layer {
                name,
                shape: shape.extents().to_vec(),
                features: parameter.features().count,
                parameters: elements,
            }),
        }
    });
    layers
}

/// `features.0` of `features.0.weight`; `rnn l0` of `rnn.weight_ih_l0`, since one LSTM holds several layers.
fn layer_name(parameter: &str) -> String {
    let (layer, own) = parameter.rsplit_once('.').unwrap_or(("", parameter));
    match own.rsplit_once("_l") {
        Some((_, number)) if number.parse::<usize>().is_ok() => format!("{layer} l{number}"),
        _ => layer.to_owned(),
    }
}

fn table(info: &Info) -> String {
    let shapes: Vec<String> = info.layers.iter().map(|layer| shape(&layer.shape)).collect();
    let names = info.layers.iter().map(|layer| layer.name.len());
    let name_width = names.chain(["classifiers".len()]).max().unwrap_or(0);
    let copies = format!("[{}, {}, {}]", info.classifiers, info.classes, info.features);
    let shape_width = shapes.iter().map(String::len).chain([copies.len()]).max().unwrap_or(0);
    let mut text = String::new();
    let mut row = |name: &str, shape: &str, features: &str, parameters: &str| {
        writeln!(text, "{name:name_width$}  {shape:shape_width$}  {features:>8}  {parameters:>12}")
            .expect("a text can always grow");
    };
    row("layer", "shape", "features", "parameters");
    for (layer, shape) in info.layers.iter().zip(&shapes) {
        row(&layer.name, shape, &layer.features.to_string(), &thousands(layer.parameters));
    }
    let classifiers = info.alrao_parameters - info.pre_classifier_parameters;
    row("classifiers", &copies, &info.classifiers.to_string(), &thousands(classifiers));
    let million = |parameters: u128| format!("{:.3}M", parameters as f64 / 1e6);
    let copies = if info.classifiers == 1 {
        "classifier".into()
    } else {
        format!("{} classifiers", info.classifiers)
    };
    let mut total = |what: &str, parameters: u128| {
        writeln!(text, "{what:24}{:>14}  {:>8}", thousands(parameters), million(parameters))
            .expect("a text can always grow");
    };
    total("\npre-classifier", info.pre_classifier_parameters);
    total("with one classifier", info.parameters);
    total(&format!("with {copies}"), info.alrao_parameters);
    text
}

fn shape(extents: &[usize]) -> String {
    let extents: Vec<String> = extents.iter().map(usize::to_string).collect();
    format!("[{}]", extents.join(", "))
}

/// `20041034` as `20,041,034`.
fn thousands(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 20_041_034].map(thousands), ["0", "999", "1,000", "20,041,034"]);
    }

    #[test]
    fn a_layer_of_an_lstm_has_a_row_of_its_own() {
        assert_eq!(layer_name("rnn.weight_ih_l1"), "rnn l1");
        assert_eq!(layer_name("features.0.weight"), "features.0");
        assert_eq!(layer_name("layers.3.shortcut.0.bias"), "layers.3.shortcut.0");
    }
}
