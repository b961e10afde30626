//! The launches of `kernels/batch_norm.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{BatchNormConfig, Moments, backward_op};
use crate::device::gpu::{Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::tensor::matmul::Parts;
use crate::ops::{kernel_in, vector_of};
use crate::tape::{Backward, Gradients};
use crate::tensor::{Tensor, assert_alike};

/// Threads of a block.
const THREADS: usize = 256;

/// The most threads of a block in one row: with 16 bytes each, 512 bytes of it.
const MOST_COLUMNS: usize = 32;

/// The blocks that keep a GPU busy: four on each of an H100's 132 SMs.
const WANTED_BLOCKS: usize = 4 * 132;

/// The fewest rows of a thread.
const LEAST_ROWS: usize = 4;

/// Channels of a block that adds the parts' sums.
const FINISH_CHANNELS: usize = 4;

/// Its threads for each channel.
const FINISH_LANES: usize = THREADS / FINISH_CHANNELS;

const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BatchNormShape {
    rows: u64,
    rows_of_part: u64,
    x_pitch: u64,
    y_pitch: u64,
    dx_pitch: u64,
    residual_pitch: u64,
    channels: u32,
    columns: u32,
    relu: u32,
    add: u32,
    of_batch: u32,
    splits: u32,
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BatchNormFinish {
    rows_of_part: f64,
    rows_of_last: f64,
    inverse_rows: f64,
    unbiased: f64,
    momentum: f64,
    epsilon: f64,
    channels: u32,
    parts: u32,
}

/// The cut of a tensor's rows into parts, and of its channels into vectors.
struct Tiling {
    /// Channels of a thread.
    vector: usize,
    columns: usize,
    rows_of_part: usize,
    grid: [u32; 3],
}

impl Tiling {
    /// `pointers` and `tensors` are all the memory that is read and written in vectors.
    fn of(tensors: &[&Tensor], pointers: &[Pointer]) -> Self {
        let (channels, rows) = (tensors[0].shape().columns(), tensors[0].shape().rows());
        let vector = vector_of(tensors[0].dtype());
        let is_whole = channels.is_multiple_of(vector)
            && tensors.iter().all(|tensor| tensor.pitch().is_multiple_of(vector))
            && pointers.iter().all(|pointer| pointer.0.is_multiple_of(16));
        let vector = if is_whole { vector } else { 1 };
        let groups = channels.div_ceil(vector);
        let columns = groups.next_power_of_two().min(MOST_COLUMNS);
        let across = groups.div_ceil(columns);
        let most_parts = rows.div_ceil(LEAST_ROWS * THREADS / columns).max(1);
        let parts = (WANTED_BLOCKS / across.max(1)).clamp(1, most_parts);
        let rows_of_part = rows.div_ceil(parts).max(1);
        let grid = [across as u32, rows.div_ceil(rows_of_part) as u32, 1];
        Tiling { vector, columns, rows_of_part, grid }
    }

    fn shape(&self, x: &Tensor) -> BatchNormShape {
        BatchNormShape {
            rows: x.shape().rows() as u64,
            rows_of_part: self.rows_of_part as u64,
            x_pitch: x.pitch() as u64,
            y_pitch: 0,
            dx_pitch: 0,
            residual_pitch: 0,
            channels: x.shape().columns() as u32,
            columns: self.columns as u32,
            relu: 0,
            add: 0,
            of_batch: 0,
            splits: 0,
        }
    }

    /// The kernel for this vector width.
    fn kernel(&self, work: &str, x: &Tensor) -> String {
        kernel_in(&format!("batch_norm_{work}_x{}", self.vector), x.dtype())
    }
}

impl BatchNormFinish {
    fn new(x: &Tensor, rows_of_part: usize, parts: usize, config: &BatchNormConfig) -> Self {
        let rows = x.shape().rows() as f64;
        BatchNormFinish {
            rows_of_part: rows_of_part as f64,
            rows_of_last: rows - parts.saturating_sub(1) as f64 * rows_of_part as f64,
            inverse_rows: if rows > 0.0 { rows.recip() } else { 0.0 },
            unbiased: rows / (rows - 1.0),
            momentum: config.momentum,
            epsilon: config.epsilon,
            channels: x.shape().columns() as u32,
            parts: parts as u32,
        }
    }

    /// The grid of a kernel that adds the parts' sums.
    fn grid(&self) -> [u32; 3] {
        [self.channels.div_ceil(FINISH_CHANNELS as u32), 1, 1]
    }
}

/// The moments of a tensor `[.., C]`.
pub(super) fn moments(gpu: &Gpu, x: &Tensor) -> Moments {
    let from = x.pointer();
    let tiling = Tiling::of(&[x], &[from]);
    let moments = Moments::empty(x, tiling.rows_of_part);
    let kernel = tiling.kernel("statistics", x);
    let (to, shape) = (moments.parts().pointer(), tiling.shape(x));
    gpu.launch(&kernel, tiling.grid, BLOCK, &[&from, &to, &Parameters(&shape)]);
    moments
}

/// Writes `out` as the sum of the parts of a product, added in order, plus a bias, and returns its moments.
pub(crate) fn sum_with_moments(
    gpu: &Gpu,
    Parts { pointer: parts, splits }: Parts,
    bias: Option<Pointer>,
    out: &Tensor,
) -> Moments {
    let (bias, to) = (bias.unwrap_or(Pointer::NULL), out.pointer());
    let tiling = Tiling::of(&[out], &[parts, bias, to]);
    let moments = Moments::empty(out, tiling.rows_of_part);
    let shape =
        BatchNormShape { y_pitch: out.pitch() as u64, splits: splits as u32, ..tiling.shape(out) };
    let bytes = out.shape().elements() * (4 * splits + out.dtype().size());
    let partial = moments.parts().pointer();
    gpu.launch_kernel(&Launch {
        kernel: &tiling.kernel("split", out),
        grid: tiling.grid,
        block: BLOCK,
        shared: 0,
        work: LaunchWork::bytes(bytes),
        arguments: &[&parts, &bias, &to, &partial, &Parameters(&shape)],
    });
    moments
}

/// The values that the backward pass needs.
pub(super) struct Context {
    x: Tensor,
    /// `[3, C]`: mean, scale and bias.
    affine: Tensor,
    /// F64 `[C]`: `1 / sqrt(variance + epsilon)`.
    inverse: Tensor,
    config: BatchNormConfig,
    of_batch: bool,
}

impl Context {
    fn new(x: &Tensor, config: BatchNormConfig, of_batch: bool) -> Self {
        let channels = x.shape().columns();
        Context {
            x: x.detach(),
            affine: x.empty_wide([3, channels]),
            inverse: Tensor::empty(x.device(), [channels], DType::F64),
            config,
            of_batch,
        }
    }

    /// Writes the output, and returns the norm's own backward pass. With a residual, it takes the gradient to which the
    /// ReLU's mask has been applied.
    fn apply(mut self, gpu: &Rc<Gpu>, (y, residual): (&Tensor, Option<&Tensor>)) -> Backward {
        let more = residual.map_or(Pointer::NULL, Tensor::pointer);
        let pointers = [self.x.pointer(), self.affine.pointer(), more, y.pointer()];
        let tensors: Vec<&Tensor> = [&self.x, y].into_iter().chain(residual).collect();
        let tiling = Tiling::of(&tensors, &pointers);
        let shape = BatchNormShape {
            y_pitch: y.pitch() as u64,
            residual_pitch: residual.map_or(0, Tensor::pitch) as u64,
            relu: u32::from(self.config.relu),
            ..tiling.shape(&self.x)
        };
        let kernel = tiling.kernel("apply", y);
        let [x, affine, more, to] = &pointers;
        gpu.launch(&kernel, tiling.grid, BLOCK, &[x, affine, more, to, &Parameters(&shape)]);
        self.config.relu &= residual.is_none();
        let gpu = Rc::clone(gpu);
        Box::new(move |dy, gradients| self.backward(&gpu, dy, gradients))
    }

    fn backward(&self, gpu: &Gpu, dy: &Tensor, gradients: &mut Gradients) {
        let _op = backward_op(&self.x, dy);
        let channels = self.x.shape().columns();
        let (x, from, affine) = (self.x.pointer(), dy.pointer(), self.affine.pointer());
        let tiling = Tiling::of(&[&self.x, dy], &[x, from, affine]);
        let shape = BatchNormShape {
            y_pitch: dy.pitch() as u64,
            relu: u32::from(self.config.relu),
            of_batch: u32::from(self.of_batch),
            ..tiling.shape(&self.x)
        };
        let parts = tiling.grid[1] as usize;
        let partial = self.x.empty_wide([parts, 2, channels]);
        let kernel = tiling.kernel("sums", &self.x);
        let to = partial.pointer();
        gpu.launch(&kernel, tiling.grid, BLOCK, &[&x, &from, &affine, &to, &Parameters(&shape)]);

        let slopes = self.x.empty_wide([2, channels]);
        let [weight, bias] = [1, 2].map(|input| gradients.slot(input, DType::F32));
        let pointer = |slot: &Option<crate::tape::Slot>| {
            slot.as_ref().map_or(Pointer::NULL, |slot| slot.tensor.pointer())
        };
        let add = [&weight, &bias].map(|slot| slot.as_ref().is_some_and(|slot| slot.add));
        let add = u32::from(add[0]) | u32::from(add[1]) << 1;
        let finish = BatchNormFinish::new(&self.x, tiling.rows_of_part, parts, &self.config);
        let (inverse, slope) = (self.inverse.pointer(), slopes.pointer());
        gpu.launch_kernel(&Launch {
            kernel: "batch_norm_gradients_f32",
            grid: finish.grid(),
            block: BLOCK,
            shared: 0,
            // A thread takes four parts at a time.
            work: LaunchWork {
                passes: Some(parts.div_ceil(4 * FINISH_LANES) + 1),
                bytes: Some(parts * 2 * finish.channels as usize * 4),
            },
            arguments: &[
                &to,
                &affine,
                &inverse,
                &pointer(&weight),
                &pointer(&bias),
                &slope,
                &Parameters(&finish),
                &add,
            ],
        });
        if let Some(slot) = gradients.any_slot(0, dy) {
            assert_alike("batch_norm", &[&self.x, &slot.tensor]);
            let dx = slot.tensor.pointer();
            let tiling = Tiling::of(&[&self.x, dy, &slot.tensor], &[x, from, affine, slope, dx]);
            let shape = BatchNormShape {
                dx_pitch: slot.tensor.pitch() as u64,
                add: u32::from(slot.add),
                rows_of_part: tiling.rows_of_part as u64,
                columns: tiling.columns as u32,
                ..shape
            };
            let kernel = tiling.kernel("input_gradient", &self.x);
            let arguments: &[&dyn crate::device::gpu::Argument] =
                &[&x, &from, &affine, &slope, &dx, &Parameters(&shape)];
            gpu.launch(&kernel, tiling.grid, BLOCK, arguments);
        }
    }
}

/// Writes the output, with a residual if there is one, and returns the norm's own backward pass, as [`Context::apply`] does.
/// The statistics are the batch's if there are moments.
pub(super) fn normalise(
    gpu: &Rc<Gpu>,
    inputs: [&Tensor; 3],
    to: (&Tensor, Option<&Tensor>),
    moments: Option<&Moments>,
    running: [&Tensor; 2],
    config: BatchNormConfig,
) -> Backward {
    let context = match moments {
        Some(moments) => finish(gpu, inputs, moments, running, config),
        None => of_running(gpu, inputs, running, config),
    };
    context.apply(gpu, to)
}

/// Computes the batch's statistics, and updates the running ones.
pub(super) fn finish(
    gpu: &Gpu,
    [x, weight, bias]: [&Tensor; 3],
    moments: &Moments,
    [running_mean, running_variance]: [&Tensor; 2],
    config: BatchNormConfig,
) -> Context {
    let context = Context::new(x, config, true);
    let parts = moments.parts().shape()[0];
    let is_short = u32::try_from(moments.parts().shape().elements()).is_ok();
    assert!(is_short, "batch_norm: moments {} are too many for a GPU", moments.parts().shape());
    let finish = BatchNormFinish::new(x, moments.height(), parts, &config);
    gpu.launch_kernel(&Launch {
        kernel: "batch_norm_finish_f32",
        grid: finish.grid(),
        block: BLOCK,
        shared: 0,
        // The counted path loads four parts and adds one. Passes count the additions, and one more for the sums over threads and
        // the end.
        work: LaunchWork {
            passes: Some(parts.div_ceil(FINISH_LANES) + 1),
            bytes: Some(parts * 3 * finish.channels as usize * 4),
        },
        arguments: &[
            &moments.parts().pointer(),
            &weight.pointer(),
            &bias.pointer(),
            &running_mean.pointer(),
            &running_variance.pointer(),
            &context.affine.pointer(),
            &context.inverse.pointer(),
            &Parameters(&finish),
        ],
    });
    context
}

/// The context for the running statistics.
fn of_running(
    gpu: &Gpu,
    [x, weight, bias]: [&Tensor; 3],
    [running_mean, running_variance]: [&Tensor; 2],
    config: BatchNormConfig,
) -> Context {
    let context = Context::new(x, config, false);
    let finish = BatchNormFinish::new(x, 1, 0, &config);
    gpu.launch(
        "batch_norm_running_f32",
        [finish.channels.div_ceil(THREADS as u32), 1, 1],
        BLOCK,
        &[
            &running_mean.pointer(),
            &running_variance.pointer(),
            &weight.pointer(),
            &bias.pointer(),
            &context.affine.pointer(),
            &context.inverse.pointer(),
            &Parameters(&finish),
        ],
    );
    context
}
