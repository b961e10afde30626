//! One update of all parameters, in flat buffers: SGD and Adam with a learning rate for every feature.

mod launch;

use std::cell::OnceCell;

use bytemuck::{Pod, Zeroable};

use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::device::{Cost, DType, Device};
use crate::ops::cost;
use crate::tensor::{Tensor, assert_alike, float_dispatch};

/// Elements of a chunk, where the parameter has as many.
const CHUNK: usize = 4096;

/// Chunks that one task updates.
pub(super) const CHUNKS_OF_A_TASK: usize = 8;

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
#[derive(Clone, Default)]
pub struct Table {
    chunks: Vec<Chunk>,
    /// The same on a GPU, once one has asked for it: U8.
    on_device: OnceCell<Tensor>,
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
        Table { chunks, on_device: OnceCell::new() }
    }

    /// The chunks, in the order of the buffers.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The chunks in a device's memory. Panics where another device asked for them before.
    pub(super) fn on(&self, device: &Device) -> &Tensor {
        let own = self.on_device.get_or_init(|| {
            let bytes: &[u8] = bytemuck::cast_slice(&self.chunks);
            Tensor::from_slice(device, [bytes.len()], bytes)
        });
        assert!(own.device().same(device), "optimizer: one table on two devices");
        own
    }

    pub(super) fn elements(&self) -> usize {
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

    fn weight_decay(&self) -> f64 {
        match *self {
            Rule::Sgd { weight_decay, .. } | Rule::Adam { weight_decay, .. } => weight_decay,
        }
    }

    /// Number of moments it keeps for each element.
    pub fn moments(&self) -> usize {
        match *self {
            Rule::Sgd { momentum, .. } => usize::from(momentum != 0.0),
            Rule::Adam { .. } => 2,
        }
    }
}

/// The flat buffers, all but `narrow` of one floating-point dtype; all but `rates` of the same length.
#[derive(Clone)]
pub struct Buffers {
    /// The parameters.
    pub values: Tensor,
    /// Where their values go once more, rounded to BF16, for the products that take them so. On a GPU.
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
        // A multiply-add with the rate; momentum has one more, Adam's formula eleven operations more.
        let each = [2, 4, 13][rule.moments()];
        cost(&all, each * values.shape().elements())
    }
}

/// Moves every parameter of the table. An element whose gradient is not finite is left alone, with its moments, and counted.
///
/// - `scales`: F64 `[2]`: a factor on all rates (the schedule's), and one on the gradients of what is not guarded (the clip's).
/// - `flagged`: U8, one for each feature of the guarded parameters: those that stand still, uncounted, where not 0.
/// - `step`: I32 `[1]`: 1 for the first update.
/// - `skipped`: I64 `[1]`, to which the number of elements left alone is added.
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
    let _op = buffers.values.device().op("optimizer", || buffers.cost(rule));
    match buffers.values.device() {
        Device::Gpu(gpu) => {
            let state = launch::State { scales, flagged, step, skipped };
            launch::update(gpu, buffers, table, rule, &state);
        }
        Device::Cpu(cpu) => float_dispatch!(buffers.values.dtype(), "optimizer", T => {
            let scales = scales.read::<f64>();
            let flagged = flagged.map(|flagged| flagged.read::<u8>());
            let settings = Settings::<T> {
                rule: TypedRule::new(rule, step.read::<i32>()[0]),
                decay: T::from_f64(rule.weight_decay()),
                schedule: T::from_f64(scales[0]),
                clip: T::from_f64(scales[1]),
                rates: &buffers.rates.read::<T>(),
                flagged: flagged.as_deref().unwrap_or(&[]),
            };
            skipped.write::<i64>()[0] += update_typed(cpu, buffers, table, &settings);
        }),
    }
}

fn check(buffers: &Buffers, rule: Rule, scales: &Tensor, skipped: &Tensor) {
    let Buffers { values, gradients, first_moment, second_moment, rates, .. } = buffers;
    let moments = [first_moment, second_moment];
    let present: Vec<&Tensor> = moments.into_iter().flatten().collect();
    if let Some(narrow) = &buffers.narrow {
        let (own, values) = (narrow.dtype(), buffers.values.dtype());
        assert!(
            (own, values) == (DType::BF16, DType::F32)
                && narrow.shape() == buffers.values.shape()
                && matches!(narrow.device(), Device::Gpu(_)),
            "optimizer: a copy of {values:?} {} as {own:?} {} on {}",
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

/// A rule with its factors in the parameters' type.
#[derive(Clone, Copy)]
enum TypedRule<T> {
    Sgd(Plain),
    Momentum(Momentum<T>),
    Adam(Adam<T>),
}

/// The direction in which an element moves.
trait Direction<T>: Copy {
    /// Number of moments that are read and written.
    const MOMENTS: usize;
    /// The direction for a gradient, and the new moments.
    fn of(self, gradient: T, first: T, second: T) -> (T, T, T);
}

#[derive(Clone, Copy)]
struct Plain;

impl<T: Float> Direction<T> for Plain {
    const MOMENTS: usize = 0;
    #[inline(always)]
    fn of(self, gradient: T, first: T, second: T) -> (T, T, T) {
        (gradient, first, second)
    }
}

#[derive(Clone, Copy)]
struct Momentum<T>(T);

impl<T: Float> Direction<T> for Momentum<T> {
    const MOMENTS: usize = 1;
    #[inline(always)]
    fn of(self, gradient: T, first: T, second: T) -> (T, T, T) {
        let moment = self.0 * first + gradient;
        (moment, moment, second)
    }
}

#[derive(Clone, Copy)]
struct Adam<T> {
    keep_first: T,
    take_first: T,
    keep_second: T,
    take_second: T,
    /// `1 / (1 - beta1^t)`.
    correct_first: T,
    /// `1 / sqrt(1 - beta2^t)`.
    correct_second: T,
    epsilon: T,
}

impl<T: Float> Direction<T> for Adam<T> {
    const MOMENTS: usize = 2;
    #[inline(always)]
    fn of(self, gradient: T, first: T, second: T) -> (T, T, T) {
        let mean = self.keep_first * first + self.take_first * gradient;
        let square = self.keep_second * second + self.take_second * gradient * gradient;
        let deviation = square.sqrt() * self.correct_second;
        (mean * self.correct_first / (deviation + self.epsilon), mean, square)
    }
}

impl<T: Float> TypedRule<T> {
    fn new(rule: Rule, step: i32) -> Self {
        let typed = T::from_f64;
        match rule {
            Rule::Sgd { momentum: 0.0, .. } => TypedRule::Sgd(Plain),
            Rule::Sgd { momentum, .. } => TypedRule::Momentum(Momentum(typed(momentum))),
            Rule::Adam { beta1, beta2, epsilon, .. } => TypedRule::Adam(Adam {
                keep_first: typed(beta1),
                take_first: typed(1.0 - beta1),
                keep_second: typed(beta2),
                take_second: typed(1.0 - beta2),
                correct_first: typed(1.0 / (1.0 - beta1.powi(step))),
                correct_second: typed(1.0 / (1.0 - beta2.powi(step)).sqrt()),
                epsilon: typed(epsilon),
            }),
        }
    }
}

/// What is the same for all chunks.
struct Settings<'a, T> {
    rule: TypedRule<T>,
    decay: T,
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
) -> i64 {
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
    jobs.iter().map(|job| i64::from(job.skipped)).sum()
}

/// Hands out parts of a slice, front to back.
pub(super) struct Cutter<'a, T> {
    rest: &'a mut [T],
    position: usize,
}

impl<'a, T> Cutter<'a, T> {
    pub fn new(whole: &'a mut [T]) -> Self {
        Cutter { rest: whole, position: 0 }
    }

    pub fn cut(&mut self, start: usize, length: usize) -> &'a mut [T] {
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
                self.move_part(start, length, rates, clip, settings);
            }
            start += length;
        }
    }

    fn move_part(
        &mut self,
        start: usize,
        length: usize,
        rates: &[T],
        clip: T,
        settings: &Settings<T>,
    ) {
        let run = start..start + length;
        let part = |moment: &[T]| if moment.is_empty() { 0..0 } else { run.clone() };
        let (first, second) = (part(self.first), part(self.second));
        let buffers = (
            &mut self.values[run.clone()],
            &self.gradients[run.clone()],
            &mut self.first[first],
            &mut self.second[second],
        );
        let factors = Factors { schedule: settings.schedule, clip, decay: settings.decay };
        self.skipped += match settings.rule {
            TypedRule::Sgd(direction) => move_run(buffers, rates, factors, direction),
            TypedRule::Momentum(direction) => move_run(buffers, rates, factors, direction),
            TypedRule::Adam(direction) => move_run(buffers, rates, factors, direction),
        };
    }
}

/// Values, gradients and two moments.
type Run<'a, T> = (&'a mut [T], &'a [T], &'a mut [T], &'a mut [T]);

#[derive(Clone, Copy)]
struct Factors<T> {
    schedule: T,
    clip: T,
    decay: T,
}

/// Moves consecutive elements with one rate for all, or one for each; how many were left alone.
fn move_run<T: Float, D: Direction<T>>(
    (values, gradients, first, second): Run<T>,
    rates: &[T],
    factors: Factors<T>,
    direction: D,
) -> u32 {
    match D::MOMENTS {
        0 => move_without_moments(values, gradients, rates, factors, direction),
        1 => move_with_one(values, gradients, first, rates, factors, direction),
        _ => move_with_two(values, gradients, first, second, rates, factors, direction),
    }
}

// The slices are arguments of their own, so that the compiler knows that they do not overlap, and each loop is one stream
// of vectors.
vectorised! {
    fn move_without_moments[T: Float, D: Direction<T>](
        values: &mut [T], gradients: &[T], rates: &[T], factors: Factors<T>, direction: D,
    ) -> u32 {
        let elements = values.iter_mut().zip(gradients);
        let unused = (T::ZERO, T::ZERO);
        let mut skipped = 0;
        if let [rate] = rates {
            for (value, gradient) in elements {
                skipped += move_element(value, *gradient, unused, *rate, factors, direction).0;
            }
        } else {
            for ((value, gradient), rate) in elements.zip(rates) {
                skipped += move_element(value, *gradient, unused, *rate, factors, direction).0;
            }
        }
        skipped
    }
}

vectorised! {
    fn move_with_one[T: Float, D: Direction<T>](
        values: &mut [T], gradients: &[T], moments: &mut [T], rates: &[T], factors: Factors<T>, direction: D,
    ) -> u32 {
        let elements = values.iter_mut().zip(gradients).zip(moments);
        let mut skipped = 0;
        let mut one = |value: &mut T, gradient: T, moment: &mut T, rate: T| {
            let moved = move_element(value, gradient, (*moment, T::ZERO), rate, factors, direction);
            skipped += moved.0;
            *moment = moved.1;
        };
        if let [rate] = rates {
            elements.for_each(|((value, gradient), moment)| one(value, *gradient, moment, *rate));
        } else {
            let elements = elements.zip(rates);
            elements.for_each(|(((value, gradient), moment), rate)| one(value, *gradient, moment, *rate));
        }
        skipped
    }
}

vectorised! {
    fn move_with_two[T: Float, D: Direction<T>](
        values: &mut [T], gradients: &[T], first: &mut [T], second: &mut [T], rates: &[T], factors: Factors<T>,
        direction: D,
    ) -> u32 {
        let elements = values.iter_mut().zip(gradients).zip(first).zip(second);
        let mut skipped = 0;
        let mut one = |value: &mut T, gradient: T, first: &mut T, second: &mut T, rate: T| {
            let moved = move_element(value, gradient, (*first, *second), rate, factors, direction);
            skipped += moved.0;
            (*first, *second) = (moved.1, moved.2);
        };
        if let [rate] = rates {
            elements.for_each(|(((value, gradient), first), second)| one(value, *gradient, first, second, *rate));
        } else {
            elements.zip(rates).for_each(|((((value, gradient), first), second), rate)| {
                one(value, *gradient, first, second, *rate);
            });
        }
        skipped
    }
}

/// Moves an element, unless its gradient is not finite: whether it was left alone, and the moments.
#[inline(always)]
fn move_element<T: Float, D: Direction<T>>(
    value: &mut T,
    gradient: T,
    (first, second): (T, T),
    rate: T,
    Factors { schedule, clip, decay }: Factors<T>,
    direction: D,
) -> (u32, T, T) {
    let gradient = gradient * clip;
    let learns = gradient.abs() < T::INFINITY;
    let pulled = gradient + decay * *value;
    let gradient = if decay == T::ZERO { gradient } else { pulled };
    let (way, new_first, new_second) = direction.of(gradient, first, second);
    let moved = *value - rate * schedule * way;
    *value = if learns { moved } else { *value };
    let first = if learns { new_first } else { first };
    let second = if learns { new_second } else { second };
    (u32::from(!learns), first, second)
}
