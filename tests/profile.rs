//! Where the time of a training step goes: that nothing is left out, that costs are right, and that looking changes nothing.

use alrao::Device;
use alrao::bench::step::Inputs;
use alrao::device::{Cost, Profile};
use alrao::learn::{Learner, Optimizer};
use alrao::models::Architecture;
use alrao::supervised::RunConfig;

fn config(model: Architecture, width: f64, batch: usize) -> RunConfig {
    let mut config = alrao::bench::step::config(model, Optimizer::Alrao).unwrap();
    config.model.width = width;
    config.train.batch_size = batch;
    config
}

/// What one step does, one launch after the other.
fn step_of(model: Architecture, width: f64, batch: usize, device: &Device) -> Profile {
    let config = config(model, width, batch);
    let inputs = Inputs::new(&config, device).unwrap();
    let learner = inputs.learner(&config).unwrap();
    learner.steps().set_on(false);
    device.profile(|| drop(inputs.step(&learner))).unwrap()
}

fn cost(profile: &Profile, op: &str) -> Cost {
    profile.ops.get(op).map_or(Cost::default(), |own| own.cost)
}

#[test]
fn no_kernel_of_a_step_is_outside_of_the_ops() {
    let device = Device::counter();
    for model in Architecture::ALL {
        let profile = step_of(*model, 0.1, 2, &device);
        let launches: u64 = profile.ops.values().map(|own| own.launches).sum();
        assert_eq!(profile.outside.launches, 0, "{model}");
        assert!(launches > 10, "{model}: {launches} launches");
        for (op, own) in &profile.ops {
            let Cost { bytes, operations, .. } = own.cost;
            let is_advance = *op == "advance";
            assert!(
                own.calls > 0 && operations >= 0.0 && (bytes > 0.0 || is_advance),
                "{model}: {op}"
            );
        }
        let products = ["forward", "weight gradient"].map(|pass| {
            let of = |op| cost(&profile, &format!("{op} {pass}")).operations;
            of("conv2d") + of("depthwise") + of("linear")
        });
        assert_eq!(products[0], products[1], "{model}");
    }
}

#[test]
fn the_ops_of_a_convolutional_network() {
    let profile = step_of(Architecture::Cnn, 0.25, 2, &Device::cpu());
    let names: Vec<&str> = profile.ops.keys().copied().collect();
    let expected = [
        "advance",
        "batch_norm backward",
        "batch_norm forward",
        "classifiers bias gradient",
        "classifiers input gradient",
        "classifiers losses",
        "classifiers outputs",
        "classifiers weight gradient",
        "conv2d forward",
        "conv2d input gradient",
        "conv2d weight gradient",
        "fill",
        "global_average_pool backward",
        "global_average_pool forward",
        "max_pool2d backward",
        "max_pool2d forward",
        "optimizer",
        "step_statistics",
        "switch",
    ];
    assert_eq!(names, expected);
    // Kernels of 3 by 3 from 3 to 8, 16 and 32 channels, on images of 32, 16 and 8 pixels a side.
    let layers = [(3, 8, 32), (8, 16, 16), (16, 32, 8)];
    let layer = |(from, to, side): (usize, usize, usize)| 2 * 2 * side * side * to * 9 * from;
    let forward: usize = layers.into_iter().map(layer).sum();
    let of = |pass| cost(&profile, &format!("conv2d {pass}")).operations;
    assert_eq!(of("forward"), forward as f64);
    assert_eq!(of("weight gradient"), forward as f64);
    // Nobody wants the gradient of the images.
    assert_eq!(of("input gradient"), (forward - layer(layers[0])) as f64);
    let weights: usize = layers.into_iter().map(|(from, to, _)| 9 * from * to).sum();
    assert!(cost(&profile, "optimizer").bytes >= (3 * 4 * weights) as f64);
}

#[test]
fn the_ops_of_a_recurrent_network() {
    let profile = step_of(Architecture::CharLstm, 0.1, 2, &Device::cpu());
    let names: Vec<&str> = profile.ops.keys().copied().collect();
    let expected = [
        "advance",
        "classifiers bias gradient",
        "classifiers input gradient",
        "classifiers losses",
        "classifiers outputs",
        "classifiers weight gradient",
        "copy",
        "dropout backward",
        "dropout forward",
        "embedding backward",
        "embedding forward",
        "fill",
        "lstm bias gradient",
        "lstm input forward",
        "lstm input gradient",
        "lstm recurrence backward",
        "lstm recurrence forward",
        "lstm weight gradient",
        "optimizer",
        "step_statistics",
        "switch",
    ];
    assert_eq!(names, expected);
    // Two layers of ten units over ten inputs, 70 times of two samples.
    let product = (2 * 2 * 70 * 2 * 4 * 10 * 10) as f64;
    for op in ["input forward", "recurrence forward", "recurrence backward", "input gradient"] {
        assert_eq!(cost(&profile, &format!("lstm {op}")).operations, product, "{op}");
    }
    assert_eq!(cost(&profile, "lstm weight gradient").operations, 2.0 * product);
}

#[test]
fn a_look_into_a_step_changes_none_of_its_bits() {
    let device = Device::cpu();
    for model in [Architecture::Cnn, Architecture::CharLstm] {
        let config = config(model, 0.1, 2);
        let inputs = Inputs::new(&config, &device).unwrap();
        let values = |steps: &dyn Fn(&Learner)| {
            let learner = inputs.learner(&config).unwrap();
            (0..3).for_each(|_| steps(&learner));
            learner.flat().values().to_vec::<f32>()
        };
        let alone = values(&|learner| drop(inputs.step(learner)));
        let seen = values(&|learner| {
            device.profile(|| drop(inputs.step(learner))).unwrap();
        });
        assert!(alone == seen, "{model}");
    }
}
