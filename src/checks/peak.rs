//! Peak arithmetic throughput.

use crate::Tensor;
use crate::ops::peak::{Unit, keep_busy};

use super::Case;

pub fn cases() -> Vec<Case> {
    let sizes = [(0, 1), (256, 0), (256, 1), (512, 3)];
    let cases = sizes.into_iter().flat_map(|size| Unit::ALL.map(|unit| (unit, size)));
    cases
        .map(|(unit, (threads, rounds))| {
            let name = format!("peak {} of {threads} threads, {rounds} rounds", unit.name());
            Case::new(name, 8, move |device, dtype| {
                let out = Tensor::zeros(device, [threads], dtype);
                keep_busy(&out, unit, rounds);
                vec![("out", out.to_f64s())]
            })
        })
        .collect()
}
