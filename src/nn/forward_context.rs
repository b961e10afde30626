//! The forward context: what a forward pass needs besides its input.

use std::cell::Cell;

use crate::device::{DType, Device};
use crate::tape::Tape;
use crate::tensor::Tensor;

/// The context of one forward pass: device, precision, and in training the tape.
///
/// ```
/// use alrao::nn::{ForwardContext, Init, Linear, Module};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let context = ForwardContext::evaluation(&device, DType::F32);
/// let x = Tensor::zeros(&device, [8, 3], DType::F32);
/// assert_eq!(Linear::new(3, 5, &mut Init::new(0)).forward(&x, &context).shape(), [8, 5].into());
/// ```
pub struct ForwardContext {
    device: Device,
    dtype: DType,
    training: Option<Training>,
}

struct Training {
    tape: Tape,
    seed: u64,
    number: Tensor,
    dropouts: Cell<u32>,
}

impl ForwardContext {
    /// A pass without gradients: no dropout, and batch norm by its running statistics.
    pub fn evaluation(device: &Device, dtype: DType) -> Self {
        ForwardContext { device: device.clone(), dtype, training: None }
    }

    /// A training pass on a new tape. `number`, an I64 tensor of one element on the device, is the step's number. Random
    /// masks depend on it and on the seed.
    pub fn training(device: &Device, dtype: DType, seed: u64, number: &Tensor) -> Self {
        let training =
            Training { tape: Tape::new(), seed, number: number.clone(), dropouts: Cell::new(0) };
        ForwardContext { device: device.clone(), dtype, training: Some(training) }
    }

    /// Whether this is a training pass.
    pub fn is_training(&self) -> bool {
        self.training.is_some()
    }

    /// The tape, in training.
    pub fn tape(&self) -> Option<&Tape> {
        self.training.as_ref().map(|training| &training.tape)
    }

    /// The device of the pass.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The precision of parameters and activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Seed, step number and a fresh layer number for a random mask; `None` outside training.
    pub fn next_mask(&self) -> Option<Mask> {
        let training = self.training.as_ref()?;
        let layer = training.dropouts.get();
        training.dropouts.set(layer + 1);
        Some(Mask { seed: training.seed, step: training.number.clone(), layer })
    }
}

/// The seed, step and number of a dropout layer's random mask.
#[derive(Clone)]
pub struct Mask {
    /// The run's seed.
    pub seed: u64,
    /// The step's number on the device, I64.
    pub step: Tensor,
    /// The mask's number within the pass.
    pub layer: u32,
}
