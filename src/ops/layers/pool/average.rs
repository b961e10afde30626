//! Average pooling over the two middle axes of images `[N, H, W, C]`.

use std::ops::Range;

use super::launch::{self, PoolShape};
use super::{Pixel, Reach, Windows, pixels_per_task};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::ops::begin;
use crate::shape::Shape;
use crate::tape::record;
use crate::tensor::{Tensor, float_dispatch};
use crate::trace::{self, Operation};

/// The mean under each `kernel` by `kernel` window, as PyTorch's `avg_pool2d`; padding counts as zeros.
pub fn average_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Tensor {
    let windows = Windows::new("average_pool2d", x, kernel, stride, padding);
    let y = x.empty_like(windows.output);
    let factor = 1.0 / (windows.kernel * windows.kernel) as f64;
    let op = begin("average_pool2d forward", &[x, &y], x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch::average_forward(gpu, x, &y, PoolShape::of(&windows)),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "average_pool2d", T => {
            let to = Sums { factor: T::from_f64(factor), add: false };
            add_rectangles(cpu, x, &y, &windows.covered(), to);
        }),
    }
    drop(op);
    trace::note(Operation::AveragePool { kernel, stride, padding }, &[x], &[&y]);
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let dx = &slot.tensor;
        let _op = begin("average_pool2d backward", &[dy, dx], dx.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => {
                let shape = PoolShape::of(&windows);
                launch::average_backward(gpu, dy, shape, &slot.tensor, slot.add);
            }
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "average_pool2d", T => {
                let to = Sums { factor: T::from_f64(factor), add: slot.add };
                add_rectangles(cpu, dy, &slot.tensor, &windows.covering_all(), to);
            }),
        }
    })
}

/// The mean of each image's channels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average_pool(x: &Tensor) -> Tensor {
    let shape = x.shape();
    assert!(shape.rank() == 4, "global_average_pool: shape {shape} is not [N, H, W, C]");
    let y = x.empty_like([shape[0], shape[3]]);
    let factor = 1.0 / (shape[1] * shape[2]) as f64;
    let op = begin("global_average_pool forward", &[x, &y], x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch::average_forward(gpu, x, &y, PoolShape::global(shape)),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "global_average_pool", T => {
            average_images(cpu, x, &y, T::from_f64(factor));
        }),
    }
    drop(op);
    trace::note(Operation::GlobalAveragePool, &[x], &[&y]);
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let reach = Reach {
            from: Shape::from([shape[0], 1, 1, shape[3]]),
            to: shape,
            rows: vec![0..1; shape[1]],
            columns: vec![0..1; shape[2]],
        };
        let dx = &slot.tensor;
        let _op = begin("global_average_pool backward", &[dy, dx], dx.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => {
                let shape = PoolShape::global(shape);
                launch::average_backward(gpu, dy, shape, &slot.tensor, slot.add);
            }
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "global_average_pool", T => {
                let to = Sums { factor: T::from_f64(factor), add: slot.add };
                add_rectangles(cpu, dy, &slot.tensor, &reach, to);
            }),
        }
    })
}

/// The mean of each of `[P, Q]` windows that divide each image evenly, as PyTorch's `adaptive_avg_pool2d`: `[N, H, W,
/// C]` to `[N, P, Q, C]`. Window number i of P covers the rows from `floor(i H / P)` to before `ceil((i + 1) H / P)`:
/// neighbours share a row if P does not divide H. Panics if a side of `size` or of the images is 0.
///
/// ```
/// use alrao::{Device, Tensor, ops::layers::pool::adaptive_average_pool2d};
/// let x = Tensor::from_slice(&Device::cpu(), [1, 1, 3, 1], &[1f32, 2.0, 6.0]);
/// assert_eq!(adaptive_average_pool2d(&x, [1, 2]).to_vec::<f32>(), [1.5, 4.0]);
/// ```
pub fn adaptive_average_pool2d(x: &Tensor, size: [usize; 2]) -> Tensor {
    let shape = x.shape();
    assert!(
        shape.rank() == 4 && [size[0], size[1], shape[1], shape[2]].iter().all(|&n| n > 0),
        "adaptive_average_pool2d: to {size:?} of shape {shape}, which must be [N, H, W, C]; no side may be 0"
    );
    if size == [shape[1], shape[2]] {
        return x.clone();
    }
    let output = Shape::from([shape[0], size[0], size[1], shape[3]]);
    let y = x.empty_like(output);
    let op = begin("adaptive_average_pool2d forward", &[x, &y], x.shape().elements());
    match x.device() {
        Device::Gpu(gpu) => launch::adaptive_forward(gpu, x, &y),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "adaptive_average_pool2d", T => {
            let windows = evenly(shape, output);
            add_rectangles(cpu, x, &y, &windows, Sums { factor: T::ONE, add: false });
            divide_by_areas::<T>(cpu, &y, &windows);
        }),
    }
    drop(op);
    trace::note(Operation::AdaptiveAveragePool, &[x], &[&y]);
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let dx = &slot.tensor;
        let _op = begin("adaptive_average_pool2d backward", &[dy, dx], dx.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => launch::adaptive_backward(gpu, dy, &slot.tensor, slot.add),
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "adaptive_average_pool2d", T => {
                let shares = dy.copy();
                divide_by_areas::<T>(cpu, &shares, &evenly(shape, output));
                let to = Sums { factor: T::ONE, add: slot.add };
                add_rectangles(cpu, &shares, &slot.tensor, &evenly(output, shape), to);
            }),
        }
    })
}

/// For each pixel of `to`, the pixels of `from` that overlap it if both are stretched to the same size.
fn evenly(from: Shape, to: Shape) -> Reach {
    let axis = |axis: usize| -> Vec<Range<usize>> {
        let (from, to) = (from[axis], to[axis]);
        (0..to).map(|place| place * from / to..((place + 1) * from).div_ceil(to)).collect()
    };
    Reach { from, to, rows: axis(1), columns: axis(2) }
}

/// Divides each pixel by the number of pixels of its rectangle. `tensor` is contiguous.
fn divide_by_areas<T: Float>(cpu: &Cpu, tensor: &Tensor, reach: &Reach) {
    let channels = reach.to[3];
    let count = pixels_per_task(channels);
    let mut elements = tensor.write::<T>();
    let work = elements.len();
    cpu.pieces(&mut elements, count * channels, work, |task, pixels| {
        let mut at = Pixel::of(reach.to, task * count);
        for pixel in pixels.chunks_mut(channels.max(1)) {
            let (rows, columns, _) = reach.of(at);
            let factor = T::from_f64(1.0 / (rows.len() * columns.len()) as f64);
            pixel.iter_mut().for_each(|value| *value = *value * factor);
            at.advance(reach.to);
        }
    });
}

fn average_images<T: Float>(cpu: &Cpu, x: &Tensor, y: &Tensor, factor: T) {
    let (shape, pitch, channels) = (x.shape(), x.pitch(), y.pitch());
    let (values, pixels) = (x.read::<T>(), shape[1] * shape[2]);
    let count = pixels_per_task(pitch * pixels);
    cpu.pieces(&mut y.write::<T>(), count * channels, values.len(), |task, y| {
        y.fill(T::ZERO);
        for (number, y) in y.chunks_mut(channels).enumerate() {
            let start = (task * count + number) * pixels * pitch;
            let end = start + ((pixels * pitch).min(values.len() - start));
            add_rows(&values[start..end], pitch, y);
            y.iter_mut().for_each(|y| *y = *y * factor);
        }
    });
}

vectorised! {
    /// `sums[c] += sum over rows of x[row * pitch + c]`.
    fn add_rows[T: Float](x: &[T], pitch: usize, sums: &mut [T]) {
        for row in x.chunks(pitch) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += *x;
            }
        }
    }
}

/// The use of a sum: `to = factor sum`, or `to += factor sum`.
#[derive(Clone, Copy)]
struct Sums<T> {
    factor: T,
    add: bool,
}

/// For each pixel of `to`, the sum of its rectangle's pixels.
fn add_rectangles<T: Float>(cpu: &Cpu, from: &Tensor, to: &Tensor, reach: &Reach, sums: Sums<T>) {
    let (pitch, from_pitch) = (to.pitch(), from.pitch());
    let work = from.shape().elements().max(to.shape().elements());
    // A task's size depends on its reads if they are more than its writes.
    let reads = (from.shape().rows() / to.shape().rows().max(1)).max(1);
    let count = pixels_per_task(pitch * reads);
    let values = from.read::<T>();
    cpu.pieces(&mut to.write::<T>(), count * pitch, work, |task, to| {
        let mut buffer = vec![T::ZERO; reach.to[3]];
        add_pixels(&values, from_pitch, reach, task * count, &mut buffer, to, pitch, sums);
    });
}

vectorised! {
    fn add_pixels[T: Float](
        from: &[T], from_pitch: usize, reach: &Reach, first: usize, buffer: &mut [T],
        to: &mut [T], pitch: usize, sums: Sums<T>,
    ) {
        let (channels, width) = (reach.to[3], reach.from[2]);
        let mut at = Pixel::of(reach.to, first);
        for to in to.chunks_mut(pitch.max(1)) {
            let (rows, columns, corner) = reach.of(at);
            let pixel = |row: usize, column: usize| {
                &from[(corner + row * width + column) * from_pitch..][..channels]
            };
            let to = &mut to[..channels];
            match (rows.len(), columns.len()) {
                (1, 1) => store(pixel(0, 0), sums, to),
                (2, 2) => {
                    let buffer = &mut buffer[..channels];
                    let (a, b, c, d) = (pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1));
                    for i in 0..channels {
                        buffer[i] = a[i] + b[i] + c[i] + d[i];
                    }
                    store(buffer, sums, to);
                }
                (height, width) => {
                    let buffer = &mut buffer[..channels];
                    buffer.fill(T::ZERO);
                    for row in 0..height {
                        for column in 0..width {
                            let from = pixel(row, column);
                            for i in 0..channels {
                                buffer[i] += from[i];
                            }
                        }
                    }
                    store(buffer, sums, to);
                }
            }
            at.advance(reach.to);
        }
    }
}

#[inline(always)]
fn store<T: Float>(values: &[T], Sums { factor, add }: Sums<T>, to: &mut [T]) {
    let values = &values[..to.len()];
    if add {
        for i in 0..to.len() {
            to[i] += values[i] * factor;
        }
    } else {
        for i in 0..to.len() {
            to[i] = values[i] * factor;
        }
    }
}
