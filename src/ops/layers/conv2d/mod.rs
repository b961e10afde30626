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

pub use self::fused::{Fused, InputAffine};
use self::output::{Channels, Output};
use self::tile::{OUTSIDE, Start};
use self::walk::Walk;
use self::weight_gradient::{Operands, add_weight_gradient};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float};
use crate::ops::layers::batch_norm::{GradientSums, Moments};
pub use crate::ops::layers::convolution::{Conv2dConfig, output_extent};
use crate::ops::layers::convolution::{Convolution, Geometry, OutputGradient, Then, convolution};
use crate::tape::{Later, Slot};
use crate::tensor::{Tensor, float_dispatch};

/// The extents of images `[N, H, W, C]` and a weight `[K, R, S, C / groups]`. Panics if they do not fit.
fn geometry(x: &Tensor, weight: &Tensor, config: Conv2dConfig) -> Geometry {
    let (image, kernel) = (x.shape(), weight.shape());
    assert!(
        image.rank() == 4 && kernel.rank() == 4,
        "conv2d: images {image} and weight {kernel} need four axes each"
    );
    let groups = config.groups;
    assert!(
        groups > 0 && image[3] == kernel[3] * groups && kernel[0] % groups == 0,
        "conv2d: images {image} and weight {kernel} do not fit {groups} groups"
    );
    let per_group = [kernel[3], kernel[0] / groups];
    Geometry::new("conv2d", image, kernel, [kernel[1], kernel[2]], per_group, config)
}

impl Geometry {
    /// The number of weights of one feature.
    fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
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
    let own = Dense(geometry(x, weight, config));
    assert!(!(fused.relu && fused.moments), "conv2d: moments of an output with a ReLU");
    assert!(!(fused.place.is_some() && fused.moments), "conv2d: moments of an output with a place");
    let Fused { input, place, relu, moments } = fused;
    let read = input.map_or_else(|| x.clone(), |input| input.apply(x));
    let operands = [&read, weight];
    match x.device() {
        // The ReLU is a separate op on the CPU, so the convolution writes its sums to new memory.
        Device::Cpu(_) if relu => {
            let then = Then { bias, relu: false, moments };
            (convolution(own, operands, None, then).0.relu(), None)
        }
        _ => convolution(own, operands, place, Then { bias, relu, moments }),
    }
}

/// A convolution in which each output channel reads all input channels of its group.
#[derive(Clone, Copy)]
struct Dense(Geometry);

impl Convolution for Dense {
    const NAME: &'static str = "conv2d";
    const OPS: [&'static str; 4] = [
        "conv2d forward",
        "conv2d input gradient",
        "conv2d weight gradient",
        "conv2d bias gradient",
    ];
    const IS_PRODUCT: bool = true;

    fn geometry(&self) -> &Geometry {
        &self.0
    }

    fn forward(self, x: &Tensor, weight: &Tensor, out: &Tensor, then: &Then) -> Option<Moments> {
        match x.device() {
            Device::Gpu(gpu) => launch::forward(gpu, [x, weight], out, then, self.0),
            Device::Cpu(cpu) => {
                let moments = then.moments.then(|| Moments::empty(out, self.0.task_pixels()));
                let to = (out, moments.as_ref());
                float_dispatch!(x.dtype(), "conv2d", T => {
                    forward::<T>(cpu, x, weight, then.bias, to, self.0);
                });
                moments
            }
        }
    }

    fn input_gradient(
        self,
        weight: &Tensor,
        dy: OutputGradient,
        slot: &Slot,
        wanted: Option<&GradientSums>,
    ) {
        match weight.device() {
            Device::Gpu(gpu) => launch::input_gradient(gpu, weight, dy, slot, wanted, self.0),
            Device::Cpu(cpu) => float_dispatch!(weight.dtype(), "conv2d", T => {
                input_gradient::<T>(cpu, weight, dy.tensor, slot, self.0);
            }),
        }
    }

    fn weight_gradient(self, x: &Tensor, dy: OutputGradient, slot: Slot, later: Option<Later>) {
        match x.device() {
            Device::Gpu(gpu) => launch::weight_gradient(gpu, x, dy, &slot, later, self.0),
            Device::Cpu(cpu) => float_dispatch!(x.dtype(), "conv2d", T => {
                weight_gradient::<T>(cpu, x, dy.tensor, &slot.sum(), self.0);
            }),
        }
    }
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

fn weight_gradient<T: Float>(cpu: &Cpu, x: &Tensor, dy: &Tensor, dw: &Tensor, geometry: Geometry) {
    let (images, dy_values) = (x.read::<T>(), dy.read::<T>());
    let mut dw = dw.write::<T>();
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

fn input_gradient<T: Float>(
    cpu: &Cpu,
    weight: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    geometry: Geometry,
) {
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
