//! A target network that follows another network.

use crate::ops::update::optimizer::{Span, Table};
use crate::ops::update::soft_update::soft_update;
use crate::{DType, Device, Tensor};

use super::optimizer::spans;
use super::{Case, Outputs, draw};

/// The gaps between the parameters are compared too, since they must not change. If `broken`, one number of each
/// network is not finite.
fn run(device: &Device, dtype: DType, spans: Vec<Span>, tau: f64, broken: bool) -> Outputs {
    let length = spans.last().map_or(0, |span| span.base + span.length.next_multiple_of(16));
    let [target, online] = [0, 1].map(|number| {
        let mut values = draw(length, number);
        if broken {
            values[spans[1].base + number as usize] = f64::INFINITY;
            values[spans[1].base + 4097] = [f64::NAN, f64::NEG_INFINITY][number as usize];
        }
        Tensor::from_f64s(device, [length], dtype, &values)
    });
    soft_update(&target, &online, &Table::new(spans), tau);
    vec![("target", target.to_f64s()), ("online", online.to_f64s())]
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (tau, broken) in [(0.9, false), (0.0, false), (1.0, false), (0.995, true)] {
        let name = format!("soft update of all, tau {tau}, broken {broken}");
        cases.push(Case::new(name, 1, move |device, dtype| {
            run(device, dtype.wide(), spans(), tau, broken)
        }));
    }
    for length in [1, 3, 4, 5, 1023, 1024, 4095, 4096, 4097] {
        let name = format!("soft update of {length}");
        cases.push(Case::new(name, 1, move |device, dtype| {
            let span = |base| Span {
                base,
                length,
                inner: 1,
                features: length,
                rate_base: 0,
                in_head: false,
            };
            let next = length.next_multiple_of(16) + 16;
            run(device, dtype.wide(), vec![span(16), span(16 + next)], 0.9, false)
        }));
    }
    cases
}
