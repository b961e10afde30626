//! Convolution, batch norm and activation as one layer, so that fusing them concerns this file alone.

use crate::nn::batch_norm::Output;
use crate::nn::{BatchNorm2d, Conv2d, DepthwiseConv2d, ForwardContext, Init, Module, Visitor};
use crate::ops::layers::batch_norm::Moments;
use crate::tensor::Tensor;

/// The activation after the norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// No activation.
    None,
    /// `max(x, 0)`.
    Relu,
}

/// Either kind of convolution.
pub enum Convolution {
    /// Every output channel reads every input channel of its group.
    Full(Conv2d),
    /// Every channel is convolved by itself.
    Depthwise(DepthwiseConv2d),
}

impl Convolution {
    fn as_module(&self) -> &dyn Module {
        match self {
            Convolution::Full(convolution) => convolution,
            Convolution::Depthwise(convolution) => convolution,
        }
    }

    fn before_norm(self) -> Self {
        match self {
            Convolution::Full(convolution) => Convolution::Full(convolution.before_norm()),
            Convolution::Depthwise(convolution) => {
                Convolution::Depthwise(convolution.before_norm())
            }
        }
    }

    fn forward_with_moments(&self, x: &Tensor, context: &ForwardContext) -> (Tensor, Moments) {
        match self {
            Convolution::Full(convolution) => convolution.forward_with_moments(x, context),
            Convolution::Depthwise(convolution) => convolution.forward_with_moments(x, context),
        }
    }
}

impl From<Conv2d> for Convolution {
    fn from(convolution: Conv2d) -> Self {
        Convolution::Full(convolution)
    }
}

impl From<DepthwiseConv2d> for Convolution {
    fn from(convolution: DepthwiseConv2d) -> Self {
        Convolution::Depthwise(convolution)
    }
}

/// A convolution, a [`BatchNorm2d`] and an activation. The norm subtracts the mean over the batch, so the gradient of the
/// convolution's bias is zero in training, and is not computed.
///
/// Its two children have the names given to [`ConvBn::new`] and no prefix, so a parent visits it as if they were its own
/// children; see [`crate::nn::Sequential::push_flat`].
///
/// ```
/// use alrao::nn::{Activation, Conv2d, ConvBn, Init, Module, ForwardContext};
/// use alrao::{DType, Device, Tensor};
/// let mut init = Init::new(0);
/// let convolution = Conv2d::new(3, 8, 1, Default::default(), false, &mut init);
/// let layer = ConvBn::new(["conv1", "bn1"], convolution, 8, Activation::Relu, &mut init);
/// let device = Device::cpu();
/// let x = Tensor::zeros(&device, [2, 4, 4, 3], DType::F32);
/// let context = ForwardContext::evaluation(&device, DType::F32);
/// assert_eq!(layer.forward(&x, &context).shape(), [2, 4, 4, 8].into());
/// ```
pub struct ConvBn {
    names: [String; 2],
    convolution: Convolution,
    norm: BatchNorm2d,
}

impl ConvBn {
    /// The convolution with a new norm over its `outputs` channels; `names` are PyTorch's names of the two.
    pub fn new(
        names: [&str; 2],
        convolution: impl Into<Convolution>,
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Self {
        let norm = BatchNorm2d::new(outputs, init);
        let norm = match activation {
            Activation::None => norm,
            Activation::Relu => norm.with_relu(),
        };
        let convolution = convolution.into().before_norm();
        ConvBn { names: names.map(str::to_owned), convolution, norm }
    }

    /// The forward pass with a residual of the output's shape, which is added before the activation: one pass with the norm
    /// on a GPU. Panics if the shapes differ.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor, context: &ForwardContext) -> Tensor {
        self.run(x, context, Output::Sum(residual))
    }

    fn run(&self, x: &Tensor, context: &ForwardContext, output: Output) -> Tensor {
        let (y, moments) = match context.is_training() {
            true => {
                let (y, moments) = self.convolution.forward_with_moments(x, context);
                (y, Some(moments))
            }
            false => (self.convolution.as_module().forward(x, context), None),
        };
        self.norm.normalise(&y, moments.as_ref(), context, output)
    }
}

impl Module for ConvBn {
    fn forward(&self, x: &Tensor, context: &ForwardContext) -> Tensor {
        self.run(x, context, Output::New)
    }

    fn forward_at(&self, x: &Tensor, context: &ForwardContext, place: &Tensor) -> Tensor {
        self.run(x, context, Output::At(place))
    }

    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child(&self.names[0], self.convolution.as_module());
        visitor.child(&self.names[1], &self.norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Entry, for_each_entry};
    use crate::ops::layers::conv2d::Conv2dConfig;
    use crate::optim::FlatParameters;
    use crate::{DType, Device};

    /// The largest gradient of each parameter after a backward pass.
    fn gradients(layer: &dyn Module) -> Vec<(String, f64)> {
        let device = Device::cpu();
        FlatParameters::new(layer, &|_| false, &device, DType::F64);
        let number = Tensor::zeros(&device, [1], DType::I64);
        let context = ForwardContext::training(&device, DType::F64, 0, &number);
        let draw = |shape: [usize; 4], seed: u64| {
            let count = shape.iter().product::<usize>() as u64;
            let values: Vec<f64> =
                (0..count).map(|i| ((i * 37 + seed) % 23) as f64 / 23.0).collect();
            Tensor::from_f64s(&device, shape, DType::F64, &values)
        };
        let y = layer.forward(&draw([4, 5, 5, 3], 1), &context);
        let loss = y.mul(&draw([4, 5, 5, 6], 2)).sum();
        let tape = context.tape().expect("a training pass has a tape");
        tape.backward(&loss);
        crate::nn::zero_missing_gradients(layer, tape);
        let mut found = Vec::new();
        for_each_entry(layer, &mut |name, entry| {
            let Entry::Parameter(parameter) = entry else { return };
            let gradient = parameter.gradient().expect("it was placed").to_f64s();
            found.push((name.to_owned(), gradient.into_iter().map(f64::abs).fold(0.0, f64::max)));
        });
        found
    }

    #[test]
    fn a_bias_before_a_norm_has_no_gradient() {
        let convolution = |init: &mut Init| {
            Conv2d::new(3, 6, 3, Conv2dConfig { padding: 1, ..Default::default() }, true, init)
        };
        let mut init = Init::new(0);
        let together =
            ConvBn::new(["0", "1"], convolution(&mut init), 6, Activation::Relu, &mut init);
        // Separate layers compute the bias's gradient.
        let mut init = Init::new(0);
        let mut apart = crate::nn::Sequential::default();
        apart.push(convolution(&mut init));
        apart.push(BatchNorm2d::new(6, &mut init).with_relu());
        let (together, apart) = (gradients(&together), gradients(&apart));
        for ((name, own), (other_name, other)) in together.iter().zip(&apart) {
            assert_eq!(name, other_name);
            match name == "0.bias" {
                true => assert!(*own == 0.0 && *other < 1e-13, "{own}, {other}"),
                false => assert!(
                    (own - other).abs() < 1e-13 * other && *other > 0.1,
                    "{name}: {own}, {other}"
                ),
            }
        }
        assert_eq!(together.len(), 4);
    }
}
