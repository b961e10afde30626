//! Depthwise convolution: every channel has a kernel of its own.

use crate::device::Device;
use crate::device::cpu::vector::{multiply_add, vectorised};
use crate::device::cpu::{Cpu, Float};
use crate::ops::conv2d::output_extent;
use crate::ops::reduce::add_column_sums;
use crate::tape::{Gradients, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Partial sums of the weight's gradient at most, each over some of the images.
const PARTIALS: usize = 16;

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

    /// Calls `visit(output pixel, tap, input pixel)` for every pair inside one image.
    fn taps(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for pixel in 0..self.out_pixels() {
            let (p, q) = (pixel / self.out_width, pixel % self.out_width);
            for tap in 0..self.kernel_height * self.kernel_width {
                let row = p * self.stride + tap / self.kernel_width;
                let column = q * self.stride + tap % self.kernel_width;
                let inside = row >= self.padding && column >= self.padding;
                let (row, column) =
                    (row.wrapping_sub(self.padding), column.wrapping_sub(self.padding));
                if inside && row < self.height && column < self.width {
                    visit(pixel, tap, row * self.width + column);
                }
            }
        }
    }
}

/// Depthwise convolution: `y[n, p, q, c] = bias[c] + sum_rs x[n, p stride + r - padding, q stride + s - padding, c]
/// weight[r, s, c]`, where pixels outside the image are zero.
///
/// `x` is `[N, H, W, C]`, `weight` `[R, S, C]`, `bias` `[C]`, the result `[N, P, Q, C]`. Panics where the shapes do
/// not fit.
pub fn depthwise_conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: usize,
) -> Tensor {
    let geometry = Geometry::of(x, weight, stride, padding);
    assert_alike("depthwise_conv2d", &[x, weight]);
    if let Some(bias) = bias {
        assert_alike("depthwise_conv2d", &[x, bias]);
        assert!(
            bias.shape().extents() == [geometry.channels],
            "depthwise_conv2d: bias {} for {} channels",
            bias.shape(),
            geometry.channels
        );
    }
    float_dispatch!(x.dtype(), "depthwise_conv2d", T => typed::<T>(x, weight, bias, geometry))
}

fn typed<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
) -> Tensor {
    let shape = [geometry.images, geometry.out_height, geometry.out_width, geometry.channels];
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

vectorised! {
    /// `to[c] += x[c] y[c]`.
    fn add_products[T: Float](x: &[T], y: &[T], to: &mut [T]) {
        for (to, (x, y)) in to.iter_mut().zip(x.iter().zip(y)) {
            *to = multiply_add::<FUSED, T>(*x, *y, *to);
        }
    }
}

fn forward<T: Float>(
    cpu: &Cpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    out: &Tensor,
    geometry: Geometry,
) {
    let (channels, pitch, pixels) = (geometry.channels, x.pitch(), geometry.out_pixels());
    let (images, weights) = (x.read::<T>(), weight.read::<T>());
    let bias = bias.map(|bias| bias.read::<T>());
    let bias = bias.as_deref();
    let mut to = out.write::<T>();
    let work = to.len() * geometry.kernel_height * geometry.kernel_width;
    cpu.pieces(&mut to, pixels * channels, work, |image, to| {
        match bias {
            Some(bias) => to.chunks_mut(channels).for_each(|row| row.copy_from_slice(bias)),
            None => to.fill(T::ZERO),
        }
        let x = &images[image * geometry.height * geometry.width * pitch..];
        geometry.taps(|out, tap, pixel| {
            let to = &mut to[out * channels..][..channels];
            add_products(&x[pixel * pitch..], &weights[tap * channels..], to);
        });
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
    let (channels, pixels) = (geometry.channels, geometry.out_pixels());
    let (pitch, dy_pitch) = (x.pitch(), dy.pitch());
    let image_pixels = geometry.height * geometry.width;
    let work = pixels * channels * geometry.images * weight.shape().rows();
    let out_gradient = dy.read::<T>();
    if let Some(dx) = gradients.sum_slot(0, x) {
        let (weights, dx_pitch) = (weight.read::<T>(), dx.pitch());
        cpu.pieces(&mut dx.write::<T>(), image_pixels * dx_pitch, work, |image, dx| {
            let dy = &out_gradient[image * pixels * dy_pitch..];
            geometry.taps(|out, tap, pixel| {
                let to = &mut dx[pixel * dx_pitch..][..channels];
                add_products(&dy[out * dy_pitch..], &weights[tap * channels..], to);
            });
        });
    }
    if let Some(dw) = gradients.sum_slot(1, weight) {
        let (images, mut dw) = (x.read::<T>(), dw.write::<T>());
        let group = geometry.images.div_ceil(PARTIALS).max(1);
        let length = dw.len();
        let mut sums = vec![T::ZERO; geometry.images.div_ceil(group) * length];
        cpu.pieces(&mut sums, length, work, |task, sums| {
            for image in task * group..((task + 1) * group).min(geometry.images) {
                let x = &images[image * image_pixels * pitch..];
                let dy = &out_gradient[image * pixels * dy_pitch..];
                geometry.taps(|out, tap, pixel| {
                    let to = &mut sums[tap * channels..][..channels];
                    add_products(&dy[out * dy_pitch..], &x[pixel * pitch..], to);
                });
            }
        });
        add_column_sums(cpu, &sums, length, &mut dw);
    }
    if has_bias && let Some(db) = gradients.sum_slot(2, dy) {
        add_column_sums(cpu, &out_gradient, dy_pitch, &mut db.write::<T>());
    }
}
