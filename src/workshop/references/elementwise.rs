//! Elements, each computed by itself or with a few neighbours.

use crate::DType::F32;
use crate::workshop::reference::{Problem, Reference, Value, changed, input, numbers, output};

const SIZES: &[&[usize]] = &[&[1], &[1000], &[4096]];

pub(in crate::workshop) const VECTOR_ADD: Reference = Reference {
    name: "vector_add",
    formula: "out[i] = a[i] + b[i]",
    extents: &["n"],
    covers: "n",
    parameters: &[
        ("a", "f32 [n]"),
        ("b", "f32 [n]"),
        ("out", "f32 [n], written"),
        ("n", "elements"),
    ],
    shapes: SIZES,
    problem: |shape| {
        let n = shape[0];
        let (a, b) = (numbers(0, n), numbers(1, n));
        let sums = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let arguments = vec![
            ("a", input(F32, &[n], &a)),
            ("b", input(F32, &[n], &b)),
            ("out", output(F32, &[n], sums)),
            ("n", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 1, operations: n as f64 }
    },
};

pub(in crate::workshop) const SCALE_ADD: Reference = Reference {
    name: "scale_add",
    formula: "y[i] = alpha x[i] + y[i]",
    extents: &["n"],
    covers: "n",
    parameters: &[
        ("x", "f32 [n]"),
        ("y", "f32 [n], changed"),
        ("alpha", "a number"),
        ("n", "elements"),
    ],
    shapes: SIZES,
    problem: |shape| {
        let (n, alpha) = (shape[0], 0.75);
        let (x, y) = (numbers(0, n), numbers(1, n));
        let sums = x.iter().zip(&y).map(|(x, y)| alpha * x + y).collect();
        let arguments = vec![
            ("x", input(F32, &[n], &x)),
            ("y", changed(F32, &[n], &y, sums)),
            ("alpha", Value::Float(alpha)),
            ("n", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 2, operations: 2.0 * n as f64 }
    },
};

pub(in crate::workshop) const REVERSE: Reference = Reference {
    name: "reverse",
    formula: "out[i] = x[n - 1 - i]",
    extents: &["n"],
    covers: "n",
    parameters: &[("x", "f32 [n]"), ("out", "f32 [n], written"), ("n", "elements")],
    shapes: SIZES,
    problem: |shape| {
        let n = shape[0];
        let x = numbers(0, n);
        let turned = x.iter().rev().copied().collect();
        let arguments = vec![
            ("x", input(F32, &[n], &x)),
            ("out", output(F32, &[n], turned)),
            ("n", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 1, operations: n as f64 }
    },
};

pub(in crate::workshop) const MOVING_AVERAGE: Reference = Reference {
    name: "moving_average",
    formula: "out[i] = (x[i - 3] + ... + x[i + 3]) / 7, with 0 in place of what lies outside of x",
    extents: &["n"],
    covers: "n",
    parameters: &[("x", "f32 [n]"), ("out", "f32 [n], written"), ("n", "elements")],
    shapes: SIZES,
    problem: |shape| {
        let n = shape[0];
        let x = numbers(0, n);
        let mean = |i: usize| x[i.saturating_sub(3)..n.min(i + 4)].iter().sum::<f64>() / 7.0;
        let arguments = vec![
            ("x", input(F32, &[n], &x)),
            ("out", output(F32, &[n], (0..n).map(mean).collect())),
            ("n", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 7, operations: 8.0 * n as f64 }
    },
};

pub(in crate::workshop) const BIAS_RELU: Reference = Reference {
    name: "bias_relu",
    formula: "out[r][c] = max(x[r][c] + bias[c], 0)",
    extents: &["rows", "columns"],
    covers: "columns, rows",
    parameters: &[
        ("x", "f32 [rows, columns]"),
        ("bias", "f32 [columns]"),
        ("out", "f32 [rows, columns], written"),
        ("rows", "rows"),
        ("columns", "columns"),
    ],
    shapes: &[&[1, 1], &[33, 65], &[64, 128]],
    problem: |shape| {
        let (rows, columns) = (shape[0], shape[1]);
        let (x, bias) = (numbers(0, rows * columns), numbers(1, columns));
        let out = x.iter().enumerate().map(|(e, x)| (x + bias[e % columns]).max(0.0)).collect();
        let arguments = vec![
            ("x", input(F32, &[rows, columns], &x)),
            ("bias", input(F32, &[columns], &bias)),
            ("out", output(F32, &[rows, columns], out)),
            ("rows", Value::Int(rows as i64)),
            ("columns", Value::Int(columns as i64)),
        ];
        let operations = 2.0 * (rows * columns) as f64;
        Problem { output: [columns, rows, 1], arguments, terms: 1, operations }
    },
};

pub(in crate::workshop) const TRANSPOSE: Reference = Reference {
    name: "transpose",
    formula: "out[c][r] = x[r][c]",
    extents: &["rows", "columns"],
    covers: "columns, rows",
    parameters: &[
        ("x", "f32 [rows, columns]"),
        ("out", "f32 [columns, rows], written"),
        ("rows", "rows of x"),
        ("columns", "columns of x"),
    ],
    shapes: &[&[1, 1], &[33, 65], &[128, 96]],
    problem: |shape| {
        let (rows, columns) = (shape[0], shape[1]);
        let x = numbers(0, rows * columns);
        let turned = (0..rows * columns).map(|e| x[e % rows * columns + e / rows]).collect();
        let arguments = vec![
            ("x", input(F32, &[rows, columns], &x)),
            ("out", output(F32, &[columns, rows], turned)),
            ("rows", Value::Int(rows as i64)),
            ("columns", Value::Int(columns as i64)),
        ];
        let operations = (rows * columns) as f64;
        Problem { output: [columns, rows, 1], arguments, terms: 1, operations }
    },
};
