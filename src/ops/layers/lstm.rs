//! One recurrent layer of long short-term memory (Hochreiter and Schmidhuber 1997), in PyTorch's equations:
//!
//! `i, f, o = sigmoid(W x + b + U h' + b')`, `g = tanh(W x + b + U h' + b')`, `c = f c' + i g`, `h = o tanh(c)`,
//! with the rows of `W`, `U` and the biases in the order i, f, g, o.
//!
//! `W x` is one product over all time steps. Each step then costs one small product, and one pass that overwrites the gates
//! with their activations. The backward pass overwrites them with their gradients, and every parameter's gradient is
//! one product or sum at the end. Samples are independent, so a task takes a few of them through all time steps, and threads
//! synchronise only at the end.

mod launch;

use crate::device::cpu::{Cpu, Float, Packed, vector::vectorised};
use crate::device::{Device, Op};
use crate::ops::begin;
use crate::ops::tensor::elementwise::accumulate;
use crate::ops::tensor::matmul::gemm_parallel;
use crate::ops::tensor::reduce::add_column_sums;
use crate::tape::{Gradients, Slot, record};
use crate::tensor::{Tensor, assert_alike, assert_wide, dense, float_dispatch};
use crate::trace::{self, Operation};

/// The most samples of a task: the rows that fit the product's registers.
const SAMPLES: usize = 10;

/// Weights and biases of one layer of `H` units over `I` inputs.
#[derive(Clone, Copy)]
pub struct LstmWeights<'a> {
    /// `[4H, I]`.
    pub weight_ih: &'a Tensor,
    /// `[4H, H]`.
    pub weight_hh: &'a Tensor,
    /// `[4H]`.
    pub bias_ih: &'a Tensor,
    /// `[4H]`.
    pub bias_hh: &'a Tensor,
}

/// The result of [`lstm`].
pub struct LstmOutput {
    /// The output of every time, `[T, B, H]`.
    pub y: Tensor,
    /// The last output, `[B, H]`, without a gradient.
    pub h: Tensor,
    /// The last cell state, `[B, H]`, without a gradient.
    pub c: Tensor,
}

/// The state before the first time, both `[B, H]`.
struct State<'a> {
    h: &'a Tensor,
    c: &'a Tensor,
    /// Whether the state after the last time replaces it.
    is_carried: bool,
}

/// `T`, `B`, `I` and `H`.
#[derive(Clone, Copy)]
struct Extents {
    times: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
}

impl Extents {
    fn new(x: &Tensor, weights: LstmWeights, h0: &Tensor, c0: &Tensor) -> Self {
        let (shape, recurrent) = (x.shape(), weights.weight_hh.shape());
        assert!(
            shape.rank() == 3 && recurrent.rank() == 2 && recurrent[0] == 4 * recurrent[1],
            "lstm: input {shape} and weight_hh {recurrent}, not [T, B, I] and [4H, H]"
        );
        assert!(recurrent[1] > 0, "lstm: input {shape}, but weight_hh {recurrent} has no unit");
        let sizes =
            Extents { times: shape[0], batch: shape[1], inputs: shape[2], hidden: recurrent[1] };
        let Extents { batch, inputs, hidden, .. } = sizes;
        for (name, tensor, wanted) in [
            ("weight_ih", weights.weight_ih, &[4 * hidden, inputs][..]),
            ("bias_ih", weights.bias_ih, &[4 * hidden]),
            ("bias_hh", weights.bias_hh, &[4 * hidden]),
            ("h0", h0, &[batch, hidden]),
            ("c0", c0, &[batch, hidden]),
        ] {
            let shape = tensor.shape();
            assert!(shape.extents() == wanted, "lstm: {name} has shape {shape}, not {wanted:?}");
        }
        sizes
    }

    fn rows(&self) -> usize {
        self.times * self.batch
    }

    /// Samples of a task, a function of the batch only.
    fn samples(&self) -> usize {
        self.batch.div_ceil(self.batch.div_ceil(SAMPLES).max(1))
    }

    /// Multiply-adds of the recurrent products.
    fn work(&self) -> usize {
        self.rows() * 4 * self.hidden * self.hidden
    }
}

/// The values that the backward pass needs; the forward pass computes them in place.
struct Context {
    sizes: Extents,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    /// The gates `[T, B, 4H]`, as the backward pass needs them: in F32 and F64 the activated gates.
    gates: Tensor,
    /// Outputs and cell states `[T + 1, B, H]`, the given state first.
    h: Tensor,
    c: Tensor,
}

impl Context {
    /// Begins a part of the op. It reads or writes these tensors once; its operations are those of a product of all
    /// gates with `columns` columns, beside which the gates' are few.
    fn op(&self, name: &'static str, tensors: &[&Tensor], columns: usize) -> Option<Op> {
        let operations = 2 * self.sizes.rows() * 4 * self.sizes.hidden * columns;
        begin(name, tensors, operations)
    }

    /// Copies the state before the first time to its place.
    fn begin(&self, state: &State) {
        for (from, all) in [(state.h, &self.h), (state.c, &self.c)] {
            accumulate(from, &Slot { tensor: self.at(all, 0), add: false });
        }
    }

    /// Replaces the state, if it is carried, by that after the last time.
    fn end(&self, state: &State) {
        if !state.is_carried {
            return;
        }
        for (all, to) in [(&self.h, state.h), (&self.c, state.c)] {
            let from = self.at(all, self.sizes.times);
            accumulate(&from, &Slot { tensor: to.clone(), add: false });
        }
    }

    /// The outputs or cell states before a time, `[B, H]`.
    fn at(&self, all: &Tensor, time: usize) -> Tensor {
        let Extents { batch, hidden, .. } = self.sizes;
        all.view(time * batch * hidden, [batch, hidden], hidden)
    }

    fn input_forward(&self) -> Option<Op> {
        let all = [&self.x, &self.weight_ih, &self.gates];
        self.op("lstm input forward", &all, self.sizes.inputs)
    }

    fn recurrence_forward(&self) -> Option<Op> {
        let all = [&self.gates, &self.gates, &self.weight_hh, &self.h, &self.c];
        self.op("lstm recurrence forward", &all, self.sizes.hidden)
    }

    fn recurrence_backward(&self, dy: &Tensor) -> Option<Op> {
        let all = [dy, &self.gates, &self.gates, &self.weight_hh, &self.c];
        self.op("lstm recurrence backward", &all, self.sizes.hidden)
    }

    fn input_gradient(&self, dx: &Tensor) -> Option<Op> {
        let all = [&self.gates, &self.weight_ih, dx];
        self.op("lstm input gradient", &all, self.sizes.inputs)
    }

    fn weight_gradient(&self, factor: &Tensor, dw: &Tensor) -> Option<Op> {
        self.op("lstm weight gradient", &[&self.gates, factor, dw], factor.shape().columns())
    }

    fn bias_gradient(&self, db: &Tensor) -> Option<Op> {
        let operations = self.gates.shape().elements();
        begin("lstm bias gradient", &[&self.gates, db], operations)
    }
}

/// Applies the layer to all times of `x` `[T, B, I]`, from the state `h0`, `c0` `[B, H]`. The state gets no gradient:
/// backpropagation is truncated there. It is copied, so it may be overwritten before the backward pass.
///
/// If `x` and the weights are BF16, so are the outputs and the stored gates. The biases, the given state, the cell
/// state and the gradients of weights and biases are F32.
///
/// Panics if a shape does not fit.
pub fn lstm(x: &Tensor, weights: LstmWeights, h0: &Tensor, c0: &Tensor) -> LstmOutput {
    run(x, weights, &State { h: h0, c: c0, is_carried: false })
}

/// [`lstm`] from the state in `h` and `c`, which then hold the state after the last time. On a GPU, up to 100 units, that needs no
/// launch of its own. Returns the outputs, `[T, B, H]`.
pub fn lstm_carried(x: &Tensor, weights: LstmWeights, h: &Tensor, c: &Tensor) -> Tensor {
    run(x, weights, &State { h, c, is_carried: true }).y
}

fn run(x: &Tensor, weights: LstmWeights, state: &State) -> LstmOutput {
    let LstmWeights { weight_ih, weight_hh, bias_ih, bias_hh } = weights;
    assert_alike("lstm", &[x, weight_ih, weight_hh]);
    assert_wide("lstm", x, &[bias_ih, bias_hh, state.h, state.c]);
    let sizes = Extents::new(x, weights, state.h, state.c);
    let Extents { times, batch, hidden, .. } = sizes;
    let context = Context {
        sizes,
        x: x.detach(),
        weight_ih: weight_ih.detach(),
        weight_hh: weight_hh.detach(),
        gates: x.empty_like([times, batch, 4 * hidden]),
        h: x.empty_like([times + 1, batch, hidden]),
        c: x.empty_wide([times + 1, batch, hidden]),
    };
    match x.device() {
        Device::Gpu(gpu) => launch::forward(gpu, &context, [bias_ih, bias_hh], state),
        Device::Cpu(cpu) => {
            context.begin(state);
            float_dispatch!(x.dtype(), "lstm", T => forward::<T>(cpu, &context, bias_ih, bias_hh));
            context.end(state);
        }
    }
    let y = context.h.view(batch * hidden, [times, batch, hidden], hidden);
    let [h, c] = [&context.h, &context.c].map(|all| context.at(all, times));
    let inputs = [x, weight_ih, weight_hh, bias_ih, bias_hh];
    let last = if state.is_carried { [state.h, state.c] } else { [&h, &c] };
    let noted = [&inputs[..], &[state.h, state.c]].concat();
    trace::note(Operation::Lstm, &noted, &[&y, last[0], last[1]]);
    let y = record(y, &inputs, move |dy, gradients| match dy.device() {
        Device::Gpu(gpu) => launch::backward(gpu, &context, dy, gradients),
        Device::Cpu(cpu) => {
            float_dispatch!(dy.dtype(), "lstm", T => backward::<T>(cpu, &context, dy, gradients));
        }
    });
    LstmOutput { y, h, c }
}

/// Cuts `[T, B, columns]` into the parts of each task, one for each time.
fn by_task<T>(all: &mut [T], step: usize, part: usize) -> Vec<Vec<&mut [T]>> {
    let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
    tasks.resize_with(step.div_ceil(part.max(1)), Vec::new);
    for time in all.chunks_mut(step.max(1)) {
        for (task, part) in tasks.iter_mut().zip(time.chunks_mut(part)) {
            task.push(part);
        }
    }
    tasks
}

/// One task of the forward pass: some samples' gates, outputs and cell states, by time.
struct Forward<'a, T> {
    gates: Vec<&'a mut [T]>,
    h: Vec<&'a mut [T]>,
    c: Vec<&'a mut [T]>,
}

fn forward<T: Float>(cpu: &Cpu, context: &Context, bias_ih: &Tensor, bias_hh: &Tensor) {
    let sizes = context.sizes;
    let Extents { batch, inputs, hidden, .. } = sizes;
    let bias: Vec<T> = (bias_ih.read::<T>().iter().zip(bias_hh.read::<T>().iter()))
        .map(|(a, b)| *a + *b)
        .collect();
    let mut gates = context.gates.write::<T>();
    let op = context.input_forward();
    gemm_parallel(
        cpu,
        [sizes.rows(), 4 * hidden, inputs],
        (&context.x.read::<T>(), context.x.pitch(), false),
        (&context.weight_ih.read::<T>(), context.weight_ih.pitch(), true),
        (&mut gates, 4 * hidden),
        false,
    );
    drop(op);
    let _op = context.recurrence_forward();
    let strides = (1, context.weight_hh.pitch());
    let weight = Packed::new([hidden, 4 * hidden], &context.weight_hh.read::<T>(), strides);
    let (mut h, mut c) = (context.h.write::<T>(), context.c.write::<T>());
    let (step, part) = (batch * hidden, sizes.samples() * hidden);
    let states = by_task(&mut h, step, part).into_iter().zip(by_task(&mut c, step, part));
    let mut tasks: Vec<_> = (by_task(&mut gates, 4 * step, 4 * part).into_iter().zip(states))
        .map(|(gates, (h, c))| Forward { gates, h, c })
        .collect();
    cpu.pieces(&mut tasks, 1, sizes.work(), |_, task| {
        let Forward { gates, h, c } = &mut task[0];
        for (time, gates) in gates.iter_mut().enumerate() {
            let ([h_before, h], [c_before, c]) = (pair(h, time), pair(c, time));
            let samples = h.len() / hidden;
            weight.multiply(samples, (h_before, hidden), (gates, 4 * hidden), true);
            activate(hidden, &bias, gates, c_before, c, h);
        }
    });
}

/// The parts of a time and of the next one.
fn pair<'a, T>(parts: &'a mut [&mut [T]], time: usize) -> [&'a mut [T]; 2] {
    let (before, after) = parts.split_at_mut(time + 1);
    [&mut *before[time], &mut *after[0]]
}

vectorised! {
    /// Gates, cell states and outputs of some samples at one time.
    fn activate[T: Float](hidden: usize, bias: &[T], gates: &mut [T], c_before: &[T], c: &mut [T], h: &mut [T]) {
        let states = c_before.chunks(hidden).zip(c.chunks_mut(hidden).zip(h.chunks_mut(hidden)));
        for (gates, (c_before, (c, h))) in gates.chunks_mut(4 * hidden).zip(states) {
            let (input_forget, rest) = gates.split_at_mut(2 * hidden);
            let (candidate, output) = rest.split_at_mut(hidden);
            for (gate, bias) in input_forget.iter_mut().zip(bias) {
                *gate = (*gate + *bias).sigmoid::<FUSED>();
            }
            for (gate, bias) in candidate.iter_mut().zip(&bias[2 * hidden..]) {
                *gate = (*gate + *bias).tanh::<FUSED>();
            }
            for (gate, bias) in output.iter_mut().zip(&bias[3 * hidden..]) {
                *gate = (*gate + *bias).sigmoid::<FUSED>();
            }
            let (input, forget) = input_forget.split_at(hidden);
            update_state::<FUSED, T>([input, forget, candidate, output], c_before, c, h);
        }
    }
}

#[inline(always)]
fn update_state<const FUSED: bool, T: Float>(
    [input, forget, candidate, output]: [&[T]; 4],
    c_before: &[T],
    c: &mut [T],
    h: &mut [T],
) {
    let hidden = c.len();
    let (input, forget) = (&input[..hidden], &forget[..hidden]);
    let (candidate, c_before) = (&candidate[..hidden], &c_before[..hidden]);
    for unit in 0..hidden {
        c[unit] = forget[unit] * c_before[unit] + input[unit] * candidate[unit];
    }
    for (h, (output, c)) in h.iter_mut().zip(output.iter().zip(&*c)) {
        *h = *output * c.tanh::<FUSED>();
    }
}

/// One task of the backward pass: some samples' gates by time, which become their gradients.
struct Backward<'a, T> {
    gates: Vec<&'a mut [T]>,
    /// The gradients that time t + 1 passes to time t.
    dh: Vec<T>,
    dc: Vec<T>,
}

fn backward<T: Float>(cpu: &Cpu, context: &Context, dy: &Tensor, gradients: &mut Gradients) {
    gate_gradients::<T>(cpu, context, dy);
    let Extents { inputs, hidden, .. } = context.sizes;
    let rows = context.sizes.rows();
    let gates = context.gates.read::<T>();
    if let Some(slot) = gradients.slot(0, T::DTYPE) {
        let _op = context.input_gradient(&slot.tensor);
        gemm_parallel(
            cpu,
            [rows, inputs, 4 * hidden],
            (&gates, 4 * hidden, false),
            (&context.weight_ih.read::<T>(), context.weight_ih.pitch(), false),
            (&mut slot.tensor.write::<T>(), slot.tensor.pitch()),
            slot.add,
        );
    }
    for (input, factor, columns) in [(1, &context.x, inputs), (2, &context.h, hidden)] {
        let Some(slot) = gradients.slot(input, T::DTYPE) else { continue };
        let _op = context.weight_gradient(factor, &slot.tensor);
        gemm_parallel(
            cpu,
            [4 * hidden, columns, rows],
            (&gates, 4 * hidden, true),
            (&factor.read::<T>(), factor.pitch(), false),
            (&mut slot.tensor.write::<T>(), slot.tensor.pitch()),
            slot.add,
        );
    }
    if gradients.wants(3) || gradients.wants(4) {
        let sums = Tensor::zeros(dy.device(), [4 * hidden], dy.dtype());
        let _op = context.bias_gradient(&sums);
        add_column_sums(cpu, &gates, 4 * hidden, &mut sums.write::<T>());
        [3, 4].into_iter().for_each(|input| gradients.pass(input, &sums));
    }
}

/// Overwrites the activated gates with the gradients of their pre-activations.
fn gate_gradients<T: Float>(cpu: &Cpu, context: &Context, dy: &Tensor) {
    let _op = context.recurrence_backward(dy);
    let sizes = context.sizes;
    let Extents { batch, hidden, .. } = sizes;
    let dy = &*dense::<T>(dy);
    let (dy, c) = (dy.read::<T>(), context.c.read::<T>());
    let strides = (context.weight_hh.pitch(), 1);
    let weight = Packed::new([4 * hidden, hidden], &context.weight_hh.read::<T>(), strides);
    let (step, part) = (batch * hidden, sizes.samples() * hidden);
    let mut gates = context.gates.write::<T>();
    let mut tasks: Vec<_> = by_task(&mut gates, 4 * step, 4 * part)
        .into_iter()
        .map(|gates| {
            let length = gates.first().map_or(0, |gates| gates.len() / 4);
            Backward { gates, dh: vec![T::ZERO; length], dc: vec![T::ZERO; length] }
        })
        .collect();
    cpu.pieces(&mut tasks, 1, sizes.work(), |number, task| {
        let Backward { gates, dh, dc } = &mut task[0];
        for (time, gates) in gates.iter_mut().enumerate().rev() {
            let start = time * step + number * part;
            let now = start..start + dh.len();
            let after = &c[start + step..start + step + dh.len()];
            differentiate(hidden, gates, &c[now.clone()], after, &dy[now], dh, dc);
            if time > 0 {
                weight.multiply(dh.len() / hidden, (gates, 4 * hidden), (dh, hidden), false);
            }
        }
    });
}

vectorised! {
    /// The gradients of some samples' gates at one time, and of the cell states before it.
    fn differentiate[T: Float](
        hidden: usize, gates: &mut [T], c_before: &[T], c: &[T], dy: &[T], dh: &[T], dc: &mut [T],
    ) {
        let upstream = dy.chunks(hidden).zip(dh.chunks(hidden));
        let states = c_before.chunks(hidden).zip(c.chunks(hidden));
        let states = states.zip(upstream).zip(dc.chunks_mut(hidden));
        for (gates, (((c_before, c), (dy, dh)), dc)) in gates.chunks_mut(4 * hidden).zip(states) {
            let (input, rest) = gates.split_at_mut(hidden);
            let (forget, rest) = rest.split_at_mut(hidden);
            let (candidate, output) = rest.split_at_mut(hidden);
            differentiate_row::<FUSED, T>([input, forget, candidate, output], c_before, c, dy, dh, dc);
        }
    }
}

#[inline(always)]
fn differentiate_row<const FUSED: bool, T: Float>(
    [input, forget, candidate, output]: [&mut [T]; 4],
    c_before: &[T],
    c: &[T],
    dy: &[T],
    dh: &[T],
    dc: &mut [T],
) {
    let hidden = dc.len();
    let (c, dy, dh, output) = (&c[..hidden], &dy[..hidden], &dh[..hidden], &mut output[..hidden]);
    for unit in 0..hidden {
        let (dh, o, squashed) = (dy[unit] + dh[unit], output[unit], c[unit].tanh::<FUSED>());
        dc[unit] += dh * o * (T::ONE - squashed * squashed);
        output[unit] = dh * squashed * o * (T::ONE - o);
    }
    let (input, candidate) = (&mut input[..hidden], &mut candidate[..hidden]);
    for unit in 0..hidden {
        let (i, g) = (input[unit], candidate[unit]);
        input[unit] = dc[unit] * g * i * (T::ONE - i);
        candidate[unit] = dc[unit] * i * (T::ONE - g * g);
    }
    let (forget, c_before) = (&mut forget[..hidden], &c_before[..hidden]);
    for unit in 0..hidden {
        let f = forget[unit];
        forget[unit] = dc[unit] * c_before[unit] * f * (T::ONE - f);
        dc[unit] = dc[unit] * f;
    }
}
