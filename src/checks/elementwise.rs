//! Functions of one tensor and of two, copies, constants.

use crate::ops::tensor::concatenate::concatenate;
use crate::{DType, Device, Tape, Tensor};

use super::{Case, Outputs, axes, draw, drawn, gradient};

/// The outputs of an op and the gradients of its inputs, for a drawn upstream gradient.
pub(super) fn differentiate(inputs: &[Tensor], op: impl Fn(&[Tensor]) -> Tensor) -> Outputs {
    const NAMES: [&str; 4] = ["gradient 0", "gradient 1", "gradient 2", "gradient 3"];
    let tape = Tape::new();
    let watched: Vec<Tensor> = inputs.iter().map(|input| tape.watch(input)).collect();
    let output = op(&watched);
    let shape = output.shape();
    let upstream = drawn(output.device(), shape.extents(), output.dtype(), 99);
    tape.backward(&output.mul(&upstream).sum());
    let gradients = watched.iter().zip(NAMES).map(|(input, name)| {
        (name, tape.gradient(input).map_or(Vec::new(), |gradient| gradient.to_f64s()))
    });
    [("output", output.to_f64s())].into_iter().chain(gradients).collect()
}

/// A case of an op on drawn inputs of these shapes.
pub(super) fn case<const N: usize>(
    name: impl Into<String>,
    terms: usize,
    shapes: [&[usize]; N],
    op: impl Fn(&[Tensor]) -> Tensor + 'static,
) -> Case {
    let shapes = shapes.map(<[usize]>::to_vec);
    Case::new(name, terms, move |device, dtype| {
        let inputs: Vec<Tensor> = (shapes.iter().enumerate())
            .map(|(number, shape)| drawn(device, shape, dtype, number as u64))
            .collect();
        differentiate(&inputs, &op)
    })
}

type Function = fn(&Tensor) -> Tensor;

/// Every function, away from its poles.
const FUNCTIONS: [(&str, Function); 8] = [
    ("relu", |x| x.relu()),
    ("exp", |x| x.exp()),
    ("ln", |x| x.affine(1.0, 1.0).ln()),
    ("tanh", |x| x.tanh()),
    ("sigmoid", |x| x.affine(8.0, 0.5).sigmoid()),
    ("sqrt", |x| x.affine(1.0, 1.0).sqrt()),
    ("square", |x| x.square()),
    ("affine", |x| x.affine(-0.75, 0.25)),
];

/// One element; an odd number; one more than a block; rows with gaps, with vector loads and without; empty.
fn unary() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, function) in FUNCTIONS {
        for shape in [&[1][..], &[3, 5, 7], &[2049], &[8, 4, 68], &[0, 3]] {
            cases.push(case(format!("elementwise {name} {shape:?}"), 4, [shape], move |x| {
                function(&x[0])
            }));
        }
        for (start, width) in [(4, 8), (2, 8), (3, 1), (4, 5)] {
            let name = format!("elementwise {name} of a slice {start}+{width}");
            cases.push(case(name, 4, [&[5, 3, 16]], move |x| {
                function(&x[0].slice(2, start, width))
            }));
        }
        // Its gradient is the second one of the input, so it accumulates.
        let name = format!("elementwise {name} twice");
        cases.push(case(name, 4, [&[6, 20]], move |x| function(&x[0]).mul(&function(&x[0]))));
    }
    cases
}

const NOT_FINITE: [f64; 8] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1.0, 100.0, -100.0];

/// Infinite gradients, at values that are finite or not.
fn infinite_gradients() -> Case {
    Case::new("elementwise relu of infinite gradients", 1, |device, dtype| {
        let tape = Tape::new();
        let x = Tensor::from_f64s(device, [NOT_FINITE.len()], dtype, &NOT_FINITE);
        let x = tape.watch(&x);
        let upstream = Tensor::full(device, x.shape(), dtype, f64::INFINITY);
        tape.backward(&x.relu().mul(&upstream).sum());
        vec![("gradient", gradient(&tape, &x))]
    })
}

/// Values that are not finite, and derivatives at them.
fn not_finite() -> Vec<Case> {
    let values = NOT_FINITE;
    FUNCTIONS
        .into_iter()
        .map(|(name, function)| {
            Case::new(format!("elementwise {name} not finite"), 1, move |device, dtype| {
                let x = Tensor::from_f64s(device, [values.len()], dtype, &values);
                let tape = Tape::new();
                let x = tape.watch(&x);
                // e^100 does not fit in f32.
                let y = if name == "exp" { function(&x.affine(0.5, 0.0)) } else { function(&x) };
                tape.backward(&y.sum());
                vec![("output", y.to_f64s()), ("gradient", gradient(&tape, &x))]
            })
        })
        .collect()
}

type Binary = fn(&Tensor, &Tensor) -> Tensor;

fn binary() -> Vec<Case> {
    let functions: [(&str, Binary); 4] = [
        ("add", |a, b| a.add(b)),
        ("sub", |a, b| a.sub(b)),
        ("mul", |a, b| a.mul(b)),
        ("div", |a, b| a.div(&b.square().affine(1.0, 0.5))),
    ];
    let shapes: [[&[usize]; 2]; 13] = [
        [&[4, 8], &[4, 8]],
        [&[3, 7], &[3, 7]],
        [&[33, 36], &[36]],
        [&[36], &[33, 36]],
        [&[9, 3], &[3]],
        [&[5, 8], &[5, 1]],
        [&[5, 8], &[]],
        [&[], &[]],
        [&[2, 3, 5, 8], &[2, 1, 1, 8]],
        [&[2, 3, 5, 7], &[3, 1, 7]],
        [&[4, 1, 12], &[5, 1]],
        [&[2, 1, 3, 1, 2, 4], &[5, 1, 3, 1, 4]],
        [&[0, 4], &[4]],
    ];
    let mut cases = Vec::new();
    for (op, function) in functions {
        for [a, b] in shapes {
            let name = format!("elementwise {op} {a:?} {b:?}");
            cases.push(case(name, 64, [a, b], move |x| function(&x[0], &x[1])));
        }
        let name = format!("elementwise {op} of slices");
        cases.push(case(name, 64, [&[6, 3, 12], &[20]], move |x| {
            function(&x[0].slice(2, 4, 8), &x[1].slice(0, 8, 8))
        }));
        let name = format!("elementwise {op} of odd slices");
        cases.push(case(name, 64, [&[6, 3, 12], &[1, 3, 20]], move |x| {
            function(&x[0].slice(2, 3, 7), &x[1].slice(2, 1, 7))
        }));
        let name = format!("elementwise {op} with itself");
        cases.push(case(name, 64, [&[5, 12]], move |x| function(&x[0], &x[0])));
    }
    cases
}

/// A function alone: one rounding, or two for the gradient of a function that keeps its output.
fn single_functions() -> Vec<Case> {
    let own = FUNCTIONS.into_iter().filter(|(name, _)| !["ln", "sqrt", "sigmoid"].contains(name));
    own.flat_map(|(name, function)| {
        let keeps_output = ["exp", "tanh"].contains(&name);
        case(format!("elementwise {name} alone"), 1, [&[7, 3, 40]], move |x| function(&x[0]))
            .and_in_bf16(if keeps_output { 2 } else { 1 })
    })
    .collect()
}

/// A bias in f32 with bf16: with vector loads and without, the whole tensor and one number.
fn bias() -> Vec<Case> {
    let shapes: [[&[usize]; 2]; 5] = [
        [&[33, 40], &[40]],
        [&[9, 3], &[3]],
        [&[5, 8], &[]],
        [&[6, 16], &[6, 16]],
        [&[0, 4], &[4]],
    ];
    let cases = shapes.into_iter().map(|[shape, own]| {
        Case::new(format!("elementwise bias {shape:?} {own:?}"), 64, move |device, dtype| {
            let x = drawn(device, shape, dtype, 0);
            let bias = drawn(device, own, dtype.wide(), 1);
            differentiate(&[x, bias], |x| x[0].add(&x[1]))
        })
    });
    cases.collect()
}

/// From f32 to bf16 and back: dense tensors, wide and narrow slices; gradients that are stored and accumulated.
fn casts() -> Vec<Case> {
    let run = |device: &Device, dtype: DType| {
        let tape = Tape::new();
        let x = tape.watch(&drawn(device, &[6, 5, 24], dtype.wide(), 0));
        let parts = [(0, 24), (8, 16), (3, 7), (5, 1)];
        let mut outputs = Outputs::new();
        let mut loss = Tensor::zeros(device, [], dtype.wide());
        for (number, (start, width)) in (1..).zip(parts) {
            let own = x.slice(2, start, width).cast(dtype);
            assert!(own.dtype() == dtype, "a cast to {dtype:?} is {:?}", own.dtype());
            outputs.push(("cast", own.to_f64s()));
            let weight = drawn(device, own.shape().extents(), dtype, number);
            loss = loss.add(&own.mul(&weight).cast(dtype.wide()).sum());
        }
        tape.backward(&loss);
        outputs.push(("gradient", gradient(&tape, &x)));
        outputs
    };
    Case::new("elementwise cast", 4, run).and_in_bf16(1).into()
}

/// Copies of every type, with and without gaps.
fn copies() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::F64, DType::I32, DType::I64, DType::U8, DType::BF16] {
        let name = format!("elementwise copy of {dtype:?}");
        cases.push(Case::new(name, 1, move |device, _| {
            let values: Vec<f64> = (0..4 * 3 * 48).map(|i| f64::from(i % 251)).collect();
            let whole = Tensor::from_f64s(device, [4, 3, 48], dtype, &values);
            let parts = [(0, 48), (16, 16), (8, 12), (5, 3), (47, 1)];
            let copy = |(start, width)| whole.slice(2, start, width).copy().to_f64s();
            vec![
                ("parts", parts.into_iter().flat_map(copy).collect()),
                ("scalar", whole.reshape([4 * 3 * 48]).slice(0, 7, 1).copy().to_f64s()),
            ]
        }));
        let name = format!("elementwise full of {dtype:?}");
        cases.push(Case::new(name, 1, move |device, _| {
            let of = |length: usize| Tensor::full(device, [length], dtype, 3.0).to_f64s();
            vec![("values", [0, 1, 3, 16, 5001].into_iter().flat_map(of).collect())]
        }));
    }
    cases
}

/// Concatenation and slices of every axis: copies and sums with gaps on either side.
fn views() -> Vec<Case> {
    vec![
        case("elementwise concatenate", 1, [&[6, 4], &[6, 8], &[6, 4]], |x| {
            concatenate(&[&x[0], &x[1], &x[2]]).square()
        }),
        case("elementwise concatenate odd widths", 1, [&[2, 3, 3], &[2, 3, 1]], |x| {
            concatenate(&[&x[0], &x[1], &x[0], &x[0].slice(2, 1, 2)]).square()
        }),
        case("elementwise concatenate slices", 1, [&[5, 24], &[5, 16]], |x| {
            concatenate(&[&x[0].slice(1, 4, 12), &x[1].slice(1, 8, 8)]).square()
        }),
        case("elementwise slices of one input", 1, [&[4, 6, 12]], |x| {
            let parts = [x[0].slice(2, 2, 5), x[0].slice(2, 4, 5)];
            parts[0].mul(&parts[1]).slice(1, 1, 4).slice(0, 2, 2)
        }),
        case("elementwise slice of a middle axis", 1, [&[3, 5, 2, 6]], |x| {
            x[0].slice(1, 2, 2).mul(&x[0].slice(1, 3, 2))
        }),
        case("elementwise reshape with gaps", 1, [&[4, 6, 12]], |x| {
            x[0].slice(2, 4, 4)
                .reshape([24, 4])
                .mul(&x[0].slice(2, 0, 4).reshape([96]).reshape([24, 4]))
        }),
    ]
}

/// More than one block, along more than one axis.
fn large() -> Case {
    case("elementwise large", 300_000, [&[300, 7, 64], &[64]], |x| x[0].mul(&x[1]).relu())
}

/// The gradient of a leaf is written to memory that existed before.
fn leaf_used_often() -> Case {
    Case::new("elementwise leaf used often", 8, |device, dtype| {
        let x = Tensor::from_f64s(device, [40], dtype, &draw(40, 0));
        differentiate(&[x], |x| {
            x[0].add(&x[0]).mul(&x[0].sub(&x[0].square())).add(&x[0].sum_to([]))
        })
    })
}

pub fn cases() -> Vec<Case> {
    let single = vec![infinite_gradients(), large(), leaf_used_often()];
    let both = [unary(), not_finite(), binary(), views(), single, bias()];
    // A case has up to three functions in a row, and their gradients, each of which is stored.
    let both = both.into_iter().flatten().flat_map(|case| case.and_in_bf16(6));
    let own = both.chain(single_functions()).chain(casts()).chain(copies());
    own.chain(axes::cases()).collect()
}
