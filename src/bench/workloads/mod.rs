//! For every kernel a problem it is launched on, with the bytes it has to move and the operations it has to do: the
//! layers of the paper's models at batch 32, an update of 20 million parameters, ten copies of ten classes.
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

/// How large a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As in the paper's models: to be timed.
    Full,
    /// Small enough for the simulator.
    Small,
}

impl Size {
    /// One of two.
    pub(crate) fn of<T>(self, full: T, small: T) -> T {
        match self {
            Size::Full => full,
            Size::Small => small,
        }
    }
}

/// Work whose inputs are on the device: it may be done again and again, and gives what it computed.
pub type Work = Box<dyn Fn() -> Vec<Tensor>>;

type Prepare = Box<dyn Fn(&Device, DType, Size) -> Work>;

/// Some work, and what the kernels it launches cost at its full size.
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

    /// With the cost of the kernels of a name, in which `*` stands for anything.
    pub(crate) fn cost(mut self, kernels: &'static str, cost: Cost) -> Workload {
        self.costs.push((kernels, cost));
        self
    }

    /// Puts the inputs on a device.
    pub fn prepare(&self, device: &Device, dtype: DType, size: Size) -> Work {
        (self.prepare)(device, dtype, size)
    }

    /// What a kernel costs at full size; `None` for one that only helps here.
    pub fn cost_of(&self, kernel: &str) -> Option<Cost> {
        let own = self.costs.iter().find(|(pattern, _)| matches(pattern, kernel));
        own.map(|(_, cost)| *cost)
    }

    /// The names that costs are given for.
    pub fn patterns(&self) -> impl Iterator<Item = &'static str> {
        self.costs.iter().map(|(pattern, _)| *pattern)
    }
}

/// Whether a name is of a form, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    (0..=name.len()).any(|cut| name.is_char_boundary(cut) && matches(rest, &name[cut..]))
}

/// All of them.
pub fn all() -> Vec<Workload> {
    let parts =
        [pointwise::all(), products::all(), sequence::all(), learning::all(), q_learning::all()];
    parts.into_iter().flatten().collect()
}

/// How many different numbers tensors are filled with.
const PATTERN: usize = 1 << 16;

/// Numbers from 1/4 to 3/4 that bf16 holds exactly: random, since zeros would be multiplied faster.
fn pattern() -> &'static [f32] {
    static PATTERN_OF_ALL: OnceLock<Vec<f32>> = OnceLock::new();
    PATTERN_OF_ALL.get_or_init(|| {
        let mut stream = Philox::new(11, Purpose::Data).stream(0);
        (0..PATTERN).map(|_| (64.0 + 128.0 * stream.uniform()).floor() as f32 / 256.0).collect()
    })
}

/// A tensor of numbers from 1/4 to 3/4, others for another `number`.
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

/// Whole numbers below `limit`.
pub(super) fn whole(device: &Device, shape: &[usize], limit: usize, number: u64) -> Tensor {
    let mut stream = Philox::new(12, Purpose::Data).stream(number);
    let elements: usize = shape.iter().product();
    let own: Vec<i32> = (0..elements).map(|_| stream.below(limit as u64) as i32).collect();
    Tensor::from_slice(device, shape, &own)
}

/// What an op of these inputs gives, and their gradients for a gradient of its output that is given too.
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
        assert!(matches("tally_add", "tally_add"));
        assert!(!matches("conv2d*_fwd*", "conv2d_128_dx_bwd_f32"));
        assert!(!matches("tally_add", "tally_advance"));
        assert!(!matches("matmul_*_nn*", "matmul_128_nt_f32"));
    }
}
