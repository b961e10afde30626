//! Sums, maxima and counts, over an array or over each of its rows.

use crate::DType::{F32, I32};
use crate::workshop::reference::{
    Problem, Reference, Value, changed, choices, input, numbers, output, scratch,
};

/// Room for the parts of a sum.
const PARTS: usize = 1024;

const SHAPES: &[&[usize]] = &[&[1, 1], &[5, 33], &[3, 1000], &[16, 1024]];

pub(in crate::workshop) const SUM: Reference = Reference {
    name: "sum",
    formula: "out[0] = x[0] + ... + x[n - 1]",
    extents: &["n"],
    covers: "n",
    parameters: &[
        ("x", "f32 [n]"),
        ("partials", "f32 [1024], room for the sums of parts"),
        ("out", "f32 [1], written"),
        ("n", "elements"),
    ],
    shapes: &[&[1], &[1000], &[16384]],
    problem: |shape| {
        let n = shape[0];
        let x = numbers(0, n);
        let arguments = vec![
            ("x", input(F32, &[n], &x)),
            ("partials", scratch(F32, &[PARTS])),
            ("out", output(F32, &[1], vec![x.iter().sum()])),
            ("n", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: n, operations: n as f64 }
    },
};

/// A problem that reduces each row of `x` to one number.
fn of_rows(shape: &[usize], dtype: crate::DType, of_row: impl Fn(&[f64]) -> f64) -> Problem {
    let (rows, columns) = (shape[0], shape[1]);
    let x = numbers(0, rows * columns);
    let arguments = vec![
        ("x", input(F32, &[rows, columns], &x)),
        ("out", output(dtype, &[rows], x.chunks(columns).map(of_row).collect())),
        ("rows", Value::Int(rows as i64)),
        ("columns", Value::Int(columns as i64)),
    ];
    let operations = (rows * columns) as f64;
    Problem { output: [rows, 1, 1], arguments, terms: columns, operations }
}

pub(in crate::workshop) const ROW_SUM: Reference = Reference {
    name: "row_sum",
    formula: "out[r] = x[r][0] + ... + x[r][columns - 1]",
    extents: &["rows", "columns"],
    covers: "rows",
    parameters: &[
        ("x", "f32 [rows, columns]"),
        ("out", "f32 [rows], written"),
        ("rows", "rows"),
        ("columns", "columns"),
    ],
    shapes: SHAPES,
    problem: |shape| of_rows(shape, F32, |row| row.iter().sum()),
};

pub(in crate::workshop) const ROW_ARGMAX: Reference = Reference {
    name: "row_argmax",
    formula: "out[r] = the first column with the largest x[r][c]",
    extents: &["rows", "columns"],
    covers: "rows",
    parameters: &[
        ("x", "f32 [rows, columns]"),
        ("out", "i32 [rows], written"),
        ("rows", "rows"),
        ("columns", "columns"),
    ],
    shapes: SHAPES,
    problem: |shape| {
        of_rows(shape, I32, |row| {
            let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter().position(|x| *x == best).unwrap_or(0) as f64
        })
    },
};

/// The parameters of a problem with a result for each element of each row.
const ALONG_ROWS: &[(&str, &str)] = &[
    ("x", "f32 [rows, columns]"),
    ("out", "f32 [rows, columns], written"),
    ("rows", "rows"),
    ("columns", "columns"),
];

/// A problem with a result for each element of each row of `x`.
fn along_rows(shape: &[usize], operations: f64, of_row: impl Fn(&[f64]) -> Vec<f64>) -> Problem {
    let (rows, columns) = (shape[0], shape[1]);
    let x = numbers(0, rows * columns);
    let arguments = vec![
        ("x", input(F32, &[rows, columns], &x)),
        ("out", output(F32, &[rows, columns], x.chunks(columns).flat_map(of_row).collect())),
        ("rows", Value::Int(rows as i64)),
        ("columns", Value::Int(columns as i64)),
    ];
    let operations = operations * (rows * columns) as f64;
    Problem { output: [rows, 1, 1], arguments, terms: columns, operations }
}

pub(in crate::workshop) const PREFIX_SUM: Reference = Reference {
    name: "prefix_sum",
    formula: "out[r][c] = x[r][0] + ... + x[r][c]",
    extents: &["rows", "columns"],
    covers: "rows",
    parameters: ALONG_ROWS,
    shapes: SHAPES,
    problem: |shape| {
        along_rows(shape, 1.0, |row| {
            let add = |sum: &mut f64, x: &f64| {
                *sum += x;
                Some(*sum)
            };
            row.iter().scan(0.0, add).collect()
        })
    },
};

pub(in crate::workshop) const SOFTMAX: Reference = Reference {
    name: "softmax",
    formula: "out[r][c] = exp(x[r][c]) / (exp(x[r][0]) + ... + exp(x[r][columns - 1]))",
    extents: &["rows", "columns"],
    covers: "rows",
    parameters: ALONG_ROWS,
    shapes: SHAPES,
    problem: |shape| {
        along_rows(shape, 4.0, |row| {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            row.iter().map(|x| x.exp() / sum).collect()
        })
    },
};

pub(in crate::workshop) const HISTOGRAM: Reference = Reference {
    name: "histogram",
    formula: "counts[b] = how many x[i] equal b; counts is zero before",
    extents: &["n", "bins"],
    covers: "n",
    parameters: &[
        ("x", "i32 [n], from 0 to bins - 1"),
        ("counts", "i32 [bins], changed"),
        ("n", "elements"),
        ("bins", "bins"),
    ],
    shapes: &[&[1, 1], &[1000, 7], &[8192, 64]],
    problem: |shape| {
        let (n, bins) = (shape[0], shape[1]);
        let x = choices(0, n, bins);
        let mut counts = vec![0.0; bins];
        x.iter().for_each(|bin| counts[*bin as usize] += 1.0);
        let zeros = vec![0.0; bins];
        let arguments = vec![
            ("x", input(I32, &[n], &x)),
            ("counts", changed(I32, &[bins], &zeros, counts)),
            ("n", Value::Int(n as i64)),
            ("bins", Value::Int(bins as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 1, operations: n as f64 }
    },
};
