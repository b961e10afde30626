//! The launches of `kernels/lstm.cu`, and the products over all times before and after them.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::{Context, Extents, State};
use crate::device::gpu::{Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::kernel_in;
use crate::ops::tensor::matmul::{
    Epilogue, Operand, Parts, Rows, product, product_completed_by, sum_weight_parts,
};
use crate::ops::tensor::reduce::column_sums;
use crate::tape::Gradients;
use crate::tensor::Tensor;

/// The most units whose recurrent weights fit the registers: then all times are one launch.
const RESIDENT: usize = 100;

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
    is_carried: u32,
    unused: u32,
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
            is_carried: 0,
            unused: 0,
        }
    }
}

/// One block for each sample, four threads for each unit.
fn layer_shape(extents: Extents) -> ([u32; 3], [u32; 3]) {
    let threads = (4 * extents.hidden).next_multiple_of(32);
    ([extents.batch as u32, 1, 1], [threads as u32, 1, 1])
}

fn step_grid(extents: Extents) -> [u32; 3] {
    [extents.hidden.div_ceil(UNITS) as u32, extents.batch.div_ceil(SAMPLES) as u32, 1]
}

/// The address of the part of `tensor`, `[.., B, columns]`, that belongs to a time.
fn at_time(tensor: &Tensor, extents: Extents, columns: usize, time: usize) -> Pointer {
    tensor.view(time * extents.batch * columns, [0], 1).pointer()
}

/// Whether all times are one launch.
fn is_resident(extents: Extents) -> bool {
    extents.hidden <= RESIDENT && extents.rows() > 0
}

pub(super) fn forward(
    gpu: &Rc<Gpu>,
    context: &Context,
    [bias_ih, bias_hh]: [&Tensor; 2],
    state: &State,
) {
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
    let is_carried = u32::from(state.is_carried);
    let sizes = LstmSizes { is_carried, ..LstmSizes::new(context, 0) };
    let sizes = Parameters(&sizes);
    let weight = context.weight_hh.pointer();
    let biases = [bias_ih.pointer(), bias_hh.pointer()];
    if is_resident(extents) {
        let (grid, block) = layer_shape(extents);
        let [gates, h, c] = [&context.gates, &context.h, &context.c].map(Tensor::pointer);
        let [state_h, state_c] = [state.h, state.c].map(Tensor::pointer);
        gpu.launch(
            &kernel_in("lstm_layer_fwd", dtype),
            grid,
            block,
            &[&gates, &h, &c, &state_h, &state_c, &weight, &biases[0], &biases[1], &sizes],
        );
        return;
    }
    context.begin(state);
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
    context.end(state);
}

pub(super) fn backward(gpu: &Rc<Gpu>, context: &Context, dy: &Tensor, gradients: &mut Gradients) {
    let Extents { batch, inputs, hidden, .. } = context.sizes;
    let later = [1, 2, 3, 4].map(|input| gradients.later(input));
    let [later_ih, later_hh, later_biases @ ..] = later;
    let wants_biases = gradients.wants(3) || gradients.wants(4);
    let bias_parts =
        (wants_biases && is_resident(context.sizes)).then(|| Parts::new(gpu, batch, 4 * hidden));
    gate_gradients(gpu, context, dy, bias_parts.as_ref());
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
    let weights = [(1, &context.x, inputs, later_ih), (2, &context.h, hidden, later_hh)];
    for (input, factor, columns, later) in weights {
        let Some(slot) = gradients.slot(input, DType::F32) else { continue };
        let _op = context.weight_gradient(factor, &slot.tensor);
        product_completed_by(
            |parts| sum_weight_parts(gpu, parts, &slot, later),
            gpu,
            [4 * hidden, columns, rows],
            [
                Operand::new(&context.gates, 4 * hidden, true),
                Operand::new(factor, factor.pitch(), false),
            ],
            Rows::new(&slot.tensor, slot.tensor.pitch()),
            Epilogue::add(slot.add),
        );
    }
    let all = context.gates.view(0, [rows, 4 * hidden], 4 * hidden);
    for (input, later) in [3, 4].into_iter().zip(later_biases) {
        let Some(slot) = gradients.slot(input, DType::F32) else { continue };
        let _op = context.bias_gradient(&slot.tensor);
        match &bias_parts {
            Some(parts) => sum_weight_parts(gpu, parts.clone(), &slot, later),
            None => column_sums(&all, slot),
        }
    }
}

/// Overwrites the stored gates with the gradients of their pre-activations. One launch for all times also writes each sample's
/// gradients of the biases.
fn gate_gradients(gpu: &Gpu, context: &Context, dy: &Tensor, bias_parts: Option<&Parts>) {
    let _op = context.recurrence_backward(dy);
    let extents = context.sizes;
    let Extents { times, batch, hidden, .. } = extents;
    let sizes = LstmSizes::new(context, dy.pitch());
    let sizes = Parameters(&sizes);
    let weight = context.weight_hh.pointer();
    if is_resident(extents) {
        let (grid, block) = layer_shape(extents);
        let [gates, c, dy] = [&context.gates, &context.c, dy].map(Tensor::pointer);
        let bias_parts = bias_parts.map_or(Pointer::NULL, Parts::pointer);
        let kernel = kernel_in("lstm_layer_bwd", context.x.dtype());
        gpu.launch(&kernel, grid, block, &[&gates, &c, &weight, &dy, &bias_parts, &sizes]);
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
