//! Pooling over the two middle axes of images `[N, H, W, C]`.

mod average;
mod launch;

use std::ops::Range;

pub use self::average::{adaptive_average_pool2d, average_pool2d, global_average_pool};
use crate::device::Device;
use crate::device::cpu::{Cpu, Float, vector::LANES, vector::vectorised};
use crate::ops::begin;
use crate::ops::layers::batch_norm::GradientSums;
use crate::shape::Shape;
use crate::tape::record;
use crate::tensor::{Tensor, float_dispatch};
use crate::trace::{self, Operation};

/// Elements of one task.
const PIECE: usize = 1 << 14;

/// The windows of a pool on an image.
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
        let fits = [height, width].iter().all(|side| *side > 0 && kernel <= side + 2 * padding);
        assert!(fits, "{op}: kernel {kernel} and padding {padding} on images of shape {input}");
        let extent = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        let output = Shape::from([images, extent(height), extent(width), channels]);
        Windows { input, output, kernel, stride, padding }
    }

    /// The places along an axis of extent `extent` that window number `window` covers, without padding.
    fn places(&self, window: usize, extent: usize) -> Range<usize> {
        let start = window * self.stride;
        start.saturating_sub(self.padding)
            ..(start + self.kernel).saturating_sub(self.padding).min(extent)
    }

    /// The windows, of `windows` along an axis, that cover `place`.
    fn covering(&self, place: usize, windows: usize) -> Range<usize> {
        let padded = place + self.padding;
        let first = (padded + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(padded / self.stride + 1).min(windows)
    }

    /// The number of `place` within a window, from 0 to `kernel^2 - 1`.
    fn tap(&self, window: (usize, usize), place: (usize, usize)) -> usize {
        let offset = |window: usize, place: usize| place + self.padding - window * self.stride;
        offset(window.0, place.0) * self.kernel + offset(window.1, place.1)
    }

    /// For each output pixel, the input pixels under its window.
    fn covered(&self) -> Reach {
        let axis = |axis: usize| -> Vec<_> {
            (0..self.output[axis]).map(|window| self.places(window, self.input[axis])).collect()
        };
        Reach { from: self.input, to: self.output, rows: axis(1), columns: axis(2) }
    }

    /// For each input pixel, the output pixels whose windows cover it.
    fn covering_all(&self) -> Reach {
        let axis = |axis: usize| -> Vec<_> {
            (0..self.input[axis]).map(|place| self.covering(place, self.output[axis])).collect()
        };
        Reach { from: self.output, to: self.input, rows: axis(1), columns: axis(2) }
    }
}

/// For each pixel of `to`, a rectangle of pixels of `from`: its rows depend on the pixel's row only, its columns on the
/// pixel's column.
struct Reach {
    from: Shape,
    to: Shape,
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
}

impl Reach {
    /// The rectangle of a pixel, and the number of the rectangle's first pixel.
    #[inline(always)]
    fn of(&self, at: Pixel) -> (Range<usize>, Range<usize>, usize) {
        let (rows, columns) = (self.rows[at.row].clone(), self.columns[at.column].clone());
        let corner = (at.image * self.from[1] + rows.start) * self.from[2] + columns.start;
        (rows, columns, corner)
    }
}

/// A pixel of a batch of images.
#[derive(Clone, Copy)]
struct Pixel {
    image: usize,
    row: usize,
    column: usize,
}

impl Pixel {
    fn of(shape: Shape, pixel: usize) -> Self {
        let (line, column) = (pixel / shape[2], pixel % shape[2]);
        Pixel { image: line / shape[1], row: line % shape[1], column }
    }

    #[inline(always)]
    fn advance(&mut self, shape: Shape) {
        self.column += 1;
        if self.column == shape[2] {
            (self.column, self.row) = (0, self.row + 1);
        }
        if self.row == shape[1] {
            (self.row, self.image) = (0, self.image + 1);
        }
    }
}

/// Pixels of one task.
fn pixels_per_task(pitch: usize) -> usize {
    (PIECE / pitch.max(1)).max(1)
}

/// The largest value under each `kernel` by `kernel` window, as PyTorch's `max_pool2d`: the first of equals, and NaN if
/// there is any. Panics if padding is more than half the kernel, a window does not fit or an image has no pixels.
///
/// ```
/// use alrao::{Device, Tensor, ops::layers::pool::max_pool2d};
/// let x = Tensor::from_slice(&Device::cpu(), [1, 2, 2, 1], &[1f32, 4.0, 3.0, 2.0]);
/// assert_eq!(max_pool2d(&x, 2, 2, 0).to_vec::<f32>(), [4.0]);
/// ```
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Tensor {
    let windows = Windows::new("max_pool2d", x, kernel, stride, padding);
    match kernel * kernel {
        ..=256 => max_pool_with_taps::<u8>(x, windows),
        _ => max_pool_with_taps::<i32>(x, windows),
    }
}

/// An integer type that numbers the places in a window.
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

fn max_pool_with_taps<I: Tap>(x: &Tensor, windows: Windows) -> Tensor {
    let y = x.empty_like(windows.output);
    let taps = Tensor::empty(x.device(), windows.output, I::DTYPE);
    let compared = windows.kernel * windows.kernel * y.shape().elements();
    let op = begin("max_pool2d forward", &[x, &y, &taps], compared);
    match x.device() {
        Device::Gpu(gpu) => launch::max_forward(gpu, x, &y, &taps, &windows),
        Device::Cpu(cpu) => float_dispatch!(x.dtype(), "max_pool2d", T => {
            max_forward::<T, I>(cpu, x, &y, &taps, windows);
        }),
    }
    drop(op);
    let Windows { kernel, stride, padding, .. } = windows;
    trace::note(Operation::MaxPool { kernel, stride, padding }, &[x], &[&y]);
    record(y, &[x], move |dy, gradients| {
        let wanted = gradients.wanted::<GradientSums>(0);
        let Some(slot) = gradients.slot(0, dy.dtype()) else { return };
        let mut tensors = vec![dy, &taps, &slot.tensor];
        tensors.extend(wanted.as_ref().map(|sums| &sums.x));
        let _op = begin("max_pool2d backward", &tensors, dy.shape().elements());
        match dy.device() {
            Device::Gpu(gpu) => {
                launch::max_backward(gpu, dy, &taps, &windows, &slot, wanted.as_deref());
            }
            Device::Cpu(cpu) => float_dispatch!(dy.dtype(), "max_pool2d", T => {
                max_backward::<T, I>(cpu, dy, &taps, windows, &slot.tensor, slot.add);
            }),
        }
    })
}

#[inline(always)]
#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
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
    let (work, reach) = (values.len(), windows.covered());
    cpu.pieces2((&mut y, length), (&mut taps, length), work, |task, y, taps| {
        let first = task * pixels_per_task(channels);
        max_pixels(&values, pitch, windows, &reach, first, y, taps);
    });
}

/// A window in memory, and the numbers of its places.
#[derive(Clone, Copy)]
struct Window {
    start: usize,
    height: usize,
    width: usize,
    /// Elements from one row of the image to the next, and from one pixel to the next.
    line: usize,
    pitch: usize,
    first_tap: usize,
    kernel: usize,
}

/// The largest values of [`LANES`] channels under a window, and their places.
#[inline(always)]
fn max_lanes<T: Float, I: Tap>(x: &[T], window: Window) -> ([T; LANES], [I; LANES]) {
    let Window { start, height, width, line, pitch, first_tap, kernel } = window;
    let (mut best, mut tap) = ([-T::INFINITY; LANES], [I::from_usize(first_tap); LANES]);
    for row in 0..height {
        for column in 0..width {
            let values = &x[start + row * line + column * pitch..][..LANES];
            let place = I::from_usize(first_tap + row * kernel + column);
            for lane in 0..LANES {
                let value = values[lane];
                let wins = (value > best[lane]) | is_nan(value);
                best[lane] = if wins { value } else { best[lane] };
                tap[lane] = if wins { place } else { tap[lane] };
            }
        }
    }
    (best, tap)
}

vectorised! {
    /// The output pixels from `first` on.
    fn max_pixels[T: Float, I: Tap](
        x: &[T], pitch: usize, windows: Windows, reach: &Reach, first: usize, y: &mut [T], taps: &mut [I],
    ) {
        let channels = windows.input[3].max(1);
        let (line, kernel) = (windows.input[2] * pitch, windows.kernel);
        let mut at = Pixel::of(windows.output, first);
        for (y, taps) in y.chunks_mut(channels).zip(taps.chunks_mut(channels)) {
            let (rows, columns, corner) = reach.of(at);
            let first_tap = windows.tap((at.row, at.column), (rows.start, columns.start));
            let (height, width) = (rows.len(), columns.len());
            let mut window = Window { start: corner * pitch, height, width, line, pitch, first_tap, kernel };
            let mut start = 0;
            while start + LANES <= channels {
                // The most common window, with unrolled loops.
                let (best, tap) = match (height, width, kernel) {
                    (2, 2, 2) => max_lanes(x, Window { height: 2, width: 2, kernel: 2, first_tap: 0, ..window }),
                    _ => max_lanes::<T, I>(x, window),
                };
                y[start..start + LANES].copy_from_slice(&best);
                taps[start..start + LANES].copy_from_slice(&tap);
                start += LANES;
                window.start += LANES;
            }
            for c in start..channels {
                (y[c], taps[c]) = (-T::INFINITY, I::from_usize(first_tap));
            }
            for row in 0..if start < channels { height } else { 0 } {
                for column in 0..width {
                    let values = &x[(corner + row * windows.input[2] + column) * pitch..][..channels];
                    let place = I::from_usize(first_tap + row * kernel + column);
                    for c in start..channels {
                        let wins = (values[c] > y[c]) | is_nan(values[c]);
                        y[c] = if wins { values[c] } else { y[c] };
                        taps[c] = if wins { place } else { taps[c] };
                    }
                }
            }
            at.advance(windows.output);
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
    let (count, reach) = (pixels_per_task(pitch), windows.covering_all());
    cpu.pieces(&mut dx.write::<T>(), count * pitch, windows.input.elements(), |task, dx| {
        let first = task * count;
        max_gradients(&upstream, dy_pitch, &taps, windows, &reach, first, dx, pitch, add);
    });
}

vectorised! {
    /// Each input pixel collects the gradients of the windows that chose it, so that no two tasks write to one place.
    fn max_gradients[T: Float, I: Tap](
        dy: &[T], dy_pitch: usize, taps: &[I], windows: Windows, reach: &Reach, first: usize,
        dx: &mut [T], dx_pitch: usize, add: bool,
    ) {
        let channels = windows.input[3];
        let mut at = Pixel::of(windows.input, first);
        for dx in dx.chunks_mut(dx_pitch.max(1)) {
            let dx = &mut dx[..channels];
            let (rows, columns, corner) = reach.of(at);
            let mut add = add;
            for row in rows.clone() {
                for column in columns.clone() {
                    let from = corner + (row - rows.start) * windows.output[2] + column - columns.start;
                    let dy = &dy[from * dy_pitch..][..channels];
                    let taps = &taps[from * channels..][..channels];
                    let place = I::from_usize(windows.tap((row, column), (at.row, at.column)));
                    if add {
                        for c in 0..channels {
                            dx[c] += if taps[c] == place { dy[c] } else { T::ZERO };
                        }
                    } else {
                        for c in 0..channels {
                            dx[c] = if taps[c] == place { dy[c] } else { T::ZERO };
                        }
                    }
                    add = true;
                }
            }
            if !add {
                dx.fill(T::ZERO);
            }
            at.advance(windows.input);
        }
    }
}
