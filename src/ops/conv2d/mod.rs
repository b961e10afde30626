//! Convolution of channels-last images.

use crate::device::Device;
use crate::device::cpu::{Cpu, Float, Matrix, gemm};
use crate::ops::reduce::add_column_sums;
use crate::tape::{Gradients, record};
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

    /// Calls `visit(output pixel, tap, input pixel)` for every pair inside one image.
    fn taps(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Conv2dConfig { stride, padding, .. } = self.config;
        for pixel in 0..self.out_pixels() {
            let (p, q) = (pixel / self.out_width, pixel % self.out_width);
            for tap in 0..self.kernel_height * self.kernel_width {
                let row = p * stride + tap / self.kernel_width;
                let column = q * stride + tap % self.kernel_width;
                let inside = row >= padding && column >= padding;
                if inside && row - padding < self.height && column - padding < self.width {
                    visit(pixel, tap, (row - padding) * self.width + column - padding);
                }
            }
        }
    }

    /// The patches of one image and group, `[P Q, R S C]`.
    fn patches<T: Float>(&self, x: &[T], pitch: usize, group: usize) -> Vec<T> {
        let (depth, channels) = (self.depth(), self.channels);
        let mut patches = vec![T::ZERO; self.out_pixels() * depth];
        self.taps(|out, tap, pixel| {
            let start = pixel * pitch + group * channels;
            let to = out * depth + tap * channels;
            patches[to..to + channels].copy_from_slice(&x[start..start + channels]);
        });
        patches
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
        Device::Cpu(cpu) => forward::<T>(cpu, x, weight, bias, &out, geometry),
    }
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let (kept_x, kept_weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    record(out, &inputs, move |dy, gradients| match dy.device() {
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
    let (depth, pixels) = (geometry.depth(), geometry.out_pixels());
    let (groups, features) = (geometry.config.groups, geometry.features);
    let (pitch, columns) = (x.pitch(), groups * features);
    let (images, weights) = (x.read::<T>(), weight.read::<T>());
    let bias = bias.map(|bias| bias.read::<T>());
    let (bias, mut to) = (bias.as_deref(), out.write::<T>());
    let work = geometry.images * pixels * depth * columns;
    cpu.pieces(&mut to, pixels * columns, work, |image, to| {
        if let Some(bias) = bias {
            to.chunks_mut(columns).for_each(|row| row.copy_from_slice(bias));
        }
        let x = &images[image * geometry.height * geometry.width * pitch..];
        for group in 0..groups {
            let patches = geometry.patches(x, pitch, group);
            gemm(
                [pixels, features, depth],
                Matrix::rows(&patches, depth),
                Matrix::rows(&weights[group * features * depth..], depth).transposed(),
                &mut to[group * features..],
                columns,
                bias.is_some(),
            );
        }
    });
}

fn backward<T: Float>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    (gradients, has_bias): (&mut Gradients, bool),
    geometry: Geometry,
) {
    let (depth, pixels, channels) = (geometry.depth(), geometry.out_pixels(), geometry.channels);
    let (groups, features) = (geometry.config.groups, geometry.features);
    let (pitch, dy_pitch) = (x.pitch(), dy.pitch());
    let image_pixels = geometry.height * geometry.width;
    let work = geometry.images * pixels * depth * groups * features;
    let out_gradient = dy.read::<T>();
    if let Some(dx) = gradients.sum_slot(0, x) {
        let (weights, dx_pitch) = (weight.read::<T>(), dx.pitch());
        cpu.pieces(&mut dx.write::<T>(), image_pixels * dx_pitch, work, |image, dx| {
            let dy = &out_gradient[image * pixels * dy_pitch..];
            let mut patches = vec![T::ZERO; pixels * depth];
            for group in 0..groups {
                gemm(
                    [pixels, depth, features],
                    Matrix::rows(&dy[group * features..], dy_pitch),
                    Matrix::rows(&weights[group * features * depth..], depth),
                    &mut patches,
                    depth,
                    false,
                );
                geometry.taps(|out, tap, pixel| {
                    let start = pixel * dx_pitch + group * channels;
                    let from = &patches[out * depth + tap * channels..][..channels];
                    let to = &mut dx[start..start + channels];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
                });
            }
        });
    }
    if let Some(dw) = gradients.sum_slot(1, weight) {
        let images = x.read::<T>();
        let mut dw = dw.write::<T>();
        for image in 0..geometry.images {
            let x = &images[image * image_pixels * pitch..];
            let dy = &out_gradient[image * pixels * dy_pitch..];
            for group in 0..groups {
                let patches = geometry.patches(x, pitch, group);
                gemm(
                    [features, depth, pixels],
                    Matrix::rows(&dy[group * features..], dy_pitch).transposed(),
                    Matrix::rows(&patches, depth),
                    &mut dw[group * features * depth..],
                    depth,
                    true,
                );
            }
        }
    }
    if has_bias && let Some(db) = gradients.sum_slot(2, dy) {
        add_column_sums(cpu, &out_gradient, dy_pitch, &mut db.write::<T>());
    }
}
