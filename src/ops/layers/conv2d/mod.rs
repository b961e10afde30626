//! Convolution of channels-last images.

mod few_channels;
mod fused;
mod kernel;
mod launch;
mod output;
mod panels;
mod pointwise;
mod products;
mod tile;
mod walk;
mod weight_gradient;
#[cfg(target_arch = "x86_64")]
mod wide;

use self::fused::input_backward;
pub use self::fused::{Fused, InputAffine};
use self::output::{Channels, Output};
use self::tile::{OUTSIDE, Start};
use self::walk::Walk;
use self::weight_gradient::{Operands, add_weight_gradient};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float};
use crate::ops::layers::batch_norm::{Affine, Moments};
use crate::ops::tensor::reduce::add_column_sums;
use crate::ops::{begin, no_kernel};
use crate::shape::Shape;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, assert_wide, float_dispatch};

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

/// Panics unless images `[N, H, W, C]` have pixels, and a kernel with elements fits them.
pub(super) fn check_windows(
    op: &str,
    image: Shape,
    weight: Shape,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
) {
    let sides = [image[1], image[2]].into_iter().zip(kernel);
    let fits = |(side, kernel)| side > 0 && side + 2 * padding >= kernel;
    assert!(
        stride > 0 && weight.elements() > 0 && sides.into_iter().all(fits),
        "{op}: weight {weight} with stride {stride} does not fit images {image} padded by {padding}"
    );
}

/// The extents of one convolution.
#[derive(Clone, Copy)]
struct Geometry {
    images: usize,
    height: usize,
    width: usize,
    /// Input channels of one group.
    channels: usize,
    kernel_height: usize,
    kernel_width: usize,
    /// Output channels of one group.
    features: usize,
    out_height: usize,
    out_width: usize,
    config: Conv2dConfig,
}

impl Geometry {
    fn of(x: &Tensor, weight: &Tensor, config: Conv2dConfig) -> Self {
        let (image, kernel) = (x.shape(), weight.shape());
        assert!(
            image.rank() == 4 && kernel.rank() == 4,
            "conv2d: images {image} and weight {kernel} need four axes each"
        );
        let Conv2dConfig { stride, padding, groups } = config;
        assert!(
            groups > 0 && image[3] == kernel[3] * groups && kernel[0] % groups == 0,
            "conv2d: images {image} and weight {kernel} do not fit {groups} groups"
        );
        check_windows("conv2d", image, kernel, [kernel[1], kernel[2]], stride, padding);
        Geometry {
            images: image[0],
            height: image[1],
            width: image[2],
            channels: kernel[3],
            kernel_height: kernel[1],
            kernel_width: kernel[2],
            features: kernel[0] / groups,
            out_height: output_extent(image[1], kernel[1], stride, padding),
            out_width: output_extent(image[2], kernel[2], stride, padding),
            config,
        }
    }

    /// The number of weights of one feature.
    fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Operations of each of the three products; padding counts too.
    fn operations(&self) -> usize {
        let features = self.features * self.config.groups;
        2 * self.images * self.out_pixels() * features * self.depth()
    }

    /// Output pixels of one task of the forward pass; the last may have fewer.
    fn task_pixels(&self) -> usize {
        if pointwise::fits(*self) {
            pointwise::PIXELS
        } else if few_channels::fits(*self) {
            few_channels::task_rows(*self) * self.out_width
        } else {
            self.forward_walk().task_rows() * self.out_width
        }
    }

    /// The number of the input pixel that an output pixel's tap reads; [`OUTSIDE`] in the padding.
    fn input_pixel(&self, image: usize, [p, q]: [usize; 2], [r, s]: [usize; 2]) -> usize {
        let Conv2dConfig { stride, padding, .. } = self.config;
        let row = (p * stride + r).wrapping_sub(padding);
        let column = (q * stride + s).wrapping_sub(padding);
        if row >= self.height || column >= self.width {
            return OUTSIDE;
        }
        (image * self.height + row) * self.width + column
    }

    /// The output's pixels, and the input pixels that each of them reads.
    fn forward_walk(&self) -> Walk {
        let padding = self.config.padding as isize;
        let taps = 0..self.kernel_height * self.kernel_width;
        Walk {
            images: self.images,
            out_size: [self.out_height, self.out_width],
            start: [0, 0],
            step: 1,
            source_size: [self.height, self.width],
            source_step: self.config.stride,
            taps: taps
                .map(|tap| [tap / self.kernel_width, tap % self.kernel_width])
                .map(|tap| tap.map(|offset| offset as isize - padding))
                .collect(),
        }
    }

    /// The input's pixels at `start` modulo the stride, the output pixels that read each of them, and the taps by which
    /// they do.
    fn backward_walk(&self, start: [usize; 2]) -> (Walk, Vec<usize>) {
        let Conv2dConfig { stride, padding, .. } = self.config;
        let distance =
            |axis: usize, offset: usize| (start[axis] + padding) as isize - offset as isize;
        let (mut taps, mut numbers) = (Vec::new(), Vec::new());
        for tap in 0..self.kernel_height * self.kernel_width {
            let (y, x) =
                (distance(0, tap / self.kernel_width), distance(1, tap % self.kernel_width));
            let stride = stride as isize;
            if y % stride == 0 && x % stride == 0 {
                taps.push([y / stride, x / stride]);
                numbers.push(tap);
            }
        }
        let walk = Walk {
            images: self.images,
            out_size: [self.height, self.width],
            start,
            step: stride,
            source_size: [self.out_height, self.out_width],
            source_step: 1,
            taps,
        };
        (walk, numbers)
    }
}

/// Convolution: `y[n, p, q, k] = bias[k] + sum_rsc x[n, p stride + r - padding, q stride + s - padding, c] weight[k, r,
/// s, c]`, pixels outside of the image are zero.
///
/// `x` is `[N, H, W, C]`, `weight` `[K, R, S, C / groups]`, `bias` `[K]`, the result `[N, P, Q, K]`. Panics if the
/// shapes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Tensor {
    conv2d_fused(x, weight, bias, config, Fused::default()).0
}

/// [`conv2d`] with fused work; returns the output's moments if they are wanted. Gradients also reach the scale and the
/// shift of the input.
///
/// ```
/// use alrao::ops::layers::conv2d::{Fused, InputAffine, conv2d_fused};
/// use alrao::{Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&device, [1, 1, 3, 1], &[1f32, 2.0, 3.0]);
/// let weight = Tensor::from_slice(&device, [1, 1, 1, 1], &[10f32]);
/// let [scale, shift] = [2.0, -4.0].map(|value| Tensor::from_slice(&device, [1], &[value as f32]));
/// let input = Some(InputAffine { scale: &scale, shift: &shift, relu: true });
/// let fused = Fused { input, ..Fused::default() };
/// let (y, _) = conv2d_fused(&x, &weight, None, Default::default(), fused);
/// assert_eq!(y.to_vec::<f32>(), [0.0, 0.0, 20.0]);
/// ```
pub fn conv2d_fused(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    config: Conv2dConfig,
    fused: Fused,
) -> (Tensor, Option<Moments>) {
    let geometry = Geometry::of(x, weight, config);
    let features = weight.shape()[0];
    assert_alike("conv2d", &[x, weight]);
    if let Some(bias) = bias {
        assert_wide("conv2d", x, &[bias]);
        assert!(
            bias.shape().extents() == [features],
            "conv2d: bias {} for {features} output channels",
            bias.shape()
        );
    }
    assert!(!(fused.relu && fused.moments), "conv2d: moments of an output with a ReLU");
    assert!(!(fused.place.is_some() && fused.moments), "conv2d: moments of an output with a place");
    if let Some(input) = fused.input {
        input.check(x);
    }
    if let Device::Gpu(gpu) = x.device() {
        return launch::conv2d(gpu, x, weight, bias, fused, geometry);
    }
    if fused.relu {
        // The ReLU is a separate op on the CPU, so the convolution writes its sums to new memory.
        let sums = Fused { relu: false, place: None, ..fused };
        return (conv2d_fused(x, weight, bias, config, sums).0.relu(), None);
    }
    float_dispatch!(x.dtype(), "conv2d", T => typed::<T>(x, weight, bias, fused, geometry))
}

fn typed<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    fused: Fused,
    geometry: Geometry,
) -> (Tensor, Option<Moments>) {
    let features = weight.shape()[0];
    let shape = [geometry.images, geometry.out_height, geometry.out_width, features];
    let out = x.empty_at(fused.place, shape);
    let moments = fused.moments.then(|| Moments::empty(&out, geometry.task_pixels()));
    let function = fused.input.map(|input| input.function::<T>());
    let op = begin("conv2d forward", &[x, weight, &out], geometry.operations());
    match x.device() {
        Device::Gpu(_) => no_kernel("conv2d"),
        Device::Cpu(cpu) => {
            let read = function.as_ref().map_or_else(|| x.clone(), |function| function.apply(x));
            forward::<T>(cpu, &read, weight, bias, (&out, moments.as_ref()), geometry);
        }
    }
    drop(op);
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    inputs.extend(fused.input.iter().flat_map(|input| [input.scale, input.shift]));
    let (x, weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    let context = Context { x, weight, has_bias, function };
    let out = record(out, &inputs, move |dy, gradients| match dy.device() {
        Device::Gpu(_) => no_kernel("conv2d"),
        Device::Cpu(cpu) => backward::<T>(cpu, &context, dy, gradients, geometry),
    });
    (out, moments)
}

fn forward<T: Float>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    (out, moments): (&Tensor, Option<&Moments>),
    geometry: Geometry,
) {
    let Geometry { channels, features, .. } = geometry;
    let (images, weights) = (x.read::<T>(), weight.read::<T>());
    let bias = bias.map(|bias| bias.read::<T>());
    let (bias, mut to) = (bias.as_deref(), out.write::<T>());
    let mut parts = moments.map(|moments| moments.parts().write::<T>());
    let walk = geometry.forward_walk();
    let groups = geometry.config.groups;
    for group in 0..groups {
        let length = features * geometry.depth();
        let of_group = &weights[group * length..(group + 1) * length];
        let panels = panels::by_feature(cpu, geometry, of_group);
        let start = match bias {
            Some(bias) => Start::Bias(&bias[group * features..]),
            None => Start::Zero,
        };
        let source = Channels { pitch: x.pitch(), column: group * channels, width: channels };
        let columns = Channels { pitch: out.pitch(), column: group * features, width: features };
        // The last group completes the pixels, so its tasks compute the moments.
        let parts = parts.as_deref_mut().filter(|_| group + 1 == groups).unwrap_or_default();
        let to = Output { elements: &mut to[..], columns, moments: parts };
        let source = (&images[..], source);
        if pointwise::fits(geometry) {
            pointwise::multiply(cpu, source, &panels, to, start);
        } else if few_channels::fits(geometry) {
            few_channels::convolve(cpu, geometry, source, &panels, to, start);
        } else {
            walk.run(cpu, source, &panels, to, start);
        }
    }
}

/// The values that the backward pass needs.
struct Context<T> {
    x: Tensor,
    weight: Tensor,
    has_bias: bool,
    /// The function of the input, which is computed again.
    function: Option<Affine<T>>,
}

fn backward<T: Float>(
    cpu: &Cpu,
    context: &Context<T>,
    dy: &Tensor,
    gradients: &mut Gradients,
    geometry: Geometry,
) {
    let Context { x, weight, has_bias, function } = context;
    if let Some(function) = function {
        let scale = 2 + usize::from(*has_bias);
        if [0, scale, scale + 1].into_iter().any(|input| gradients.wants(input)) {
            let gradient = x.empty_like(x.shape());
            let slot = Slot { tensor: gradient.clone(), add: false };
            input_gradient::<T>(cpu, weight, dy, &slot, geometry);
            input_backward(function, x, &gradient, gradients, scale);
        }
    } else if let Some(slot) = gradients.slot(0, x) {
        input_gradient::<T>(cpu, weight, dy, &slot, geometry);
    }
    let dy_values = dy.read::<T>();
    if let Some(dw) = gradients.sum_slot(1, weight) {
        let _op = begin("conv2d weight gradient", &[x, dy, &dw], geometry.operations());
        let x = function.as_ref().map_or_else(|| x.clone(), |function| function.apply(x));
        let (images, mut dw) = (x.read::<T>(), dw.write::<T>());
        let Geometry { channels, features, .. } = geometry;
        let pieces = dw.chunks_mut((features * geometry.depth()).max(1));
        for (group, dw) in pieces.enumerate() {
            let operands = Operands {
                x: (&images[..], x.pitch(), group * channels),
                dy: (&dy_values[..], dy.pitch(), group * features),
            };
            if pointwise::fits(geometry) {
                pointwise::add_weight_gradient(cpu, geometry, &operands, dw);
            } else if few_channels::fits(geometry) {
                few_channels::add_weight_gradient(cpu, geometry, &operands, dw);
            } else {
                add_weight_gradient(cpu, geometry, &operands, dw);
            }
        }
    }
    if *has_bias && let Some(db) = gradients.sum_slot(2, dy) {
        let _op = begin("conv2d bias gradient", &[dy, &db], dy.shape().elements());
        add_column_sums(cpu, &dy_values, dy.pitch(), &mut db.write::<T>());
    }
}

fn input_gradient<T: Float>(
    cpu: &Cpu,
    weight: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    geometry: Geometry,
) {
    let _op = begin("conv2d input gradient", &[weight, dy, &slot.tensor], geometry.operations());
    let Geometry { channels, features, .. } = geometry;
    let (weights, dy_values) = (weight.read::<T>(), dy.read::<T>());
    let mut dx = slot.tensor.write::<T>();
    let start = if slot.add { Start::Output } else { Start::Zero };
    let (stride, length) = (geometry.config.stride, features * geometry.depth());
    for phase in 0..stride * stride {
        let (walk, taps) = geometry.backward_walk([phase / stride, phase % stride]);
        for group in 0..geometry.config.groups {
            let of_group = &weights[group * length..(group + 1) * length];
            let panels = panels::by_channel(cpu, geometry, &taps, of_group);
            let source = Channels { pitch: dy.pitch(), column: group * features, width: features };
            let pitch = slot.tensor.pitch();
            let columns = Channels { pitch, column: group * channels, width: channels };
            let (elements, moments) = (&mut dx[..], &mut [][..]);
            let (source, to) = ((&dy_values[..], source), Output { elements, columns, moments });
            if pointwise::fits(geometry) {
                pointwise::multiply(cpu, source, &panels, to, start);
            } else {
                walk.run(cpu, source, &panels, to, start);
            }
        }
    }
}
