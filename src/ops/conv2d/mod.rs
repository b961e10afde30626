//! Convolution of channels-last images.

use crate::device::Device;
use crate::ops::no_kernel;
mod few_channels;
mod kernel;
mod panels;
mod pointwise;
mod products;
mod walk;
mod weight_gradient;
#[cfg(target_arch = "x86_64")]
mod wide;

use self::kernel::{OUTSIDE, Start};
use self::walk::{Channels, Walk};
use self::weight_gradient::{Operands, add_weight_gradient};
use crate::device::cpu::{Cpu, Float};
use crate::ops::reduce::add_column_sums;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// How a kernel moves over an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv2dConfig {
    /// Pixels from one position of the kernel to the next, on both axes.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
    /// Parts into which input and output channels are cut; a part of the output sees its part of the input.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Conv2dConfig { stride: 1, padding: 0, groups: 1 }
    }
}

/// The number of positions of a kernel on an axis: `(extent + 2 padding - kernel) / stride + 1`, rounded down. Panics
/// where the kernel is larger than the padded axis.
///
/// ```
/// assert_eq!(alrao::ops::conv2d::output_extent(32, 3, 2, 1), 16);
/// ```
pub fn output_extent(extent: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    assert!(
        kernel > 0 && stride > 0 && extent + 2 * padding >= kernel,
        "convolution: a kernel of {kernel} with stride {stride} does not fit {extent} pixels padded by {padding}"
    );
    (extent + 2 * padding - kernel) / stride + 1
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

    /// Weights of one feature.
    fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// The number of the pixel that an output pixel's tap reads; [`OUTSIDE`] in the padding.
    fn input_pixel(&self, image: usize, [p, q]: [usize; 2], [r, s]: [usize; 2]) -> usize {
        let Conv2dConfig { stride, padding, .. } = self.config;
        let row = (p * stride + r).wrapping_sub(padding);
        let column = (q * stride + s).wrapping_sub(padding);
        if row >= self.height || column >= self.width {
            return OUTSIDE;
        }
        (image * self.height + row) * self.width + column
    }

    /// The output's pixels and the input pixels that each reads.
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

    /// The input's pixels whose place is `start` modulo the stride, the output pixels that read each, and by which
    /// taps.
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

/// Convolution: `y[n, p, q, k] = bias[k] + sum_rsc x[n, p stride + r - padding, q stride + s - padding, c]
/// weight[k, r, s, c]`, where pixels outside the image are zero.
///
/// `x` is `[N, H, W, C]`, `weight` `[K, R, S, C / groups]`, `bias` `[K]`, the result `[N, P, Q, K]`. Panics where the
/// shapes do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Tensor {
    let geometry = Geometry::of(x, weight, config);
    let features = weight.shape()[0];
    assert_alike("conv2d", &[x, weight]);
    if let Some(bias) = bias {
        assert_alike("conv2d", &[x, bias]);
        assert!(
            bias.shape().extents() == [features],
            "conv2d: bias {} for {features} output channels",
            bias.shape()
        );
    }
    float_dispatch!(x.dtype(), "conv2d", T => conv2d_typed::<T>(x, weight, bias, geometry))
}

fn conv2d_typed<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
) -> Tensor {
    let features = weight.shape()[0];
    let shape = [geometry.images, geometry.out_height, geometry.out_width, features];
    let out = x.empty_like(shape);
    match x.device() {
        Device::Gpu(_) => no_kernel("conv2d"),
        Device::Cpu(cpu) => forward::<T>(cpu, x, weight, bias, &out, geometry),
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let (kept_x, kept_weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    record(out, &inputs, move |dy, gradients| match dy.device() {
        Device::Gpu(_) => no_kernel("conv2d"),
        Device::Cpu(cpu) => {
            backward::<T>(cpu, &kept_x, &kept_weight, dy, (gradients, has_bias), geometry)
        }
    })
}

fn forward<T: Float>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    out: &Tensor,
    geometry: Geometry,
) {
    let Geometry { channels, features, .. } = geometry;
    let (images, weights) = (x.read::<T>(), weight.read::<T>());
    let bias = bias.map(|bias| bias.read::<T>());
    let (bias, mut to) = (bias.as_deref(), out.write::<T>());
    let walk = geometry.forward_walk();
    for group in 0..geometry.config.groups {
        let own = group * features * geometry.depth()..(group + 1) * features * geometry.depth();
        let panels = panels::by_feature(cpu, geometry, &weights[own]);
        let start = match bias {
            Some(bias) => Start::Bias(&bias[group * features..]),
            None => Start::Zero,
        };
        let source = Channels { pitch: x.pitch(), column: group * channels, width: channels };
        let columns = Channels { pitch: out.pitch(), column: group * features, width: features };
        let (source, to) = ((&images[..], source), (&mut to[..], columns));
        if pointwise::fits(geometry) {
            pointwise::multiply(cpu, source, &panels, to, start);
        } else if few_channels::fits(geometry) {
            few_channels::convolve(cpu, geometry, source, &panels, to, start);
        } else {
            walk.run(cpu, source, &panels, to, start);
        }
    }
}

fn backward<T: Float>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    (gradients, has_bias): (&mut Gradients, bool),
    geometry: Geometry,
) {
    if let Some(slot) = gradients.slot(0, x) {
        input_gradient::<T>(cpu, weight, dy, &slot, geometry);
    }
    let dy_values = dy.read::<T>();
    if let Some(dw) = gradients.sum_slot(1, weight) {
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
    if has_bias && let Some(db) = gradients.sum_slot(2, dy) {
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
    let Geometry { channels, features, .. } = geometry;
    let (weights, dy_values) = (weight.read::<T>(), dy.read::<T>());
    let mut dx = slot.tensor.write::<T>();
    let start = if slot.add { Start::Output } else { Start::Zero };
    let (stride, length) = (geometry.config.stride, features * geometry.depth());
    for phase in 0..stride * stride {
        let (walk, taps) = geometry.backward_walk([phase / stride, phase % stride]);
        for group in 0..geometry.config.groups {
            let own = &weights[group * length..(group + 1) * length];
            let panels = panels::by_channel(cpu, geometry, &taps, own);
            let source = Channels { pitch: dy.pitch(), column: group * features, width: features };
            let pitch = slot.tensor.pitch();
            let columns = Channels { pitch, column: group * channels, width: channels };
            let (source, to) = ((&dy_values[..], source), (&mut dx[..], columns));
            if pointwise::fits(geometry) {
                pointwise::multiply(cpu, source, &panels, to, start);
            } else {
                walk.run(cpu, source, &panels, to, start);
            }
        }
    }
}
