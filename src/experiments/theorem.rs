//! Appendix B: on a convex problem the loss of Alrao converges to the optimum, and classifiers that do not converge lose
//! all weight.

use serde_json::{Value, json};

use super::Study;
use super::findings::{Findings, Picture, Table};
use super::options::Options;
use crate::alrao::{AveragingKind, Likelihood, classifier_rates};
use crate::device::{DType, Device};
use crate::error::{Error, Result};
use crate::learn::{Learner, Precision, StopFlag, TrainConfig};
use crate::nn::{ForwardContext, Module, Visitor};
use crate::ops::head::classifiers::Targets;
use crate::plots::{Axis, Scale, Series, Stroke, TEST, line_shade, lines, number, shade, stack};
use crate::random::{Philox, Purpose};
use crate::tensor::Tensor;
use crate::{Alrao, AlraoConfig};

const SAMPLES: usize = 300;
const CLASSES: usize = 3;
const INPUTS: usize = 4;

const RATES: std::ops::RangeInclusive<f64> = 1e-4..=1e2;
const CLASSIFIERS: usize = 7;

const STEPS: usize = 20_000;
const QUICK_STEPS: usize = 3_000;

/// Points of a curve in a picture.
const POINTS: f64 = 160.0;

/// A classifier whose loss is this far above the optimum after the last step has not converged.
const UNCONVERGED: f64 = 1e-2;

/// Smaller distances from the optimum are rounding.
const LEAST: f64 = 1e-12;

/// A pre-classifier whose features are its inputs.
struct Fixed;

impl Module for Fixed {
    fn forward(&self, x: &Tensor, _: &ForwardContext) -> Tensor {
        x.clone()
    }

    fn visit(&self, _: &mut dyn Visitor) {}
}

/// A logistic regression on overlapping classes, so that the optimal weights are finite.
struct Problem {
    x: Tensor,
    labels: Tensor,
    /// An upper bound on the second derivatives of the loss.
    lambda: f64,
}

impl Problem {
    fn new(seed: u64, device: &Device) -> Problem {
        let mut stream = Philox::new(seed, Purpose::Data).stream(0);
        let labels: Vec<i32> = (0..SAMPLES).map(|_| stream.below(CLASSES as u64) as i32).collect();
        let mut x = Vec::with_capacity(SAMPLES * INPUTS);
        for label in &labels {
            let centre = |input: usize| if input == *label as usize { 1.5 } else { 0.0 };
            x.extend((0..INPUTS).map(|input| centre(input) + 1.5 * stream.normal()));
        }
        Problem {
            lambda: 0.5 * largest_eigenvalue(&x),
            x: Tensor::from_slice(device, [SAMPLES, INPUTS], &x),
            labels: Tensor::from_slice(device, [SAMPLES], &labels),
        }
    }

    fn learner(
        &self,
        eta: std::ops::RangeInclusive<f64>,
        classifiers: usize,
        seed: u64,
    ) -> Learner {
        let config = AlraoConfig {
            eta,
            classifiers,
            averaging: AveragingKind::Bayesian,
            likelihood: Likelihood::Sum,
            ..AlraoConfig::default()
        };
        let train = TrainConfig { precision: Precision::F64, seed, ..TrainConfig::default() };
        let device = self.x.device();
        let sample = Tensor::zeros(device, [1, INPUTS], DType::F64);
        Learner::new(Alrao::classifier(Fixed, CLASSES, config), &sample, &train, device)
    }

    /// The last and the least loss of `steps` steps of descent with one learning rate; `None` if it was stopped.
    fn descend_with(&self, rate: f64, steps: usize, stop: &StopFlag) -> Option<(f64, f64)> {
        let learner = self.learner(rate..=rate, 1, 0);
        let (mut last, mut least) = (f64::NAN, f64::INFINITY);
        for _ in 0..steps {
            if stop.is_set() {
                return None;
            }
            last = learner.step(&self.x, Targets::Classes(&self.labels), SAMPLES).loss.item();
            least = least.min(last);
        }
        Some((last, least))
    }

    /// The optimal loss, by descent with a learning rate that converges; `None` if it was stopped.
    fn optimum(&self, steps: usize, stop: &StopFlag) -> Option<f64> {
        Some(self.descend_with(1.0 / self.lambda, steps, stop)?.1)
    }
}

/// The largest eigenvalue of the mean of `(x, 1)` times its transpose, by the power method. The second derivatives of the
/// softmax's loss are at most half of it.
fn largest_eigenvalue(x: &[f64]) -> f64 {
    const SIZE: usize = INPUTS + 1;
    let mut vector = [1.0; SIZE];
    let mut value = 0.0;
    for _ in 0..200 {
        let mut next = [0.0; SIZE];
        for row in x.chunks(INPUTS) {
            let own = |place: usize| row.get(place).copied().unwrap_or(1.0);
            let product: f64 = (0..SIZE).map(|place| own(place) * vector[place]).sum();
            next.iter_mut().enumerate().for_each(|(place, to)| *to += own(place) * product);
        }
        let norm = next.iter().map(|own| own * own).sum::<f64>().sqrt();
        value = norm / (x.len() / INPUTS) as f64;
        vector = next.map(|own| own / norm);
    }
    value
}

/// The results of one descent.
struct Descent {
    lambda: f64,
    optimum: f64,
    /// The steps of the curves, counted from 1.
    steps: Vec<usize>,
    /// The mixture's loss at these steps.
    mixture: Vec<f64>,
    /// Each classifier's loss at these steps.
    copies: Vec<Vec<f64>>,
    /// The posterior after these steps.
    weights: Vec<Vec<f64>>,
}

/// One descent by Alrao; `None` if it was stopped.
fn descend(seed: u64, steps: usize, stop: &StopFlag) -> Result<Option<Descent>> {
    let device = Device::open_with_threads(crate::DeviceKind::Cpu, Some(1))?;
    let problem = Problem::new(seed, &device);
    let learner = problem.learner(RATES, CLASSIFIERS, seed);
    let Some(optimum) = problem.optimum(steps.max(STEPS), stop) else { return Ok(None) };
    let mut descent = Descent {
        lambda: problem.lambda,
        optimum,
        steps: Vec::new(),
        mixture: Vec::new(),
        copies: vec![Vec::new(); CLASSIFIERS],
        weights: Vec::new(),
    };
    let ratio = (steps as f64).powf(1.0 / POINTS);
    let mut next = 1.0;
    for step in 1..=steps {
        if stop.is_set() {
            return Ok(None);
        }
        let head = learner.step(&problem.x, Targets::Classes(&problem.labels), SAMPLES);
        if (step as f64) < next && step < steps {
            continue;
        }
        next = (next * ratio).max(step as f64 + 1.0);
        descent.steps.push(step);
        descent.mixture.push(head.loss.item());
        let losses = head.classifier_losses.to_f64s();
        descent.copies.iter_mut().zip(losses).for_each(|(copy, loss)| copy.push(loss));
        descent.weights.push(learner.posterior());
    }
    Ok(Some(descent))
}

pub(super) fn study(options: &Options) -> Result<Study> {
    let seeds = options.seeds_or(3)?;
    let usual = if options.quick { QUICK_STEPS } else { STEPS };
    let steps = options.epochs.map_or(usual, |epochs| epochs as usize);
    if steps < 2 {
        return Err(Error::field("epochs", format!("{steps} is too few; give at least 2")));
    }
    Ok(Study::Immediate(Box::new(move |stop| {
        let mut descents = Vec::new();
        for seed in 0..seeds {
            let Some(descent) = descend(seed, steps, stop)? else { return Ok(None) };
            descents.push(descent);
        }
        Ok(Some(findings(&descents, steps)))
    })))
}

fn findings(descents: &[Descent], steps: usize) -> Findings {
    let rates = classifier_rates(CLASSIFIERS, &RATES);
    let first = &descents[0];
    let below = |lambda: f64| rates.iter().filter(|rate| **rate < 1.0 / lambda).count();
    Findings {
        title: "Theorem 1: a convex problem".into(),
        paper: "Appendix B. For a convex loss, a fixed pre-classifier, full batches and Bayesian averaging, the loss of Alrao \
                comes down to the optimum if one learning rate is below 1/λ, λ the largest second derivative of the loss."
            .into(),
        observations: vec![
            format!(
                "After {steps} steps the mixture's loss is above the optimum by {}.",
                join(descents.iter().map(|own| number(gap(own))))
            ),
            format!(
                "Classifiers that are still more than {UNCONVERGED} above it: {}; the largest weight of one: {}.",
                join(descents.iter().map(|own| unsettled(own).0.to_string())),
                join(descents.iter().map(|own| number(unsettled(own).1)))
            ),
            format!(
                "No second derivative is above λ, taken as half the largest eigenvalue of the mean of (x, 1) times its \
                 transpose; 1/λ is {}, and {} of the {CLASSIFIERS} rates are below it. A rate above it may converge all the same.",
                join(descents.iter().map(|own| number(1.0 / own.lambda))),
                join(descents.iter().map(|own| below(own.lambda).to_string()))
            ),
        ],
        differences: vec![
            format!(
                "The theorem is about any such problem; this is logistic regression on {SAMPLES} points of {CLASSES} \
                 overlapping classes in {INPUTS} dimensions, in double precision, {} times with other points and weights.",
                descents.len()
            ),
            "A softmax's weights may all be shifted without changing its loss; the loss is strongly convex across such \
             shifts, in which descent does not move."
                .into(),
        ],
        tables: vec![table(first, &rates)],
        pictures: vec![losses(first, &rates), weights(first, &rates)],
        values: Value::Array(descents.iter().map(|own| describe(own, &rates)).collect()),
        ..Findings::default()
    }
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn last<T: Copy>(values: &[T]) -> T {
    *values.last().expect("a descent has steps")
}

fn gap(own: &Descent) -> f64 {
    last(&own.mixture) - own.optimum
}

/// The number of classifiers that have not converged, and the largest weight of one.
fn unsettled(own: &Descent) -> (usize, f64) {
    let weights = own.weights.last().expect("a descent has steps");
    let is_unsettled = |losses: &[f64]| last(losses) - own.optimum > UNCONVERGED;
    let copies = own.copies.iter().zip(weights).filter(|(losses, _)| is_unsettled(losses));
    copies.fold((0, 0.0), |(count, largest), (_, weight)| (count + 1, weight.max(largest)))
}

fn describe(own: &Descent, rates: &[f64]) -> Value {
    let copies = own.copies.iter().map(|losses| last(losses));
    json!({
        "copies_loss": copies.collect::<Vec<f64>>(),
        "lambda": own.lambda,
        "loss": last(&own.mixture),
        "optimum": own.optimum,
        "rates": rates,
        "weights": own.weights.last(),
    })
}

fn table(own: &Descent, rates: &[f64]) -> Table {
    let head = ["learning rate", "times λ", "loss above the optimum", "weight"];
    let mut table = Table::new("The first problem, after the last step.", &head);
    let weights = own.weights.last().expect("a descent has steps");
    for ((rate, losses), weight) in rates.iter().zip(&own.copies).zip(weights) {
        let gap = last(losses) - own.optimum;
        table.push([number(*rate), number(rate * own.lambda), number(gap), number(*weight)]);
    }
    table.push(["Alrao".into(), "–".into(), number(gap(own)), "1".into()]);
    table
}

fn over_steps(own: &Descent, values: &[f64]) -> Vec<(f64, f64)> {
    own.steps.iter().map(|step| *step as f64).zip(values.iter().copied()).collect()
}

fn steps_axis(own: &Descent) -> Axis {
    Axis::new("step", Scale::logarithmic(1.0..last(&own.steps) as f64))
}

fn losses(own: &Descent, rates: &[f64]) -> Picture {
    let gaps = |losses: &[f64]| {
        let gaps: Vec<f64> = losses.iter().map(|loss| (loss - own.optimum).max(LEAST)).collect();
        over_steps(own, &gaps)
    };
    let copies = rates.iter().zip(&own.copies).enumerate().map(|(j, (rate, losses))| {
        Series::new(number(*rate), gaps(losses), line_shade(j, CLASSIFIERS), Stroke::Line(2))
    });
    let mixture = Series::new("Alrao", gaps(&own.mixture), TEST, Stroke::Dashed(3));
    let series: Vec<Series> = copies.chain([mixture]).collect();
    let all = series.iter().flat_map(|own| own.points.iter().map(|(_, gap)| *gap));
    let y = Axis::new("loss above the optimum (nats)", Scale::losses(all));
    Picture::new(
        "loss",
        lines(&steps_axis(own), &y, "learning rate", &series),
        format!(
            "The loss of each classifier and of the mixture above the optimum; 1/λ is {}. Less than {} is rounding.",
            number(1.0 / own.lambda),
            number(LEAST)
        ),
    )
}

fn weights(own: &Descent, rates: &[f64]) -> Picture {
    let points: Vec<(f64, Vec<f64>)> =
        own.steps.iter().map(|step| *step as f64).zip(own.weights.iter().cloned()).collect();
    let entries: Vec<_> =
        rates.iter().enumerate().map(|(j, rate)| (number(*rate), shade(j, CLASSIFIERS))).collect();
    Picture::new(
        "weights",
        stack(&steps_axis(own), "weight", "learning rate", &points, &entries),
        "The weight of each classifier, stacked from the smallest rate to the largest.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_eigenvalue_is_found() {
        // One point (2, 0, 0, 0, 1): its only eigenvalue is 5.
        assert!((largest_eigenvalue(&[2.0, 0.0, 0.0, 0.0]) - 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_descent_does_as_the_theorem_says() {
        let own = descend(1, 1500, &StopFlag::default()).unwrap().unwrap();
        assert!(gap(&own).abs() < 1e-3, "{}", gap(&own));
        let (count, weight) = unsettled(&own);
        assert!(count >= 3 && weight < 1e-6, "{count} {weight}");
        assert!(own.optimum < (CLASSES as f64).ln() && own.lambda > 0.5);
        // The classifier with the largest rate alone would not converge.
        let problem = Problem::new(1, &Device::cpu());
        let (alone, _) = problem.descend_with(100.0, 1500, &StopFlag::default()).unwrap();
        assert!(alone > own.optimum + 0.1, "a rate of 100 alone reaches {alone}");
    }

    #[test]
    fn a_descent_that_is_asked_to_stop_stops() {
        let stop = StopFlag::default();
        stop.set();
        assert!(descend(1, 1500, &stop).unwrap().is_none());
    }
}
