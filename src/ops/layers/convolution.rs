//! What convolutions share: checks, bias and moments, and their gradients' way to the inputs.

use std::any::Any;
use std::rc::Rc;

use crate::ops::begin;
use crate::ops::layers::batch_norm::{GradientSums, Moments, moments};
use crate::ops::tensor::elementwise::relu_gradient;
use crate::ops::tensor::matmul::Rounding;
use crate::ops::tensor::reduce::column_sums;
use crate::shape::Shape;
use crate::tape::{Later, Slot, record_wanting};
use crate::tensor::{Tensor, assert_alike, assert_wide};
use crate::trace::{self, Operation};

/// Stride, padding and groups of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv2dConfig {
    /// Pixels from one position of the kernel to the next, on both axes.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
    /// Groups of input and output channels; a group of the output reads its group of the input only.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Conv2dConfig { stride: 1, padding: 0, groups: 1 }
    }
}

/// The extents of one convolution.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    /// Input channels of one group.
    pub channels: usize,
    pub kernel_height: usize,
    pub kernel_width: usize,
    /// Output channels of one group.
    pub features: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub config: Conv2dConfig,
}

impl Geometry {
    /// The extents for images `[N, H, W, C]`, a kernel of these rows and columns, and input and output channels of a
    /// group. Panics unless the images have pixels, the weight has elements, and the kernel fits the images.
    pub fn new(
        op: &str,
        image: Shape,
        weight: Shape,
        [kernel_height, kernel_width]: [usize; 2],
        [channels, features]: [usize; 2],
        config: Conv2dConfig,
    ) -> Self {
        let Conv2dConfig { stride, padding, .. } = config;
        let fits = |side: usize, kernel: usize| side > 0 && side + 2 * padding >= kernel;
        let [height, width] = [image[1], image[2]];
        assert!(
            stride > 0
                && weight.elements() > 0
                && fits(height, kernel_height)
                && fits(width, kernel_width),
            "{op}: weight {weight} with stride {stride} does not fit images {image} padded by {padding}"
        );
        Geometry {
            images: image[0],
            height,
            width,
            channels,
            kernel_height,
            kernel_width,
            features,
            out_height: output_extent(height, kernel_height, stride, padding),
            out_width: output_extent(width, kernel_width, stride, padding),
            config,
        }
    }

    /// The output's shape, `[N, P, Q, K]`.
    pub fn output(&self) -> [usize; 4] {
        let features = self.features * self.config.groups;
        [self.images, self.out_height, self.out_width, features]
    }

    /// Pixels of an output image.
    pub fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Operations of each of the three passes; padding counts too.
    pub fn operations(&self) -> usize {
        let taps = self.kernel_height * self.kernel_width;
        2 * self.output().into_iter().product::<usize>() * taps * self.channels
    }
}

/// A convolution of images `[N, H, W, C]` by a weight, with known extents.
pub(super) trait Convolution: Copy + 'static {
    /// Its name in errors.
    const NAME: &'static str;

    /// The names of the forward pass and of the gradients of input, weight and bias.
    const OPS: [&'static str; 4];

    /// Whether the gradients of input and weight are matrix products.
    const IS_PRODUCT: bool;

    /// Its extents.
    fn geometry(&self) -> &Geometry;

    /// Writes the output. Returns its moments if they are wanted and computed on the way.
    fn forward(self, x: &Tensor, weight: &Tensor, out: &Tensor, then: &Then) -> Option<Moments>;

    /// Writes the input's gradient, and may compute the sums over it that a norm wants, which is complete then.
    fn input_gradient(
        self,
        weight: &Tensor,
        dy: OutputGradient,
        slot: &Slot,
        wanted: Option<&GradientSums>,
    );

    /// Writes the weight's gradient. A GPU may sum its parts `later`.
    fn weight_gradient(self, x: &Tensor, dy: OutputGradient, slot: Slot, later: Option<Later>);
}

/// The gradient of a convolution's output.
#[derive(Clone, Copy)]
pub(super) struct OutputGradient<'a> {
    pub tensor: &'a Tensor,
    /// Whether its elements are tf32 numbers.
    pub is_rounded: bool,
}

/// What is done to the sums of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Then<'a> {
    pub bias: Option<&'a Tensor>,
    /// Whether a ReLU follows. On a GPU only.
    pub relu: bool,
    pub moments: bool,
}

/// Convolves, and returns the output's moments if they are wanted. The output goes to `place` if it is given.
pub(super) fn convolution<C: Convolution>(
    own: C,
    [x, weight]: [&Tensor; 2],
    place: Option<&Tensor>,
    then: Then,
) -> (Tensor, Option<Moments>) {
    let (shape, bias) = (own.geometry().output(), then.bias);
    assert_alike(C::NAME, &[x, weight]);
    if let Some(bias) = bias {
        assert_wide(C::NAME, x, &[bias]);
        let (own, features) = (bias.shape(), shape[3]);
        let fits = own.extents() == [features];
        assert!(fits, "{}: bias {own} for {features} output channels", C::NAME);
    }
    let out = x.empty_at(place, shape);
    let op = begin(C::OPS[0], &[x, weight, &out], own.geometry().operations());
    let fused = own.forward(x, weight, &out, &then);
    drop(op);
    let moments = fused.or_else(|| then.moments.then(|| moments(&out)));
    let kept = then.relu.then(|| out.detach());
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let Conv2dConfig { stride, padding, groups } = own.geometry().config;
    trace::note(Operation::Convolution { stride, padding, groups }, &inputs, &[&out]);
    let (x, weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    // The bias's gradient is a sum in f32, which needs all of the gradient's bits.
    let has_sum = bias.is_some_and(|bias| bias.node().is_some());
    let rounding = (C::IS_PRODUCT && !has_sum).then(Rc::<Rounding>::default);
    let wanted = rounding.clone().map(|rounding| -> Rc<dyn Any> { rounding });
    let out = record_wanting(wanted, out, &inputs, move |dy, gradients| {
        let dy = &kept.as_ref().map_or_else(|| dy.clone(), |y| relu_gradient(y, dy));
        let is_rounded = rounding.as_ref().is_some_and(|rounding| rounding.is_done());
        let gradient = OutputGradient { tensor: dy, is_rounded };
        let operations = own.geometry().operations();
        let wanted = gradients.wanted::<GradientSums>(0);
        if let Some(slot) = gradients.slot(0, x.dtype()) {
            let mut tensors = vec![&weight, dy, &slot.tensor];
            tensors.extend(wanted.as_ref().map(|sums| &sums.x));
            let _op = begin(C::OPS[1], &tensors, operations);
            own.input_gradient(&weight, gradient, &slot, wanted.as_deref());
        }
        let later = gradients.later(1);
        if let Some(slot) = gradients.slot(1, weight.dtype().wide()) {
            let _op = begin(C::OPS[2], &[&x, dy, &slot.tensor], operations);
            own.weight_gradient(&x, gradient, slot, later);
        }
        if has_bias && let Some(slot) = gradients.slot(2, dy.dtype().wide()) {
            let _op = begin(C::OPS[3], &[dy, &slot.tensor], dy.shape().elements());
            column_sums(dy, slot);
        }
    });
    (out, moments)
}

/// The number of positions of a kernel on an axis: `(extent + 2 padding - kernel) / stride + 1`, rounded down. Panics
/// if the kernel is larger than the padded axis.
///
/// ```
/// assert_eq!(alrao::ops::layers::conv2d::output_extent(32, 3, 2, 1), 16);
/// ```
pub fn output_extent(extent: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    assert!(
        kernel > 0 && stride > 0 && extent + 2 * padding >= kernel,
        "convolution: a kernel of {kernel} with stride {stride} does not fit {extent} pixels padded by {padding}"
    );
    (extent + 2 * padding - kernel) / stride + 1
}

#[cfg(all(test, has_simulator))]
mod tests {
    use super::Conv2dConfig;
    use crate::ops::layers::batch_norm::{BatchNormConfig, batch_norm_train};
    use crate::ops::layers::conv2d::conv2d;
    use crate::tape::Tape;
    use crate::{DType, Device, DeviceKind, Tensor};

    /// Before a norm it is 0 but for roundings: below 2e-5 in f32, and about 3e-4 from a gradient that was rounded to tf32.
    #[test]
    fn the_gradient_of_a_bias_is_summed_from_all_bits() {
        let device = Device::open(DeviceKind::Simulator).unwrap();
        device.set_tf32(true);
        let numbers = |extents: &[usize], seed: usize| {
            let count = extents.iter().product();
            let own = |place: usize| ((place + seed) * 7919 % 1009) as f64 / 504.0 - 1.0;
            let values: Vec<f64> = (0..count).map(own).collect();
            Tensor::from_f64s(&device, extents, DType::F32, &values)
        };
        let tape = Tape::new();
        let weight = tape.watch(&numbers(&[8, 3, 3, 8], 2));
        let bias = tape.watch(&Tensor::zeros(&device, [8], DType::F32));
        let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let y = conv2d(&numbers(&[2, 6, 6, 8], 1), &weight, Some(&bias), config);
        let [zero, one] = [0.0, 1.0].map(|own| Tensor::full(&device, [8], DType::F32, own));
        let (mean, variance) = (zero.copy(), one.copy());
        let config = BatchNormConfig::default();
        let z = batch_norm_train(&y, &one, &zero, &mean, &variance, config);
        tape.backward(&z.mul(&numbers(&[2, 6, 6, 8], 3)).sum());
        let gradient = tape.gradient(&bias).unwrap().to_f64s();
        assert!(gradient.iter().all(|own| own.abs() < 2e-5), "{gradient:?}");
    }
}
