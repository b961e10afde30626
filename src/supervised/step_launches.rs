//! The kernel launches of a training step, counted without a GPU.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alrao::{Alrao, AlraoConfig};
use crate::data::{
    Arrays, Content, Dataset, Inputs, Normalisation, Split, Targets, Task, Text, TokenKind,
    Vocabulary,
};
use crate::device::{Device, Profile};
use crate::error::Result;
use crate::learn::memory::{self, Part};
use crate::learn::{Learner, TrainConfig};
use crate::models::{self, Input, ModelConfig};
use crate::nn::Init;
use crate::supervised::batches::{BatchSource, Batches};

/// The number of launches of each kernel, by name, in one captured training step of a model with `classes` classes.
/// "memset" counts how often memory is set to zero. The data is on the device, images as bytes. Nothing is computed.
///
/// # Errors
/// Where there is no such model, or its initial weights or the data would not fit in memory.
pub fn step_launches(
    model: &ModelConfig,
    input: Input,
    classes: usize,
    alrao: AlraoConfig,
    train: &TrainConfig,
) -> Result<BTreeMap<String, usize>> {
    two_batches_of(model, input, classes, alrao, train, |learner, batches| {
        // The second step is captured.
        batches.for_each(|batch| drop(batch.train(learner)));
        learner.device().check()?;
        Ok(learner.steps().launches().expect("a GPU's second step is captured"))
    })
}

/// The ops and launches of the first of those steps, which is not captured. Nothing is computed.
///
/// # Errors
/// As [`step_launches`].
pub(crate) fn step_profile(
    model: &ModelConfig,
    input: Input,
    classes: usize,
    alrao: AlraoConfig,
    train: &TrainConfig,
) -> Result<Profile> {
    two_batches_of(model, input, classes, alrao, train, |learner, batches| {
        let batch = batches.next().expect("there are two batches");
        learner.device().profile(|| drop(batch.train(learner)))
    })
}

/// Does `work` with a model and two batches on a device that computes nothing.
fn two_batches_of<R>(
    model: &ModelConfig,
    input: Input,
    classes: usize,
    alrao: AlraoConfig,
    train: &TrainConfig,
    work: impl FnOnce(&Learner, &mut Batches) -> Result<R>,
) -> Result<R> {
    let model_part = memory::model_part(model, input, [alrao.classifiers, classes], train)?;
    let model_part = with_outputs_as_subject(model_part, input, classes, alrao.classifiers);
    memory::check_together(&[model_part, data_part(input, train)])?;
    let device = Device::counter();
    let module = models::build(model, input, &mut Init::new(train.seed))?.module;
    let source = BatchSource::new(&two_batches(input, classes, train), train, &device)?;
    let model = Alrao::classifier(module, classes, alrao);
    let learner = Learner::new(model, &source.sample(), train, &device);
    work(&learner, &mut source.training_batches(1, 0, learner.number()))
}

/// The part of a model that is too large because of its outputs names them.
fn with_outputs_as_subject(part: Part, input: Input, outputs: usize, classifiers: usize) -> Part {
    if outputs <= classifiers || !part.subject.starts_with("`classifiers`") {
        return part;
    }
    let name = if matches!(input, Input::Tokens { .. }) { "vocab" } else { "classes" };
    Part { subject: format!("`{name}` {outputs}"), ..part }
}

/// The memory of [`two_batches`].
fn data_part(input: Input, train: &TrainConfig) -> Part {
    let bytes = match input {
        Input::Image { .. } => input.elements(),
        Input::Vector { size } => size * size_of::<f32>(),
        Input::Tokens { .. } => train.bptt * size_of::<i32>(),
    };
    Part {
        subject: format!("`batch_size` {}", train.batch_size),
        what: "makes batches that take".into(),
        // Two of them, and their classes.
        bytes: 2 * train.batch_size as u128 * (bytes + size_of::<i32>()) as u128,
    }
}

/// Data of the right shape for two whole batches.
fn two_batches(input: Input, classes: usize, train: &TrainConfig) -> Dataset {
    let samples = 2 * train.batch_size;
    let arrays = |inputs, normalisation| {
        let targets = Targets::Classes(vec![0; samples]);
        Content::Arrays(Arrays {
            train: Arc::new(Split::new(inputs, targets)),
            valid: None,
            test: None,
            sample: input,
            task: Task::Classification { classes },
            normalisation,
            target_normalisation: None,
            table: None,
            names: None,
        })
    };
    let content = match input {
        Input::Image { channels, .. } => {
            let bytes = vec![0; samples * input.elements()];
            let normalisation =
                Normalisation { mean: vec![0.0; channels], deviation: vec![1.0; channels] };
            arrays(Inputs::Bytes(bytes), Some(normalisation))
        }
        Input::Vector { size } => arrays(Inputs::Floats(vec![0.0; samples * size]), None),
        Input::Tokens { .. } => Content::Text(Text {
            train: vec![0; (2 * train.bptt + 1) * train.batch_size],
            valid: None,
            test: None,
            vocabulary: Vocabulary::of(TokenKind::Character, []),
            entropy_rate: None,
            files: None,
        }),
    };
    Dataset { name: String::new(), fingerprint: String::new(), content }
}
