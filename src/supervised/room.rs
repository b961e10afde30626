//! Checks that a model and a training step fit in memory, before either is built.

use super::settings::RunConfig;
use crate::alrao::{Alrao, Task};
use crate::device::{DType, Device};
use crate::error::Result;
use crate::learn::memory::{self, Part};
use crate::learn::{Learner, Precision};
use crate::models::{self, Input};
use crate::nn::Init;
use crate::ops::head::classifiers::Targets;
use crate::tensor::Tensor;

/// Refuses a model or a batch that does not fit in memory beside the other parts. A GPU has its own memory; its driver reports
/// when that is full.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) naming the setting that determines the size.
pub(crate) fn check_room(
    config: &RunConfig,
    input: Input,
    task: Task,
    device: &Device,
    others: &[Part],
) -> Result<()> {
    let copies = [config.alrao.classifiers, task.outputs()];
    let model = memory::model_part(&config.model, input, copies, &config.train)?;
    memory::check_together(std::slice::from_ref(&model))?;
    let subject = match input {
        Input::Tokens { .. } if config.train.bptt > config.train.batch_size => "`bptt`".into(),
        _ => format!("`batch_size` {}", config.train.batch_size),
    };
    let bytes = config.train.batch_size as u128 * sample_bytes(config, input);
    let batch = Part { subject, what: "makes a batch that takes".into(), bytes };
    memory::check_together(&[std::slice::from_ref(&batch), others].concat())?;
    if device.name() == "cuda" {
        return Ok(());
    }
    let step = step_bytes(config, input, task)?.saturating_sub(model.bytes);
    let what = "makes a step that takes".into();
    let step = Part { what, bytes: batch.bytes + step, ..batch };
    memory::check_together(&[&[model, step], others].concat())
}

/// Host memory of one image or vector, or of one column of a window of text.
fn sample_bytes(config: &RunConfig, input: Input) -> u128 {
    let numbers = match input {
        Input::Tokens { .. } => config.train.bptt,
        _ => input.elements(),
    };
    (numbers * size_of::<f64>()) as u128
}

/// The memory of a model and a step, counted on a device that has none; free blocks count, since a device keeps them. It
/// grows with the batch along a line, which two small batches give.
fn step_bytes(config: &RunConfig, input: Input, task: Task) -> Result<u128> {
    const BATCHES: [usize; 2] = [2, 4];
    let counted = |batch_size| -> Result<u128> {
        let mut config = config.clone();
        // A GPU does not compute in f64.
        (config.train.precision, config.train.batch_size) = (Precision::F32, batch_size);
        let counter = Device::counter();
        let x = inputs(&config, input, &counter);
        let samples = match input {
            Input::Tokens { .. } => config.train.bptt * batch_size,
            _ => batch_size,
        };
        let zeros = |shape: &[usize], dtype| Tensor::zeros(&counter, shape, dtype);
        let model = models::build(&config.model, input, &mut Init::shapes_only())?;
        let model = Alrao::new(model.module, task, config.alrao.clone());
        let learner = Learner::new(model, &x, &config.train, &counter);
        let head = match task {
            Task::Classification { .. } => {
                learner.step(&x, Targets::Classes(&zeros(&[samples], DType::I32)), samples)
            }
            Task::Regression { outputs } => {
                let values = zeros(&[samples, outputs], DType::F32);
                learner.step(&x, Targets::Values(&values), samples)
            }
        };
        drop(head);
        let Device::Gpu(gpu) = &counter else { return Ok(0) };
        Ok(gpu.held_bytes() as u128)
    };
    let [small, large] = BATCHES;
    let (low, high) = (counted(small)?, counted(large)?);
    let each = high.saturating_sub(low) / (large - small) as u128;
    let size = config.train.precision.dtype().wide().size() / DType::F32.size();
    Ok((low + each * config.train.batch_size.saturating_sub(small) as u128) * size as u128)
}

/// A batch of a model's inputs, all zero.
pub(crate) fn inputs(config: &RunConfig, input: Input, device: &Device) -> Tensor {
    let batch = config.train.batch_size;
    let dtype = config.train.precision.dtype();
    match input {
        Input::Tokens { .. } => Tensor::zeros(device, [config.train.bptt, batch], DType::I32),
        _ => Tensor::zeros(device, &input.batch(batch)[..], dtype),
    }
}
