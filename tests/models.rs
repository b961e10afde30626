//! The architectures: names, shapes and sizes.

use alrao::models::{Activation, Architecture, Input, ModelConfig, PreClassifier, build};
use alrao::nn::{Buffer, ForwardContext, Init, Module, Parameter, Visitor};
use alrao::{DType, Device, Result, Tensor};

const IMAGES: Input = Input::Image { height: 32, width: 32, channels: 3 };

fn input(architecture: Architecture) -> Input {
    match architecture {
        _ if architecture.is_lstm() => Input::Tokens { vocabulary: 50 },
        Architecture::AlexNet => Input::Image { height: 64, width: 70, channels: 3 },
        _ => IMAGES,
    }
}

fn build_at(architecture: Architecture, width: f64, input: Input) -> Result<PreClassifier> {
    let config = ModelConfig {
        architecture,
        width,
        hidden: vec![256, 256],
        dropout: 0.2,
        activation: Activation::Relu,
    };
    build(&config, input, &mut Init::new(0))
}

/// Full names, shapes in files, and the number of parameters.
#[derive(Default)]
struct Listing {
    path: Vec<String>,
    lines: Vec<String>,
    parameters: usize,
}

impl Listing {
    fn of(module: &dyn Module) -> Self {
        let mut listing = Listing::default();
        module.visit(&mut listing);
        listing
    }

    fn add(&mut self, name: &str, extents: &[usize]) {
        let extents: Vec<String> = extents.iter().map(usize::to_string).collect();
        let path: String = self.path.iter().map(|part| format!("{part}.")).collect();
        self.lines.push(format!("{path}{name} {}", extents.join("x")));
    }
}

impl Visitor for Listing {
    fn enter(&mut self, name: &str) {
        self.path.push(name.to_owned());
    }
    fn leave(&mut self) {
        self.path.pop();
    }
    fn parameter(&mut self, name: &str, parameter: &Parameter) {
        let shape = parameter.layout().file_shape(parameter.shape());
        let features = parameter.features();
        assert_eq!(shape.elements() % (features.count * features.inner), 0, "{name}");
        self.parameters += shape.elements();
        self.add(name, shape.extents());
    }
    fn buffer(&mut self, name: &str, buffer: &Buffer) {
        if buffer.kind() == alrao::nn::BufferKind::Statistic {
            self.add(name, buffer.shape().extents());
        }
    }
}

#[test]
fn every_parameter_has_pytorchs_name_and_shape() {
    let golden = include_str!("golden/models.txt");
    for architecture in Architecture::ALL.iter().copied() {
        let prefix = format!("{} ", architecture.name());
        let wanted: Vec<&str> =
            golden.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        let model = build_at(architecture, 0.25, input(architecture)).expect("it takes this");
        assert_eq!(Listing::of(&*model.module).lines, wanted, "{prefix}");
    }
}

#[test]
fn sizes_are_those_of_the_originals() {
    for (architecture, classes, wanted) in [
        (Architecture::Vgg19, 10, 20_040_522),
        (Architecture::MobileNetV2, 10, 2_296_922),
        (Architecture::GoogLeNet, 10, 6_166_250),
        (Architecture::SeNet18, 10, 11_260_354),
        (Architecture::AlexNet, 1000, 61_100_840),
        (Architecture::ResNet50, 1000, 25_557_032),
        (Architecture::DenseNet121, 1000, 7_978_856),
    ] {
        let model = build_at(architecture, 1.0, input(architecture)).expect("it takes images");
        let last_layer = model.features * classes + classes;
        assert_eq!(Listing::of(&*model.module).parameters + last_layer, wanted);
    }
}

/// Weights of the layer of this name.
fn weights(architecture: Architecture, name: &str) -> Vec<f64> {
    struct Find<'a>(Vec<String>, &'a str, Vec<f64>);
    impl Visitor for Find<'_> {
        fn enter(&mut self, name: &str) {
            self.0.push(name.to_owned());
        }
        fn leave(&mut self) {
            self.0.pop();
        }
        fn parameter(&mut self, name: &str, parameter: &Parameter) {
            if name == "weight" && self.0.join(".") == self.1 {
                self.2 = parameter.values();
            }
        }
        fn buffer(&mut self, _: &str, _: &Buffer) {}
    }
    let model = build_at(architecture, 0.5, input(architecture)).expect("it takes this");
    let mut find = Find(Vec::new(), name, Vec::new());
    model.module.visit(&mut find);
    find.2
}

/// Convolutions of the residual and dense networks have normal weights in torchvision, of variance 2 / fan out and fan
/// in; all others PyTorch's uniform ones.
#[test]
fn initial_weights_are_distributed_as_torchvisions() {
    for (architecture, name, variance, is_normal) in [
        (Architecture::ResNet50, "layer3.0.conv2", 2.0 / (9.0 * 128.0), true),
        (Architecture::ResNet50, "layer2.0.downsample.0", 2.0 / 256.0, true),
        (Architecture::DenseNet121, "features.denseblock3.denselayer5.conv1", 2.0 / 192.0, true),
        (Architecture::DenseNet121, "features.transition2.conv", 2.0 / 256.0, true),
        (Architecture::AlexNet, "features.3", 1.0 / (3.0 * 25.0 * 32.0), false),
        (Architecture::AlexNet, "classifier.1", 1.0 / (3.0 * 36.0 * 128.0), false),
    ] {
        let values = weights(architecture, name);
        let moment =
            |power| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
        assert!((moment(2) / variance - 1.0).abs() < 0.05, "{name}: {}, not {variance}", moment(2));
        // A Gaussian's fourth moment is 3 times its variance's square, a uniform one's 1.8 times.
        let wanted = if is_normal { 3.0 } else { 1.8 };
        let kurtosis = moment(4) / moment(2).powi(2);
        assert!((kurtosis - wanted).abs() < 0.2, "{name}: {kurtosis}");
    }
}

#[test]
fn models_end_in_features() {
    let device = Device::cpu();
    for architecture in Architecture::ALL.iter().copied() {
        let model = build_at(architecture, 0.1, input(architecture)).expect("it takes this");
        let x = match input(architecture) {
            Input::Image { height, width, channels } => {
                Tensor::full(&device, [6, height, width, channels], DType::F32, 0.5)
            }
            _ => Tensor::zeros(&device, [3, 2], DType::I32),
        };
        let z = model.module.forward(&x, &ForwardContext::evaluation(&device, DType::F32));
        assert_eq!(z.shape(), [6, model.features].into(), "{}", architecture.name());
    }
}

#[test]
fn a_model_says_what_it_takes() {
    let text = Input::Tokens { vocabulary: 5 };
    let vector = Input::Vector { size: 7 };
    let small = Input::Image { height: 8, width: 8, channels: 1 };
    let tiny = Input::Image { height: 8, width: 7, channels: 1 };
    for (architecture, wrong, message) in [
        (Architecture::Mlp, text, "takes images or vectors, not text of 5 tokens"),
        (Architecture::Cnn, vector, "takes images of at least 8 by 8, not vectors of 7"),
        (Architecture::Cnn, tiny, "not images of 8x7x1"),
        (Architecture::Vgg11, small, "takes images of 32 by 32, not images of 8x8"),
        (Architecture::MobileNetV2, vector, "takes images of 32 by 32"),
        (Architecture::AlexNet, IMAGES, "takes images of at least 63 by 63, not images of 32x32"),
        (Architecture::ResNet50, tiny, "takes images of at least 32 by 32"),
        (Architecture::DenseNet121, text, "takes images of at least 32 by 32"),
        (Architecture::CharLstm, IMAGES, "takes text, not images"),
        (Architecture::WordLstm, vector, "takes text, not vectors"),
    ] {
        let Err(error) = build_at(architecture, 1.0, wrong) else {
            panic!("{} took {wrong}", architecture.name());
        };
        let text = error.to_string();
        assert!(text.starts_with(&format!("`model` {}: ", architecture.name())), "{text}");
        assert!(text.contains(message), "{text}");
        assert_eq!(error.exit_code(), 2);
    }
    assert!(build_at(Architecture::Cnn, 0.01, small).is_ok());
    assert!(build_at(Architecture::Mlp, 1.0, vector).is_ok());
}

#[test]
fn names_are_read_back() {
    for architecture in Architecture::ALL.iter().copied() {
        assert_eq!(architecture.name().parse::<Architecture>().ok(), Some(architecture));
    }
    assert!("resnet".parse::<Architecture>().is_err());
}
