//! Sums over axes, of positive numbers, which do not cancel, and argmax.

use crate::Tensor;

use super::elementwise::case;
use super::{Case, draw};

/// Leading, trailing, middle and all axes; rows for one thread, for one split and for many; narrow and wide; empty.
fn sums() -> Vec<Case> {
    let shapes: [[&[usize]; 2]; 26] = [
        [&[1, 1], &[1]],
        [&[5, 3], &[3]],
        [&[1, 40], &[40]],
        [&[130, 1], &[1]],
        [&[131, 100], &[100]],
        [&[4099, 3], &[3]],
        [&[4100, 12], &[12]],
        [&[700, 130], &[130]],
        [&[2100, 256], &[256]],
        [&[9, 4, 5, 8], &[8]],
        [&[9, 4, 5, 8], &[5, 8]],
        [&[6, 7], &[6, 1]],
        [&[3, 33], &[3, 1]],
        [&[600, 2], &[600, 1]],
        [&[2, 1025], &[2, 1]],
        [&[3, 20_004], &[3, 1]],
        [&[2, 9001], &[2, 1]],
        [&[1], &[]],
        [&[17, 5], &[]],
        [&[50_021], &[]],
        [&[100, 640], &[]],
        [&[5, 30, 12], &[5, 1, 12]],
        [&[3, 2000, 7], &[3, 1, 7]],
        [&[2, 3, 4, 5, 6], &[2, 1, 4, 1, 6]],
        [&[2, 3, 4, 5, 6], &[3, 1, 5, 1]],
        [&[0, 3], &[3]],
    ];
    let sums = shapes.into_iter().map(|[shape, to]| {
        let (terms, to) = (shape.iter().product(), to.to_vec());
        case(format!("reduce {shape:?} to {to:?}"), terms, [shape], move |x| {
            x[0].affine(1.0, 0.5).sum_to(&to[..])
        })
    });
    let slices: [(usize, usize, &[usize]); 9] = [
        (0, 8, &[8]),
        (4, 8, &[8]),
        (3, 7, &[7]),
        (5, 1, &[]),
        (4, 8, &[]),
        (4, 8, &[6, 40, 1]),
        (4, 8, &[6, 1, 8]),
        (2, 6, &[40, 6]),
        (4, 8, &[1, 40, 1]),
    ];
    let slices = slices.into_iter().map(|(start, width, to)| {
        let (name, to) = (format!("reduce slice {start}+{width} to {to:?}"), to.to_vec());
        case(name, 2000, [&[6, 40, 12]], move |x| {
            x[0].affine(1.0, 0.5).slice(2, start, width).sum_to(&to[..])
        })
    });
    let more = [
        case("reduce twice", 4000, [&[500, 8], &[8]], |x| {
            x[0].add(&x[1]).square().add(&x[1]).add(&x[0].sum_to([8]))
        }),
        case("reduce mean", 600, [&[30, 20]], |x| x[0].mean()),
    ];
    sums.chain(slices).chain(more).collect()
}

fn argmax() -> Vec<Case> {
    let shapes: [&[usize]; 8] =
        [&[1, 1], &[7, 3], &[300, 10], &[5, 33], &[3, 1000], &[2, 5, 17], &[9], &[0, 4]];
    let plain = shapes.into_iter().map(|shape| {
        Case::new(format!("reduce argmax {shape:?}"), 1, move |device, dtype| {
            // Few values, so that some are equal.
            let values: Vec<f64> =
                draw(shape.iter().product(), 0).iter().map(|value| (8.0 * value).round()).collect();
            let x = Tensor::from_f64s(device, shape, dtype, &values);
            vec![("indices", x.argmax().to_f64s())]
        })
    });
    let special = Case::new("reduce argmax not finite", 1, |device, dtype| {
        let (nan, low, high) = (f64::NAN, f64::NEG_INFINITY, f64::INFINITY);
        let rows = [
            [nan, nan, nan, nan],
            [nan, low, low, nan],
            [low, low, low, low],
            [1.0, high, nan, high],
            [nan, -3.0, nan, -2.0],
        ];
        let x = Tensor::from_f64s(device, [5, 4], dtype, rows.as_flattened());
        vec![("indices", x.argmax().to_f64s()), ("of a slice", x.slice(1, 1, 3).argmax().to_f64s())]
    });
    plain.chain([special]).collect()
}

pub fn cases() -> Vec<Case> {
    // The summands are stored first, and of two sums the first one too.
    let sums = sums().into_iter().flat_map(|case| case.and_in_bf16(4));
    sums.chain(argmax().into_iter().flat_map(|case| case.and_in_bf16(0))).collect()
}
