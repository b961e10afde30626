//! The kernels of Alrao: the update with a learning rate for each feature, the classifiers' head, the switch.

use crate::DType::{F32, F64, I32};
use crate::workshop::reference::{
    Problem, Reference, Value, changed, choices, input, numbers, output,
};

pub(in crate::workshop) const UPDATE: Reference = Reference {
    name: "update",
    formula: "weight[f][i] = weight[f][i] - rate[f] gradient[f][i]",
    extents: &["features", "inner"],
    covers: "inner, features",
    parameters: &[
        ("weight", "f32 [features, inner], changed"),
        ("gradient", "f32 [features, inner]"),
        ("rate", "f32 [features], a learning rate for each feature"),
        ("features", "features"),
        ("inner", "weights of a feature"),
        ("n", "all weights: features times inner"),
    ],
    shapes: &[&[1, 1], &[5, 27], &[64, 576]],
    problem: |shape| {
        let (features, inner) = (shape[0], shape[1]);
        let (weight, gradient) = (numbers(0, features * inner), numbers(1, features * inner));
        // Log-uniform from 1e-5 to 10.
        let rate = |u: f64| f64::from(10f64.powf(3.0 * u - 2.0) as f32);
        let rates: Vec<f64> = numbers(2, features).into_iter().map(rate).collect();
        let moved = weight.iter().zip(&gradient).enumerate();
        let moved = moved.map(|(e, (w, g))| w - rates[e / inner] * g).collect();
        let arguments = vec![
            ("weight", changed(F32, &[features, inner], &weight, moved)),
            ("gradient", input(F32, &[features, inner], &gradient)),
            ("rate", input(F32, &[features], &rates)),
            ("features", Value::Int(features as i64)),
            ("inner", Value::Int(inner as i64)),
            ("n", Value::Int((features * inner) as i64)),
        ];
        let operations = 2.0 * (features * inner) as f64;
        Problem { output: [inner, features, 1], arguments, terms: 2, operations }
    },
};

pub(in crate::workshop) const HEAD: Reference = Reference {
    name: "head",
    formula: "p = softmax(logits[i][j]); loss[i][j] = -log p[label[i]]; gradient[i][j] = (p - onehot(label[i])) / batch; \
              responsibility[i][j] = exp(log_posterior[j] - loss[i][j]) / sum over j of the same",
    extents: &["batch", "classifiers", "classes"],
    covers: "classifiers, batch",
    parameters: &[
        ("logits", "f32 [batch, classifiers, classes]"),
        ("label", "i32 [batch]"),
        ("log_posterior", "f32 [classifiers]"),
        ("loss", "f32 [batch, classifiers], written"),
        ("gradient", "f32 [batch, classifiers, classes], written"),
        ("responsibility", "f32 [batch, classifiers], written"),
        ("batch", "samples"),
        ("classifiers", "classifiers"),
        ("classes", "classes"),
    ],
    shapes: &[&[1, 1, 1], &[3, 5, 33], &[8, 10, 64]],
    problem: |shape| {
        let [batch, classifiers, classes] = [shape[0], shape[1], shape[2]];
        let rows = batch * classifiers;
        // Large enough that the exponential of one alone would overflow.
        let logits: Vec<f64> = numbers(0, rows * classes).into_iter().map(|x| 128.0 * x).collect();
        let label = choices(1, batch, classes);
        let log_posterior: Vec<f64> =
            numbers(2, classifiers).into_iter().map(|x| f64::from((x - 2.0) as f32)).collect();
        let (mut loss, mut gradient) = (Vec::new(), Vec::new());
        for (row, own) in logits.chunks(classes).enumerate() {
            let largest = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = own.iter().map(|x| (x - largest).exp()).sum();
            let target = label[row / classifiers] as usize;
            loss.push(largest + sum.ln() - own[target]);
            let hot = |class: usize| if class == target { 1.0 } else { 0.0 };
            let share =
                |(class, x): (usize, &f64)| ((x - largest).exp() / sum - hot(class)) / batch as f64;
            gradient.extend(own.iter().enumerate().map(share));
        }
        let mut responsibility = Vec::new();
        for losses in loss.chunks(classifiers) {
            let own: Vec<f64> = losses.iter().zip(&log_posterior).map(|(l, a)| a - l).collect();
            let largest = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = own.iter().map(|x| (x - largest).exp()).sum();
            responsibility.extend(own.iter().map(|x| (x - largest).exp() / sum));
        }
        let arguments = vec![
            ("logits", input(F32, &[batch, classifiers, classes], &logits)),
            ("label", input(I32, &[batch], &label)),
            ("log_posterior", input(F32, &[classifiers], &log_posterior)),
            ("loss", output(F32, &[batch, classifiers], loss)),
            ("gradient", output(F32, &[batch, classifiers, classes], gradient)),
            ("responsibility", output(F32, &[batch, classifiers], responsibility)),
            ("batch", Value::Int(batch as i64)),
            ("classifiers", Value::Int(classifiers as i64)),
            ("classes", Value::Int(classes as i64)),
        ];
        let operations = 8.0 * (rows * classes) as f64;
        // Rounding errors grow with the logits, up to 128.
        Problem { output: [classifiers, batch, 1], arguments, terms: classes + 128, operations }
    },
};

fn log_add_exp(a: f64, b: f64) -> f64 {
    let high = a.max(b);
    high + ((a - high).exp() + (b - high).exp()).ln()
}

fn log_sum_exp(all: &[f64]) -> f64 {
    all.iter().copied().reduce(log_add_exp).unwrap_or(f64::NEG_INFINITY)
}

pub(in crate::workshop) const SWITCH: Reference = Reference {
    name: "switch",
    formula: "w[i][j] = w[i][j] - loss[j]; pi = 1 / (t + 1); pool = log sum of exp w[0] + log pi; w[0][j] = log(exp(w[0][j] + log(1 - pi)) + \
              exp(log theta + pool - log N)); w[1][j] = log(exp w[1][j] + exp(log(1 - theta) + pool - log N)); w = w - log sum of exp w; \
              log_posterior[j] = log(exp w[0][j] + exp w[1][j]); t = t + 1",
    extents: &["classifiers"],
    covers: "classifiers",
    parameters: &[
        ("weights", "f64 [2, classifiers], changed: logarithms"),
        ("log_posterior", "f64 [classifiers], written"),
        ("loss", "f64 [classifiers]"),
        ("t", "f64 [1], changed: the number of the observation"),
        ("theta", "the share of the pool that may switch again"),
        ("classifiers", "classifiers"),
    ],
    shapes: &[&[1], &[6], &[10], &[33]],
    problem: |shape| {
        let (n, theta, t) = (shape[0], 0.999f64, 7.0);
        let uniform = (0.5 / n as f64).ln();
        let weights: Vec<f64> = numbers(0, 2 * n).into_iter().map(|x| uniform + 0.5 * x).collect();
        let loss: Vec<f64> = numbers(1, n).into_iter().map(|x| 2.0 + x).collect();
        let observed = |row: usize| (0..n).map(move |j| (row * n + j, j));
        let [mut switching, mut settled]: [Vec<f64>; 2] =
            [0, 1].map(|row| observed(row).map(|(place, j)| weights[place] - loss[j]).collect());
        let pi: f64 = 1.0 / (t + 1.0);
        let pool = log_sum_exp(&switching) + pi.ln() - (n as f64).ln();
        for j in 0..n {
            switching[j] = log_add_exp(switching[j] + (1.0 - pi).ln(), theta.ln() + pool);
            settled[j] = log_add_exp(settled[j], (1.0 - theta).ln() + pool);
        }
        let both = [switching, settled].concat();
        let sum = log_sum_exp(&both);
        let new: Vec<f64> = both.iter().map(|w| w - sum).collect();
        let posterior = (0..n).map(|j| log_add_exp(new[j], new[n + j])).collect();
        let arguments = vec![
            ("weights", changed(F64, &[2, n], &weights, new)),
            ("log_posterior", output(F64, &[n], posterior)),
            ("loss", input(F64, &[n], &loss)),
            ("t", changed(F64, &[1], &[t], vec![t + 1.0])),
            ("theta", Value::Float(theta)),
            ("classifiers", Value::Int(n as i64)),
        ];
        Problem { output: [n, 1, 1], arguments, terms: 2 * n, operations: 40.0 * n as f64 }
    },
};
