//! The sums of split products that are put off to the end of a backward pass, several in one launch.

use bytemuck::{Pod, Zeroable};

use super::launch::{Epilogue, Parts, Rows, grid, is_aligned, sum_parts};
use crate::device::gpu::{Argument, Gpu, Launch, Parameters, Pointer};
use crate::device::{Device, LaunchWork};
use crate::ops::begin;
use crate::tape::{Batched, Later, Slot};
use crate::tensor::Tensor;

/// Sums in one launch.
const MANY: usize = 8;

/// Elements of a block.
const ELEMENTS: usize = 1024;

/// Bytes of parts that wait at the same time: more would leave the L2 cache, and need memory.
const MOST_BYTES: usize = 32 << 20;

/// As the kernels' struct of this name.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatmulManyParts {
    elements: [u64; MANY],
    splits: [u32; MANY],
    ends: [u32; MANY],
    is_aligned: [u32; MANY],
}

/// Stores or accumulates the sum of a weight gradient's parts in contiguous F32: `later`, if that is given, with others.
pub(crate) fn sum_weight_parts(gpu: &Gpu, parts: Parts, slot: &Slot, later: Option<Later>) {
    let to = &slot.tensor;
    match later {
        Some(later) => later.with(|sums: &mut PartSums| sums.add(parts, to)),
        None => {
            let elements = to.shape().elements();
            sum_parts(gpu, &parts, [1, elements], Rows::new(to, elements), Epilogue::add(slot.add));
        }
    }
}

/// Split products whose parts are still to be summed, each to a contiguous tensor of F32.
#[derive(Default)]
struct PartSums(Vec<(Parts, Tensor)>);

impl PartSums {
    /// Stores the sum of the parts in `to`, at the latest when the backward pass ends.
    fn add(&mut self, parts: Parts, to: &Tensor) {
        self.0.push((parts, to.detach()));
        let bytes = |(parts, to): &(Parts, Tensor)| parts.splits * to.shape().elements() * 4;
        if self.0.len() == MANY || self.0.iter().map(bytes).sum::<usize>() > MOST_BYTES {
            self.run();
        }
    }
}

impl Batched for PartSums {
    fn run(&mut self) {
        let sums = std::mem::take(&mut self.0);
        let Some((_, first)) = sums.first() else { return };
        let Device::Gpu(gpu) = first.device() else { return };
        let tensors: Vec<&Tensor> = sums.iter().map(|(_, to)| to).collect();
        let mut many = MatmulManyParts::zeroed();
        let mut pointers = [[Pointer::NULL; MANY]; 2];
        let (mut blocks, mut bytes) = (0, 0);
        let mut ends = [0; MANY];
        for (i, end) in ends.iter_mut().enumerate() {
            if let Some((parts, to)) = sums.get(i) {
                let elements = to.shape().elements();
                let own = [parts.pointer(), to.pointer()];
                [pointers[0][i], pointers[1][i]] = own;
                many.elements[i] = elements as u64;
                many.splits[i] = parts.splits as u32;
                let are_aligned = own.iter().all(|pointer| is_aligned(*pointer, &[elements]));
                many.is_aligned[i] = u32::from(are_aligned);
                blocks += elements.div_ceil(ELEMENTS);
                bytes += elements * 4 * (parts.splits + 1);
            }
            *end = blocks as u32;
        }
        many.ends = ends;
        let _op = begin("weight gradient sums", &tensors, bytes / 4);
        let many = Parameters(&many);
        let mut arguments: Vec<&dyn Argument> = Vec::new();
        pointers.iter().flatten().for_each(|pointer| arguments.push(pointer));
        arguments.push(&many);
        gpu.launch_kernel(&Launch {
            kernel: "matmul_sum_many_f32",
            grid: grid(blocks),
            block: [256, 1, 1],
            cluster: 1,
            shared: 0,
            work: LaunchWork::bytes(bytes),
            arguments: &arguments,
        });
    }
}
