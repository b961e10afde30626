//! What one training step asks of a GPU, counted without one.

use std::collections::BTreeMap;

use crate::alrao::{Alrao, AlraoConfig};
use crate::device::{DType, Device};
use crate::error::Result;
use crate::models::{self, Input, ModelConfig};
use crate::nn::Init;
use crate::ops::classifiers::Targets;
use crate::tensor::Tensor;
use crate::train::{Learner, TrainConfig};

/// How often each kernel is launched in one recorded training step of a model that tells `classes` classes apart, by
/// name; under "memset", how often memory is set to zero. Nothing is computed.
///
/// # Errors
/// Where there is no such model.
pub fn step_launches(
    model: &ModelConfig,
    input: Input,
    classes: usize,
    alrao: AlraoConfig,
    train: &TrainConfig,
) -> Result<BTreeMap<String, usize>> {
    let device = Device::counter();
    let module = models::build(model, input, &mut Init::new(train.seed))?.module;
    let batch = train.batch_size;
    let (x, samples) = match input {
        Input::Image { height, width, channels } => {
            (Tensor::zeros(&device, [batch, height, width, channels], DType::F32), batch)
        }
        Input::Vector { size } => (Tensor::zeros(&device, [batch, size], DType::F32), batch),
        Input::Tokens { .. } => {
            (Tensor::zeros(&device, [train.bptt, batch], DType::I32), train.bptt * batch)
        }
    };
    let targets = Tensor::zeros(&device, [samples], DType::I32);
    let learner = Learner::new(Alrao::classifier(module, classes, alrao), &x, train, &device);
    // The first step is an ordinary one, the second is recorded.
    for _ in 0..2 {
        learner.step(&x, Targets::Classes(&targets), samples);
    }
    device.check()?;
    Ok(learner.steps().launches().expect("a GPU's second step is recorded"))
}
