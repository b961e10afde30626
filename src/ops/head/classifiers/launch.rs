//! The launches of `kernels/classifiers.cu`, three in a step beside the matrix products, and of
//! `kernels/prediction.cu`.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::{Argument, Parameters, Pointer};
use crate::device::{DType, Gpu};
use crate::ops::head::interface::{Extents, Head, PredictionKind, Targets};
use crate::ops::kernel_in;
use crate::ops::tensor::matmul::{Epilogue, Operand, Rows, product};
use crate::tape::{Backward, Gradients, Slot};
use crate::tensor::Tensor;

/// The most logits of a sample that are staged in shared memory: 40 KiB.
pub(super) const STAGED: usize = 10 << 10;

/// The most threads of a block, for classes and for other targets.
const CLASSES_THREADS: usize = 1024;
const THREADS: usize = 512;

/// Elements that a block of the operands' kernel copies, and its threads.
const COPIED: usize = 4096;
const OPERANDS_THREADS: u32 = 256;

/// From this number of columns of `g` on, a block adds up 32 columns, for longer reads, and below it 8, for more
/// blocks.
const MANY_COLUMNS: usize = 8192;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ClassifierSizes {
    value_pitch: u64,
    constant: f64,
    samples: u32,
    classifiers: u32,
    outputs: u32,
    lanes: u32,
    slices: u32,
    staged: u32,
}

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ClassifierOperands {
    z_pitch: u64,
    z_elements: u64,
    weight_elements: u64,
    samples: u32,
    inputs: u32,
    columns: u32,
    sum_blocks: u32,
    z_blocks: u32,
    sum_width: u32,
    add: u32,
    unused: u32,
}

/// The work of a block on one sample.
struct Plan {
    sizes: ClassifierSizes,
    threads: u32,
    shared: usize,
}

impl Plan {
    /// Groups of lanes as wide as a classifier's logits, one for each classifier if the block has enough threads.
    fn new(extents: Extents, most_threads: usize) -> Self {
        let Extents { samples, classifiers, outputs, .. } = extents;
        let is_staged = extents.row() <= STAGED;
        let vector = if !is_staged && outputs % 4 == 0 { 4 } else { 1 };
        let wanted = outputs.div_ceil(vector).max(1);
        let lanes = wanted.next_power_of_two().min(32);
        let threads = wanted.max(classifiers * lanes).next_multiple_of(32).min(most_threads);
        let spare = threads / lanes / classifiers.max(1);
        let slices = spare.clamp(1, wanted.div_ceil(lanes));
        let staged = if is_staged { extents.row() } else { 0 };
        let sizes = ClassifierSizes {
            value_pitch: 0,
            constant: normal_constant(outputs),
            samples: samples as u32,
            classifiers: classifiers as u32,
            outputs: outputs as u32,
            lanes: lanes as u32,
            slices: slices as u32,
            staged: staged as u32,
        };
        Plan {
            sizes,
            threads: threads as u32,
            shared: shared_of_classifiers(classifiers, slices) + 4 * staged,
        }
    }

    /// For targets that read only one output of each classifier: the first warp reads it, and all threads write the
    /// row.
    fn of_chosen(extents: Extents) -> Self {
        let Extents { samples, classifiers, outputs, .. } = extents;
        let vectors = extents.row().div_ceil(4);
        let sizes = ClassifierSizes {
            value_pitch: 1,
            constant: normal_constant(1),
            samples: samples as u32,
            classifiers: classifiers as u32,
            outputs: outputs as u32,
            lanes: 0,
            slices: 0,
            staged: 0,
        };
        let threads = vectors.next_multiple_of(32).clamp(32, THREADS) as u32;
        Plan { sizes, threads, shared: shared_of_classifiers(classifiers, 0) }
    }
}

/// Bytes of `ClassifierArrays`, without the logits.
fn shared_of_classifiers(classifiers: usize, slices: usize) -> usize {
    (8 * classifiers * (4 + slices)).next_multiple_of(16)
}

/// The logarithm of the normalising constant of a Gaussian of variance 1 in this number of dimensions.
fn normal_constant(numbers: usize) -> f64 {
    0.5 * numbers as f64 * (2.0 * std::f64::consts::PI).ln()
}

/// `z W^T` of all classifiers, `[B, N, K]`; the kernels add the bias.
fn products(gpu: &Rc<Gpu>, extents: Extents, z: &Tensor, weight: &Tensor) -> Tensor {
    let Extents { samples, inputs, classifiers, outputs } = extents;
    let scores = z.empty_wide([samples, classifiers, outputs]);
    let _op = extents.product_op("classifiers outputs", &[z, weight, &scores]);
    gemm_on(
        gpu,
        [samples, extents.row(), inputs],
        (z, z.pitch(), false),
        (weight, inputs, true),
        (&scores, extents.row()),
        false,
    );
    scores
}

/// [`super::outputs`] on a GPU.
pub(super) fn outputs(
    gpu: &Rc<Gpu>,
    extents: Extents,
    z: &Tensor,
    parameters: [&Tensor; 2],
) -> Tensor {
    products(gpu, extents, z, parameters[0]).add(&parameters[1].detach())
}

/// [`super::classifiers`] on a GPU.
pub(super) fn classifiers(
    gpu: &Rc<Gpu>,
    extents: Extents,
    [z, weight, bias]: [&Tensor; 3],
    targets: Targets,
    log_posterior: &Tensor,
) -> (Head, Backward) {
    let scores = products(gpu, extents, z, weight);
    // In place if the type allows it.
    let g = if scores.dtype() == z.dtype() { scores.clone() } else { z.empty_like(scores.shape()) };
    let weighted = z.node().is_some().then(|| z.empty_like(scores.shape()));
    let gradients = (&g, weighted.as_ref());
    let op = extents.losses_op(&scores, &g);
    let statistics = evaluate(gpu, extents, &scores, gradients, bias, targets, log_posterior);
    let head = empty_head(z, extents.classifiers);
    summarise(gpu, extents, &statistics, &head);
    drop(op);
    let context = Context {
        gpu: Rc::clone(gpu),
        extents,
        z: z.detach(),
        weight: weight.detach(),
        bias: bias.detach(),
        g,
        weighted,
    };
    (head, Box::new(move |_, gradients| context.backward(gradients)))
}

/// Computes gradients from products. Returns F64 `[B, N + 2]`: the log-likelihoods of the classifiers and the mixture,
/// and whether the mixture is right.
fn evaluate(
    gpu: &Gpu,
    extents: Extents,
    scores: &Tensor,
    (g, weighted): (&Tensor, Option<&Tensor>),
    bias: &Tensor,
    targets: Targets,
    log_posterior: &Tensor,
) -> Tensor {
    let shape = [extents.samples, extents.classifiers + 2];
    let statistics = Tensor::empty(scores.device(), shape, DType::F64);
    let (work, mut plan) = match targets {
        Targets::Classes(_) => ("classifiers_classes_fwd", Plan::new(extents, CLASSES_THREADS)),
        Targets::Values(_) => ("classifiers_values_fwd", Plan::new(extents, THREADS)),
        Targets::Chosen { .. } => ("classifiers_chosen_fwd", Plan::of_chosen(extents)),
    };
    if let Targets::Values(values) = targets {
        plan.sizes.value_pitch = values.pitch() as u64;
    }
    let (scores, bias, log_posterior) = (scores.pointer(), bias.pointer(), log_posterior.pointer());
    let (g_pointer, weighted) = (g.pointer(), weighted.map_or(Pointer::NULL, Tensor::pointer));
    let (found, sizes) = (statistics.pointer(), Parameters(&plan.sizes));
    let limit = if let Targets::Chosen { limit, .. } = targets { Some(limit) } else { None };
    let targets: Vec<Pointer> = targets.tensors().into_iter().map(Tensor::pointer).collect();
    let mut arguments: Vec<&dyn Argument> = vec![&scores, &g_pointer, &weighted, &found, &bias];
    arguments.extend(targets.iter().map(|target| target as &dyn Argument));
    let limit = limit.map(|limit| limit as f32);
    arguments.extend(limit.iter().map(|limit| limit as &dyn Argument));
    arguments.extend([&log_posterior as &dyn Argument, &sizes]);
    gpu.launch_with_shared(
        &kernel_in(work, g.dtype()),
        [extents.samples as u32, 1, 1],
        [plan.threads, 1, 1],
        plan.shared,
        &arguments,
    );
    statistics
}

/// An uninitialised result of a batch.
pub(in crate::ops) fn empty_head(z: &Tensor, classifiers: usize) -> Head {
    let device = z.device();
    Head {
        objective: z.empty_wide([]),
        loss: Tensor::empty(device, [1], DType::F64),
        correct: Tensor::empty(device, [1], DType::I32),
        classifier_losses: Tensor::empty(device, [classifiers], DType::F64),
        diverged: Tensor::empty(device, [classifiers], DType::U8),
        samples_without_finite_classifier: Tensor::empty(device, [1], DType::I32),
    }
}

/// Computes the batch's losses and counts from the statistics.
pub(in crate::ops) fn summarise(gpu: &Gpu, extents: Extents, statistics: &Tensor, head: &Head) {
    let classifiers = extents.classifiers;
    let threads = 32 * (classifiers as u32 + 2).min(32);
    gpu.launch(
        "classifiers_summary_fwd_f32",
        [1; 3],
        [threads, 1, 1],
        &[
            &statistics.pointer(),
            &head.objective.pointer(),
            &head.loss.pointer(),
            &head.correct.pointer(),
            &head.classifier_losses.pointer(),
            &head.diverged.pointer(),
            &head.samples_without_finite_classifier.pointer(),
            &(extents.samples as u32),
            &(classifiers as u32),
        ],
    );
}

/// The values that the backward pass needs.
struct Context {
    gpu: Rc<Gpu>,
    extents: Extents,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    /// `g_ij`, `[B, N, K]`.
    g: Tensor,
    /// `r_ij g_ij`, where `z` has a gradient.
    weighted: Option<Tensor>,
}

impl Context {
    fn backward(&self, gradients: &mut Gradients) {
        let Extents { samples, inputs, .. } = self.extents;
        let row = self.extents.row();
        let finite_z = gradients.wants(1).then(|| self.z.empty_like(self.z.shape()));
        let weighted = self.weighted.as_ref().filter(|_| gradients.wants(0));
        let finite_weight = weighted.map(|_| self.weight.empty_like(self.weight.shape()));
        let bias_slot = gradients.slot(2, DType::F32);
        let op = self.extents.bias_gradient_op(&self.g, &self.bias);
        self.operands(bias_slot.as_ref(), finite_z.as_ref(), finite_weight.as_ref());
        drop(op);
        // dW = g^T z, dz = sum_j r_j g_j W_j.
        if let Some((z, slot)) = finite_z.zip(gradients.slot(1, DType::F32)) {
            let all = [&self.g, &z, &slot.tensor];
            let _op = self.extents.product_op("classifiers weight gradient", &all);
            gemm_on(
                &self.gpu,
                [row, inputs, samples],
                (&self.g, row, true),
                (&z, inputs, false),
                (&slot.tensor, inputs),
                slot.add,
            );
        }
        let Some((weight, weighted)) = finite_weight.zip(weighted) else { return };
        if let Some(slot) = gradients.slot(0, self.z.dtype()) {
            let all = [weighted, &weight, &slot.tensor];
            let _op = self.extents.product_op("classifiers input gradient", &all);
            gemm_on(
                &self.gpu,
                [samples, inputs, row],
                (weighted, row, false),
                (&weight, inputs, false),
                (&slot.tensor, slot.tensor.pitch()),
                slot.add,
            );
        }
    }

    /// Computes the bias gradient, and `z` and the weights with zeros in place of elements that are not finite; only
    /// those that are wanted.
    fn operands(&self, bias: Option<&Slot>, z: Option<&Tensor>, weight: Option<&Tensor>) {
        let Extents { samples, inputs, .. } = self.extents;
        let columns = self.extents.row();
        let sum_width = if columns < MANY_COLUMNS { 8 } else { 32 };
        let sum_blocks = bias.map_or(0, |_| columns.div_ceil(sum_width));
        let blocks =
            |copy: Option<&Tensor>| copy.map_or(0, |copy| copy.shape().elements().div_ceil(COPIED));
        let (z_blocks, weight_blocks) = (blocks(z), blocks(weight));
        let sizes = ClassifierOperands {
            z_pitch: self.z.pitch() as u64,
            z_elements: self.z.shape().elements() as u64,
            weight_elements: self.weight.shape().elements() as u64,
            samples: samples as u32,
            inputs: inputs as u32,
            columns: columns as u32,
            sum_blocks: sum_blocks as u32,
            z_blocks: z_blocks as u32,
            sum_width: sum_width as u32,
            add: u32::from(bias.is_some_and(|slot| slot.add)),
            unused: 0,
        };
        let bias = bias.map_or(Pointer::NULL, |slot| slot.tensor.pointer());
        let [finite_z, finite_weight] =
            [z, weight].map(|copy| copy.map_or(Pointer::NULL, Tensor::pointer));
        self.gpu.launch(
            &kernel_in("classifiers_operands_bwd", self.g.dtype()),
            [(sum_blocks + z_blocks + weight_blocks) as u32, 1, 1],
            [OPERANDS_THREADS, 1, 1],
            &[
                &self.g.pointer(),
                &bias,
                &self.z.pointer(),
                &finite_z,
                &self.weight.pointer(),
                &finite_weight,
                &Parameters(&sizes),
            ],
        );
    }
}

/// [`crate::ops::head::prediction::predict`] on a GPU; writes `[B, K]` to `out`.
pub(in crate::ops) fn predict(
    gpu: &Rc<Gpu>,
    extents: Extents,
    [z, weight, bias]: [&Tensor; 3],
    log_posterior: &Tensor,
    kind: PredictionKind,
    out: &Tensor,
) {
    let scores = products(gpu, extents, z, weight);
    let kernel = match kind {
        PredictionKind::LogProbabilities => "prediction_log_probabilities_fwd_f32",
        PredictionKind::Mean => "prediction_mean_fwd_f32",
    };
    let Plan { sizes, threads, shared } = Plan::new(extents, THREADS);
    gpu.launch_with_shared(
        kernel,
        [extents.samples as u32, 1, 1],
        [threads, 1, 1],
        shared,
        &[
            &scores.pointer(),
            &bias.pointer(),
            &log_posterior.pointer(),
            &out.pointer(),
            &Parameters(&sizes),
        ],
    );
}

/// `C (+)= op(A) op(B)`: each tensor with its row stride, and whether it is transposed.
fn gemm_on(
    gpu: &Rc<Gpu>,
    sizes: [usize; 3],
    a: (&Tensor, usize, bool),
    b: (&Tensor, usize, bool),
    (c, c_stride): (&Tensor, usize),
    add: bool,
) {
    let operand = |(tensor, stride, transposed)| Operand::new(tensor, stride, transposed);
    let to = Rows::new(c, c_stride);
    product(gpu, sizes, operand(a), operand(b), to, Epilogue::add(add));
}
