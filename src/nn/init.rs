//! Initial weights, drawn on the host from the distributions of PyTorch's defaults.

use std::cell::Cell;

use crate::nn::parameter::{Features, FileLayout, Parameter};
use crate::random::{Philox, Purpose, Stream};
use crate::shape::Shape;

/// The source of a model's initial weights, passed from layer to layer.
///
/// ```
/// use alrao::nn::{Init, Linear};
/// let mut init = Init::new(0);
/// let layer = Linear::new(784, 100, &mut init);
/// ```
pub struct Init {
    /// `None` for parameters without values.
    stream: Option<Stream>,
    groups: Cell<u32>,
}

impl Init {
    /// Weights that are a function of `seed`.
    pub fn new(seed: u64) -> Self {
        Init::from_stream(Some(Philox::new(seed, Purpose::Weights).stream(0)))
    }

    /// A separate source, so that the classifiers' weights do not depend on the pre-classifier.
    pub(crate) fn for_classifiers(seed: u64) -> Self {
        Init::from_stream(Some(Philox::new(seed, Purpose::Weights).stream(1)))
    }

    /// Makes parameters without values, to count a model's parameters without memory for them.
    pub fn shapes_only() -> Self {
        Init::from_stream(None)
    }

    fn from_stream(stream: Option<Stream>) -> Self {
        Init { stream, groups: Cell::new(0) }
    }

    fn parameter(
        &mut self,
        shape: Shape,
        features: Features,
        layout: FileLayout,
        mut draw: impl FnMut(&mut Stream) -> f32,
    ) -> Parameter {
        let Some(stream) = &mut self.stream else {
            return Parameter::empty(shape, features, layout);
        };
        let values = (0..shape.elements()).map(|_| draw(stream)).collect();
        Parameter::new(shape, values, features, layout)
    }

    /// A new group of features: parameters of the same group share their learning rates.
    pub fn group(&mut self) -> u32 {
        self.groups.set(self.groups.get() + 1);
        self.groups.get()
    }

    /// Uniform in `-bound..bound`.
    pub fn uniform(
        &mut self,
        shape: impl Into<Shape>,
        bound: f64,
        features: Features,
        layout: FileLayout,
    ) -> Parameter {
        let draw = |stream: &mut Stream| stream.uniform_in(-bound, bound) as f32;
        self.parameter(shape.into(), features, layout, draw)
    }

    /// Gaussian with mean 0 and the given standard deviation.
    pub fn normal(
        &mut self,
        shape: impl Into<Shape>,
        deviation: f64,
        features: Features,
        layout: FileLayout,
    ) -> Parameter {
        let draw = |stream: &mut Stream| (deviation * stream.normal()) as f32;
        self.parameter(shape.into(), features, layout, draw)
    }

    /// The same number everywhere.
    pub fn constant(
        &mut self,
        shape: impl Into<Shape>,
        value: f32,
        features: Features,
        layout: FileLayout,
    ) -> Parameter {
        self.parameter(shape.into(), features, layout, |_| value)
    }
}
