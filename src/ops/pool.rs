//! Pools over the two middle axes of images `[N, H, W, C]`.

use crate::device::cpu::{Cpu, Float, vector::LANES, vector::vectorised};
use crate::device::{DType, Device};
use crate::shape::Shape;
use crate::tape::record;
use crate::tensor::{Tensor, float_dispatch};

/// Elements that one task works on.
const PIECE: usize = 1 << 14;

/// Where a pool's windows lie on an image.
#[derive(Clone, Copy)]
struct Windows {
    /// `[N, H, W, C]`.
    input: Shape,
    /// `[N, P, Q, C]`.
    output: Shape,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    fn new(op: &str, x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Self {
        let input = x.shape();
        let &[images, height, width, channels] = input.extents() else {
            panic!("{op}: shape {input} is not [N, H, W, C]");
        };
        assert!(kernel > 0 && stride > 0, "{op}: kernel {kernel}, stride {stride}");
        assert!(
            2 * padding <= kernel,
            "{op}: padding {padding} is more than half of kernel {kernel}"
        );
        let fits = kernel <= height + 2 * padding && kernel <= width + 2 * padding;
        assert!(fits, "{op}: kernel {kernel} and padding {padding} on images of shape {input}");
        let extent = |own: usize| (own + 2 * padding - kernel) / stride + 1;
        let output = Shape::from([images, extent(height), extent(width), channels]);
        Windows { input, output, kernel, stride, padding }
    }

    /// Places along an axis of extent `extent` that window number `window` covers, padding left out.
    fn places(&self, window: usize, extent: usize) -> std::ops::Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.padding)
            ..(start + self.kernel).saturating_sub(self.padding).min(extent)
    }

    /// Of `windows` windows along an axis, those that cover `place`.
    fn covering(&self, place: usize, windows: usize) -> std::ops::Range<usize> {
        let padded = place + self.padding;
        let first = (padded + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(padded / self.stride + 1).min(windows)
    }

    /// Which of the window's places `(row, column)` is, from 0 to `kernel^2 - 1`.
    fn tap(&self, window: (usize, usize), place: (usize, usize)) -> usize {
        let offset = |window: usize, place: usize| place + self.padding - window * self.stride;
        offset(window.0, place.0) * self.kernel + offset(window.1, place.1)
    }

    /// The places that window `(row, column)` covers.
    fn pixels(
        &self,
        (row, column): (usize, usize),
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let columns = self.places(column, self.input[2]);
        self.places(row, self.input[1])
            .flat_map(move |row| columns.clone().map(move |column| (row, column)))
    }

    /// The windows that cover pixel `(row, column)`.
    fn windows(
        &self,
        (row, column): (usize, usize),
    ) -> impl Iterator<Item = (usize, usize)> + use<> {
        let columns = self.covering(column, self.output[2]);
        self.covering(row, self.output[1])
            .flat_map(move |row| columns.clone().map(move |column| (row, column)))
    }
}

/// Number of an image's pixel `(row, column)`.
fn pixel(shape: Shape, image: usize, (row, column): (usize, usize)) -> usize {
    (image * shape[1] + row) * shape[2] + column
}

/// Image and place of a pixel's number.
fn place(shape: Shape, pixel: usize) -> (usize, (usize, usize)) {
    let (line, column) = (pixel / shape[2], pixel % shape[2]);
    (line / shape[1], (line % shape[1], column))
}

/// Pixels of one task.
fn pixels_per_task(pitch: usize) -> usize {
    (PIECE / pitch.max(1)).max(1)
}

/// The largest value under each `kernel` by `kernel` window, PyTorch's `max_pool2d`: of equal ones the first, and NaN
/// if there is any. Panics where padding is more than half the kernel or a window does not fit.
///
/// ```
/// use alrao::{Device, Tensor, ops::pool::max_pool2d};
/// let x = Tensor::from_slice(&Device::cpu(), [1, 2, 2, 1], &[1f32, 4.0, 3.0, 2.0]);
/// assert_eq!(max_pool2d(&x, 2, 2, 0).to_vec::<f32>(), [4.0]);
/// ```
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Tensor {
    let windows = Windows::new("max_pool2d", x, kernel, stride, padding);
    let index = if kernel * kernel <= 256 { DType::U8 } else { DType::I32 };
    float_dispatch!(x.dtype(), "max_pool2d", T => match index {
        DType::U8 => max_pool_typed::<T, u8>(x, windows),
        _ => max_pool_typed::<T, i32>(x, windows),
    })
}

/// A type for a place in a window.
trait Tap: crate::device::Element + Default + PartialEq {
    fn from_usize(tap: usize) -> Self;
}

impl Tap for u8 {
    fn from_usize(tap: usize) -> Self {
        tap as u8
    }
}

impl Tap for i32 {
    fn from_usize(tap: usize) -> Self {
        tap as i32
    }
}

fn max_pool_typed<T: Float, I: Tap>(x: &Tensor, windows: Windows) -> Tensor {
    let y = x.empty_like(windows.output);
    let taps = Tensor::empty(x.device(), windows.output, I::DTYPE);
    match x.device() {
        Device::Cpu(cpu) => max_forward::<T, I>(cpu, x, &y, &taps, windows),
    }
    let like = x.detach();
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, &like) else { return };
        match dy.device() {
            Device::Cpu(cpu) => {
                max_backward::<T, I>(cpu, dy, &taps, windows, &slot.tensor, slot.add)
            }
        }
    })
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn is_nan<T: Float>(value: T) -> bool {
    value != value
}

fn max_forward<T: Float, I: Tap>(
    cpu: &Cpu,
    x: &Tensor,
    y: &Tensor,
    taps: &Tensor,
    windows: Windows,
) {
    let channels = windows.input[3];
    let length = pixels_per_task(channels) * channels;
    let (values, pitch) = (x.read::<T>(), x.pitch());
    let (mut y, mut taps) = (y.write::<T>(), taps.write::<I>());
    let work = values.len();
    cpu.pieces2((&mut y, length), (&mut taps, length), work, |task, y, taps| {
        max_pixels(&values, pitch, windows, task * pixels_per_task(channels), y, taps);
    });
}

vectorised! {
    /// The outputs from pixel `first` on.
    fn max_pixels[T: Float, I: Tap](
        x: &[T], pitch: usize, windows: Windows, first: usize, y: &mut [T], taps: &mut [I],
    ) {
        let channels = windows.input[3].max(1);
        let pixels = y.chunks_mut(channels).zip(taps.chunks_mut(channels));
        for (number, (y, taps)) in pixels.enumerate() {
            let (image, window) = place(windows.output, first + number);
            let (rows, columns) =
                (windows.places(window.0, windows.input[1]), windows.places(window.1, windows.input[2]));
            let first_tap = I::from_usize(windows.tap(window, (rows.start, columns.start)));
            let mut start = 0;
            while start + LANES <= channels {
                let (mut best, mut tap) = ([-T::INFINITY; LANES], [first_tap; LANES]);
                for row in rows.clone() {
                    for column in columns.clone() {
                        let from = pixel(windows.input, image, (row, column)) * pitch + start;
                        let values = &x[from..from + LANES];
                        let own = I::from_usize(windows.tap(window, (row, column)));
                        for lane in 0..LANES {
                            let value = values[lane];
                            let wins = (value > best[lane]) | is_nan(value);
                            best[lane] = if wins { values[lane] } else { best[lane] };
                            tap[lane] = if wins { own } else { tap[lane] };
                        }
                    }
                }
                y[start..start + LANES].copy_from_slice(&best);
                taps[start..start + LANES].copy_from_slice(&tap);
                start += LANES;
            }
            let (y, taps) = (&mut y[start..], &mut taps[start..]);
            y.fill(-T::INFINITY);
            taps.fill(first_tap);
            for row in rows {
                for column in columns.clone() {
                    let from = pixel(windows.input, image, (row, column)) * pitch + start;
                    let own = I::from_usize(windows.tap(window, (row, column)));
                    for ((y, tap), value) in y.iter_mut().zip(taps.iter_mut()).zip(&x[from..]) {
                        let wins = (*value > *y) | is_nan(*value);
                        *y = if wins { *value } else { *y };
                        *tap = if wins { own } else { *tap };
                    }
                }
            }
        }
    }
}

fn max_backward<T: Float, I: Tap>(
    cpu: &Cpu,
    dy: &Tensor,
    taps: &Tensor,
    windows: Windows,
    dx: &Tensor,
    add: bool,
) {
    let (upstream, dy_pitch, taps) = (dy.read::<T>(), dy.pitch(), taps.read::<I>());
    let pitch = dx.pitch();
    let count = pixels_per_task(pitch);
    cpu.pieces(&mut dx.write::<T>(), count * pitch, windows.input.elements(), |task, dx| {
        max_gradients(&upstream, dy_pitch, &taps, windows, task * count, dx, pitch, add);
    });
}

vectorised! {
    /// Each input pixel collects from the windows that chose it, so that no two tasks write one place.
    fn max_gradients[T: Float, I: Tap](
        dy: &[T], dy_pitch: usize, taps: &[I], windows: Windows, first: usize, dx: &mut [T], dx_pitch: usize, add: bool,
    ) {
        let channels = windows.input[3];
        for (number, dx) in dx.chunks_mut(dx_pitch.max(1)).enumerate() {
            let dx = &mut dx[..channels];
            let (image, at) = place(windows.input, first + number);
            let mut add = add;
            for window in windows.windows(at) {
                let from = pixel(windows.output, image, window);
                let dy = &dy[from * dy_pitch..from * dy_pitch + channels];
                let taps = &taps[from * channels..(from + 1) * channels];
                let own = I::from_usize(windows.tap(window, at));
                let sources = dx.iter_mut().zip(dy.iter().zip(taps));
                if add {
                    sources.for_each(|(dx, (dy, tap))| *dx += if *tap == own { *dy } else { T::ZERO });
                } else {
                    sources.for_each(|(dx, (dy, tap))| *dx = if *tap == own { *dy } else { T::ZERO });
                }
                add = true;
            }
            if !add {
                dx.fill(T::ZERO);
            }
        }
    }
}

/// The mean under each `kernel` by `kernel` window; padding counts as zeros, PyTorch's `avg_pool2d`.
pub fn average_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Tensor {
    let windows = Windows::new("average_pool2d", x, kernel, stride, padding);
    float_dispatch!(x.dtype(), "average_pool2d", T => average_pool_typed::<T>(x, windows))
}

fn average_pool_typed<T: Float>(x: &Tensor, windows: Windows) -> Tensor {
    let y = x.empty_like(windows.output);
    let factor = T::from_f64(1.0 / (windows.kernel * windows.kernel) as f64);
    let to = Sums { factor, add: false };
    match x.device() {
        Device::Cpu(cpu) => gather(cpu, x, &y, to, |pixel_number| {
            let (image, window) = place(windows.output, pixel_number);
            windows.pixels(window).map(move |at| pixel(windows.input, image, at))
        }),
    }
    let like = x.detach();
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, &like) else { return };
        let to = Sums { factor, add: slot.add };
        match dy.device() {
            Device::Cpu(cpu) => gather(cpu, dy, &slot.tensor, to, |pixel_number| {
                let (image, at) = place(windows.input, pixel_number);
                windows.windows(at).map(move |window| pixel(windows.output, image, window))
            }),
        }
    })
}

/// The mean of each image's channels: `[N, H, W, C]` to `[N, C]`.
pub fn global_average_pool(x: &Tensor) -> Tensor {
    let shape = x.shape();
    assert!(shape.rank() == 4, "global_average_pool: shape {shape} is not [N, H, W, C]");
    float_dispatch!(x.dtype(), "global_average_pool", T => global_average_typed::<T>(x, shape))
}

fn global_average_typed<T: Float>(x: &Tensor, shape: Shape) -> Tensor {
    let pixels = shape[1] * shape[2];
    let y = x.empty_like([shape[0], shape[3]]);
    let factor = T::from_f64(1.0 / pixels as f64);
    match x.device() {
        Device::Cpu(cpu) => gather(cpu, x, &y, Sums { factor, add: false }, |image| {
            image * pixels..(image + 1) * pixels
        }),
    }
    let like = x.detach();
    record(y, &[x], move |dy, gradients| {
        let Some(slot) = gradients.slot(0, &like) else { return };
        let to = Sums { factor, add: slot.add };
        match dy.device() {
            Device::Cpu(cpu) => {
                gather(cpu, dy, &slot.tensor, to, |pixel| std::iter::once(pixel / pixels))
            }
        }
    })
}

/// What becomes of a sum: `to = factor sum`, or `to += factor sum`.
#[derive(Clone, Copy)]
struct Sums<T> {
    factor: T,
    add: bool,
}

/// For each row of `to`, the sum of those rows of `from` that `rows` names.
fn gather<T: Float, R: Iterator<Item = usize>>(
    cpu: &Cpu,
    from: &Tensor,
    to: &Tensor,
    sums: Sums<T>,
    rows: impl Fn(usize) -> R + Sync,
) {
    let (channels, pitch, from_pitch) = (to.shape().columns(), to.pitch(), from.pitch());
    let work = from.shape().elements().max(to.shape().elements());
    // A task's size follows what it reads where that is more than it writes.
    let reads = (from.shape().rows() / to.shape().rows().max(1)).max(1);
    let count = pixels_per_task(pitch * reads);
    let values = from.read::<T>();
    cpu.pieces(&mut to.write::<T>(), count * pitch, work, |task, to| {
        let mut buffer = vec![T::ZERO; channels];
        for (number, to) in to.chunks_mut(pitch.max(1)).enumerate() {
            buffer.fill(T::ZERO);
            for row in rows(task * count + number) {
                add_row(&values[row * from_pitch..row * from_pitch + channels], &mut buffer);
            }
            store_row(&buffer, sums.factor, sums.add, &mut to[..channels]);
        }
    });
}

vectorised! {
    fn add_row[T: Float](from: &[T], sums: &mut [T]) {
        sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += *value);
    }
}

vectorised! {
    fn store_row[T: Float](sums: &[T], factor: T, add: bool, to: &mut [T]) {
        let pairs = to.iter_mut().zip(sums);
        if add {
            pairs.for_each(|(to, sum)| *to += *sum * factor);
        } else {
            pairs.for_each(|(to, sum)| *to = *sum * factor);
        }
    }
}
