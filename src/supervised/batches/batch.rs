//! A batch: its conversion from a data set's stored rows to a model's inputs and targets.

use std::rc::Rc;

use crate::device::DType;
use crate::learn::Learner;
use crate::ops::head::classifiers::{self, Head};
use crate::ops::input::augment::{Augmentation, images_from_bytes, images_from_floats};
use crate::ops::input::gather::{Selection, gather};
use crate::ops::update::step_statistics::advance;
use crate::tensor::Tensor;

/// Inputs and targets on the device: those of a step, or stored rows of a whole data set or of one batch.
#[derive(Clone)]
pub(crate) struct BatchTensors {
    /// Images `[B, H, W, C]`, vectors `[B, D]`, or tokens I32 `[T, B]`; stored images U8 or F32, stored vectors F32.
    pub inputs: Tensor,
    /// Classes I32 `[B]`, vectors `[B, M]`, or tokens I32 `[T B]`; stored tokens `[T, B]`.
    pub(super) targets: Tensor,
}

impl BatchTensors {
    pub fn targets(&self) -> classifiers::Targets<'_> {
        match self.targets.dtype() {
            DType::I32 => classifiers::Targets::Classes(&self.targets),
            _ => classifiers::Targets::Values(&self.targets),
        }
    }
}

/// The conversion of stored rows to a batch.
pub(super) enum Conversion {
    Images {
        dtype: DType,
        /// Channel mean and deviation, F64 `[C]`, where the images are bytes.
        normalisation: Option<(Tensor, Tensor)>,
    },
    Vectors {
        dtype: DType,
    },
    Tokens,
}

impl Conversion {
    fn tensors(
        &self,
        stored: &BatchTensors,
        selection: Option<Selection>,
        augmentation: Option<Augmentation>,
    ) -> BatchTensors {
        let targets = rows(&stored.targets, selection);
        let (inputs, targets) = match self {
            Conversion::Images { dtype, normalisation } => {
                let x = match stored.inputs.dtype() {
                    DType::U8 => {
                        let (mean, deviation) =
                            normalisation.as_ref().expect("images in bytes have a normalisation");
                        images_from_bytes(
                            &stored.inputs,
                            selection,
                            mean,
                            deviation,
                            *dtype,
                            augmentation,
                        )
                    }
                    _ => images_from_floats(&stored.inputs, selection, *dtype, augmentation),
                };
                (x, floats_in(&targets, dtype.wide()))
            }
            Conversion::Vectors { dtype } => {
                let x = floats_in(&rows(&stored.inputs, selection), *dtype);
                (x, floats_in(&targets, dtype.wide()))
            }
            Conversion::Tokens => {
                let count = targets.shape().elements();
                (rows(&stored.inputs, selection), targets.reshape([count]))
            }
        };
        BatchTensors { inputs, targets }
    }
}

fn rows(stored: &Tensor, selection: Option<Selection>) -> Tensor {
    selection.map_or_else(|| stored.clone(), |selection| gather(stored, selection))
}

/// Floats in the run's precision; whole numbers as they are.
fn floats_in(tensor: &Tensor, dtype: DType) -> Tensor {
    match tensor.dtype() {
        DType::F32 => tensor.cast(dtype),
        _ => tensor.clone(),
    }
}

/// The next batch, which the device can make without the host. Everything that differs between batches of this size is
/// on the device, so the same work, repeated, makes the next batch.
pub(crate) struct Batch {
    /// Number of samples, or of tokens.
    pub samples: usize,
    pub(super) stored: BatchTensors,
    pub(super) conversion: Rc<Conversion>,
    /// The rows of the batch; all stored rows if `None`.
    pub(super) position: Option<Position>,
    pub(super) augmentation: Option<Draw>,
}

/// A batch's place in a data set on the device.
#[derive(Clone)]
pub(super) struct Position {
    /// I32 `[1]`.
    pub cursor: Tensor,
    /// I32, the row for each place.
    pub order: Option<Tensor>,
    pub count: usize,
}

/// The parameters of random crops and flips.
#[derive(Clone)]
pub(super) struct Draw {
    pub seed: u64,
    /// The step's number, I64 `[1]`.
    pub step: Tensor,
    pub padding: usize,
}

impl Batch {
    /// Makes the batch.
    pub fn tensors(&self) -> BatchTensors {
        let selection = self.position.as_ref().map(|position| Selection {
            cursor: &position.cursor,
            order: position.order.as_ref(),
            count: position.count,
        });
        let augmentation = self.augmentation.as_ref().map(|draw| Augmentation {
            seed: draw.seed,
            step: &draw.step,
            padding: draw.padding,
        });
        self.conversion.tensors(&self.stored, selection, augmentation)
    }

    /// Makes the batch and takes a step on it.
    pub fn train(&self, learner: &Learner) -> Head {
        learner.step_within(&self.sources(), self.samples, &|take| {
            let batch = self.tensors();
            take(&batch.inputs, batch.targets(), self.cursor())
        })
    }

    /// Makes the batch and adds its losses to the learner's evaluation.
    pub fn evaluate(&self, learner: &Learner) {
        learner.evaluate_within(&self.sources(), self.samples, &|evaluate| {
            let batch = self.tensors();
            evaluate(&batch.inputs, batch.targets());
            self.advance();
        });
    }

    /// As [`Batch::evaluate`], and returns the predictions, `[samples, K]` or `[samples, D]`.
    pub fn evaluate_and_predict(&self, learner: &Learner) -> Tensor {
        let batch = self.tensors();
        let predictions =
            learner.evaluate_and_predict(&batch.inputs, batch.targets(), self.samples);
        self.advance();
        predictions
    }

    /// Moves the cursor to the next batch.
    pub fn advance(&self) {
        advance(None, self.cursor());
    }

    fn cursor(&self) -> Option<(&Tensor, usize)> {
        self.position.as_ref().map(|position| (&position.cursor, position.count))
    }

    /// The tensors that the batch is made from. For equal sources and sizes, the same work makes the next batch.
    fn sources(&self) -> Vec<Tensor> {
        let position = self.position.iter();
        let position =
            position.flat_map(|position| [Some(&position.cursor), position.order.as_ref()]);
        position.flatten().chain([&self.stored.inputs]).cloned().collect()
    }
}
