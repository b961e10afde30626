//! The update of all parameters.

use crate::ops::update::optimizer::{Buffers, Rule, Span, Table, update};
use crate::{DType, Device, Tensor};

use super::{Case, Outputs, draw, drawn};

/// Spans of awkward lengths: one element, primes, several chunks, rates for each element and for a few, two spans of a
/// head.
pub(super) fn spans() -> Vec<Span> {
    place([
        (1, 1, 1, false),
        (10_000, 100, 100, false),
        (4_099, 1, 4_099, false),
        (4_096, 1, 64, false),
        (8_193, 3, 2_731, false),
        (5_000, 5_000, 1, false),
        (3 * 10 * 17, 170, 3, true),
        (30, 10, 3, true),
    ])
}

/// Whole chunks and a rest, with a rate for each vector, for each element, and in parts: of the head and not.
fn whole_chunks() -> Vec<Span> {
    place([
        (4_099, 1, 3, true),
        (4_102, 1_000, 3, true),
        (4_097, 1, 1, false),
        (4_096, 4_096, 1, false),
        (4_099, 7, 50, false),
    ])
}

/// Spans of length, inner, features and whether they are the head's, one after the other.
fn place<const N: usize>(sizes: [(usize, usize, usize, bool); N]) -> Vec<Span> {
    let (mut base, mut rate_base) = (0, 0);
    let place = |(length, inner, features, in_head): (usize, usize, usize, bool)| {
        let span = Span { base, length, inner, features, rate_base, in_head };
        base += length.next_multiple_of(16);
        rate_base += features;
        span
    };
    sizes.into_iter().map(place).collect()
}

fn run(
    device: &Device,
    dtype: DType,
    rule: Rule,
    (step, diverged): (i64, Option<&[u8]>),
    not_finite: bool,
) -> Outputs {
    let mut inputs = Inputs::of(spans());
    if not_finite {
        let length = inputs.gradients.len();
        inputs.gradients[17] = f64::NAN;
        inputs.gradients[5_000] = f64::INFINITY;
        inputs.gradients[length - 40] = f64::NEG_INFINITY;
    }
    run_on(device, dtype, rule, (step, diverged), inputs)
}

/// Parameters with their gradients and rates, and the number of elements before them.
struct Inputs {
    spans: Vec<Span>,
    gradients: Vec<f64>,
    rates: Vec<f64>,
    before: u64,
}

impl Inputs {
    fn of(spans: Vec<Span>) -> Self {
        let length = spans.last().map_or(0, |span| span.base + span.length.next_multiple_of(16));
        let rates = spans.iter().map(|span| span.features).sum();
        let rates = draw(rates, 4).into_iter().map(f64::abs).collect();
        Inputs { spans, gradients: draw(length, 1), rates, before: 0 }
    }

    /// Every fifth gradient is not finite, so in every place of a vector; every other rate is 0.
    fn often_odd(before: u64) -> Self {
        let own = Inputs::of(whole_chunks());
        let gradient = |(index, x): (usize, f64)| if index % 5 == 4 { f64::NAN } else { x };
        let rate = |(index, x): (usize, f64)| if index % 2 == 1 { 0.0 } else { x };
        Inputs {
            gradients: own.gradients.into_iter().enumerate().map(gradient).collect(),
            rates: own.rates.into_iter().enumerate().map(rate).collect(),
            before,
            ..own
        }
    }
}

fn run_on(
    device: &Device,
    dtype: DType,
    rule: Rule,
    (step, diverged): (i64, Option<&[u8]>),
    inputs: Inputs,
) -> Outputs {
    let Inputs { spans, gradients, rates: rate_values, before } = inputs;
    let (length, rates) = (gradients.len(), rate_values.len());
    let is_copied = dtype == DType::BF16;
    let dtype = dtype.wide();
    let moment = |number: u64| {
        let moment: Vec<f64> = draw(length, number).into_iter().map(f64::abs).collect();
        Tensor::from_f64s(device, [length], dtype, &moment)
    };
    let buffers = Buffers {
        values: drawn(device, &[length], dtype, 0),
        // The update may not write between the parameters.
        narrow: is_copied.then(|| drawn(device, &[length], DType::BF16, 0)),
        gradients: Tensor::from_f64s(device, [length], dtype, &gradients),
        first_moment: (rule.moments() > 0).then(|| moment(2)),
        second_moment: (rule.moments() > 1).then(|| moment(3)),
        rates: Tensor::from_f64s(device, [rates], dtype, &rate_values),
    };
    let scales = Tensor::from_slice(device, [2], &[0.5, 0.75]);
    let diverged = diverged.map(|diverged| Tensor::from_slice(device, [diverged.len()], diverged));
    let number = Tensor::from_slice(device, [1], &[step]);
    let skipped = Tensor::from_slice(device, [1], &[10i64]);
    update(
        &buffers,
        &Table::new(spans).after(before),
        rule,
        &scales,
        diverged.as_ref(),
        &number,
        &skipped,
    );
    let mut outputs = vec![("values", buffers.values.to_f64s()), ("skipped", skipped.to_f64s())];
    let moments = [("first", &buffers.first_moment), ("second", &buffers.second_moment)];
    outputs.extend(
        moments.into_iter().filter_map(|(name, moment)| Some((name, moment.as_ref()?.to_f64s()))),
    );
    // Only the copy in bf16 is rounded.
    let copy = buffers.narrow.as_ref().unwrap_or(&buffers.values);
    if is_copied {
        let rounded = buffers.values.cast(DType::BF16);
        assert!(copy.to_vec::<half::bf16>() == rounded.to_vec::<half::bf16>(), "another copy");
    }
    outputs.push(("copy", copy.to_f64s()));
    outputs
}

/// Adam around the ends of 31 and 32 bits. With 0.999 the bias correction is 1 there, with the other factor it is not.
fn late_steps() -> impl Iterator<Item = Case> {
    let slow = Rule::Adam {
        beta1: 0.9,
        beta2: 1.0 - 1e-10,
        epsilon: 1e-8,
        weight_decay: 0.0,
        is_decoupled: false,
    };
    let around = |end: i64| end - 2..=end + 2;
    let steps = around(1 << 31).chain(around(1 << 32)).chain([1 << 47]);
    steps.flat_map(move |step| {
        [("adam", Rule::ADAM), ("slow adam", slow)].map(|(name, rule)| {
            Case::new(format!("optimizer {name}, step {step}"), 1, move |device, dtype| {
                run(device, dtype, rule, (step, None), false)
            })
        })
    })
}

/// Every branch of every element's update: in a parameter's first chunks, and in chunks so far back in it that their
/// offsets exceed 32 bits.
fn every_branch() -> Vec<Case> {
    let adam = |weight_decay, is_decoupled| Rule::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay,
        is_decoupled,
    };
    let sgd = |momentum, weight_decay| Rule::Sgd { momentum, weight_decay };
    let adams = [adam(0.0, false), adam(0.1, false), adam(0.1, true)];
    let rules =
        [sgd(0.0, 0.0), sgd(0.0, 0.1), sgd(0.9, 0.0), sgd(0.9, 0.1)].into_iter().chain(adams);
    let mut cases = Vec::new();
    for rule in rules {
        for (before, diverged) in [(0, &[0, 1, 0]), ((1 << 33) + 4_096 * 5, &[1, 0, 0])] {
            let name = format!("optimizer {rule:?}, often odd, after {before}");
            cases.push(Case::new(name, 1, move |device, dtype| {
                run_on(device, dtype, rule, (3, Some(diverged)), Inputs::often_odd(before))
            }));
        }
    }
    let forgetful = Rule::Adam {
        beta1: 0.0,
        beta2: 0.0,
        epsilon: 1e-8,
        weight_decay: 0.0,
        is_decoupled: false,
    };
    cases.push(Case::new("optimizer adam without memory", 1, move |device, dtype| {
        run(device, dtype, forgetful, (3, None), false)
    }));
    cases
}

pub fn cases() -> Vec<Case> {
    let rules = [
        ("sgd", Rule::SGD),
        ("sgd with decay", Rule::Sgd { momentum: 0.0, weight_decay: 0.01 }),
        ("momentum", Rule::Sgd { momentum: 0.9, weight_decay: 0.01 }),
        ("adam", Rule::ADAM),
        (
            "adamw",
            Rule::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
                is_decoupled: true,
            },
        ),
    ];
    let mut cases = Vec::new();
    for (name, rule) in rules {
        for (more, diverged, not_finite) in [
            ("", None, false),
            (", one diverged", Some(&[0, 1, 0][..]), false),
            (", gradients not finite", Some(&[0; 3][..]), true),
        ] {
            let case = Case::new(format!("optimizer {name}{more}"), 1, move |device, dtype| {
                run(device, dtype, rule, (3, diverged), not_finite)
            });
            cases.extend(case.and_in_bf16(1));
        }
    }
    cases.extend(late_steps());
    cases.extend(every_branch());
    cases
}
