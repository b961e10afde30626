//! The launches of `kernels/batch_norm.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::gradient_sums::GradientSums;
use super::tiling::{BLOCK, BatchNormShape, Tiling};
use super::{BatchNormConfig, Moments, backward_op};
use crate::device::gpu::{Argument, Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::layers::row_tiles::THREADS;
use crate::ops::tensor::matmul::{Parts, Rounding};
use crate::tape::{Backward, Gradients};
use crate::tensor::{Tensor, assert_alike};

/// Channels of a block that adds the parts' sums.
const FINISH_CHANNELS: usize = 4;

/// Its threads for each channel.
const FINISH_LANES: usize = THREADS / FINISH_CHANNELS;

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

    /// For the moments of a tensor.
    fn of(x: &Tensor, moments: &Moments, config: &BatchNormConfig) -> Self {
        let parts = moments.parts().shape();
        let is_short = u32::try_from(parts.elements()).is_ok();
        assert!(is_short, "batch_norm: moments {parts} are too many for a GPU");
        BatchNormFinish::new(x, moments.height(), parts[0], config)
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
    parts: &Parts,
    bias: Option<Pointer>,
    out: &Tensor,
) -> Moments {
    let (splits, parts) = (parts.splits, parts.pointer());
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
        cluster: 1,
        shared: 0,
        work: LaunchWork::bytes(bytes),
        arguments: &[&parts, &bias, &to, &partial, &Parameters(&shape)],
    });
    moments
}

/// The values that the backward pass needs.
pub(super) struct Context {
    sums: Rc<GradientSums>,
    /// F64 `[C]`: `1 / sqrt(variance + epsilon)`.
    inverse: Tensor,
    config: BatchNormConfig,
    of_batch: bool,
}

impl Context {
    /// `config.relu`: whether the backward pass applies the ReLU's mask.
    fn new(x: &Tensor, config: BatchNormConfig, of_batch: bool) -> Self {
        let channels = x.shape().columns();
        let affine = x.empty_wide([3, channels]);
        Context {
            sums: Rc::new(GradientSums::new(x, affine, config.relu)),
            inverse: Tensor::empty(x.device(), [channels], DType::F64),
            config,
            of_batch,
        }
    }

    /// Writes the output: plus the residual if there is one, then with a ReLU if there is one. Before it, the statistics are
    /// computed, in the same launch if that takes less time.
    fn apply(
        &self,
        gpu: &Gpu,
        inputs: [&Tensor; 3],
        (y, residual, relu): (&Tensor, Option<&Tensor>, bool),
        moments: Option<&Moments>,
        running: [&Tensor; 2],
    ) {
        let GradientSums { x, affine, .. } = &*self.sums;
        let more = residual.map_or(Pointer::NULL, Tensor::pointer);
        let [from, affine, to] = [x.pointer(), affine.pointer(), y.pointer()];
        let tensors: Vec<&Tensor> = [x, y].into_iter().chain(residual).collect();
        let pointers = [from, affine, more, to];
        let parts = moments.map(|moments| moments.parts().shape());
        let (tiling, rereads) = Tiling::behind_parts(gpu, &tensors, &pointers, parts);
        let shape = BatchNormShape {
            y_pitch: y.pitch() as u64,
            residual_pitch: residual.map_or(0, Tensor::pitch) as u64,
            relu: u32::from(relu),
            ..tiling.shape(x)
        };
        let shape = Parameters(&shape);
        let (Some(moments), Some(rereads)) = (moments, rereads) else {
            match moments {
                Some(moments) => self.finish(gpu, inputs, moments, running),
                None => self.finish_running(gpu, inputs, running),
            }
            let kernel = tiling.kernel("apply", y);
            return gpu.launch(&kernel, tiling.grid, BLOCK, &[&from, &affine, &more, &to, &shape]);
        };
        let finish = BatchNormFinish::of(x, moments, &self.config);
        let [_, weight, bias] = inputs.map(Tensor::pointer);
        let [running_mean, running_variance] = running.map(Tensor::pointer);
        gpu.launch_kernel(&Launch {
            kernel: &tiling.kernel("finish_apply", y),
            grid: tiling.grid,
            block: BLOCK,
            cluster: tiling.cluster,
            shared: 0,
            work: LaunchWork::bytes(
                tensors.len() * y.shape().elements() * y.dtype().size() + rereads,
            ),
            arguments: &[
                &from,
                &moments.parts().pointer(),
                &weight,
                &bias,
                &more,
                &to,
                &running_mean,
                &running_variance,
                &affine,
                &self.inverse.pointer(),
                &shape,
                &Parameters(&finish),
            ],
        });
    }

    fn backward(&self, gpu: &Gpu, dy: &Tensor, gradients: &mut Gradients) {
        let GradientSums { x: input, affine, relu, .. } = &*self.sums;
        let _op = backward_op(input, dy, self.sums.are_ready());
        let partial = self.sums.take(gpu, dy);
        let [weight, bias] = [1, 2].map(|input| gradients.slot(input, DType::F32));
        let pointer = |slot: &Option<crate::tape::Slot>| {
            slot.as_ref().map_or(Pointer::NULL, |slot| slot.tensor.pointer())
        };
        let add = [&weight, &bias].map(|slot| slot.as_ref().is_some_and(|slot| slot.add));
        let add = u32::from(add[0]) | u32::from(add[1]) << 1;
        let (dweight, dbias) = (pointer(&weight), pointer(&bias));
        let (parts, channels) = (partial.shape()[0], input.shape().columns());
        // Sums do not depend on the number of rows of a part.
        let finish = BatchNormFinish::new(input, 1, parts, &self.config);
        let finish = Parameters(&finish);
        let (x, from, affine) = (input.pointer(), dy.pointer(), affine.pointer());
        let (inverse, sums) = (self.inverse.pointer(), partial.pointer());

        let to_tf32 = Rounding::accept(gradients, 0, gpu, input.dtype());
        let slot = gradients.any_slot(0, dy);
        let pass = slot.as_ref().map(|slot| {
            assert_alike("batch_norm", &[input, &slot.tensor]);
            let pointers = [x, from, affine, slot.tensor.pointer()];
            let tensors = [input, dy, &slot.tensor];
            let (tiling, rereads) =
                Tiling::behind_parts(gpu, &tensors, &pointers, Some(partial.shape()));
            let shape = BatchNormShape {
                dy_pitch: dy.pitch() as u64,
                dx_pitch: slot.tensor.pitch() as u64,
                relu: u32::from(*relu),
                add: u32::from(slot.add),
                of_batch: u32::from(self.of_batch),
                to_tf32: u32::from(to_tf32),
                ..tiling.shape(input)
            };
            (slot.tensor.pointer(), tiling, shape, rereads)
        });
        if let Some((dx, tiling, shape, Some(rereads))) = &pass {
            let tensors = if shape.add > 0 { 4 } else { 3 };
            let own = tensors * input.shape().elements() * input.dtype().size();
            let shape = Parameters(shape);
            return gpu.launch_kernel(&Launch {
                kernel: &tiling.kernel("gradients_input", input),
                grid: tiling.grid,
                block: BLOCK,
                cluster: tiling.cluster,
                shared: 0,
                work: LaunchWork::bytes(own + rereads),
                arguments: &[
                    &x, &from, &sums, &affine, &inverse, dx, &dweight, &dbias, &shape, &finish,
                    &add,
                ],
            });
        }
        let slopes = input.empty_wide([2, channels]);
        let slope = slopes.pointer();
        gpu.launch_kernel(&Launch {
            kernel: "batch_norm_gradients_f32",
            grid: finish.0.grid(),
            block: BLOCK,
            cluster: 1,
            shared: 0,
            // A thread takes four parts at a time.
            work: LaunchWork {
                passes: Some(parts.div_ceil(4 * FINISH_LANES) + 1),
                bytes: Some(parts * 2 * channels * 4),
            },
            arguments: &[&sums, &affine, &inverse, &dweight, &dbias, &slope, &finish, &add],
        });
        if let Some((dx, tiling, shape, None)) = &pass {
            let kernel = tiling.kernel("input_gradient", input);
            let arguments: &[&dyn Argument] = &[&x, &from, &affine, &slope, dx, &Parameters(shape)];
            gpu.launch(&kernel, tiling.grid, BLOCK, arguments);
        }
    }

    /// Computes the batch's statistics, and updates the running ones.
    fn finish(
        &self,
        gpu: &Gpu,
        [x, weight, bias]: [&Tensor; 3],
        moments: &Moments,
        [running_mean, running_variance]: [&Tensor; 2],
    ) {
        let parts = moments.parts();
        let finish = BatchNormFinish::of(x, moments, &self.config);
        gpu.launch_kernel(&Launch {
            kernel: "batch_norm_finish_f32",
            grid: finish.grid(),
            block: BLOCK,
            cluster: 1,
            shared: 0,
            // The counted path loads four parts and adds one. Passes count the additions, and one more for the sums over threads
            // and the end.
            work: LaunchWork {
                passes: Some(parts.shape()[0].div_ceil(FINISH_LANES) + 1),
                bytes: Some(parts.shape().elements() * 4),
            },
            arguments: &[
                &parts.pointer(),
                &weight.pointer(),
                &bias.pointer(),
                &running_mean.pointer(),
                &running_variance.pointer(),
                &self.sums.affine.pointer(),
                &self.inverse.pointer(),
                &Parameters(&finish),
            ],
        });
    }

    /// Takes the statistics from the running ones, which do not change.
    fn finish_running(
        &self,
        gpu: &Gpu,
        [x, weight, bias]: [&Tensor; 3],
        [running_mean, running_variance]: [&Tensor; 2],
    ) {
        let finish = BatchNormFinish::new(x, 1, 0, &self.config);
        gpu.launch(
            "batch_norm_running_f32",
            [finish.channels.div_ceil(THREADS as u32), 1, 1],
            BLOCK,
            &[
                &running_mean.pointer(),
                &running_variance.pointer(),
                &weight.pointer(),
                &bias.pointer(),
                &self.sums.affine.pointer(),
                &self.inverse.pointer(),
                &Parameters(&finish),
            ],
        );
    }
}

/// Writes the output, with a residual if there is one, and returns the norm's own backward pass with the sums that it needs; with a
/// residual, it takes the gradient to which the ReLU's mask has been applied. The statistics are the batch's if there are moments.
pub(super) fn normalise(
    gpu: &Rc<Gpu>,
    inputs: [&Tensor; 3],
    (y, residual): (&Tensor, Option<&Tensor>),
    moments: Option<&Moments>,
    running: [&Tensor; 2],
    config: BatchNormConfig,
) -> (Backward, Rc<GradientSums>) {
    let own = BatchNormConfig { relu: config.relu && residual.is_none(), ..config };
    let context = Context::new(inputs[0], own, moments.is_some());
    context.apply(gpu, inputs, (y, residual, config.relu), moments, running);
    let (gpu, sums) = (Rc::clone(gpu), Rc::clone(&context.sums));
    (Box::new(move |dy, gradients| context.backward(&gpu, dy, gradients)), sums)
}

/// Updates the running statistics.
pub(super) fn update_running(
    gpu: &Gpu,
    inputs: [&Tensor; 3],
    moments: &Moments,
    running: [&Tensor; 2],
    config: BatchNormConfig,
) {
    Context::new(inputs[0], config, true).finish(gpu, inputs, moments, running);
}
