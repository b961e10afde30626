//! Depthwise convolution: a kernel for every channel.

mod launch;
mod rows;

use self::rows::{Axis, Grid, Run, Start, convolve, correlate};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float};
use crate::ops::layers::batch_norm::{GradientSums, Moments, pieces_with_moments};
use crate::ops::layers::convolution::{
    Conv2dConfig, Convolution, Geometry, OutputGradient, Then, convolution,
};
use crate::ops::tensor::reduce::add_column_sums;
use crate::tape::{Later, Slot};
use crate::tensor::{Tensor, float_dispatch};

/// The most partial sums of the weights' gradient, each over some of the images.
const PARTIALS: usize = 16;

/// Pixels of a task, if there are enough.
const PIXELS: usize = 256;

/// The extents of images `[N, H, W, C]` and a weight `[R, S, C]`: a group for each channel. Panics if they do not fit.
fn geometry(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Geometry {
    let (image, kernel) = (x.shape(), weight.shape());
    assert!(
        image.rank() == 4 && kernel.rank() == 3 && image[3] == kernel[2],
        "depthwise_conv2d: images {image} and weight {kernel} do not fit"
    );
    let config = Conv2dConfig { stride, padding, groups: image[3] };
    let sides = [kernel[0], kernel[1]];
    Geometry::new("depthwise_conv2d", image, kernel, sides, [1, 1], config)
}

impl Geometry {
    /// Output rows of one task of the forward pass; the last may have fewer.
    fn task_rows(&self) -> usize {
        PIXELS.div_ceil(self.out_width)
    }

    fn forward_grid(&self) -> Grid {
        let Conv2dConfig { stride, padding, .. } = self.config;
        let rows = Axis::forward(self.height, self.out_height, self.kernel_height, stride, padding);
        let columns = Axis::forward(self.width, self.out_width, self.kernel_width, stride, padding);
        Grid::new(rows, columns, self.kernel_width)
    }

    /// Every `stride`-th row and column of the input from `[y, x]` on, and the output's pixels that read them.
    fn backward_grid(&self, [y, x]: [usize; 2]) -> Grid {
        let Conv2dConfig { stride, padding, .. } = self.config;
        let rows =
            Axis::backward(self.height, self.out_height, self.kernel_height, stride, padding, y);
        let columns =
            Axis::backward(self.width, self.out_width, self.kernel_width, stride, padding, x);
        Grid::new(rows, columns, self.kernel_width)
    }
}

/// Depthwise convolution: `y[n, p, q, c] = bias[c] + sum_rs x[n, p stride + r - padding, q stride + s - padding, c]
/// weight[r, s, c]`, pixels outside of the image are zero.
///
/// `x` is `[N, H, W, C]`, `weight` `[R, S, C]`, `bias` `[C]`, the result `[N, P, Q, C]`. Panics if the shapes do not
/// fit. If `x` and `weight` are BF16, the bias and the gradients of weight and bias are F32.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Tensor {
    let then = Then { bias, relu: false, moments: false };
    convolution(Depthwise(geometry(x, weight, stride, padding)), [x, weight], None, then).0
}

/// [`depthwise_conv2d`] that also computes the moments of its output's channels.
pub fn depthwise_conv2d_with_moments(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> (Tensor, Moments) {
    let then = Then { bias, relu: false, moments: true };
    let (y, moments) =
        convolution(Depthwise(geometry(x, weight, stride, padding)), [x, weight], None, then);
    (y, moments.expect("moments that were asked for"))
}

/// A convolution with a group for each channel.
#[derive(Clone, Copy)]
struct Depthwise(Geometry);

impl Convolution for Depthwise {
    const NAME: &'static str = "depthwise_conv2d";
    const OPS: [&'static str; 4] = [
        "depthwise forward",
        "depthwise input gradient",
        "depthwise weight gradient",
        "depthwise bias gradient",
    ];
    const IS_PRODUCT: bool = false;

    fn geometry(&self) -> &Geometry {
        &self.0
    }

    fn forward(self, x: &Tensor, weight: &Tensor, out: &Tensor, then: &Then) -> Option<Moments> {
        match x.device() {
            Device::Gpu(gpu) => launch::forward(gpu, [x, weight], out, then, self.0),
            Device::Cpu(cpu) => {
                let height = self.0.task_rows() * self.0.out_width;
                let moments = then.moments.then(|| Moments::empty(out, height));
                let to = (out, moments.as_ref());
                float_dispatch!(x.dtype(), "depthwise_conv2d", T => {
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
        let dy = dy.tensor;
        match dy.device() {
            Device::Gpu(gpu) => launch::input_gradient(gpu, weight, dy, slot, wanted, self.0),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "depthwise_conv2d", T => {
                input_gradient::<T>(cpu, weight, dy, slot, self.0);
            }),
        }
    }

    fn weight_gradient(self, x: &Tensor, dy: OutputGradient, slot: Slot, later: Option<Later>) {
        let dy = dy.tensor;
        match dy.device() {
            Device::Gpu(gpu) => launch::weight_gradient(gpu, x, dy, &slot, later, self.0),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "depthwise_conv2d", T => {
                let (x_values, dy_values) = (x.read::<T>(), dy.read::<T>());
                let (x, dy) = ((&x_values[..], x.pitch()), (&dy_values[..], dy.pitch()));
                add_weight_gradient(cpu, x, dy, &mut slot.sum().write::<T>(), self.0);
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
    let (channels, Geometry { out_height, out_width, .. }) = (geometry.config.groups, geometry);
    let (images, weights) = (x.read::<T>(), weight.read::<T>());
    let bias = bias.map(|bias| bias.read::<T>());
    let start = bias.as_deref().map_or(Start::Zero, Start::Bias);
    let (pitch, mut to) = (x.pitch(), out.write::<T>());
    let work = to.len() * geometry.kernel_height * geometry.kernel_width;
    let (grid, length) = (geometry.forward_grid(), out_width * channels);
    let rows = geometry.task_rows();
    let mut parts = moments.map(|moments| moments.parts().write::<T>());
    let parts = (parts.as_deref_mut().unwrap_or_default(), channels);
    pieces_with_moments(cpu, (&mut to[..], rows * length), parts, work, |task, to| {
        for (row, to) in (task * rows..).zip(to.chunks_mut(length)) {
            let x = &images[row / out_height * geometry.height * geometry.width * pitch..];
            grid.runs(row % out_height, (pitch, channels), |first, pixels, taps| {
                let to = &mut to[first * channels..];
                let source_step = grid.step(pitch);
                let run = Run { pixels, channels, source_step, out_step: channels };
                convolve(x, &weights, taps, to, run, start);
            });
        }
    });
}

fn input_gradient<T: Float>(
    cpu: &Cpu,
    weight: &Tensor,
    dy: &Tensor,
    slot: &Slot,
    geometry: Geometry,
) {
    let Geometry { height, width, config, .. } = geometry;
    let Conv2dConfig { stride, groups: channels, .. } = config;
    let (weights, out_gradient) = (weight.read::<T>(), dy.read::<T>());
    let (dx_pitch, pitch) = (slot.tensor.pitch(), dy.pitch());
    let start = if slot.add { Start::Output } else { Start::Zero };
    let grids: Vec<_> = (0..stride * stride)
        .map(|phase| geometry.backward_grid([phase / stride, phase % stride]))
        .collect();
    let (rows, length) = (PIXELS.div_ceil(width), width * dx_pitch);
    let work = geometry.images * height * width * channels * weight.shape().rows();
    cpu.pieces(&mut slot.tensor.write::<T>(), rows * length, work, |task, dx| {
        for (row, dx) in (task * rows..).zip(dx.chunks_mut(length)) {
            let (image, y) = (row / height, row % height);
            let dy = &out_gradient[image * geometry.out_pixels() * pitch..];
            for (phase, grid) in grids[y % stride * stride..][..stride].iter().enumerate() {
                grid.runs(y / stride, (pitch, channels), |first, pixels, taps| {
                    let dx = &mut dx[(phase + first * stride) * dx_pitch..];
                    let (source_step, out_step) = (grid.step(pitch), stride * dx_pitch);
                    convolve(
                        dy,
                        &weights,
                        taps,
                        dx,
                        Run { pixels, channels, source_step, out_step },
                        start,
                    );
                });
            }
        }
    });
}

fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    (x, pitch): (&[T], usize),
    (dy, dy_pitch): (&[T], usize),
    dw: &mut [T],
    geometry: Geometry,
) {
    let Geometry { images, out_height, out_width, .. } = geometry;
    let channels = geometry.config.groups;
    let (grid, length) = (geometry.forward_grid(), dw.len());
    let group = images.div_ceil(PARTIALS).max(1);
    let work = geometry.out_pixels() * images * length;
    let mut sums = vec![T::ZERO; images.div_ceil(group) * length];
    cpu.pieces(&mut sums, length, work, |task, sums| {
        for image in task * group..((task + 1) * group).min(images) {
            let x = &x[image * geometry.height * geometry.width * pitch..];
            for row in 0..out_height {
                let dy = &dy[(image * out_height + row) * out_width * dy_pitch..];
                grid.runs(row, (pitch, channels), |first, pixels, taps| {
                    let source_step = grid.step(pitch);
                    let run = Run { pixels, channels, source_step, out_step: dy_pitch };
                    correlate(x, &dy[first * dy_pitch..], taps, sums, run);
                });
            }
        }
    });
    add_column_sums(cpu, &sums, length, dw);
}
