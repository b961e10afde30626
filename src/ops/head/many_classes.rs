//! The launches of `kernels/many_classes.cu`: the head for many classes, in tf32, which never stores the logits.

use std::rc::Rc;

use bytemuck::{Pod, Zeroable};

use super::classifiers::launch::{empty_head, summarise};
use super::interface::{Extents, Head};
use crate::device::gpu::{Argument, Launch, Parameters, Pointer};
use crate::device::{DType, Gpu, LaunchWork};
use crate::ops::tensor::matmul::{Epilogue, Parts, Rows, is_aligned, row_bytes, sum_parts};
use crate::tape::{Backward, Gradients};
use crate::tensor::Tensor;

/// Samples or classes of a tile.
const TILE: usize = 64;

/// The most inputs whose sums fit a block's registers.
const MOST_INPUTS: usize = 128;

/// Blocks that are resident on a GPU of 132 SMs at a time.
const BLOCKS: usize = 264;

const THREADS: u32 = 128;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ManyClasses {
    z_row_bytes: u32,
    samples: u32,
    inputs: u32,
    classifiers: u32,
    outputs: u32,
    splits: u32,
    chunks: u32,
    z_is_aligned: u32,
    weight_is_aligned: u32,
    add_weight: u32,
    add_bias: u32,
}

/// The use of a block's shared memory, beside its own rows and the rows that it streams.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    Outputs,
    OutputsAndGradients,
}

/// Whether the kernels support such a head.
pub(super) fn fits(extents: Extents) -> bool {
    extents.inputs <= MOST_INPUTS && extents.inputs > 0 && extents.outputs > 0
}

/// The common part of one head's launches.
struct Plan {
    gpu: Rc<Gpu>,
    extents: Extents,
    z: Tensor,
    weight: Tensor,
    bias: Tensor,
    classes: Tensor,
}

impl Plan {
    fn tiles(&self) -> usize {
        self.extents.samples.div_ceil(TILE)
    }

    /// The sizes, with the classes in enough parts that `blocks` blocks for each fill the GPU.
    fn sizes(&self, blocks: usize) -> ManyClasses {
        let Extents { samples, inputs, classifiers, outputs } = self.extents;
        let all = outputs.div_ceil(TILE);
        let chunks = all.div_ceil((BLOCKS / blocks.max(1)).clamp(1, all));
        let aligned =
            |tensor: &Tensor, stride: usize| u32::from(is_aligned(tensor.pointer(), &[stride]));
        ManyClasses {
            z_row_bytes: row_bytes("classifiers", DType::F32, self.z.pitch()),
            samples: samples as u32,
            inputs: inputs as u32,
            classifiers: classifiers as u32,
            outputs: outputs as u32,
            splits: all.div_ceil(chunks) as u32,
            chunks: chunks as u32,
            z_is_aligned: aligned(&self.z, self.z.pitch()),
            weight_is_aligned: aligned(&self.weight, inputs),
            add_weight: 0,
            add_bias: 0,
        }
    }

    /// Launches the kernel for the number of inputs; `names` are those for up to 64 inputs and above.
    fn launch(
        &self,
        names: [&str; 2],
        [blocks, passes]: [usize; 2],
        block: Block,
        arguments: &[&dyn Argument],
    ) {
        let depth = if self.extents.inputs <= 64 { 64 } else { 128 };
        let gradients = if block == Block::OutputsAndGradients { TILE } else { 0 };
        let shared = 4 * TILE * (2 * depth + gradients);
        let blocks = [u32::try_from(blocks).expect("there are fewer tiles"), 1, 1];
        self.gpu.launch_kernel(&Launch {
            kernel: names[usize::from(depth == 128)],
            grid: blocks,
            block: [THREADS, 1, 1],
            cluster: 1,
            shared,
            work: LaunchWork::passes(passes),
            arguments,
        });
    }

    fn empty(&self, shape: &[usize], dtype: DType) -> Tensor {
        Tensor::empty(self.z.device(), shape, dtype)
    }

    /// The statistics, F64 `[B, N + 2]`, still without the count of correct classes, and four numbers for each sample
    /// and classifier, `[B, N, 4]`.
    fn likelihoods(&self, log_posterior: &Tensor) -> (Tensor, Tensor) {
        let Extents { samples, classifiers, .. } = self.extents;
        let sizes = self.sizes(self.tiles() * classifiers);
        let splits = sizes.splits as usize;
        let parts = self.empty(&[samples, classifiers, 2 * splits, 2], DType::F32);
        let target_outputs = self.empty(&[samples, classifiers], DType::F32);
        self.launch(
            ["many_classes_64_softmax_fwd_tf32", "many_classes_128_softmax_fwd_tf32"],
            [self.tiles() * splits * classifiers, sizes.chunks as usize],
            Block::Outputs,
            &[
                &self.z.pointer(),
                &self.weight.pointer(),
                &self.bias.pointer(),
                &self.classes.pointer(),
                &parts.pointer(),
                &target_outputs.pointer(),
                &Parameters(&sizes),
            ],
        );
        let statistics = self.empty(&[samples, classifiers + 2], DType::F64);
        let softmaxes = self.empty(&[samples, classifiers, 4], DType::F32);
        self.gpu.launch_with_shared(
            "many_classes_mix_fwd_f32",
            [samples as u32, 1, 1],
            [32, 1, 1],
            // Two f64 and four f32 for each classifier.
            (32 * classifiers).next_multiple_of(16),
            &[
                &parts.pointer(),
                &target_outputs.pointer(),
                &self.classes.pointer(),
                &log_posterior.pointer(),
                &softmaxes.pointer(),
                &statistics.pointer(),
                &Parameters(&sizes),
            ],
        );
        (statistics, softmaxes)
    }

    /// Completes the statistics, and returns the gradient of `z` in parts, `[splits, B, d]`, if it is wanted.
    fn mixture(&self, statistics: &Tensor, softmaxes: &Tensor, wants_dz: bool) -> Option<Parts> {
        let Extents { samples, inputs, .. } = self.extents;
        let sizes = self.sizes(self.tiles());
        let splits = sizes.splits as usize;
        let bests = self.empty(&[samples, 2 * splits, 2], DType::I32);
        let target_mixtures = self.empty(&[samples], DType::F32);
        let dz_parts = wants_dz.then(|| Parts::new(&self.gpu, splits, samples * inputs));
        let operands = [&self.z, &self.weight, &self.bias, &self.classes, softmaxes, &bests];
        let mut pointers: Vec<Pointer> = operands.map(Tensor::pointer).to_vec();
        pointers.push(target_mixtures.pointer());
        pointers.extend(dz_parts.as_ref().map(Parts::pointer));
        let parameters = Parameters(&sizes);
        let mut arguments: Vec<&dyn Argument> =
            pointers.iter().map(|pointer| pointer as &dyn Argument).collect();
        arguments.push(&parameters);
        let (names, block) = match wants_dz {
            true => (
                ["many_classes_64_input_fwd_tf32", "many_classes_128_input_fwd_tf32"],
                Block::OutputsAndGradients,
            ),
            false => (
                ["many_classes_64_mixture_fwd_tf32", "many_classes_128_mixture_fwd_tf32"],
                Block::Outputs,
            ),
        };
        let passes = sizes.chunks as usize * self.extents.classifiers;
        self.launch(names, [self.tiles() * splits, passes], block, &arguments);
        self.gpu.launch(
            "many_classes_correct_fwd_f32",
            [samples.div_ceil(THREADS as usize) as u32, 1, 1],
            [THREADS, 1, 1],
            &[
                &bests.pointer(),
                &target_mixtures.pointer(),
                &self.classes.pointer(),
                &statistics.pointer(),
                &Parameters(&sizes),
            ],
        );
        dz_parts
    }

    fn parameter_gradients(&self, softmaxes: &Tensor, gradients: &mut Gradients) {
        let (weight, bias) = (gradients.slot(1, DType::F32), gradients.slot(2, DType::F32));
        if weight.is_none() && bias.is_none() {
            return;
        }
        let mut sizes = self.sizes(1);
        sizes.add_weight = u32::from(weight.as_ref().is_some_and(|slot| slot.add));
        sizes.add_bias = u32::from(bias.as_ref().is_some_and(|slot| slot.add));
        let [weight, bias] =
            [weight, bias].map(|slot| slot.map_or(Pointer::NULL, |slot| slot.tensor.pointer()));
        self.launch(
            ["many_classes_64_weight_bwd_tf32", "many_classes_128_weight_bwd_tf32"],
            [self.extents.outputs.div_ceil(TILE) * self.extents.classifiers, self.tiles()],
            Block::OutputsAndGradients,
            &[
                &self.z.pointer(),
                &self.weight.pointer(),
                &self.bias.pointer(),
                &self.classes.pointer(),
                &softmaxes.pointer(),
                &weight,
                &bias,
                &Parameters(&sizes),
            ],
        );
    }

    fn input_gradient(&self, dz_parts: &Parts, gradients: &mut Gradients) {
        let Some(slot) = gradients.slot(0, self.z.dtype()) else { return };
        let Extents { samples, inputs, .. } = self.extents;
        let to = Rows::new(&slot.tensor, slot.tensor.pitch());
        sum_parts(&self.gpu, dz_parts, [samples, inputs], to, Epilogue::add(slot.add));
    }
}

/// [`super::classifiers::classifiers`] for classes.
pub(super) fn classifiers(
    gpu: &Rc<Gpu>,
    extents: Extents,
    [z, weight, bias]: [&Tensor; 3],
    classes: &Tensor,
    log_posterior: &Tensor,
) -> (Head, Backward) {
    let plan = Plan {
        gpu: Rc::clone(gpu),
        extents,
        z: z.detach(),
        weight: weight.detach(),
        bias: bias.detach(),
        classes: classes.detach(),
    };
    let op = extents.product_op("classifiers outputs", &[z, weight, bias]);
    let (statistics, softmaxes) = plan.likelihoods(log_posterior);
    drop(op);
    let op = extents.product_op("classifiers input gradient", &[z, weight, bias, z]);
    let dz_parts = plan.mixture(&statistics, &softmaxes, z.node().is_some());
    let head = empty_head(z, extents.classifiers);
    summarise(gpu, extents, &statistics, &head);
    drop(op);
    let backward = move |_: &Tensor, gradients: &mut Gradients| {
        let all = [&plan.z, &plan.weight, &plan.weight];
        let _op = extents.product_op("classifiers weight gradient", &all);
        plan.parameter_gradients(&softmaxes, gradients);
        if let Some(dz_parts) = &dz_parts {
            plan.input_gradient(dz_parts, gradients);
        }
    };
    (head, Box::new(backward))
}
