//! One update of all parameters in flat buffers, by SGD or Adam with a learning rate for every feature.

mod cpu;
mod launch;

use std::cell::OnceCell;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::device::{Cost, DType, Device};
use crate::ops::divisor::Divisor;
use crate::ops::{check_step, cost};
use crate::tensor::{Tensor, assert_alike, float_dispatch};
pub(super) use cpu::Cutter;

/// Elements of a chunk, if the parameter has enough.
const CHUNK: usize = 4096;

/// Chunks of one task.
pub(super) const CHUNKS_OF_A_TASK: usize = 8;

/// A parameter's place in the flat buffers, and its learning rates: that of element `e` is
/// `rates[rate_base + (e / inner) % features]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of its first element.
    pub base: usize,
    /// Number of its elements.
    pub length: usize,
    /// Consecutive elements of one feature.
    pub inner: usize,
    /// Number of features.
    pub features: usize,
    /// Index of its first rate.
    pub rate_base: usize,
    /// Whether it belongs to the head, with one feature for each classifier. A step does not update classifiers that diverged,
    /// and does not clip the head's gradients.
    pub in_head: bool,
}

/// A part of a [`Span`], in the layout of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ParameterChunk {
    /// Index of its first element in the flat buffers.
    base: u64,
    /// Index of its parameter's first rate.
    rate_base: u64,
    /// Number of its elements.
    length: u32,
    /// Index of its first element in its parameter, modulo `inner * features`.
    phase: u32,
    /// 1 for a parameter of the head, as in [`Span`], else 0.
    in_head: u32,
    /// By the consecutive elements of one feature.
    by_inner: Divisor,
    /// By the number of features.
    by_features: Divisor,
    unused: u32,
}

impl ParameterChunk {
    /// The indices of its elements in the flat buffers.
    pub(super) fn range(&self) -> Range<usize> {
        let base = self.base as usize;
        base..base + self.length as usize
    }
}

/// All parameters cut into chunks; built once.
#[derive(Clone, Default)]
pub struct Table {
    chunks: Vec<ParameterChunk>,
    /// The chunks on a GPU, U8, from their first use on.
    on_device: OnceCell<Tensor>,
}

impl Table {
    /// Cuts parameters into chunks. The spans must be in the order of the buffers. Panics if two overlap.
    ///
    /// ```
    /// use alrao::ops::update::optimizer::{Span, Table};
    /// let linear = Span { base: 0, length: 10_000, inner: 100, features: 100, rate_base: 0, in_head: false };
    /// assert_eq!(Table::new([linear]).chunks().len(), 3);
    /// ```
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Self {
        let (mut chunks, mut end) = (Vec::new(), 0);
        for span in spans {
            assert!(span.base >= end, "optimizer: {span:?} begins before element {end}");
            assert!(span.inner > 0 && span.features > 0, "optimizer: {span:?} has no features");
            end = span.base + span.length;
            chunks.extend((0..span.length).step_by(CHUNK).map(|offset| chunk(&span, offset)));
        }
        Table { chunks, on_device: OnceCell::new() }
    }

    /// The same chunks, of parameters of which `elements` come before the first that is in the buffers: for a check of
    /// offsets that no memory has room for.
    #[cfg(feature = "cli")]
    pub(crate) fn after(mut self, elements: u64) -> Self {
        for chunk in &mut self.chunks {
            let period = chunk.by_inner.value() as u64 * chunk.by_features.value() as u64;
            chunk.phase = ((u64::from(chunk.phase) + elements) % period) as u32;
        }
        self
    }

    /// The chunks, in the order of the buffers.
    pub fn chunks(&self) -> &[ParameterChunk] {
        &self.chunks
    }

    /// The chunks in a device's memory. Panics if they were used on another device before.
    pub(super) fn on(&self, device: &Device) -> &Tensor {
        let chunks = self.on_device.get_or_init(|| {
            let bytes: &[u8] = bytemuck::cast_slice(&self.chunks);
            Tensor::from_slice(device, [bytes.len()], bytes)
        });
        assert!(chunks.device().same(device), "optimizer: one table on two devices");
        chunks
    }

    pub(super) fn elements(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.length as usize).sum()
    }
}

fn chunk(span: &Span, offset: usize) -> ParameterChunk {
    let period = span.inner * span.features;
    let phase = offset % period;
    assert!(phase + CHUNK < Divisor::END, "optimizer: {span:?} has too many elements");
    ParameterChunk {
        base: (span.base + offset) as u64,
        rate_base: span.rate_base as u64,
        length: CHUNK.min(span.length - offset) as u32,
        phase: phase as u32,
        in_head: u32::from(span.in_head),
        by_inner: Divisor::new(span.inner),
        by_features: Divisor::new(span.features),
        unused: 0,
    }
}

/// How a gradient `g` moves a parameter `w` with learning rate `eta`, as PyTorch's optimisers do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `v = momentum v + g + weight_decay w`, `w -= eta v`. `v` is the first moment, which is not stored if `momentum`
    /// is 0.
    Sgd {
        /// The part of the last step's direction that is kept.
        momentum: f64,
        /// Pull towards zero, added to the gradient.
        weight_decay: f64,
    },
    /// Kingma and Ba 2015, algorithm 1, with PyTorch's epsilon: `w -= eta (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) +
    /// epsilon)`.
    Adam {
        /// Decay of the mean of the gradients.
        beta1: f64,
        /// Decay of the mean of their squares.
        beta2: f64,
        /// Added to the denominator.
        epsilon: f64,
        /// Pull towards zero.
        weight_decay: f64,
        /// Whether the pull is AdamW's (Loshchilov and Hutter 2019): `w *= 1 - eta weight_decay` before the rest. Otherwise it is
        /// added to the gradient.
        is_decoupled: bool,
    },
}

impl Rule {
    /// SGD without momentum or weight decay.
    pub const SGD: Rule = Rule::Sgd { momentum: 0.0, weight_decay: 0.0 };
    /// Adam with its usual settings.
    pub const ADAM: Rule = Rule::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        is_decoupled: false,
    };

    /// The pull that is added to the gradient, and the one that is apart from it.
    fn weight_decays(&self) -> [f64; 2] {
        match *self {
            Rule::Adam { weight_decay, is_decoupled: true, .. } => [0.0, weight_decay],
            Rule::Sgd { weight_decay, .. } | Rule::Adam { weight_decay, .. } => [weight_decay, 0.0],
        }
    }

    /// The number of moments it stores for each element.
    pub fn moments(&self) -> usize {
        match *self {
            Rule::Sgd { momentum, .. } => usize::from(momentum != 0.0),
            Rule::Adam { .. } => 2,
        }
    }
}

/// The flat buffers: all except `narrow` have one floating-point dtype, and all except `rates` have the same length.
#[derive(Clone)]
pub struct Buffers {
    /// The parameters.
    pub values: Tensor,
    /// A copy of the values in BF16, for products in BF16. On a GPU only.
    pub narrow: Option<Tensor>,
    /// Their gradients.
    pub gradients: Tensor,
    /// Momentum, or Adam's mean of the gradients; zeros at first.
    pub first_moment: Option<Tensor>,
    /// Adam's mean of the squares; zeros at first.
    pub second_moment: Option<Tensor>,
    /// The learning rates, one for each feature.
    pub rates: Tensor,
}

impl Buffers {
    /// Values and moments are read and written, gradients and rates read.
    fn cost(&self, rule: Rule) -> Cost {
        let Buffers { values, narrow, gradients, first_moment, second_moment, rates } = self;
        let moments = [first_moment, second_moment].into_iter().take(rule.moments()).flatten();
        let moved: Vec<&Tensor> = [values].into_iter().chain(moments).collect();
        let others = [gradients, rates].into_iter().chain(narrow);
        let all: Vec<&Tensor> = moved.iter().chain(&moved).copied().chain(others).collect();
        // A multiply-add with the rate; momentum has one more, Adam's formula thirteen operations more.
        let each = [2, 4, 15][rule.moments()];
        cost(&all, each * values.shape().elements())
    }
}

/// Updates every parameter of the table. An element whose gradient is not finite is skipped, with its moments, and
/// counted.
///
/// - `scales`: F64 `[2]`: the schedule's factor on all rates, and the clip's on the gradients of all parameters except
///   the head's.
/// - `diverged`: U8, one for each classifier. Classifiers with a value other than 0 are frozen; their elements do not
///   count as skipped.
/// - `step`: I64 `[1]`: 1 for the first update.
/// - `skipped`: I64 `[1]`, accumulates the number of skipped elements.
pub fn update(
    buffers: &Buffers,
    table: &Table,
    rule: Rule,
    scales: &Tensor,
    diverged: Option<&Tensor>,
    step: &Tensor,
    skipped: &Tensor,
) {
    check(buffers, rule, scales, skipped);
    check_step("optimizer", step);
    let _op = buffers.values.device().op("optimizer", || buffers.cost(rule));
    let state = State { scales, diverged, step, skipped };
    match buffers.values.device() {
        Device::Gpu(gpu) => launch::update(gpu, buffers, table, rule, &state),
        Device::Cpu(cpu) => float_dispatch!(buffers.values.dtype(), "optimizer", T => {
            cpu::update::<T>(cpu, buffers, table, rule, &state);
        }),
    }
}

/// What changes from step to step; see [`update`].
struct State<'a> {
    scales: &'a Tensor,
    diverged: Option<&'a Tensor>,
    step: &'a Tensor,
    skipped: &'a Tensor,
}

fn check(buffers: &Buffers, rule: Rule, scales: &Tensor, skipped: &Tensor) {
    let Buffers { values, gradients, first_moment, second_moment, rates, .. } = buffers;
    let moments = [first_moment, second_moment];
    let present: Vec<&Tensor> = moments.into_iter().flatten().collect();
    if let Some(narrow) = &buffers.narrow {
        let (narrow_dtype, values) = (narrow.dtype(), buffers.values.dtype());
        assert!(
            (narrow_dtype, values) == (DType::BF16, DType::F32)
                && narrow.shape() == buffers.values.shape()
                && matches!(narrow.device(), Device::Gpu(_)),
            "optimizer: a copy of {values:?} {} as {narrow_dtype:?} {} on {}",
            buffers.values.shape(),
            narrow.shape(),
            narrow.device().name()
        );
    }
    assert_alike("optimizer", &[&[values, gradients, rates][..], &present].concat());
    for buffer in [&[gradients][..], &present].concat() {
        assert!(
            buffer.shape().elements() == values.shape().elements(),
            "optimizer: buffers of {} and {} elements",
            values.shape(),
            buffer.shape()
        );
    }
    assert!(
        moments[..rule.moments()].iter().all(|moment| moment.is_some()),
        "optimizer: {rule:?} needs {} moments",
        rule.moments()
    );
    assert!(
        (scales.dtype(), skipped.dtype()) == (DType::F64, DType::I64)
            && scales.shape().elements() == 2,
        "optimizer: scales are F64 [2] and skipped is I64 [1], not {:?} {} and {:?}",
        scales.dtype(),
        scales.shape(),
        skipped.dtype()
    );
}
