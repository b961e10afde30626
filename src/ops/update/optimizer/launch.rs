//! The launch of `kernels/optimizer.cu`: one for the whole model.

use bytemuck::{Pod, Zeroable};

use super::{Buffers, Rule, State, Table};
use crate::device::gpu::{Argument, Launch, Parameters, Pointer};
use crate::device::{Gpu, LaunchWork};
use crate::tensor::Tensor;

/// Threads of a block, which does one chunk.
const THREADS: u32 = 256;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct OptimizerSettings {
    first_decay: f64,
    second_decay: f64,
    epsilon: f32,
    weight_decay: f32,
    decoupled_decay: f32,
    unused: f32,
}

impl OptimizerSettings {
    fn new(rule: Rule) -> Self {
        let (first_decay, second_decay, epsilon) = match rule {
            Rule::Sgd { momentum, .. } => (momentum, 0.0, 0.0),
            Rule::Adam { beta1, beta2, epsilon, .. } => (beta1, beta2, epsilon as f32),
        };
        let [weight_decay, decoupled_decay] = rule.weight_decays().map(|own| own as f32);
        OptimizerSettings {
            first_decay,
            second_decay,
            epsilon,
            weight_decay,
            decoupled_decay,
            unused: 0.0,
        }
    }
}

pub(super) fn update(gpu: &Gpu, buffers: &Buffers, table: &Table, rule: Rule, state: &State) {
    let chunks = table.on(buffers.values.device()).pointer();
    let moments = [&buffers.first_moment, &buffers.second_moment];
    let [first, second] =
        moments.map(|moment| moment.as_ref().map_or(Pointer::NULL, Tensor::pointer));
    let (values, gradients) = (buffers.values.pointer(), buffers.gradients.pointer());
    let copy = buffers.narrow.as_ref().map_or(Pointer::NULL, Tensor::pointer);
    let (rates, scales) = (buffers.rates.pointer(), state.scales.pointer());
    let diverged = state.diverged.map_or(Pointer::NULL, Tensor::pointer);
    let (step, skipped) = (state.step.pointer(), state.skipped.pointer());
    let settings = OptimizerSettings::new(rule);
    let settings = Parameters(&settings);
    let (kernel, arguments): (_, &[&dyn Argument]) = match rule {
        Rule::Sgd { momentum: 0.0, .. } => (
            "optimizer_sgd_f32",
            &[&values, &copy, &gradients, &rates, &chunks, &scales, &diverged, &skipped, &settings],
        ),
        Rule::Sgd { .. } => (
            "optimizer_momentum_f32",
            &[
                &values, &copy, &gradients, &first, &rates, &chunks, &scales, &diverged, &skipped,
                &settings,
            ],
        ),
        Rule::Adam { .. } => (
            "optimizer_adam_f32",
            &[
                &values, &copy, &gradients, &first, &second, &rates, &chunks, &scales, &diverged,
                &step, &skipped, &settings,
            ],
        ),
    };
    // Values and moments are read and written, gradients are read, a copy in BF16 is written.
    let moments = moments.into_iter().flatten().count();
    let of_element = 12 + 8 * moments + 2 * usize::from(buffers.narrow.is_some());
    gpu.launch_kernel(&Launch {
        kernel,
        grid: [table.chunks().len() as u32, 1, 1],
        block: [THREADS, 1, 1],
        cluster: 1,
        shared: 0,
        work: LaunchWork::bytes(of_element * table.elements()),
        arguments,
    });
}
