//! Images as rows.

use crate::ops::layers::flatten::flatten;

use super::Case;
use super::elementwise::case;

pub fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 10] = [
        &[1, 1, 1, 5],
        &[2, 4, 4, 1],
        &[1, 1, 2, 2],
        &[3, 4, 4, 3],
        &[2, 4, 8, 32],
        &[2, 3, 11, 33],
        &[2, 1, 31, 31],
        &[2, 7, 7, 70],
        &[5, 16],
        &[0, 2, 2, 3],
    ];
    let plain = shapes
        .into_iter()
        .map(|shape| case(format!("flatten {shape:?}"), 1, [shape], |x| flatten(&x[0]).square()));
    let more = [
        case("flatten a slice", 1, [&[2, 5, 7, 12]], |x| flatten(&x[0].slice(3, 3, 7))),
        case("flatten twice", 2, [&[2, 3, 3, 6]], |x| flatten(&x[0]).mul(&flatten(&x[0].square()))),
        case("flatten, then a slice", 1, [&[3, 6, 6, 5]], |x| {
            flatten(&x[0]).slice(1, 7, 100).square()
        }),
    ];
    // A case stores one or two squares.
    plain.chain(more).flat_map(|case| case.and_in_bf16(4)).collect()
}
