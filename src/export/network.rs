//! From the recorded ops of a network to the nodes of a graph.
//!
//! A pass is recorded twice, with batches of different sizes. An extent that differs between the two depends on the batch, and
//! every other number has to be the same.

use super::graph::{Attribute, Graph};
use crate::error::{Error, Result};
use crate::nn::FileLayout;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::trace::{Step, is_same};

/// The axes of `[N, H, W, C]` in the order of ONNX's images, and back.
const TO_CHANNELS_FIRST: [i64; 4] = [0, 3, 1, 2];
const TO_CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];

/// A value of the graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub name: String,
    /// Whether images `[N, H, W, C]` have the axes `[N, C, H, W]` in the graph.
    pub is_channels_first: bool,
}

impl Value {
    pub fn new(name: String) -> Self {
        Value { name, is_channels_first: false }
    }

    pub fn channels_first(name: String) -> Self {
        Value { name, is_channels_first: true }
    }
}

/// A tensor of the first recorded pass, and the one in its place in the second.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a>(pub &'a Tensor, pub &'a Tensor);

impl Pair<'_> {
    pub fn shape(&self) -> Shape {
        self.0.shape()
    }

    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// Whether an axis has the same extents as that axis of `other`.
    fn has_extent_of(&self, other: Pair, axis: usize) -> bool {
        let at = |own: &Tensor| own.shape().extents().get(axis).copied();
        [at(self.0), at(self.1)] == [at(other.0), at(other.1)]
    }

    /// The extents, with `None` for those that depend on the batch.
    pub fn extents(&self) -> Vec<Option<usize>> {
        let other = self.1.shape();
        let own = self.0.shape().extents().to_vec();
        let is_fixed =
            |(axis, own): (usize, usize)| (other.extents().get(axis) == Some(&own)).then_some(own);
        own.into_iter().enumerate().map(is_fixed).collect()
    }
}

/// Adds a network's recorded ops to a graph.
pub(super) struct Network<'a> {
    pub graph: &'a mut Graph,
    /// The parameters and statistics, by name.
    named: Vec<(String, Tensor)>,
    /// The tensors that were computed, in order. A later one may have taken an earlier one's place.
    known: Vec<(Tensor, Value)>,
}

impl<'a> Network<'a> {
    pub fn new(graph: &'a mut Graph, named: Vec<(String, Tensor)>) -> Self {
        Network { graph, named, known: Vec::new() }
    }

    /// Says which value a tensor is from now on.
    pub fn know(&mut self, tensor: &Tensor, value: Value) {
        self.known.push((tensor.clone(), value));
    }

    /// The value of a tensor that was computed.
    pub fn computed(&self, tensor: &Tensor) -> Option<Value> {
        let mut latest = self.known.iter().rev();
        latest.find(|(own, _)| is_same(own, tensor)).map(|(_, value)| value.clone())
    }

    /// The value of a tensor, which becomes a constant unless it was computed.
    pub fn value(&mut self, pair: Pair) -> Result<Value> {
        if let Some(value) = self.computed(pair.0) {
            return Ok(value);
        }
        let (name, values) = self.constant(pair)?;
        Ok(Value::new(self.graph.floats(&name, pair.shape().extents(), &values)))
    }

    /// Name and elements of a tensor that was not computed.
    ///
    /// # Errors
    /// Where the tensor was computed, or depends on the batch: an op made it that is not recorded.
    pub fn constant(&self, pair: Pair) -> Result<(String, Vec<f32>)> {
        let elements = pair.0.to_f64s();
        let values = elements.iter().map(|value| *value as f32).collect();
        if let Some((name, _)) = self.named.iter().find(|(_, own)| is_same(own, pair.0)) {
            return Ok((name.clone(), values));
        }
        let is_constant = pair.0.shape() == pair.1.shape()
            && elements.iter().zip(pair.1.to_f64s()).all(|(a, b)| a.to_bits() == b.to_bits());
        if self.computed(pair.0).is_some() || !is_constant {
            let message = format!(
                "has a tensor {} that ONNX takes as a constant, but it is computed, or made by an op that cannot be exported",
                pair.shape()
            );
            return Err(refused(message));
        }
        Ok(("constant".to_owned(), values))
    }

    /// A constant weight in the layout of PyTorch's files, which is ONNX's too.
    pub fn weight(&mut self, pair: Pair, layout: FileLayout) -> Result<String> {
        let (name, values) = self.constant(pair)?;
        let values = layout.to_file(pair.shape(), &values);
        Ok(self.graph.floats(&name, layout.file_shape(pair.shape()).extents(), &values))
    }

    /// Images with the axes `[N, C, H, W]`.
    pub fn channels_first(&mut self, value: &Value) -> String {
        match value.is_channels_first {
            true => value.name.clone(),
            false => self.transposed(&value.name, &TO_CHANNELS_FIRST),
        }
    }

    /// The value with its axes as in the recorded tensor.
    pub fn as_recorded(&mut self, value: &Value) -> String {
        match value.is_channels_first {
            true => self.transposed(&value.name, &TO_CHANNELS_LAST),
            false => value.name.clone(),
        }
    }

    pub fn transposed(&mut self, name: &str, axes: &[i64]) -> String {
        self.graph.node("Transpose", [name], vec![("perm", Attribute::Ints(axes.to_vec()))])
    }

    /// A value under the shape of `to`. `from`: its tensor, if the value has its shape.
    pub fn reshaped(&mut self, name: String, from: Option<Pair>, to: Pair) -> Result<String> {
        // In ONNX's shapes, 0 keeps the input's extent, and -1 is what the others leave.
        let is_kept = |axis| from.is_some_and(|from| from.has_extent_of(to, axis));
        let extent = |(axis, own): (usize, Option<usize>)| match own {
            Some(extent) => extent as i64,
            None if is_kept(axis) => 0,
            None => -1,
        };
        let extents: Vec<i64> = to.extents().into_iter().enumerate().map(extent).collect();
        if extents.iter().filter(|extent| **extent == -1).count() > 1 {
            let message = format!(
                "gives a tensor {} more than one axis that depends on the batch",
                to.shape()
            );
            return Err(refused(message));
        }
        let shape = self.graph.ints("shape", &extents);
        Ok(self.graph.node("Reshape", [name, shape], vec![]))
    }

    /// Adds the nodes of a recorded pass.
    ///
    /// # Errors
    /// Where the two passes differ in more than the sizes of their batches.
    pub fn add(&mut self, steps: &[Step], others: &[Step]) -> Result<()> {
        let is_alike = |(one, other): (&Step, &Step)| {
            one.operation == other.operation
                && one.inputs.len() == other.inputs.len()
                && one.outputs.len() == other.outputs.len()
        };
        if steps.len() != others.len() || !steps.iter().zip(others).all(is_alike) {
            return Err(refused("takes other steps for a batch of another size".to_owned()));
        }
        for (step, other) in steps.iter().zip(others) {
            let pairs = |own: fn(&Step) -> &Vec<Tensor>| -> Vec<Pair> {
                own(step).iter().zip(own(other)).map(|(one, other)| Pair(one, other)).collect()
            };
            self.translate(
                step.operation,
                &pairs(|step| &step.inputs),
                &pairs(|step| &step.outputs),
            )?;
        }
        Ok(())
    }
}

/// The error of a network that cannot be exported.
pub(super) fn refused(message: String) -> Error {
    Error::input("the network", message)
}
