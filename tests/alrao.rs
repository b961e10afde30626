//! The algorithm as a whole: its learning rates, and what it does when copies diverge.

use alrao::alrao::{classifier_rates, feature_rates};
use alrao::learn::{Learner, Precision, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig, build};
use alrao::nn::{ForwardContext, Init, Linear, Module, Visitor};
use alrao::ops::head::classifiers::Targets;
use alrao::random::{Philox, Purpose};
use alrao::{Alrao, AlraoConfig, DType, Device, Tensor};

/// A pre-classifier that is fixed: the features are the inputs.
struct Identity;

impl Module for Identity {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        x.clone()
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

const SAMPLES: usize = 200;
const CLASSES: usize = 3;

/// Points around three centres that overlap, so that the best logistic classifier is finite.
fn problem(device: &Device) -> (Tensor, Tensor) {
    let mut stream = Philox::new(5, Purpose::Data).stream(0);
    let labels: Vec<i32> = (0..SAMPLES).map(|_| stream.below(CLASSES as u64) as i32).collect();
    let x: Vec<f64> = labels
        .iter()
        .flat_map(|label| {
            let angle = f64::from(*label) * 2.1;
            [2.0 * angle.cos() + 2.0 * stream.normal(), 2.0 * angle.sin() + 2.0 * stream.normal()]
        })
        .collect();
    let labels = Tensor::from_slice(device, [SAMPLES], &labels);
    (Tensor::from_slice(device, [SAMPLES, 2], &x), labels)
}

/// Kolmogorov and Smirnov's distance to the uniform law, which 20,000 draws exceed once in 10^5.
#[test]
fn rates_are_log_uniform_and_in_range() {
    let (low, high) = (1e-5, 10.0);
    let mut stream = Philox::new(11, Purpose::Rates).stream(0);
    let mut places: Vec<f64> = feature_rates(20_000, &(low..=high), &mut stream)
        .into_iter()
        .inspect(|rate| assert!((low as f32..=high as f32).contains(&(*rate as f32)), "{rate}"))
        .map(|rate| (rate / low).ln() / (high / low).ln())
        .collect();
    places.sort_by(f64::total_cmp);
    let count = places.len() as f64;
    let distance =
        places.iter().enumerate().map(|(rank, place)| (place - rank as f64 / count).abs());
    let distance = distance.fold(0.0, f64::max);
    assert!(distance < 2.47 / count.sqrt(), "distance {distance}");
}

#[test]
fn classifiers_are_evenly_spread_with_exact_ends() {
    let rates = classifier_rates(6, &(1e-3..=100.0));
    assert_eq!((rates[0], rates[5]), (1e-3, 100.0));
    for pair in rates.windows(2) {
        assert!((pair[1] / pair[0] - 10.0).abs() < 1e-12, "{rates:?}");
    }
    assert!((classifier_rates(1, &(1e-4..=1.0))[0] - 1e-2).abs() < 1e-15);
    assert_eq!(classifier_rates(3, &(0.3..=0.3)), [0.3; 3]);
}

fn learner(architecture: Architecture, alrao: AlraoConfig, device: &Device) -> Learner {
    let config = ModelConfig {
        architecture,
        width: 0.5,
        hidden: vec![64],
        dropout: 0.0,
        activation: Activation::Relu,
    };
    let (input, sample) = match architecture {
        Architecture::CharLstm => {
            (Input::Tokens { vocabulary: 9 }, Tensor::zeros(device, [1, 1], DType::I32))
        }
        _ => {
            let input = Input::Image { height: 8, width: 8, channels: 3 };
            (input, Tensor::zeros(device, [1, 8, 8, 3], DType::F32))
        }
    };
    let model = build(&config, input, &mut Init::new(0)).unwrap().module;
    Learner::new(Alrao::classifier(model, 9, alrao), &sample, &TrainConfig::default(), device)
}

fn rates(learner: &Learner, name: &str) -> Vec<f64> {
    let entry = learner.flat().entries().iter().find(|entry| entry.name == name).unwrap();
    learner.flat().rates_of(entry).to_f64s()
}

#[test]
fn a_layer_s_parameters_share_their_rates_and_layers_do_not() {
    let device = Device::cpu();
    let alrao = AlraoConfig::default();
    let lstm = learner(Architecture::CharLstm, alrao.clone(), &device);
    let first = rates(&lstm, "rnn.weight_ih_l0");
    assert_eq!(first.len(), 50);
    for name in ["rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0"] {
        assert_eq!(rates(&lstm, name), first, "{name}");
    }
    assert_ne!(rates(&lstm, "rnn.weight_ih_l1"), first);
    assert_eq!(rates(&lstm, "encoder.weight").len(), 50);

    let cnn = learner(Architecture::Cnn, alrao.clone(), &device);
    assert_eq!(rates(&cnn, "features.1.weight"), rates(&cnn, "features.1.bias"));
    assert_ne!(rates(&cnn, "features.0.weight"), rates(&cnn, "features.1.weight"));
    let spread: Vec<f64> =
        classifier_rates(10, &alrao.eta).iter().map(|rate| f64::from(*rate as f32)).collect();
    assert_eq!(rates(&cnn, "classifiers.weight"), spread);
}

#[test]
fn a_part_of_the_features_can_be_frozen() {
    let device = Device::cpu();
    let alrao = AlraoConfig { trained_fraction: 0.25, ..AlraoConfig::default() };
    let cnn = learner(Architecture::Cnn, alrao, &device);
    let weights: Vec<f64> = ["features.0.weight", "features.4.weight", "features.8.weight"]
        .iter()
        .flat_map(|name| rates(&cnn, name))
        .collect();
    let trained = weights.iter().filter(|rate| **rate > 0.0).count() as f64 / weights.len() as f64;
    assert!((0.1..0.4).contains(&trained), "{trained} of the features learn");
    assert!(rates(&cnn, "classifiers.weight").iter().all(|rate| *rate > 0.0));
}

/// Rates up to 1e30 throw copies and features to infinity at once; the rest goes on learning.
#[test]
fn what_diverges_takes_nothing_else_with_it() {
    let device = Device::cpu();
    let alrao = AlraoConfig { eta: 1e-3..=1e30, classifiers: 12, ..AlraoConfig::default() };
    let sample = Tensor::zeros(&device, [1, 2], DType::F64);
    let train = TrainConfig { precision: Precision::F64, ..TrainConfig::default() };
    let learner =
        Learner::new(Alrao::classifier(Identity, CLASSES, alrao), &sample, &train, &device);
    let (x, labels) = problem(&device);
    let scaled = x.affine(1e290, 0.0);
    let first = learner.step(&x, Targets::Classes(&labels), SAMPLES).loss.item();
    // One batch of absurd inputs, which takes the weights of the fastest copies to infinity.
    learner.step(&scaled, Targets::Classes(&labels), SAMPLES);
    let mut last = f64::NAN;
    for _ in 0..300 {
        last = learner.step(&x, Targets::Classes(&labels), SAMPLES).loss.item();
    }
    let posterior = learner.posterior();
    assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{posterior:?}");
    assert!(first.is_finite() && last.is_finite(), "losses {first} and {last}");
    assert!(learner.sums().read().diverged_classifiers > 0.0);
}

/// A parameter that a pass does not use has no gradient left over from the pass before.
#[test]
fn an_unused_parameter_stands_still() {
    struct Half(Linear, Linear);
    impl Module for Half {
        fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
            self.0.forward(x, context)
        }
        fn visit(&self, visitor: &mut dyn Visitor) {
            visitor.child("used", &self.0);
            visitor.child("unused", &self.1);
        }
    }
    let device = Device::cpu();
    let mut init = Init::new(0);
    let net = Half(Linear::new(2, 4, &mut init), Linear::new(2, 4, &mut init));
    let sample = Tensor::zeros(&device, [1, 2], DType::F64);
    let train = TrainConfig { precision: Precision::F64, ..TrainConfig::default() };
    let learner = Learner::new(
        Alrao::classifier(net, CLASSES, AlraoConfig::default()),
        &sample,
        &train,
        &device,
    );
    let value = |name: &str| {
        let entry = learner.flat().entries().iter().find(|entry| entry.name == name).unwrap();
        learner.flat().view(learner.flat().values(), entry).to_f64s()
    };
    let (used, unused) = (value("used.weight"), value("unused.weight"));
    let (x, labels) = problem(&device);
    (0..3).for_each(|_| drop(learner.step(&x, Targets::Classes(&labels), SAMPLES)));
    assert_ne!(value("used.weight"), used);
    assert_eq!(value("unused.weight"), unused);
}

/// A pre-classifier with one child of a given name.
struct Named(&'static str, Linear);

impl Module for Named {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.1.forward(x, context)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child(self.0, &self.1);
    }
}

fn with_child(name: &'static str) -> Alrao {
    let net = Named(name, Linear::new(2, 4, &mut Init::new(0)));
    Alrao::classifier(net, CLASSES, AlraoConfig::default())
}

#[test]
#[should_panic(
    expected = "has 'classifiers.weight', but names that begin with 'classifiers.' are Alrao's own"
)]
fn a_pre_classifier_has_no_child_named_classifiers() {
    with_child("classifiers");
}

#[test]
#[should_panic(expected = "rename its child 'alrao'")]
fn a_pre_classifier_has_no_child_named_alrao() {
    with_child("alrao");
}

#[test]
fn names_that_only_resemble_reserved_ones_are_free() {
    with_child("classifiers_2");
    with_child("classifier");
    with_child("alraos");
}
