//! The launches of `kernels/lstm.cu`, and the products over all times before and after them.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{Context, Extents};
use crate::device::gpu::{Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::kernel_in;
use crate::ops::tensor::matmul::{Epilogue, Operand, Rows, product};
use crate::ops::tensor::reduce::column_sums;
use crate::tape::Gradients;
use crate::tensor::Tensor;

/// The most units whose recurrent weights fit the registers: then all times are one launch.
const RESIDENT: usize = 104;

/// Units and samples of a block if each time is a launch.
const UNITS: usize = 8;
const SAMPLES: usize = 8;
const STEP_THREADS: u32 = 256;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LstmSizes {
    weight_pitch: u64,
    dy_pitch: u64,
    times: u32,
    batch: u32,
    hidden: u32,
    is_vector: u32,
}

impl LstmSizes {
    fn new(context: &Context, dy_pitch: usize) -> Self {
        let Extents { times, batch, hidden, .. } = context.sizes;
        let weight = &context.weight_hh;
        let is_vector = hidden.is_multiple_of(4)
            && weight.pitch().is_multiple_of(4)
            && weight.pointer().0.is_multiple_of(16);
        LstmSizes {
            weight_pitch: weight.pitch() as u64,
            dy_pitch: dy_pitch as u64,
            times: times as u32,
            batch: batch as u32,
            hidden: hidden as u32,
            is_vector: u32::from(is_vector),
        }
    }
}

/// One block for each sample, four threads for each unit. Without times the grid is empty.
fn layer_shape(extents: Extents) -> ([u32; 3], [u32; 3]) {
    let threads = (4 * extents.hidden).next_multiple_of(32);
    let blocks = if extents.times == 0 { 0 } else { extents.batch };
    ([blocks as u32, 1, 1], [threads as u32, 1, 1])
}

fn step_grid(extents: Extents) -> [u32; 3] {
    [extents.hidden.div_ceil(UNITS) as u32, extents.batch.div_ceil(SAMPLES) as u32, 1]
}

/// The address of the part of `tensor`, `[.., B, columns]`, that belongs to a time.
fn at_time(tensor: &Tensor, extents: Extents, columns: usize, time: usize) -> Pointer {
    tensor.view(time * extents.batch * columns, [0], 1).pointer()
}

pub(super) fn forward(gpu: &Rc<Gpu>, context: &Context, bias_ih: &Tensor, bias_hh: &Tensor) {
    let extents = context.sizes;
    let Extents { times, inputs, hidden, .. } = extents;
    let dtype = context.x.dtype();
    let op = context.input_forward();
    product(
        gpu,
        [extents.rows(), 4 * hidden, inputs],
        Operand::new(&context.x, context.x.pitch(), false),
        Operand::new(&context.weight_ih, context.weight_ih.pitch(), true),
        Rows::new(&context.gates, 4 * hidden),
        Epilogue::default(),
    );
    drop(op);
    let _op = context.recurrence_forward();
    let sizes = LstmSizes::new(context, 0);
    let sizes = Parameters(&sizes);
    let weight = context.weight_hh.pointer();
    let biases = [bias_ih.pointer(), bias_hh.pointer()];
    if hidden <= RESIDENT {
        let (grid, block) = layer_shape(extents);
        let [gates, h, c] = [&context.gates, &context.h, &context.c].map(Tensor::pointer);
        gpu.launch(
            &kernel_in("lstm_layer_fwd", dtype),
            grid,
            block,
            &[&gates, &h, &c, &weight, &biases[0], &biases[1], &sizes],
        );
        return;
    }
    for time in 0..times {
        let gates = at_time(&context.gates, extents, 4 * hidden, time);
        let [h_before, h] = [0, 1].map(|more| at_time(&context.h, extents, hidden, time + more));
        let [c_before, c] = [0, 1].map(|more| at_time(&context.c, extents, hidden, time + more));
        gpu.launch(
            &kernel_in("lstm_step_fwd", dtype),
            step_grid(extents),
            [STEP_THREADS, 1, 1],
            &[&gates, &h_before, &c_before, &h, &c, &weight, &biases[0], &biases[1], &sizes],
        );
    }
}

pub(super) fn backward(gpu: &Rc<Gpu>, context: &Context, dy: &Tensor, gradients: &mut Gradients) {
    gate_gradients(gpu, context, dy);
    let Extents { inputs, hidden, .. } = context.sizes;
    let rows = context.sizes.rows();
    if let Some(slot) = gradients.slot(0, dy.dtype()) {
        let _op = context.input_gradient(&slot.tensor);
        product(
            gpu,
            [rows, inputs, 4 * hidden],
            Operand::new(&context.gates, 4 * hidden, false),
            Operand::new(&context.weight_ih, context.weight_ih.pitch(), false),
            Rows::new(&slot.tensor, slot.tensor.pitch()),
            Epilogue::add(slot.add),
        );
    }
    for (input, factor, columns) in [(1, &context.x, inputs), (2, &context.h, hidden)] {
        let Some(slot) = gradients.slot(input, DType::F32) else { continue };
        let _op = context.weight_gradient(factor, &slot.tensor);
        product(
            gpu,
            [4 * hidden, columns, rows],
            Operand::new(&context.gates, 4 * hidden, true),
            Operand::new(factor, factor.pitch(), false),
            Rows::new(&slot.tensor, slot.tensor.pitch()),
            Epilogue::add(slot.add),
        );
    }
    let all = context.gates.view(0, [rows, 4 * hidden], 4 * hidden);
    for input in [3, 4] {
        if let Some(slot) = gradients.slot(input, DType::F32) {
            let _op = context.bias_gradient(&slot.tensor);
            column_sums(&all, slot);
        }
    }
}

/// Overwrites the stored gates with the gradients of their pre-activations.
fn gate_gradients(gpu: &Gpu, context: &Context, dy: &Tensor) {
    let _op = context.recurrence_backward(dy);
    let extents = context.sizes;
    let Extents { times, batch, hidden, .. } = extents;
    let sizes = LstmSizes::new(context, dy.pitch());
    let sizes = Parameters(&sizes);
    let weight = context.weight_hh.pointer();
    if hidden <= RESIDENT {
        let (grid, block) = layer_shape(extents);
        let [gates, c, dy] = [&context.gates, &context.c, dy].map(Tensor::pointer);
        let kernel = kernel_in("lstm_layer_bwd", context.x.dtype());
        gpu.launch(&kernel, grid, block, &[&gates, &c, &weight, &dy, &sizes]);
        return;
    }
    let dc = context.c.empty_like([batch, hidden]);
    for time in (0..times).rev() {
        let gates = at_time(&context.gates, extents, 4 * hidden, time);
        let later = match time + 1 < times {
            true => at_time(&context.gates, extents, 4 * hidden, time + 1),
            false => Pointer::NULL,
        };
        let [c_before, c] = [0, 1].map(|more| at_time(&context.c, extents, hidden, time + more));
        let dy = at_time(dy, extents, dy.pitch(), time);
        gpu.launch(
            &kernel_in("lstm_step_bwd", context.x.dtype()),
            step_grid(extents),
            [STEP_THREADS, 1, 1],
            &[&gates, &later, &c_before, &c, &weight, &dy, &dc.pointer(), &sizes],
        );
    }
}
