//! A workload for every kernel: the problem that it is timed on, with the bytes it has to move and the operations it
//! has to do. Sizes are the layers of the paper's models at batch 32, an update of 20 million parameters, ten
//! classifiers.
//!
//! A kernel without a workload fails a test (`tests/workloads.rs`).

pub(super) mod learning;
mod pointwise;
mod products;
mod q_learning;
mod sequence;

use std::sync::OnceLock;

pub use crate::device::Cost;
use crate::device::{DType, Device};
use crate::random::{Philox, Purpose};
use crate::tape::Tape;
use crate::tensor::Tensor;

/// The size of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As in the paper's models, for timing.
    Full,
    /// Small enough for the simulator.
    Small,
}

impl Size {
    /// Chooses by size.
    pub(crate) fn of<T>(self, full: T, small: T) -> T {
        match self {
            Size::Full => full,
            Size::Small => small,
        }
    }
}

/// Repeatable work whose inputs are on the device; returns its results.
pub type Work = Box<dyn Fn() -> Vec<Tensor>>;

type Prepare = Box<dyn Fn(&Device, DType, Size) -> Work>;

/// A problem, and the cost of its kernels at full size.
pub struct Workload {
    /// The op and its sizes at full size.
    pub name: String,
    costs: Vec<(&'static str, Cost)>,
    prepare: Prepare,
}

impl Workload {
    pub(crate) fn new(
        name: impl Into<String>,
        prepare: impl Fn(&Device, DType, Size) -> Work + 'static,
    ) -> Workload {
        Workload { name: name.into(), costs: Vec::new(), prepare: Box::new(prepare) }
    }

    /// Adds the cost of the kernels that match a pattern, in which `*` matches anything.
    pub(crate) fn cost(mut self, kernels: &'static str, cost: Cost) -> Workload {
        self.costs.push((kernels, cost));
        self
    }

    /// Copies the inputs to a device.
    pub fn prepare(&self, device: &Device, dtype: DType, size: Size) -> Work {
        (self.prepare)(device, dtype, size)
    }

    /// A kernel's cost at full size; `None` for a helper of this workload.
    pub fn cost_of(&self, kernel: &str) -> Option<Cost> {
        let own = self.costs.iter().find(|(pattern, _)| matches(pattern, kernel));
        own.map(|(_, cost)| *cost)
    }

    /// The patterns that costs are given for.
    pub fn patterns(&self) -> impl Iterator<Item = &'static str> {
        self.costs.iter().map(|(pattern, _)| *pattern)
    }
}

/// Whether a name matches a pattern, in which `*` matches anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    (0..=name.len()).any(|cut| name.is_char_boundary(cut) && matches(rest, &name[cut..]))
}

/// All workloads.
pub fn all() -> Vec<Workload> {
    let parts =
        [pointwise::all(), products::all(), sequence::all(), learning::all(), q_learning::all()];
    parts.into_iter().flatten().collect()
}

/// The number of random numbers that fill tensors, repeated.
const PATTERN: usize = 1 << 16;

/// Numbers from 1/4 to 3/4 that bf16 represents exactly. Random, since a GPU multiplies zeros with less power and so
/// faster.
fn pattern() -> &'static [f32] {
    static PATTERN_OF_ALL: OnceLock<Vec<f32>> = OnceLock::new();
    PATTERN_OF_ALL.get_or_init(|| {
        let mut stream = Philox::new(11, Purpose::Data).stream(0);
        (0..PATTERN).map(|_| (64.0 + 128.0 * stream.uniform()).floor() as f32 / 256.0).collect()
    })
}

/// A tensor of numbers from 1/4 to 3/4; another `number` gives other values.
pub(crate) fn filled(device: &Device, shape: &[usize], dtype: DType, number: usize) -> Tensor {
    let elements: usize = shape.iter().product();
    let own = pattern().iter().cycle().skip(number * 7919 % PATTERN).take(elements);
    match dtype {
        DType::F32 => Tensor::from_slice(device, shape, &own.copied().collect::<Vec<f32>>()),
        _ => {
            Tensor::from_f64s(device, shape, dtype, &own.map(|x| f64::from(*x)).collect::<Vec<_>>())
        }
    }
}

/// Random integers below `limit`.
pub(super) fn whole(device: &Device, shape: &[usize], limit: usize, number: u64) -> Tensor {
    let mut stream = Philox::new(12, Purpose::Data).stream(number);
    let elements: usize = shape.iter().product();
    let own: Vec<i32> = (0..elements).map(|_| stream.below(limit as u64) as i32).collect();
    Tensor::from_slice(device, shape, &own)
}

/// An op's output, and the gradients of its inputs for a given gradient of the output.
pub(crate) fn forward_and_back(
    inputs: Vec<Tensor>,
    gradient: Tensor,
    op: impl Fn(&[Tensor]) -> Tensor + 'static,
) -> Work {
    Box::new(move || {
        let tape = Tape::new();
        let watched: Vec<Tensor> = inputs.iter().map(|input| tape.watch(input)).collect();
        let output = op(&watched);
        tape.backward(&output.mul(&gradient).sum());
        let gradients = watched.iter().filter_map(|input| tape.gradient(input));
        gradients.chain([output.detach()]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches("conv2d*_fwd*", "conv2d_128_fwd_f32"));
        assert!(matches("conv2d*_fwd*", "conv2d_64_fwd_tf32"));
        assert!(matches("step_statistics_add", "step_statistics_add"));
        assert!(!matches("conv2d*_fwd*", "conv2d_128_dx_bwd_f32"));
        assert!(!matches("step_statistics_add", "step_statistics_advance"));
        assert!(!matches("matmul_*_nn*", "matmul_128_nt_f32"));
    }
}
