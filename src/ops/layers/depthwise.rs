//! Depthwise convolution: a kernel for every channel.

mod launch;
mod rows;

use self::rows::{Axis, Grid, Run, Start, convolve, correlate};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float};
use crate::ops::layers::batch_norm::{Moments, pieces_with_moments};
use crate::ops::layers::conv2d::{check_windows, output_extent};
use crate::ops::tensor::reduce::add_column_sums;
use crate::ops::{begin, no_kernel};
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, assert_wide, float_dispatch};

/// The most partial sums of the weights' gradient, each over some of the images.
const PARTIALS: usize = 16;

/// Pixels of a task, if there are enough.
const PIXELS: usize = 256;

/// The extents of one depthwise convolution.
#[derive(Clone, Copy)]
struct Geometry {
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    kernel_height: usize,
    kernel_width: usize,
    out_height: usize,
    out_width: usize,
    stride: usize,
    padding: usize,
}

impl Geometry {
    fn of(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Self {
        let (image, kernel) = (x.shape(), weight.shape());
        assert!(
            image.rank() == 4 && kernel.rank() == 3 && image[3] == kernel[2],
            "depthwise_conv2d: images {image} and weight {kernel} do not fit"
        );
        check_windows("depthwise_conv2d", image, kernel, [kernel[0], kernel[1]], stride, padding);
        Geometry {
            images: image[0],
            height: image[1],
            width: image[2],
            channels: image[3],
            kernel_height: kernel[0],
            kernel_width: kernel[1],
            out_height: output_extent(image[1], kernel[0], stride, padding),
            out_width: output_extent(image[2], kernel[1], stride, padding),
            stride,
            padding,
        }
    }

    fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Operations of each of the three passes; padding counts too.
    fn operations(&self) -> usize {
        let taps = self.kernel_height * self.kernel_width;
        2 * self.images * self.out_pixels() * self.channels * taps
    }

    /// Output rows of one task of the forward pass; the last may have fewer.
    fn task_rows(&self) -> usize {
        PIXELS.div_ceil(self.out_width)
    }

    fn forward_grid(&self) -> Grid {
        let Geometry { stride, padding, .. } = *self;
        let rows = Axis::forward(self.height, self.out_height, self.kernel_height, stride, padding);
        let columns = Axis::forward(self.width, self.out_width, self.kernel_width, stride, padding);
        Grid::new(rows, columns, self.kernel_width)
    }

    /// Every `stride`-th row and column of the input from `[y, x]` on, and the output's pixels that read them.
    fn backward_grid(&self, [y, x]: [usize; 2]) -> Grid {
        let Geometry { stride, padding, .. } = *self;
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
    checked(x, weight, bias, [stride, padding], false).0
}

/// [`depthwise_conv2d`] that also computes the moments of its output's channels.
pub fn depthwise_conv2d_with_moments(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> (Tensor, Moments) {
    let (y, moments) = checked(x, weight, bias, [stride, padding], true);
    (y, moments.expect("moments that were asked for"))
}

fn checked(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    [stride, padding]: [usize; 2],
    with_moments: bool,
) -> (Tensor, Option<Moments>) {
    let geometry = Geometry::of(x, weight, stride, padding);
    assert_alike("depthwise_conv2d", &[x, weight]);
    if let Some(bias) = bias {
        assert_wide("depthwise_conv2d", x, &[bias]);
        assert!(
            bias.shape().extents() == [geometry.channels],
            "depthwise_conv2d: bias {} for {} channels",
            bias.shape(),
            geometry.channels
        );
    }
    if let Device::Gpu(gpu) = x.device() {
        return launch::depthwise_conv2d(gpu, x, weight, bias, with_moments, geometry);
    }
    float_dispatch!(x.dtype(), "depthwise_conv2d", T => {
        typed::<T>(x, weight, bias, with_moments, geometry)
    })
}

fn typed<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    with_moments: bool,
    geometry: Geometry,
) -> (Tensor, Option<Moments>) {
    let shape = [geometry.images, geometry.out_height, geometry.out_width, geometry.channels];
    let out = x.empty_like(shape);
    let height = geometry.task_rows() * geometry.out_width;
    let moments = with_moments.then(|| Moments::empty(&out, height));
    let op = begin("depthwise forward", &[x, weight, &out], geometry.operations());
    match x.device() {
        Device::Gpu(_) => no_kernel("depthwise"),
        Device::Cpu(cpu) => forward::<T>(cpu, x, weight, bias, (&out, moments.as_ref()), geometry),
    }
    drop(op);
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let (kept_x, kept_weight, has_bias) = (x.detach(), weight.detach(), bias.is_some());
    let out = record(out, &inputs, move |dy, gradients| match dy.device() {
        Device::Gpu(_) => no_kernel("depthwise"),
        Device::Cpu(cpu) => {
            backward::<T>(cpu, &kept_x, &kept_weight, dy, (gradients, has_bias), geometry)
        }
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
    let Geometry { channels, out_height, out_width, .. } = geometry;
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
    let _op = begin("depthwise input gradient", &[weight, dy, &slot.tensor], geometry.operations());
    let Geometry { channels, height, width, stride, .. } = geometry;
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
    let out_gradient = dy.read::<T>();
    if let Some(dw) = gradients.sum_slot(1, weight) {
        let _op = begin("depthwise weight gradient", &[x, dy, &dw], geometry.operations());
        let x = (&x.read::<T>()[..], x.pitch());
        add_weight_gradient(cpu, x, (&out_gradient, dy.pitch()), &mut dw.write::<T>(), geometry);
    }
    if has_bias && let Some(db) = gradients.sum_slot(2, dy) {
        let _op = begin("depthwise bias gradient", &[dy, &db], dy.shape().elements());
        add_column_sums(cpu, &out_gradient, dy.pitch(), &mut db.write::<T>());
    }
}

fn add_weight_gradient<T: Float>(
    cpu: &Cpu,
    (x, pitch): (&[T], usize),
    (dy, dy_pitch): (&[T], usize),
    dw: &mut [T],
    geometry: Geometry,
) {
    let Geometry { images, channels, out_height, out_width, .. } = geometry;
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
