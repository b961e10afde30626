//! What the host does for a device in the middle of a training: counted, nothing is computed.

use std::rc::Rc;
use std::sync::Arc;

use alrao::data::{
    Arrays, Content, Dataset, Input, Inputs, Normalisation, Split, Targets, Task, Text, TokenKind,
    Vocabulary,
};
use alrao::device::{Gpu, HostWork};
use alrao::learn::{Silent, TrainConfig};
use alrao::models::{Activation, Architecture, ModelConfig, build};
use alrao::nn::Init;
use alrao::supervised::Trainer;
use alrao::{Alrao, AlraoConfig, Device, Error};

const BATCH: usize = 4;
const BPTT: usize = 3;

/// Samples, or rows of a text's columns, for training and for validation.
type Sizes = [usize; 2];

fn images([train, valid]: Sizes) -> Dataset {
    let sample = Input::Image { height: 8, width: 8, channels: 3 };
    let split = |samples: usize| {
        let inputs = Inputs::Bytes(vec![0; samples * sample.elements()]);
        let classes = (0..samples as i32).map(|sample| sample % 2).collect();
        Arc::new(Split::new(inputs, Targets::Classes(classes)))
    };
    dataset(Content::Arrays(Arrays {
        train: split(train),
        valid: Some(split(valid)),
        test: None,
        sample,
        task: Task::Classification { classes: 10 },
        normalisation: Some(Normalisation { mean: vec![0.5; 3], deviation: vec![1.0; 3] }),
        target_normalisation: None,
        table: None,
        names: None,
    }))
}

fn vectors([train, valid]: Sizes) -> Dataset {
    let split = |samples: usize| {
        let values = (0..2 * samples).map(|number| number as f32).collect();
        let targets = Targets::Values { values, columns: 2 };
        Arc::new(Split::new(Inputs::Floats(vec![0.0; 5 * samples]), targets))
    };
    dataset(Content::Arrays(Arrays {
        train: split(train),
        valid: Some(split(valid)),
        test: None,
        sample: Input::Vector { size: 5 },
        task: Task::Regression { outputs: 2 },
        normalisation: None,
        target_normalisation: None,
        table: None,
        names: None,
    }))
}

/// One more row is read than is told, so that a part of 3 n rows is n windows.
fn text(sizes: Sizes) -> Dataset {
    let [train, valid] = sizes
        .map(|rows| (0..((rows + 1) * BATCH) as i32).map(|place| place % 7).collect::<Vec<_>>());
    let vocabulary = Vocabulary::of(TokenKind::Character, ["abcdefg"]);
    dataset(Content::Text(Text {
        train,
        valid: Some(valid),
        test: None,
        vocabulary,
        entropy_rate: None,
        files: None,
    }))
}

fn dataset(content: Content) -> Dataset {
    Dataset { name: String::new(), fingerprint: String::new(), content }
}

/// A small model for images, vectors or text.
pub fn model_for(dataset: &Dataset, alrao: AlraoConfig) -> Alrao {
    let (architecture, input, task) = match &dataset.content {
        Content::Text(text) => {
            let vocabulary = text.vocabulary.len();
            let task = Task::Classification { classes: vocabulary };
            (Architecture::CharLstm, Input::Tokens { vocabulary }, task)
        }
        Content::Arrays(arrays) => {
            let architecture = match arrays.sample {
                Input::Image { .. } => Architecture::Cnn,
                _ => Architecture::Mlp,
            };
            (architecture, arrays.sample, arrays.task)
        }
    };
    let config = ModelConfig {
        architecture,
        width: 0.25,
        hidden: vec![12],
        dropout: 0.2,
        activation: Activation::Relu,
    };
    let module = build(&config, input, &mut Init::new(0)).unwrap().module;
    match task {
        Task::Classification { classes } => Alrao::classifier(module, classes, alrao),
        Task::Regression { outputs } => Alrao::regression(module, outputs, alrao),
    }
}

/// The host's work in a training of `steps` steps.
fn work(dataset: Dataset, augment: bool, steps: u64, room: usize) -> HostWork {
    trained(dataset, augment, steps, room).host_work()
}

/// The device after a training of `steps` steps.
fn trained(dataset: Dataset, augment: bool, steps: u64, room: usize) -> Rc<Gpu> {
    let device = Device::counter_with_room(room);
    let config = TrainConfig {
        batch_size: BATCH,
        bptt: BPTT,
        max_steps: Some(steps),
        log_every: 0,
        augment,
        ..TrainConfig::default()
    };
    let model = model_for(&dataset, AlraoConfig { classifiers: 3, ..AlraoConfig::default() });
    // The device computes no losses, so that no epoch is the best.
    let error = Trainer::new(model, dataset, config).run(&device, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::NoBestEpoch { .. }), "{error}");
    let Device::Gpu(gpu) = &device else { unreachable!("it counts what a GPU is asked for") };
    Rc::clone(gpu)
}

const ROOM: usize = usize::MAX;

/// What one more step in the middle of an epoch, and one more batch of an evaluation, add.
fn added(data: fn(Sizes) -> Dataset, unit: usize, augment: bool, room: usize) -> [HostWork; 2] {
    let batches = |train: usize, valid: usize| data([train * unit, valid * unit]);
    let step = work(batches(20, 9), augment, 12, room) - work(batches(20, 9), augment, 11, room);
    let evaluation =
        work(batches(20, 9), augment, 12, room) - work(batches(20, 8), augment, 12, room);
    [step, evaluation]
}

#[test]
fn a_step_on_data_that_lies_on_the_device_is_one_replay_and_nothing_else() {
    let replay = HostWork { replays: 1, ..HostWork::default() };
    assert_eq!(added(images, BATCH, false, ROOM), [replay; 2]);
    assert_eq!(added(images, BATCH, true, ROOM), [replay; 2]);
    assert_eq!(added(vectors, BATCH, false, ROOM), [replay; 2]);
    assert_eq!(added(text, BPTT, false, ROOM), [replay; 2]);
}

#[test]
fn a_step_on_streamed_data_is_one_copy_and_one_replay() {
    let both = HostWork { sends: 1, replays: 1, ..HostWork::default() };
    assert_eq!(added(images, BATCH, true, 0), [both; 2]);
    assert_eq!(added(vectors, BATCH, false, 0), [both; 2]);
    assert_eq!(added(text, BPTT, false, 0), [both; 2]);
}

/// The last batch of an epoch is shorter than the others: from the third epoch on it is a replay too, and an epoch needs no
/// memory and no launch outside of a captured graph.
#[test]
fn from_the_third_epoch_on_every_step_is_a_replay() {
    for (data, unit) in [(images as fn(Sizes) -> Dataset, BATCH), (vectors, BATCH), (text, BPTT)] {
        let steps = 5;
        let sizes = [steps * unit - 1, 2 * unit + 1];
        let of = |epochs| work(data(sizes), false, (epochs * steps) as u64, ROOM);
        let epoch = of(4) - of(3);
        assert_eq!((epoch.replays, epoch.launches), (steps as u64 + 3, 0), "{epoch:?}");
        assert_eq!((epoch.allocations, epoch.sends), (0, 0), "{epoch:?}");
    }
}

/// Streamed batches lie in three places, so three steps are captured. Their graphs share the memory that a step needs only
/// while it runs.
#[test]
fn steps_that_are_captured_later_need_hardly_any_memory() {
    let peak = |steps| trained(images([80, 4]), false, steps, 0).peak_bytes();
    let [ordinary, first, third] = [3, 4, 6].map(peak);
    assert!(first <= third && third < first + first / 20, "{ordinary}, {first}, {third} bytes");
}

/// What is larger than its room on the device is streamed.
#[test]
fn data_lies_on_the_device_where_it_fits() {
    let bytes = 12 * (8 * 8 * 3 + 4) + 8 * 4;
    let sends = |room| work(images([8, 4]), false, 2, room).sends;
    assert_eq!((sends(bytes), sends(bytes - 1)), (0, 3));
}
