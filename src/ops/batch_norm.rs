//! Batch normalisation over the last axis (Ioffe and Szegedy 2015), with an optional ReLU in the same pass.

use crate::device::Device;
use crate::device::cpu::{Cpu, Float, vector::multiply_add, vector::vectorised};
use crate::ops::no_kernel;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Elements that one task works on. Part of the result's definition: another number gives other roundings.
const PIECE: usize = 1 << 14;

/// Narrower rows are taken several at a time.
const WIDTH: usize = 128;

/// How a batch is normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Weight of the batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether the output is `max(y, 0)`.
    pub relu: bool,
}

impl Default for BatchNormConfig {
    /// PyTorch's defaults, without ReLU.
    fn default() -> Self {
        BatchNormConfig { momentum: 0.1, epsilon: 1e-5, relu: false }
    }
}

/// `y = (x - mean) / sqrt(variance + epsilon) * weight + bias` by the batch's own statistics: `x` is `[.., C]`, the
/// others `[C]`. The biased variance normalises, the unbiased one enters the running statistics; those of a channel
/// whose mean or variance is not finite stay as they were, and with them those of a batch of one row.
///
/// ```
/// use alrao::ops::batch_norm::{BatchNormConfig, batch_norm_train};
/// use alrao::{DType, Device, Tensor};
/// let device = Device::cpu();
/// let x = Tensor::from_slice(&device, [2, 1], &[1f64, 3.0]);
/// let [zero, one] = [0.0, 1.0].map(|value| Tensor::full(&device, [1], DType::F64, value));
/// let mean = Tensor::zeros(&device, [1], DType::F64);
/// let config = BatchNormConfig { epsilon: 0.0, ..BatchNormConfig::default() };
/// let y = batch_norm_train(&x, &one, &zero, &mean, &one.mul(&one), config);
/// assert_eq!(y.to_vec::<f64>(), [-1.0, 1.0]);
/// assert_eq!(mean.item(), 0.2);
/// ```
pub fn batch_norm_train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> Tensor {
    check(&[x, weight, bias, running_mean, running_variance]);
    float_dispatch!(x.dtype(), "batch_norm", T => {
        let (mean, variance) = match x.device() {
            Device::Gpu(_) => no_kernel("batch_norm"),
            Device::Cpu(cpu) => statistics::<T>(cpu, x),
        };
        update_running::<T>(running_mean, running_variance, &mean, &variance, x, config.momentum);
        normalise::<T>(x, weight, bias, &mean, &variance, config, true)
    })
}

/// The same by the running statistics, which stay as they are.
pub fn batch_norm_eval(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_variance: &Tensor,
    config: BatchNormConfig,
) -> Tensor {
    check(&[x, weight, bias, running_mean, running_variance]);
    float_dispatch!(x.dtype(), "batch_norm", T => {
        let (mean, variance) = match x.device() {
            Device::Gpu(_) => no_kernel("batch_norm"),
            Device::Cpu(_) => (running_mean.to_f64s(), running_variance.to_f64s()),
        };
        normalise::<T>(x, weight, bias, &mean, &variance, config, false)
    })
}

fn check(tensors: &[&Tensor]) {
    assert_alike("batch_norm", tensors);
    let x = tensors[0].shape();
    for vector in &tensors[1..] {
        let fits = x.rank() > 0 && vector.shape() == [x.columns()].into();
        assert!(fits, "batch_norm: a vector of shape {} for an input {x}", vector.shape());
    }
}

/// How rows are taken: `fold` rows of `columns` elements at a time where nothing lies between them.
#[derive(Clone, Copy)]
struct Rows {
    columns: usize,
    fold: usize,
    /// Folded rows in one task.
    count: usize,
}

impl Rows {
    fn of(tensors: &[&Tensor]) -> Self {
        let columns = tensors[0].shape().columns().max(1);
        let is_dense = tensors.iter().all(|tensor| tensor.is_contiguous());
        let fold = if is_dense { WIDTH.div_ceil(columns) } else { 1 };
        Rows { columns, fold, count: (PIECE / (columns * fold)).max(1) }
    }

    /// From one folded row to the next.
    fn pitch(&self, tensor: &Tensor) -> usize {
        if tensor.is_contiguous() { self.columns * self.fold } else { tensor.pitch() }
    }

    /// Number of tasks for `total` rows.
    fn tasks(&self, total: usize) -> usize {
        total.div_ceil(self.count * self.fold)
    }

    /// Rows in one of them.
    fn height(&self, total: usize, task: usize) -> usize {
        (total - task * self.count * self.fold).min(self.count * self.fold)
    }

    /// A value per column as a value per column of a folded row.
    fn widen<T: Float>(&self, values: &[T]) -> Vec<T> {
        values.repeat(self.fold)
    }

    /// Adds up the columns of a folded row that are one column.
    fn narrow<T: Float>(&self, wide: &[T], sums: &mut [T]) {
        for part in wide.chunks(self.columns) {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += *value);
        }
    }
}

/// A tensor's elements for a loop over its rows.
struct Operand<'a, T> {
    elements: &'a [T],
    pitch: usize,
    piece: usize,
}

impl<'a, T> Operand<'a, T> {
    fn new(elements: &'a [T], tensor: &Tensor, rows: Rows) -> Self {
        let pitch = rows.pitch(tensor);
        Operand { elements, pitch, piece: rows.count * pitch }
    }

    /// The task's part of the elements.
    fn part(&self, task: usize) -> &'a [T] {
        &self.elements[task * self.piece..self.elements.len().min((task + 1) * self.piece)]
    }
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
        for row in x.chunks(pitch) {
            let width = row.len().min(mean.len());
            let (mean, sums, squares) = (&mean[..width], &mut sums[..width], &mut squares[..width]);
            for c in 0..width {
                let deviation = row[c] - mean[c];
                sums[c] += deviation;
                squares[c] = multiply_add::<FUSED, T>(deviation, deviation, squares[c]);
            }
        }
    }
}

/// Mean and biased variance of every channel. Each task takes its rows twice, the second time from the cache, around
/// their own mean; the tasks' results are merged in f64 (Chan, Golub and LeVeque 1979).
fn statistics<T: Float>(cpu: &Cpu, x: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let rows = Rows::of(&[x]);
    let (columns, wide) = (x.shape().columns(), rows.columns * rows.fold);
    let values = x.read::<T>();
    let (source, total) = (Operand::new(&values, x, rows), x.shape().rows());
    let mut partial = vec![T::ZERO; rows.tasks(total) * 3 * columns];
    cpu.pieces(&mut partial, 3 * columns, values.len(), |task, out| {
        let own = source.part(task);
        let (centre, moments) = out.split_at_mut(columns);
        let (sums, squares) = moments.split_at_mut(columns);
        let mut buffer = vec![T::ZERO; 2 * wide];
        let (first, second) = buffer.split_at_mut(wide);
        add_rows(own, source.pitch, first);
        rows.narrow(first, centre);
        let scale = T::from_f64(1.0 / rows.height(total, task) as f64);
        centre.iter_mut().for_each(|centre| *centre = *centre * scale);
        first.fill(T::ZERO);
        add_deviations(own, source.pitch, &rows.widen(centre), first, second);
        rows.narrow(first, sums);
        rows.narrow(second, squares);
    });
    merge(&partial, columns, (0..rows.tasks(total)).map(|task| rows.height(total, task) as f64))
}

fn merge<T: Float>(
    partial: &[T],
    columns: usize,
    heights: impl Iterator<Item = f64>,
) -> (Vec<f64>, Vec<f64>) {
    let (mut mean, mut squares, mut count) = (vec![0.0; columns], vec![0.0; columns], 0.0);
    for (part, height) in partial.chunks(3 * columns.max(1)).zip(heights) {
        let total = count + height;
        for c in 0..columns {
            let [centre, sum, square] = [0, 1, 2].map(|moment| part[moment * columns + c].to_f64());
            let own_mean = centre + sum / height;
            let delta = own_mean - mean[c];
            squares[c] += square - sum * sum / height + delta * delta * count * height / total;
            mean[c] += delta * height / total;
        }
        count = total;
    }
    squares.iter_mut().for_each(|square| *square = (*square / count).max(0.0));
    // A maximum would hide what is not a number.
    for (square, mean) in squares.iter_mut().zip(&mean) {
        *square = if mean.is_finite() { *square } else { f64::NAN };
    }
    (mean, squares)
}

fn update_running<T: Float>(
    running_mean: &Tensor,
    running_variance: &Tensor,
    mean: &[f64],
    variance: &[f64],
    x: &Tensor,
    momentum: f64,
) {
    let rows = x.shape().rows() as f64;
    let unbiased = rows / (rows - 1.0);
    let (mut means, mut variances) = (running_mean.write::<T>(), running_variance.write::<T>());
    for (c, (running_mean, running_variance)) in
        means.iter_mut().zip(variances.iter_mut()).enumerate()
    {
        let mix = |old: T, new: f64| T::from_f64(old.to_f64() * (1.0 - momentum) + momentum * new);
        let new = (mix(*running_mean, mean[c]), mix(*running_variance, variance[c] * unbiased));
        if new.0.is_finite() && new.1.is_finite() {
            (*running_mean, *running_variance) = new;
        }
    }
}

/// What normalising needs of every channel: `y = (x - mean) scale + bias`.
struct Affine<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    bias: Vec<T>,
    relu: bool,
}

impl<T: Float> Affine<T> {
    fn widen(&self, rows: Rows) -> Self {
        let [mean, scale, bias] =
            [&self.mean, &self.scale, &self.bias].map(|values| rows.widen(values));
        Affine { mean, scale, bias, relu: self.relu }
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

fn normalise<T: Float>(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    mean: &[f64],
    variance: &[f64],
    config: BatchNormConfig,
    of_batch: bool,
) -> Tensor {
    let y = x.empty_like(x.shape());
    let inverse: Vec<f64> = variance.iter().map(|v| 1.0 / (v + config.epsilon).sqrt()).collect();
    let affine = Affine {
        mean: mean.iter().map(|mean| T::from_f64(*mean)).collect(),
        scale: (weight.read::<T>().iter().zip(&inverse))
            .map(|(weight, inverse)| T::from_f64(weight.to_f64() * inverse))
            .collect(),
        bias: bias.to_vec(),
        relu: config.relu,
    };
    let Device::Cpu(cpu) = x.device() else { no_kernel("batch_norm") };
    let rows = Rows::of(&[x]);
    let wide = affine.widen(rows);
    let values = x.read::<T>();
    let source = Operand::new(&values, x, rows);
    let y_pitch = if rows.fold > 1 { rows.pitch(x) } else { rows.columns };
    cpu.pieces(&mut y.write::<T>(), rows.count * y_pitch, values.len(), |task, y| {
        forward_rows(source.part(task), source.pitch, &wide, y, y_pitch);
    });
    drop(values);
    let saved = Saved { x: x.detach(), affine, inverse, of_batch };
    record(y, &[x, weight, bias], move |dy, gradients| backward(&saved, dy, gradients))
}

/// What the way back needs.
struct Saved<T> {
    x: Tensor,
    affine: Affine<T>,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: Vec<f64>,
    /// Whether the statistics are functions of the input.
    of_batch: bool,
}

/// The gradient before the ReLU.
#[inline(always)]
fn before_relu<const FUSED: bool, T: Float>(deviation: T, scale: T, bias: T, dy: T) -> T {
    let y = multiply_add::<FUSED, T>(deviation, scale, bias);
    if y > T::ZERO { dy } else { T::ZERO }
}

vectorised! {
    /// The sums of `g` and of `g (x - mean)`, for `g` the gradient before the ReLU.
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
            // A plain loop in each case: closures would be compiled without the vectors.
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

fn backward<T: Float>(saved: &Saved<T>, dy: &Tensor, gradients: &mut Gradients) {
    let (sums, products) = gradient_sums(saved, dy);
    let dx = gradients.slot(0, &saved.x);
    if let Some(slot) = dx {
        input_gradient(saved, dy, &sums, &products, &slot);
    }
    let like = saved.x.view(0, [saved.x.shape().columns()], saved.x.shape().columns());
    let weight: Vec<f64> = products.iter().zip(&saved.inverse).map(|(p, i)| p * i).collect();
    for (input, values) in [(1, &weight), (2, &sums)] {
        if let Some(slot) = gradients.slot(input, &like) {
            let mut to = slot.tensor.write::<T>();
            for (to, value) in to.iter_mut().zip(values) {
                let value = T::from_f64(*value);
                *to = if slot.add { *to + value } else { value };
            }
        }
    }
}

/// Per channel, the sums over the batch of `g` and of `g (x - mean)`.
fn gradient_sums<T: Float>(saved: &Saved<T>, dy: &Tensor) -> (Vec<f64>, Vec<f64>) {
    let x = &saved.x;
    let rows = Rows::of(&[x, dy]);
    let (columns, wide) = (x.shape().columns(), rows.columns * rows.fold);
    let affine = saved.affine.widen(rows);
    let (x_values, dy_values) = (x.read::<T>(), dy.read::<T>());
    let (x_rows, dy_rows) = (Operand::new(&x_values, x, rows), Operand::new(&dy_values, dy, rows));
    let mut partial = vec![T::ZERO; rows.tasks(x.shape().rows()) * 2 * columns];
    let Device::Cpu(cpu) = x.device() else { no_kernel("batch_norm") };
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

fn input_gradient<T: Float>(
    saved: &Saved<T>,
    dy: &Tensor,
    sums: &[f64],
    products: &[f64],
    slot: &Slot,
) {
    let (x, dx) = (&saved.x, &slot.tensor);
    let rows = Rows::of(&[x, dy, dx]);
    let count = x.shape().rows() as f64;
    let per_channel = |value: &dyn Fn(usize) -> f64| -> Vec<T> {
        let scale = |c: usize| -saved.affine.scale[c].to_f64() / count;
        (0..sums.len()).map(|c| T::from_f64(scale(c) * value(c))).collect()
    };
    let input = InputGradient {
        slope: rows.widen(&per_channel(&|c| products[c] * saved.inverse[c] * saved.inverse[c])),
        constant: rows.widen(&per_channel(&|c| sums[c])),
        of_batch: saved.of_batch,
        add: slot.add,
    };
    let affine = saved.affine.widen(rows);
    let (x_values, dy_values) = (x.read::<T>(), dy.read::<T>());
    let (x_rows, dy_rows) = (Operand::new(&x_values, x, rows), Operand::new(&dy_values, dy, rows));
    let Device::Cpu(cpu) = x.device() else { no_kernel("batch_norm") };
    let dx_pitch = rows.pitch(dx);
    cpu.pieces(&mut dx.write::<T>(), rows.count * dx_pitch, x_values.len(), |task, to| {
        let (x, dy) = (x_rows.part(task), dy_rows.part(task));
        input_gradient_rows(x, x_rows.pitch, dy, dy_rows.pitch, &affine, &input, to, dx_pitch);
    });
}
