//! The record of a forward pass's ops by name, from which `export` builds the graph of a network.
//!
//! Each op on the CPU notes what it did. An op that is composed of others notes nothing of its own.

use std::cell::RefCell;

use crate::tensor::Tensor;

/// What an op did, in terms of its inputs and outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    /// A function of each element, by its name.
    Unary(&'static str),
    /// `factor x + summand`.
    Affine { factor: f64, summand: f64 },
    /// A function of two elements with broadcasting, by its name.
    Binary(&'static str),
    /// A product over the last two axes.
    Matmul { transpose_a: bool, transpose_b: bool },
    /// The sum over the axes that a broadcast of the output to the input would expand.
    Sum,
    /// The same elements in the same order under another shape.
    Reshape,
    /// Images as rows, channel by channel.
    Flatten,
    /// The same elements elsewhere.
    Copy,
    /// As many elements of an axis as the output has, from `start` on.
    Slice { axis: usize, start: usize },
    /// The inputs side by side along the last axis.
    Concatenate,
    /// A convolution of an input with a weight and perhaps a bias; a depthwise one if the weight has three axes.
    Convolution { stride: usize, padding: usize, groups: usize },
    /// A normalisation of an input by weight, bias, mean and variance.
    BatchNorm { epsilon: f64, relu: bool },
    /// The largest value in each window.
    MaxPool { kernel: usize, stride: usize, padding: usize },
    /// The mean of each window.
    AveragePool { kernel: usize, stride: usize, padding: usize },
    /// The mean of each channel.
    GlobalAveragePool,
    /// The mean of windows that divide the image evenly.
    AdaptiveAveragePool,
    /// The rows of a table (the second input) for tokens (the first).
    Embedding,
    /// A recurrent layer. Inputs: x, both weights, both biases, the state h and c. Outputs: all times' h, and the state after
    /// the last time.
    Lstm,
}

/// An op of the forward pass.
pub(crate) struct Step {
    pub operation: Operation,
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

thread_local! {
    static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
}

/// Notes an op, if this thread records. An output that is one of the inputs unchanged needs no step.
#[inline]
pub(crate) fn note(operation: Operation, inputs: &[&Tensor], outputs: &[&Tensor]) {
    STEPS.with_borrow_mut(|steps| {
        let Some(steps) = steps else { return };
        if let [output] = outputs
            && inputs.iter().any(|input| is_same(input, output))
        {
            return;
        }
        let own = |tensors: &[&Tensor]| tensors.iter().map(|own| own.detach()).collect();
        steps.push(Step { operation, inputs: own(inputs), outputs: own(outputs) });
    });
}

/// Whether two tensors are the same elements under the same shape.
pub(crate) fn is_same(one: &Tensor, other: &Tensor) -> bool {
    one.shape() == other.shape() && one.lies_where(other)
}

/// Runs `work` and returns the ops that it used, in order. They keep all tensors, so no memory is used twice.
pub(crate) fn record<R>(work: impl FnOnce() -> R) -> (R, Vec<Step>) {
    /// Ends the recording also where `work` panics.
    struct Recording;
    impl Drop for Recording {
        fn drop(&mut self) {
            STEPS.set(None);
        }
    }
    STEPS.set(Some(Vec::new()));
    let recording = Recording;
    let result = work();
    let steps = STEPS.take().unwrap_or_default();
    drop(recording);
    (result, steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn the_ops_of_a_pass_are_recorded_in_order_and_those_outside_are_not() {
        let x = Tensor::from_slice(&Device::cpu(), [2, 2], &[1f32, -2.0, 3.0, 4.0]);
        let before = x.relu();
        let (y, steps) = record(|| before.add(&x).reshape([4]).reshape([4]));
        let _ = y.tanh();
        let found: Vec<Operation> = steps.iter().map(|step| step.operation).collect();
        assert_eq!(found, [Operation::Binary("add"), Operation::Reshape]);
        assert!(is_same(&steps[0].inputs[0], &before) && is_same(&steps[1].outputs[0], &y));
        assert!(!is_same(&steps[0].outputs[0], &y));
    }
}
