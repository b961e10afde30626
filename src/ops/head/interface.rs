//! Inputs and results of the head's ops.

use crate::device::{DType, Op};
use crate::ops::begin;
use crate::tensor::{Tensor, assert_alike, assert_wide};

/// Logits of one task.
const PIECE: usize = 1 << 12;

/// The targets of the classifiers.
#[derive(Clone, Copy)]
pub enum Targets<'a> {
    /// A class for each sample: I32 `[B]`.
    Classes(&'a Tensor),
    /// Numbers to regress on: `[B, D]`.
    Values(&'a Tensor),
    /// A number to regress on for one output of each sample, as in Q-learning, where only the value of the chosen
    /// action is observed. The sample's loss ignores the other outputs, even if they are not finite.
    Chosen {
        /// The chosen outputs: I32 `[B]`.
        outputs: &'a Tensor,
        /// Their targets: `[B]`.
        values: &'a Tensor,
        /// Above 0: the gradients clip the error `x_ijc - v_i` to this size, the likelihood does not (the error
        /// clipping of Mnih et al. 2015; infinite for none).
        limit: f64,
    },
}

impl<'a> Targets<'a> {
    /// Their tensors.
    pub(crate) fn tensors(self) -> Vec<&'a Tensor> {
        match self {
            Targets::Classes(targets) | Targets::Values(targets) => vec![targets],
            Targets::Chosen { outputs, values, .. } => vec![outputs, values],
        }
    }

    /// Targets of the same kind with other tensors, in the order of [`Targets::tensors`].
    pub(crate) fn made_of<'b>(self, tensors: &'b [Tensor]) -> Targets<'b> {
        match (self, tensors) {
            (Targets::Classes(_), [targets]) => Targets::Classes(targets),
            (Targets::Values(_), [targets]) => Targets::Values(targets),
            (Targets::Chosen { limit, .. }, [outputs, values]) => {
                Targets::Chosen { outputs, values, limit }
            }
            _ => panic!("classifiers: targets of {} tensors", tensors.len()),
        }
    }

    /// The numbers to regress on.
    pub(super) fn values(self) -> Option<&'a Tensor> {
        match self {
            Targets::Classes(_) => None,
            Targets::Values(values) | Targets::Chosen { values, .. } => Some(values),
        }
    }
}

/// The losses of a batch.
#[derive(Clone)]
pub struct Head {
    /// The scalar on the tape from which the backward pass starts. Its value is the sum of the finite losses of the
    /// classifiers and the mixture. Its backward pass gives each parameter the gradient described in
    /// [`super::classifiers`], and assumes a
    /// gradient of 1 at the scalar.
    pub objective: Tensor,
    /// F64 `[1]`: the mixture's mean loss; infinite if some sample has no finite classifier.
    pub loss: Tensor,
    /// I32 `[1]`: samples whose likeliest class under the mixture is right; 0 in regression.
    pub correct: Tensor,
    /// F64 `[N]`: each classifier's mean loss; infinite if it diverged.
    pub classifier_losses: Tensor,
    /// U8 `[N]`: 1 for a diverged classifier, under which some sample has no finite likelihood.
    pub diverged: Tensor,
    /// I32 `[1]`: samples without a finite classifier of positive weight. Their `dz` is zero.
    pub samples_without_finite_classifier: Tensor,
}

/// The numbers of samples B, inputs d, classifiers N, and outputs of a classifier K.
#[derive(Clone, Copy)]
pub(super) struct Extents {
    pub samples: usize,
    pub inputs: usize,
    pub classifiers: usize,
    pub outputs: usize,
}

impl Extents {
    pub fn of(op: &str, z: &Tensor, weight: &Tensor, bias: &Tensor) -> Self {
        assert_alike(op, &[z, weight]);
        assert_wide(op, z, &[bias]);
        let (z_shape, shape) = (z.shape(), weight.shape());
        let fits = z_shape.rank() == 2
            && shape.rank() == 3
            && shape[2] == z_shape[1]
            && bias.shape().extents() == &shape.extents()[..2];
        assert!(
            fits,
            "{op}: z {z_shape}, weight {shape} and bias {} are not [B, d], [N, K, d] and [N, K]",
            bias.shape()
        );
        assert!(
            weight.is_contiguous() && bias.is_contiguous(),
            "{op}: weight {shape} or bias {} has gaps",
            bias.shape()
        );
        assert!(
            shape[0] > 0 && shape[1] > 0,
            "{op}: weight {shape} has no classifiers or no outputs"
        );
        Extents {
            samples: z_shape[0],
            inputs: z_shape[1],
            classifiers: shape[0],
            outputs: shape[1],
        }
    }

    /// The number of logits of one sample, over all classifiers.
    pub fn row(&self) -> usize {
        self.classifiers * self.outputs
    }

    /// Begins a product with all classifiers' weights, or of their gradient, that reads or writes these tensors once.
    pub fn product_op(&self, name: &'static str, tensors: &[&Tensor]) -> Option<Op> {
        let operations = 2 * self.samples * self.row() * self.inputs;
        begin(name, tensors, operations)
    }

    /// Begins the pass from logits to losses and gradients: an exponential, three sums and two products for each logit.
    pub fn losses_op(&self, scores: &Tensor, g: &Tensor) -> Option<Op> {
        let operations = 6 * scores.shape().elements();
        begin("classifiers losses", &[scores, g], operations)
    }

    pub fn bias_gradient_op(&self, g: &Tensor, db: &Tensor) -> Option<Op> {
        let operations = g.shape().elements();
        begin("classifiers bias gradient", &[g, db], operations)
    }

    /// Samples of one task.
    pub fn task_samples(&self) -> usize {
        (PIECE / self.row().max(1)).max(1)
    }

    pub fn check_targets(&self, op: &str, targets: Targets) {
        match targets {
            Targets::Classes(classes) => assert!(
                classes.dtype() == DType::I32 && classes.shape().elements() == self.samples,
                "{op}: classes {:?} {} for {} samples",
                classes.dtype(),
                classes.shape(),
                self.samples
            ),
            Targets::Values(values) => assert!(
                values.shape().extents() == [self.samples, self.outputs],
                "{op}: values {} for {} samples of {} outputs",
                values.shape(),
                self.samples,
                self.outputs
            ),
            Targets::Chosen { outputs, values, limit } => assert!(
                outputs.dtype() == DType::I32
                    && outputs.shape().extents() == [self.samples]
                    && values.shape().extents() == [self.samples]
                    && limit > 0.0,
                "{op}: chosen outputs {:?} {} and values {} for {} samples, errors up to {limit}",
                outputs.dtype(),
                outputs.shape(),
                values.shape(),
                self.samples
            ),
        }
    }

    pub fn check_posterior(&self, op: &str, log_posterior: &Tensor) {
        assert!(
            log_posterior.dtype() == DType::F64
                && log_posterior.shape().extents() == [self.classifiers],
            "{op}: log-posterior {:?} {} for {} classifiers",
            log_posterior.dtype(),
            log_posterior.shape(),
            self.classifiers
        );
    }
}

/// How a launch gets the logits that an earlier one computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// They are stored in memory.
    Stored,
    /// They are computed again. Only on a GPU, in tf32, for F32, classes and at most 128 inputs; otherwise they are
    /// stored.
    Recomputed,
}

/// The kind of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionKind {
    /// In classification, the logarithms of the classes' probabilities.
    LogProbabilities,
    /// In regression, the weighted averages of the outputs.
    Mean,
}
