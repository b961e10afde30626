//! One update of all parameters, in flat buffers: SGD and Adam with a learning rate for every feature.

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{DType, Device};
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Elements of a chunk, where the parameter has as many.
const CHUNK: usize = 4096;

/// Chunks that one task updates.
const CHUNKS_OF_A_TASK: usize = 8;

/// Where a parameter lies in the flat buffers, and which learning rates its elements have: element `e` learns with
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
    /// Whether a feature stands still in a step that flags its number, and is exempt from clipping.
    pub guarded: bool,
}

/// A part of a [`Span`] that one task works on, as it is given to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Chunk {
    /// Index of its first element in the flat buffers.
    pub base: u64,
    /// Index of its first element in its parameter.
    pub offset: u64,
    /// Index of its parameter's first rate.
    pub rate_base: u64,
    /// Number of its elements.
    pub length: u32,
    /// Consecutive elements of one feature.
    pub inner: u32,
    /// Number of features.
    pub features: u32,
    /// 1 where a flagged feature stands still and clipping does not apply, else 0.
    pub guarded: u32,
}

/// All parameters cut into chunks; built once.
#[derive(Clone, Debug, Default)]
pub struct Table {
    chunks: Vec<Chunk>,
}

impl Table {
    /// Cuts parameters into chunks. They must be given in the order of the buffers. Panics where two overlap.
    ///
    /// ```
    /// use alrao::ops::optimizer::{Span, Table};
    /// let linear = Span { base: 0, length: 10_000, inner: 100, features: 100, rate_base: 0, guarded: false };
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
        Table { chunks }
    }

    /// The chunks, in the order of the buffers.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    fn elements(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.length as usize).sum()
    }
}

fn chunk(span: &Span, offset: usize) -> Chunk {
    let small =
        |value: usize| u32::try_from(value).expect("a feature has fewer than 2^32 elements");
    Chunk {
        base: (span.base + offset) as u64,
        offset: offset as u64,
        rate_base: span.rate_base as u64,
        length: small(CHUNK.min(span.length - offset)),
        inner: small(span.inner),
        features: small(span.features),
        guarded: u32::from(span.guarded),
    }
}

/// How a gradient `g` moves a parameter `w` with learning rate `eta`, as PyTorch's optimisers do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `v = momentum v + g + weight_decay w`, `w -= eta v`. `v` is the first moment, of no use where `momentum` is 0.
    Sgd {
        /// How much of the last step's direction stays.
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
        /// Pull towards zero, added to the gradient.
        weight_decay: f64,
    },
}

impl Rule {
    /// SGD without momentum or weight decay.
    pub const SGD: Rule = Rule::Sgd { momentum: 0.0, weight_decay: 0.0 };
    /// Adam with its usual settings.
    pub const ADAM: Rule =
        Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };

    /// Number of moments it keeps for each element.
    pub fn moments(&self) -> usize {
        match *self {
            Rule::Sgd { momentum, .. } => usize::from(momentum != 0.0),
            Rule::Adam { .. } => 2,
        }
    }
}

/// The flat buffers, all of one floating-point dtype; all but `rates` of the same length.
#[derive(Clone)]
pub struct Buffers {
    /// The parameters.
    pub values: Tensor,
    /// Their gradients.
    pub gradients: Tensor,
    /// Momentum, or Adam's mean of the gradients; zeros at first.
    pub first_moment: Option<Tensor>,
    /// Adam's mean of the squares; zeros at first.
    pub second_moment: Option<Tensor>,
    /// The learning rates, one for each feature.
    pub rates: Tensor,
}

/// Moves every parameter of the table. An element whose gradient is not finite is left alone, with its moments, and counted.
///
/// - `scales`: F64 `[2]`: a factor on all rates (the schedule's), and one on the gradients of what is not guarded (the clip's).
/// - `flagged`: U8, one for each feature of the guarded parameters: those that stand still, uncounted, where not 0.
/// - `step`: I32 `[1]`: 1 for the first update.
/// - `skipped`: F64 `[1]`, to which the number of elements left alone is added.
pub fn update(
    buffers: &Buffers,
    table: &Table,
    rule: Rule,
    scales: &Tensor,
    flagged: Option<&Tensor>,
    step: &Tensor,
    skipped: &Tensor,
) {
    check(buffers, rule, scales, skipped);
    match buffers.values.device() {
        Device::Cpu(cpu) => float_dispatch!(buffers.values.dtype(), "optimizer", T => {
            let scales = scales.read::<f64>();
            let flagged = flagged.map(|flagged| flagged.read::<u8>());
            let settings = Settings::<T> {
                rule: TypedRule::new(rule, step.read::<i32>()[0]),
                schedule: T::from_f64(scales[0]),
                clip: T::from_f64(scales[1]),
                rates: &buffers.rates.read::<T>(),
                flagged: flagged.as_deref().unwrap_or(&[]),
            };
            skipped.write::<f64>()[0] += update_typed(cpu, buffers, table, &settings) as f64;
        }),
    }
}

fn check(buffers: &Buffers, rule: Rule, scales: &Tensor, skipped: &Tensor) {
    let Buffers { values, gradients, first_moment, second_moment, rates } = buffers;
    let moments = [first_moment, second_moment];
    let present: Vec<&Tensor> = moments.into_iter().flatten().collect();
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
        (scales.dtype(), skipped.dtype()) == (DType::F64, DType::F64)
            && scales.shape().elements() == 2,
        "optimizer: scales are F64 [2] and skipped is F64 [1], not {:?} {} and {:?}",
        scales.dtype(),
        scales.shape(),
        skipped.dtype()
    );
}

/// A rule with its factors in the parameters' type.
#[derive(Clone, Copy)]
enum TypedRule<T> {
    Sgd { decay: T },
    Momentum { momentum: T, decay: T },
    Adam(AdamFactors<T>),
}

#[derive(Clone, Copy)]
struct AdamFactors<T> {
    keep_first: T,
    take_first: T,
    keep_second: T,
    take_second: T,
    /// `1 / (1 - beta1^t)`.
    correct_first: T,
    /// `1 / sqrt(1 - beta2^t)`.
    correct_second: T,
    epsilon: T,
    decay: T,
}

impl<T: Float> TypedRule<T> {
    fn new(rule: Rule, step: i32) -> Self {
        let typed = T::from_f64;
        match rule {
            Rule::Sgd { momentum: 0.0, weight_decay } => {
                TypedRule::Sgd { decay: typed(weight_decay) }
            }
            Rule::Sgd { momentum, weight_decay } => {
                TypedRule::Momentum { momentum: typed(momentum), decay: typed(weight_decay) }
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay } => TypedRule::Adam(AdamFactors {
                keep_first: typed(beta1),
                take_first: typed(1.0 - beta1),
                keep_second: typed(beta2),
                take_second: typed(1.0 - beta2),
                correct_first: typed(1.0 / (1.0 - beta1.powi(step))),
                correct_second: typed(1.0 / (1.0 - beta2.powi(step)).sqrt()),
                epsilon: typed(epsilon),
                decay: typed(weight_decay),
            }),
        }
    }
}

/// What is the same for all chunks.
struct Settings<'a, T> {
    rule: TypedRule<T>,
    schedule: T,
    clip: T,
    rates: &'a [T],
    flagged: &'a [u8],
}

/// A chunk with its parts of the buffers; those of the moments are empty where there are none.
struct Job<'a, T> {
    chunk: &'a Chunk,
    values: &'a mut [T],
    gradients: &'a [T],
    first: &'a mut [T],
    second: &'a mut [T],
    skipped: u32,
}

fn update_typed<T: Float>(
    cpu: &Cpu,
    buffers: &Buffers,
    table: &Table,
    settings: &Settings<T>,
) -> u64 {
    let gradients = buffers.gradients.read::<T>();
    let mut values = buffers.values.write::<T>();
    let mut first = buffers.first_moment.as_ref().map(|moment| moment.write::<T>());
    let mut second = buffers.second_moment.as_ref().map(|moment| moment.write::<T>());
    let mut values = Cutter::new(&mut values);
    let mut first = first.as_deref_mut().map(Cutter::new);
    let mut second = second.as_deref_mut().map(Cutter::new);
    let mut jobs: Vec<Job<T>> = (table.chunks.iter())
        .map(|chunk| {
            let (base, length) = (chunk.base as usize, chunk.length as usize);
            Job {
                chunk,
                values: values.cut(base, length),
                gradients: &gradients[base..base + length],
                first: first.as_mut().map_or(&mut [], |moment| moment.cut(base, length)),
                second: second.as_mut().map_or(&mut [], |moment| moment.cut(base, length)),
                skipped: 0,
            }
        })
        .collect();
    cpu.pieces(&mut jobs, CHUNKS_OF_A_TASK, table.elements(), |_, jobs| {
        jobs.iter_mut().for_each(|job| job.run(settings));
    });
    jobs.iter().map(|job| u64::from(job.skipped)).sum()
}

/// Hands out parts of a slice, front to back.
struct Cutter<'a, T> {
    rest: &'a mut [T],
    position: usize,
}

impl<'a, T> Cutter<'a, T> {
    fn new(whole: &'a mut [T]) -> Self {
        Cutter { rest: whole, position: 0 }
    }

    fn cut(&mut self, start: usize, length: usize) -> &'a mut [T] {
        let rest = std::mem::take(&mut self.rest);
        let (part, rest) = rest[start - self.position..].split_at_mut(length);
        self.rest = rest;
        self.position = start + length;
        part
    }
}

impl<T: Float> Job<'_, T> {
    /// Goes over the chunk in runs whose rates are equal, or follow each other.
    fn run(&mut self, settings: &Settings<T>) {
        let Chunk { offset, rate_base, inner, features, guarded, .. } = *self.chunk;
        let (offset, rate_base) = (offset as usize, rate_base as usize);
        let (inner, features) = (inner as usize, features as usize);
        let is_guarded = guarded != 0;
        let clip = if is_guarded { T::ONE } else { settings.clip };
        let mut start = 0;
        while start < self.values.len() {
            let element = offset + start;
            let feature = element / inner % features;
            let left = self.values.len() - start;
            let (length, rates) = if features == 1 {
                (left, 1)
            } else if inner == 1 && !is_guarded {
                let length = left.min(features - feature);
                (length, length)
            } else {
                (left.min(inner - element % inner), 1)
            };
            let stands_still = is_guarded && settings.flagged.get(feature).is_some_and(|f| *f != 0);
            if !stands_still {
                let first_rate = rate_base + feature;
                let rates = &settings.rates[first_rate..first_rate + rates];
                self.move_run(start, length, rates, clip, settings);
            }
            start += length;
        }
    }

    fn move_run(
        &mut self,
        start: usize,
        length: usize,
        rates: &[T],
        clip: T,
        settings: &Settings<T>,
    ) {
        let run = start..start + length;
        let (values, gradients) = (&mut self.values[run.clone()], &self.gradients[run.clone()]);
        let schedule = settings.schedule;
        self.skipped += match settings.rule {
            TypedRule::Sgd { decay } => sgd(values, gradients, rates, schedule, clip, decay),
            TypedRule::Momentum { momentum, decay } => {
                let moment = &mut self.first[run];
                sgd_momentum(values, gradients, moment, rates, schedule, clip, momentum, decay)
            }
            TypedRule::Adam(factors) => {
                let (first, second) = (&mut self.first[run.clone()], &mut self.second[run]);
                adam(values, gradients, first, second, rates, schedule, clip, factors)
            }
        };
    }
}

/// Moves each value by its rate times a direction, unless its gradient is not finite; the number of those.
///
/// `direction(i, g, learns)` also sees to the moments. There is one rate for all, or one for each.
#[inline(always)]
fn move_each<T: Float>(
    values: &mut [T],
    gradients: &[T],
    rates: &[T],
    (schedule, clip, decay): (T, T, T),
    mut direction: impl FnMut(usize, T, bool) -> T,
) -> u32 {
    let length = values.len();
    let gradients = &gradients[..length];
    let mut skipped = 0;
    let mut one = |index: usize, rate: T, decays: bool| {
        let gradient = gradients[index] * clip;
        let learns = gradient.abs() < T::INFINITY;
        let value = values[index];
        let gradient = if decays { gradient + decay * value } else { gradient };
        let moved = value - rate * schedule * direction(index, gradient, learns);
        values[index] = if learns { moved } else { value };
        skipped += u32::from(!learns);
    };
    // The cases are loops of their own, so that each is one stream of vectors.
    match (rates, decay == T::ZERO) {
        ([rate], true) => (0..length).for_each(|index| one(index, *rate, false)),
        ([rate], false) => (0..length).for_each(|index| one(index, *rate, true)),
        (rates, true) => {
            let rates = &rates[..length];
            (0..length).for_each(|index| one(index, rates[index], false));
        }
        (rates, false) => {
            let rates = &rates[..length];
            (0..length).for_each(|index| one(index, rates[index], true));
        }
    }
    skipped
}

vectorised! {
    fn sgd[T: Float](values: &mut [T], gradients: &[T], rates: &[T], schedule: T, clip: T, decay: T) -> u32 {
        move_each(values, gradients, rates, (schedule, clip, decay), |_, gradient, _| gradient)
    }
}

vectorised! {
    fn sgd_momentum[T: Float](
        values: &mut [T], gradients: &[T], moment: &mut [T], rates: &[T], schedule: T, clip: T, momentum: T, decay: T,
    ) -> u32 {
        let moment = &mut moment[..values.len()];
        move_each(values, gradients, rates, (schedule, clip, decay), |index, gradient, learns| {
            let old = moment[index];
            let new = momentum * old + gradient;
            moment[index] = if learns { new } else { old };
            new
        })
    }
}

vectorised! {
    fn adam[T: Float](
        values: &mut [T], gradients: &[T], first: &mut [T], second: &mut [T], rates: &[T], schedule: T, clip: T,
        factors: AdamFactors<T>,
    ) -> u32 {
        let (first, second) = (&mut first[..values.len()], &mut second[..values.len()]);
        let scales = (schedule, clip, factors.decay);
        move_each(values, gradients, rates, scales, |index, gradient, learns| {
            let (old_mean, old_square) = (first[index], second[index]);
            let mean = factors.keep_first * old_mean + factors.take_first * gradient;
            let square = factors.keep_second * old_square + factors.take_second * gradient * gradient;
            first[index] = if learns { mean } else { old_mean };
            second[index] = if learns { square } else { old_square };
            mean * factors.correct_first / (square.sqrt() * factors.correct_second + factors.epsilon)
        })
    }
}
