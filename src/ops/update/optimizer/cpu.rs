//! The update on the CPU: runs of elements whose rates are equal or consecutive.

use super::{Buffers, CHUNKS_OF_A_TASK, ParameterChunk, Rule, State, Table};
use crate::device::cpu::{Cpu, Float, vector::vectorised};
use crate::ops::step_of;

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
    /// A parameter after a pull towards zero that is apart from the gradient.
    #[inline(always)]
    fn pulled(self, value: T, _rate: T) -> T {
        value
    }
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
    /// The weight decay that is apart from the gradient.
    decay: T,
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
    #[inline(always)]
    fn pulled(self, value: T, rate: T) -> T {
        value * (T::ONE - rate * self.decay)
    }
}

impl<T: Float> TypedRule<T> {
    fn new(rule: Rule, step: u64) -> Self {
        let typed = T::from_f64;
        match rule {
            Rule::Sgd { momentum: 0.0, .. } => TypedRule::Sgd(Plain),
            Rule::Sgd { momentum, .. } => TypedRule::Momentum(Momentum(typed(momentum))),
            Rule::Adam { beta1, beta2, epsilon, .. } => TypedRule::Adam(Adam {
                keep_first: typed(beta1),
                take_first: typed(1.0 - beta1),
                keep_second: typed(beta2),
                take_second: typed(1.0 - beta2),
                correct_first: typed(1.0 / (1.0 - power(beta1, step))),
                correct_second: typed(1.0 / (1.0 - power(beta2, step)).sqrt()),
                epsilon: typed(epsilon),
                decay: typed(rule.weight_decays()[1]),
            }),
        }
    }
}

/// `base^exponent`. `powi` takes 31 bits; up to there its result stays as it always was.
fn power(base: f64, exponent: u64) -> f64 {
    match i32::try_from(exponent) {
        Ok(exponent) => base.powi(exponent),
        Err(_) => base.powf(exponent as f64),
    }
}

/// Settings of all chunks.
struct Settings<'a, T> {
    rule: TypedRule<T>,
    decay: T,
    schedule: T,
    clip: T,
    rates: &'a [T],
    diverged: &'a [u8],
}

/// A chunk with its parts of the buffers; those of missing moments are empty.
struct Job<'a, T> {
    chunk: &'a ParameterChunk,
    values: &'a mut [T],
    gradients: &'a [T],
    first: &'a mut [T],
    second: &'a mut [T],
    skipped: u32,
}

pub(super) fn update<T: Float>(
    cpu: &Cpu,
    buffers: &Buffers,
    table: &Table,
    rule: Rule,
    state: &State,
) {
    let scales = state.scales.read::<f64>();
    let diverged = state.diverged.map(|diverged| diverged.read::<u8>());
    let settings = Settings::<T> {
        rule: TypedRule::new(rule, step_of(state.step)),
        decay: T::from_f64(rule.weight_decays()[0]),
        schedule: T::from_f64(scales[0]),
        clip: T::from_f64(scales[1]),
        rates: &buffers.rates.read::<T>(),
        diverged: diverged.as_deref().unwrap_or(&[]),
    };
    let gradients = buffers.gradients.read::<T>();
    let mut values = buffers.values.write::<T>();
    let mut first = buffers.first_moment.as_ref().map(|moment| moment.write::<T>());
    let mut second = buffers.second_moment.as_ref().map(|moment| moment.write::<T>());
    let mut values = Cutter::new(&mut values);
    let mut first = first.as_deref_mut().map(Cutter::new);
    let mut second = second.as_deref_mut().map(Cutter::new);
    let mut jobs: Vec<Job<T>> = (table.chunks.iter())
        .map(|chunk| {
            let (range, base, length) = (chunk.range(), chunk.range().start, chunk.range().len());
            Job {
                chunk,
                values: values.cut(base, length),
                gradients: &gradients[range],
                first: first.as_mut().map_or(&mut [], |moment| moment.cut(base, length)),
                second: second.as_mut().map_or(&mut [], |moment| moment.cut(base, length)),
                skipped: 0,
            }
        })
        .collect();
    cpu.pieces(&mut jobs, CHUNKS_OF_A_TASK, table.elements(), |_, jobs| {
        jobs.iter_mut().for_each(|job| job.run(&settings));
    });
    let skipped: i64 = jobs.iter().map(|job| i64::from(job.skipped)).sum();
    state.skipped.write::<i64>()[0] += skipped;
}

/// Hands out parts of a slice, front to back.
pub(in crate::ops) struct Cutter<'a, T> {
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
    /// Updates the chunk in runs of elements with equal or consecutive rates.
    fn run(&mut self, settings: &Settings<T>) {
        let ParameterChunk { phase, rate_base, by_inner, by_features, in_head, .. } = *self.chunk;
        let (phase, rate_base) = (phase as usize, rate_base as usize);
        let (inner, features) = (by_inner.value(), by_features.value());
        let in_head = in_head != 0;
        let clip = if in_head { T::ONE } else { settings.clip };
        let mut start = 0;
        while start < self.values.len() {
            let element = phase + start;
            let feature = element / inner % features;
            let left = self.values.len() - start;
            let (length, rates) = if features == 1 {
                (left, 1)
            } else if inner == 1 && !in_head {
                let length = left.min(features - feature);
                (length, length)
            } else {
                (left.min(inner - element % inner), 1)
            };
            let is_frozen = in_head && settings.diverged.get(feature).is_some_and(|f| *f != 0);
            if !is_frozen {
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

/// Updates consecutive elements with one rate for all, or one for each. Returns the number of skipped elements.
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

// The slices are separate arguments, so that the compiler knows that they do not overlap, and vectorises each loop.
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

/// Updates an element, unless its gradient is not finite. Returns 1 if it was skipped, else 0, and the moments.
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
    let (step, new_first, new_second) = direction.of(gradient, first, second);
    let rate = rate * schedule;
    let moved = direction.pulled(*value, rate) - rate * step;
    // A frozen element has rate 0; 0 times a moment that has overflowed would be NaN.
    *value = if learns & (rate != T::ZERO) { moved } else { *value };
    let first = if learns { new_first } else { first };
    let second = if learns { new_second } else { second };
    (u32::from(!learns), first, second)
}
