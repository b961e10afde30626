//! An affine function of every channel with an optional ReLU, and its backward pass. It is a norm with known
//! statistics.

use super::rows::{Operand, Rows};
use crate::device::cpu::{Cpu, Float, vector::multiply_add, vector::vectorised};
use crate::tape::Slot;
use crate::tensor::Tensor;

/// `y = (x - mean) scale + bias`, channel by channel, or `max(y, 0)`.
pub(super) struct Affine<T> {
    pub mean: Vec<T>,
    pub scale: Vec<T>,
    pub bias: Vec<T>,
    pub relu: bool,
}

/// The part of the input's gradient that comes through the batch's statistics: `(x - mean) slope + constant`, channel
/// by channel.
pub(super) struct OfStatistics<T> {
    pub slope: Vec<T>,
    pub constant: Vec<T>,
}

impl<T: Float> Affine<T> {
    fn widen(&self, rows: Rows) -> Self {
        let [mean, scale, bias] =
            [&self.mean, &self.scale, &self.bias].map(|values| rows.widen(values));
        Affine { mean, scale, bias, relu: self.relu }
    }

    /// Applies the function to a tensor `[.., C]` and writes the result to `y`, of the same shape.
    pub fn apply(&self, cpu: &Cpu, x: &Tensor, y: &Tensor) {
        let rows = Rows::of(&[x, y]);
        let wide = self.widen(rows);
        let values = x.read::<T>();
        let source = Operand::new(&values, x, rows);
        let y_pitch = rows.pitch(y);
        cpu.pieces(&mut y.write::<T>(), rows.count * y_pitch, values.len(), |task, y| {
            forward_rows(source.part(task), source.pitch, &wide, y, y_pitch);
        });
    }

    /// The sums over the rows of `g` and of `g (x - mean)`, per channel; `g` is the gradient before the ReLU.
    pub fn gradient_sums(&self, cpu: &Cpu, x: &Tensor, dy: &Tensor) -> (Vec<f64>, Vec<f64>) {
        let rows = Rows::of(&[x, dy]);
        let (columns, wide) = (x.shape().columns(), rows.columns * rows.fold);
        let affine = self.widen(rows);
        let (x_values, dy_values) = (x.read::<T>(), dy.read::<T>());
        let (x_rows, dy_rows) =
            (Operand::new(&x_values, x, rows), Operand::new(&dy_values, dy, rows));
        let mut partial = vec![T::ZERO; rows.tasks(x.shape().rows()) * 2 * columns];
        cpu.pieces(&mut partial, 2 * columns, x_values.len(), |task, out| {
            let mut buffer = vec![T::ZERO; 2 * wide];
            let (first, second) = buffer.split_at_mut(wide);
            let (x, dy) = (x_rows.part(task), dy_rows.part(task));
            add_products(x, x_rows.pitch, dy, dy_rows.pitch, &affine, first, second);
            let (sums, products) = out.split_at_mut(columns);
            rows.narrow(first, sums);
            rows.narrow(second, products);
        });
        let mut totals = vec![0.0; 2 * columns];
        for part in partial.chunks(2 * columns.max(1)) {
            totals.iter_mut().zip(part).for_each(|(total, value)| *total += value.to_f64());
        }
        let products = totals.split_off(columns);
        (totals, products)
    }

    /// Stores or accumulates the input's gradient, `g scale` plus the part that comes through the statistics.
    pub fn input_gradient(
        &self,
        cpu: &Cpu,
        x: &Tensor,
        dy: &Tensor,
        statistics: Option<&OfStatistics<T>>,
        slot: &Slot,
    ) {
        let dx = &slot.tensor;
        let rows = Rows::of(&[x, dy, dx]);
        let affine = self.widen(rows);
        let zeros = || vec![T::ZERO; affine.mean.len()];
        let (slope, constant) = match statistics {
            Some(of_x) => (rows.widen(&of_x.slope), rows.widen(&of_x.constant)),
            None => (zeros(), zeros()),
        };
        let input =
            InputGradient { slope, constant, of_batch: statistics.is_some(), add: slot.add };
        let (x_values, dy_values) = (x.read::<T>(), dy.read::<T>());
        let (x_rows, dy_rows) =
            (Operand::new(&x_values, x, rows), Operand::new(&dy_values, dy, rows));
        let dx_pitch = rows.pitch(dx);
        cpu.pieces(&mut dx.write::<T>(), rows.count * dx_pitch, x_values.len(), |task, to| {
            let (x, dy) = (x_rows.part(task), dy_rows.part(task));
            input_gradient_rows(x, x_rows.pitch, dy, dy_rows.pitch, &affine, &input, to, dx_pitch);
        });
    }
}

vectorised! {
    fn forward_rows[T: Float](x: &[T], x_pitch: usize, affine: &Affine<T>, y: &mut [T], y_pitch: usize) {
        for (x, y) in x.chunks(x_pitch).zip(y.chunks_mut(y_pitch)) {
            let width = x.len().min(y.len()).min(affine.mean.len());
            let (x, y) = (&x[..width], &mut y[..width]);
            let (mean, scale, bias) = (&affine.mean[..width], &affine.scale[..width], &affine.bias[..width]);
            if affine.relu {
                for c in 0..width {
                    y[c] = multiply_add::<FUSED, T>(x[c] - mean[c], scale[c], bias[c]).at_least(T::ZERO);
                }
            } else {
                for c in 0..width {
                    y[c] = multiply_add::<FUSED, T>(x[c] - mean[c], scale[c], bias[c]);
                }
            }
        }
    }
}

/// The gradient before the ReLU: 0 where that was 0, whatever `dy` is; as PyTorch's, `dy` where the output is NaN.
#[inline(always)]
fn before_relu<const FUSED: bool, T: Float>(deviation: T, scale: T, bias: T, dy: T) -> T {
    let y = multiply_add::<FUSED, T>(deviation, scale, bias);
    if y <= T::ZERO { T::ZERO } else { dy }
}

vectorised! {
    /// The sums of `g` and of `g (x - mean)`; `g` is the gradient before the ReLU.
    fn add_products[T: Float](
        x: &[T], x_pitch: usize, dy: &[T], dy_pitch: usize, affine: &Affine<T>, sums: &mut [T], products: &mut [T],
    ) {
        for (x, dy) in x.chunks(x_pitch).zip(dy.chunks(dy_pitch)) {
            let width = x.len().min(dy.len()).min(affine.mean.len());
            let (x, dy, mean) = (&x[..width], &dy[..width], &affine.mean[..width]);
            let (scale, bias) = (&affine.scale[..width], &affine.bias[..width]);
            let (sums, products) = (&mut sums[..width], &mut products[..width]);
            if affine.relu {
                for c in 0..width {
                    let deviation = x[c] - mean[c];
                    let g = before_relu::<FUSED, T>(deviation, scale[c], bias[c], dy[c]);
                    sums[c] += g;
                    products[c] = multiply_add::<FUSED, T>(g, deviation, products[c]);
                }
            } else {
                for c in 0..width {
                    sums[c] += dy[c];
                    products[c] = multiply_add::<FUSED, T>(dy[c], x[c] - mean[c], products[c]);
                }
            }
        }
    }
}

/// The input's gradient is `g scale + (x - mean) slope + constant`.
struct InputGradient<T> {
    slope: Vec<T>,
    constant: Vec<T>,
    of_batch: bool,
    add: bool,
}

/// One element of the input's gradient.
#[inline(always)]
fn input_gradient_of<const FUSED: bool, const RELU: bool, const OF_BATCH: bool, T: Float>(
    [dy, deviation, scale, bias, slope, constant]: [T; 6],
) -> T {
    let g = if RELU { before_relu::<FUSED, T>(deviation, scale, bias, dy) } else { dy };
    if OF_BATCH {
        multiply_add::<FUSED, T>(g, scale, multiply_add::<FUSED, T>(deviation, slope, constant))
    } else {
        g * scale
    }
}

vectorised! {
    fn input_gradient_rows[T: Float](
        x: &[T], x_pitch: usize, dy: &[T], dy_pitch: usize, affine: &Affine<T>, input: &InputGradient<T>,
        dx: &mut [T], dx_pitch: usize,
    ) {
        let rows = x.chunks(x_pitch).zip(dy.chunks(dy_pitch)).zip(dx.chunks_mut(dx_pitch));
        for ((x, dy), dx) in rows {
            let width = x.len().min(dy.len()).min(affine.mean.len());
            let (x, dy, dx, mean) = (&x[..width], &dy[..width], &mut dx[..width], &affine.mean[..width]);
            let (scale, bias) = (&affine.scale[..width], &affine.bias[..width]);
            let (slope, constant) = (&input.slope[..width], &input.constant[..width]);
            // A plain loop in each case: closures would be compiled without vector instructions.
            macro_rules! each {
                ($relu:literal, $of_batch:literal, $assign:tt) => {
                    for c in 0..width {
                        dx[c] $assign input_gradient_of::<FUSED, $relu, $of_batch, T>(
                            [dy[c], x[c] - mean[c], scale[c], bias[c], slope[c], constant[c]],
                        );
                    }
                };
            }
            match (affine.relu, input.of_batch, input.add) {
                (false, false, false) => each!(false, false, =),
                (false, false, true) => each!(false, false, +=),
                (false, true, false) => each!(false, true, =),
                (false, true, true) => each!(false, true, +=),
                (true, false, false) => each!(true, false, =),
                (true, false, true) => each!(true, false, +=),
                (true, true, false) => each!(true, true, =),
                (true, true, true) => each!(true, true, +=),
            }
        }
    }
}
