//! The interface of layers and models: a forward pass, and the parameters by name.

use crate::nn::{Buffer, ForwardContext, Parameter};
use crate::tape::Tape;
use crate::tensor::Tensor;

/// A layer or a model.
pub trait Module {
    /// The output for a batch of inputs.
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor;

    /// The same, but the layer may write its output to `place`, memory of the output's shape. A layer that cannot do so
    /// returns a new tensor.
    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        let _ = place;
        self.forward(x, context)
    }

    /// Passes every parameter, buffer and child to a visitor, always in the same order.
    fn visit(&self, visitor: &mut dyn Visitor);
}

impl Module for Box<dyn Module> {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        (**self).forward(x, context)
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        (**self).forward_at(x, context, place)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        (**self).visit(visitor);
    }
}

/// A traversal of a model's parameters by PyTorch's names.
pub trait Visitor {
    /// Called before a child module of this name.
    fn enter(&mut self, name: &str);
    /// Called after the child module.
    fn leave(&mut self);
    /// A parameter of the current module.
    fn parameter(&mut self, name: &str, parameter: &Parameter);
    /// A buffer of the current module.
    fn buffer(&mut self, name: &str, buffer: &Buffer);
}

impl dyn Visitor + '_ {
    /// Visits a child module.
    pub fn child(&mut self, name: &str, module: &dyn Module) {
        self.enter(name);
        module.visit(self);
        self.leave();
    }
}

/// A parameter or a buffer of a model.
pub enum Entry<'a> {
    /// A parameter.
    Parameter(&'a Parameter),
    /// State that is not learnt: running statistics, or the state of an LSTM.
    Buffer(&'a Buffer),
}

/// Calls `each` with the full dotted name of every parameter and buffer.
pub fn for_each_entry(module: &dyn Module, each: &mut dyn FnMut(&str, Entry)) {
    struct Names<'a> {
        path: Vec<String>,
        each: &'a mut dyn FnMut(&str, Entry),
    }
    impl Names<'_> {
        fn full(&self, name: &str) -> String {
            self.path.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
        }
    }
    impl Visitor for Names<'_> {
        fn enter(&mut self, name: &str) {
            self.path.push(name.to_owned());
        }
        fn leave(&mut self) {
            self.path.pop();
        }
        fn parameter(&mut self, name: &str, parameter: &Parameter) {
            let name = self.full(name);
            (self.each)(&name, Entry::Parameter(parameter));
        }
        fn buffer(&mut self, name: &str, buffer: &Buffer) {
            let name = self.full(name);
            (self.each)(&name, Entry::Buffer(buffer));
        }
    }
    module.visit(&mut Names { path: Vec::new(), each });
}

/// Sets to zero the gradient of every parameter that the backward pass on `tape` did not reach.
pub(crate) fn zero_missing_gradients(module: &dyn Module, tape: &Tape) {
    struct Parameters<'a>(&'a Tape);
    impl Visitor for Parameters<'_> {
        fn enter(&mut self, _: &str) {}
        fn leave(&mut self) {}
        fn parameter(&mut self, _: &str, parameter: &Parameter) {
            parameter.zero_gradient_unless_reached(self.0);
        }
        fn buffer(&mut self, _: &str, _: &Buffer) {}
    }
    module.visit(&mut Parameters(tape));
}

/// A sequence of modules, named by their positions as in PyTorch's `nn.Sequential`.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Module>)>,
    position: usize,
}

impl Sequential {
    /// No layers yet.
    pub fn new() -> Self {
        Sequential::default()
    }

    /// Adds a layer.
    pub fn push(&mut self, layer: impl Module + 'static) {
        self.layers.push((self.position.to_string(), Box::new(layer)));
        self.position += 1;
    }

    /// Skips a position that a PyTorch module without parameters takes.
    pub fn skip(&mut self) {
        self.position += 1;
    }

    /// Adds a layer that covers several positions, such as a convolution fused with its norm. Its children are named as if
    /// they were direct children of the sequence.
    pub fn push_flat(&mut self, positions: usize, layer: impl Module + 'static) {
        self.layers.push((String::new(), Box::new(layer)));
        self.position += positions;
    }

    /// The next layer's position.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.layers.iter().fold(x.clone(), |x, (_, layer)| layer.forward(&x, context))
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        let Some(((_, last), before)) = self.layers.split_last() else { return x.clone() };
        let x = before.iter().fold(x.clone(), |x, (_, layer)| layer.forward(&x, context));
        last.forward_at(&x, context, place)
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        for (name, layer) in &self.layers {
            match name.as_str() {
                "" => layer.visit(visitor),
                name => visitor.child(name, &**layer),
            }
        }
    }
}
