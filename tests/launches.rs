//! What a training step asks of a GPU, counted without one.

use std::collections::BTreeMap;

use alrao::AlraoConfig;
use alrao::learn::{Optimizer, Precision, TrainConfig};
use alrao::models::{Activation, Architecture, Input, ModelConfig};
use alrao::supervised::step_launches;

fn launches(architecture: Architecture, train: &TrainConfig) -> BTreeMap<String, usize> {
    let side = architecture.usual_side();
    let config = ModelConfig {
        architecture,
        width: 1.0,
        hidden: vec![256, 256],
        dropout: 0.2,
        activation: Activation::Relu,
    };
    let (input, classes, batch_size) = match architecture {
        Architecture::CharLstm => (Input::Tokens { vocabulary: 50 }, 50, 20),
        Architecture::WordLstm => (Input::Tokens { vocabulary: 9_999 }, 9_999, 20),
        _ => (Input::Image { height: side, width: side, channels: 3 }, 10, 32),
    };
    let train = TrainConfig { batch_size, precision: Precision::Tf32, ..train.clone() };
    step_launches(&config, input, classes, AlraoConfig::default(), &train).unwrap()
}

/// Launches of all kernels of some families.
fn of_families(launches: &BTreeMap<String, usize>, families: &[&str]) -> usize {
    let is_one = |name: &str| families.iter().any(|family| name.starts_with(family));
    launches.iter().filter(|(name, _)| is_one(name)).map(|(_, count)| count).sum()
}

#[test]
fn a_step_of_each_model_launches_as_much_as_it_did() {
    // Two of them find the batch in the data on the device, the last one advances the counters.
    let pinned = [
        (Architecture::Mlp, 27),
        (Architecture::Cnn, 38),
        (Architecture::Vgg11, 77),
        (Architecture::Vgg19, 130),
        (Architecture::MobileNetV2, 330),
        (Architecture::GoogLeNet, 428),
        (Architecture::SeNet18, 177),
        (Architecture::AlexNet, 77),
        (Architecture::ResNet50, 339),
        (Architecture::DenseNet121, 765),
        (Architecture::CharLstm, 39),
        (Architecture::WordLstm, 38),
    ];
    let own = pinned.map(|(architecture, _)| {
        let own: usize = launches(architecture, &TrainConfig::default()).values().sum();
        (architecture, own)
    });
    assert_eq!(own, pinned);
}

/// Branches write into one tensor and read their gradients from one.
#[test]
fn what_lies_side_by_side_is_not_copied_there() {
    let own = launches(Architecture::GoogLeNet, &TrainConfig::default());
    assert_eq!(
        of_families(&own, &["elementwise"]),
        of_families(&own, &["elementwise_fill"]),
        "{own:#?}"
    );
}

#[test]
fn the_update_is_one_launch_and_three_with_a_clip() {
    let optimizers = [Optimizer::Alrao, Optimizer::Sgd, Optimizer::Adam, Optimizer::AlraoAdam];
    for architecture in [Architecture::Cnn, Architecture::MobileNetV2, Architecture::CharLstm] {
        for (optimizer, momentum) in optimizers.into_iter().flat_map(|own| [(own, 0.0), (own, 0.9)])
        {
            for (clip, count) in [(0.0, 1), (0.25, 3)] {
                let train = TrainConfig { optimizer, momentum, clip, ..TrainConfig::default() };
                let own = launches(architecture, &train);
                assert_eq!(
                    of_families(&own, &["optimizer", "clip"]),
                    count,
                    "{architecture}: {own:#?}"
                );
            }
        }
    }
}

#[test]
fn the_head_with_its_switch_is_at_most_four_launches() {
    let models =
        [Architecture::Mlp, Architecture::Vgg11, Architecture::CharLstm, Architecture::WordLstm];
    for architecture in models {
        let own = launches(architecture, &TrainConfig::default());
        // The other three kernels of many classes are the head's products, which go over its outputs by tiles.
        let beside = ["classifiers", "many_classes_mix", "many_classes_correct", "switch"];
        let count = of_families(&own, &beside);
        assert!(count <= 4, "{architecture}: {count} launches beside the products: {own:#?}");
    }
}
