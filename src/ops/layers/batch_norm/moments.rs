//! Per-channel moments in parts that are merged later. They come from a separate pass, or from the op that computes the
//! tensor while its output is in the cache.

use super::rows::{Operand, Rows};
use crate::device::cpu::{Cpu, Float, vector::multiply_add, vector::vectorised};
use crate::tensor::{Tensor, assert_wide};

/// Numbers of a part for each channel.
const KINDS: usize = 3;

/// Partial moments of the channels of a tensor `[.., C]`. A part covers consecutive rows. The CPU merges the parts in order
/// (Chan, Golub and LeVeque 1979); `kernels/batch_norm.cu` shifts them to one centre and adds them.
#[derive(Clone)]
pub struct Moments {
    /// `[parts, 3, C]`: a centre, and the sums over the part's rows of `x - centre` and of its square. The rounding
    /// error is smallest if the centre is near the part's mean.
    parts: Tensor,
    /// Rows of a part; the last may have fewer.
    height: usize,
    /// The number of rows of all parts together.
    rows: usize,
}

impl Moments {
    /// Uninitialised parts of `height` rows for a tensor of this shape and dtype.
    pub(crate) fn empty(of: &Tensor, height: usize) -> Self {
        let (rows, height) = (of.shape().rows(), height.max(1));
        let parts = of.empty_wide([rows.div_ceil(height), KINDS, of.shape().columns()]);
        Moments { parts, height, rows }
    }

    /// Rows of a part; the last may have fewer.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The tensor of all parts, for the op that writes them.
    pub(crate) fn parts(&self) -> &Tensor {
        &self.parts
    }

    /// Panics unless the moments fit a tensor's shape and dtype.
    pub(super) fn check(&self, x: &Tensor) {
        assert_wide("batch_norm", x, &[&self.parts]);
        let (rows, channels) = (self.rows, self.parts.shape().columns());
        assert!(
            x.shape().rows() == rows && x.shape().columns() == channels,
            "batch_norm: moments of {rows} rows of {channels} channels for an input {}",
            x.shape()
        );
    }

    /// The mean and the biased variance of every channel, in f64. The variance is NaN if the mean is not finite.
    pub(super) fn merge(&self) -> (Vec<f64>, Vec<f64>) {
        let columns = self.parts.shape().columns();
        let parts = self.parts.to_f64s();
        let (mut mean, mut squares, mut count) = (vec![0.0; columns], vec![0.0; columns], 0.0);
        for (number, part) in parts.chunks(KINDS * columns.max(1)).enumerate() {
            let height = (self.rows - number * self.height).min(self.height) as f64;
            let total = count + height;
            let (of_own, of_new, of_delta) = (1.0 / height, height / total, count * height / total);
            let (centres, sums) = part.split_at(columns);
            let (sums, own_squares) = sums.split_at(columns);
            for c in 0..columns {
                let delta = centres[c] + sums[c] * of_own - mean[c];
                squares[c] +=
                    own_squares[c] - sums[c] * sums[c] * of_own + delta * delta * of_delta;
                mean[c] += delta * of_new;
            }
            count = total;
        }
        squares.iter_mut().for_each(|square| *square = (*square / count).max(0.0));
        // A maximum would hide NaN.
        for (square, mean) in squares.iter_mut().zip(&mean) {
            *square = if mean.is_finite() { *square } else { f64::NAN };
        }
        (mean, squares)
    }
}

/// The moments in a pass over the tensor.
pub(super) fn moments_typed<T: Float>(cpu: &Cpu, x: &Tensor) -> Moments {
    let (rows, total) = (Rows::of(&[x]), x.shape().rows());
    let moments = Moments::empty(x, rows.height());
    let values = x.read::<T>();
    let source = Operand::new(&values, x, rows);
    let length = KINDS * x.shape().columns();
    cpu.pieces(&mut moments.parts.write::<T>(), length, values.len(), |task, part| {
        let height = (total - task * rows.height()).min(rows.height());
        fill(source.part(task), source.pitch, rows, height, part);
    });
    moments
}

/// Cuts an output with rows of `columns` elements into tasks, as [`Cpu::pieces`] does, and computes each task's part of
/// the moments while its rows are in the cache. Without moments if `parts` is empty.
pub(crate) fn pieces_with_moments<T: Float>(
    cpu: &Cpu,
    (out, length): (&mut [T], usize),
    (parts, columns): (&mut [T], usize),
    work: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    if parts.is_empty() {
        return cpu.pieces(out, length, work, body);
    }
    let rows = Rows::new(columns, true);
    cpu.pieces2((out, length), (parts, KINDS * columns), work, |task, out, part| {
        body(task, out);
        fill(out, rows.columns * rows.fold, rows, out.len() / columns, part);
    });
}

/// The moments of `height` rows in two passes: the second one reads from the cache and is centred at their mean.
fn fill<T: Float>(x: &[T], pitch: usize, rows: Rows, height: usize, part: &mut [T]) {
    let wide = rows.columns * rows.fold;
    part.fill(T::ZERO);
    let (centre, sums) = part.split_at_mut(part.len() / KINDS);
    let (sums, squares) = sums.split_at_mut(centre.len());
    let mut buffer = vec![T::ZERO; 2 * wide];
    let (first, second) = buffer.split_at_mut(wide);
    add_rows(x, pitch, first);
    rows.narrow(first, centre);
    let scale = T::from_f64(1.0 / height as f64);
    centre.iter_mut().for_each(|centre| *centre = *centre * scale);
    first.fill(T::ZERO);
    add_deviations(x, pitch, &rows.widen(centre), first, second);
    rows.narrow(first, sums);
    rows.narrow(second, squares);
}

vectorised! {
    /// `sums[c] += sum over rows of x[row * pitch + c]`.
    fn add_rows[T: Float](x: &[T], pitch: usize, sums: &mut [T]) {
        for row in x.chunks(pitch) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += *x);
        }
    }
}

vectorised! {
    /// The sums of `x - mean` and of its square.
    fn add_deviations[T: Float](x: &[T], pitch: usize, mean: &[T], sums: &mut [T], squares: &mut [T]) {
        let width = mean.len();
        let (sums, squares) = (&mut sums[..width], &mut squares[..width]);
        let mut x = x;
        // Four rows at a time, so that sums are stored a quarter as often.
        while x.len() >= 3 * pitch + width {
            let [a, b, c, d] = [0, 1, 2, 3].map(|row| &x[row * pitch..][..width]);
            for i in 0..width {
                let (a, b, c, d) = (a[i] - mean[i], b[i] - mean[i], c[i] - mean[i], d[i] - mean[i]);
                sums[i] += (a + b) + (c + d);
                let first = multiply_add::<FUSED, T>(a, a, b * b);
                let second = multiply_add::<FUSED, T>(c, c, d * d);
                squares[i] += first + second;
            }
            x = &x[x.len().min(4 * pitch)..];
        }
        for row in x.chunks(pitch) {
            let width = row.len().min(width);
            let row = &row[..width];
            let (mean, sums, squares) = (&mean[..width], &mut sums[..width], &mut squares[..width]);
            for c in 0..width {
                let deviation = row[c] - mean[c];
                sums[c] += deviation;
                squares[c] = multiply_add::<FUSED, T>(deviation, deviation, squares[c]);
            }
        }
    }
}
